"""One file: read, cut to its tissue, turned grey, written as PNG. All that happens to a file happens here."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from ecsupport.cohort import pictures
from ecsupport.core.artefacts import replacing, sha256
from ecsupport.core.tables import canonical
from ecsupport.ingest import cine, dicom, grey, identity, sequences, ultrasound, walk
from ecsupport.ingest.outcome import LeftOut
from ecsupport.ingest.ultrasound import Box
from ecsupport.ingest.walk import Source

MODALITIES = {"US": "us", "MR": "mri"}  # of DICOM, and of a manifest
SMALLEST = 32  # pixels of a side; less shows no uterus
SLIMMEST = 8  # times as long as wide
WAITING = "waits for the window of its series"
GREY = 2  # dimensions of a frame without colours
LARGEST_PICTURE = 2**28  # bytes of a picture file


@dataclass(frozen=True)
class Plan:
    """Where files come from and go, and what a person has decided."""

    root: Path
    out: Path
    private: Path
    key: bytes
    crops: dict[str, Box] = field(default_factory=dict)  # by scanner
    mapped: dict[str, str] = field(default_factory=dict)  # description -> sequence, empty: left out
    windows: dict[str, tuple[float, float]] = field(default_factory=dict)  # by series
    pictures: str = "us"  # modality of files that are no DICOM
    every: int = 0
    frames: int = cine.FRAMES

    def decided(self, entry: dict[str, Any]) -> list[Any]:
        """The decisions on which the entry of a file rests; where they are others, it is taken again."""
        window = self.windows.get(entry.get("series", ""))
        return [self.pictures, self.every, self.frames, list(self.crops.get(entry.get("scanner", ""), ())),
                self.mapped.get(entry.get("description", "")), list(window) if window else None]  # fmt: skip


def take(plan: Plan, source: Source) -> dict[str, Any]:
    """The entry of a file for the journal; its images are written. It may hold names: it is for the private folder.

    `why` is empty where images were taken. OSError where they cannot be written.
    """
    entry: dict[str, Any] = {"file": identity.code(plan.key, "file", source.name), "path": source.name,
                             "size": source.size, "changed": source.changed, "why": "", "images": []}  # fmt: skip
    for index, frame in _readable(plan, source, entry):
        name = f"{entry['modality']}/{entry['patient']}/{entry['file']}_{index}.png"
        raw = io.BytesIO()
        Image.fromarray(frame).save(raw, "PNG")
        with replacing(plan.out / name) as making:
            making.write_bytes(raw.getvalue())
        content = f"{frame.shape} ".encode() + frame.tobytes()
        entry["images"].append({"image": name, "hash": sha256(raw.getvalue()), "pixels": sha256(content)})
    if entry["why"]:
        for image in entry["images"]:
            (plan.out / image["image"]).unlink()
        entry["images"] = []
    entry["decided"] = plan.decided(entry)
    return entry


def _readable(plan: Plan, source: Source, entry: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames that differ, with their indices; whatever a broken file does ends them and stands in `why`."""
    distinct, new, alike = cine.Distinct(), 0, 0
    try:
        kind = walk.kind(source, plan.root)
        for index, frame in (_of_dicom if kind == "dicom" else _of_picture)(plan, source, entry):
            is_new = entry["modality"] == "mri" or distinct.is_new(frame)  # slices of a stack resemble each other
            new, alike = new + is_new, alike + (not is_new)
            if is_new:
                yield index, frame
        entry["alike"] = alike
        if not new:
            entry["why"] = "Doppler colour" if entry.get("coloured") else "no frame was left"
    except LeftOut as left:
        entry["why"] = str(left)
    except (MemoryError, RecursionError) as error:
        entry["why"] = f"needs more memory than there is ({type(error).__name__})"
    except OSError as error:
        entry["why"] = f"cannot be read ({error.strerror or type(error).__name__})"
    except Exception as error:  # its text may hold a name
        entry["why"] = f"cannot be read ({type(error).__name__})"


def _of_dicom(plan: Plan, source: Source, entry: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames with their indices; fills the entry on the way."""
    header = dicom.read(source.file)
    if (modality := MODALITIES.get(str(header.get("Modality") or ""))) is None:
        raise LeftOut("neither ultrasound nor MRI")
    frames = dicom.check(header)
    model = " ".join(str(header.get(name) or "").strip() for name in ("Manufacturer", "ManufacturerModelName"))
    _name(plan, entry, str(header.get("PatientID") or ""), str(header.get("InstitutionName") or ""),
          f"{model}, {header.Columns} x {header.Rows}", modality)  # fmt: skip
    if not entry["patient"]:
        raise LeftOut("no patient id")
    entry["date"] = identity.shifted(plan.key, entry["patient_id"], str(header.get("StudyDate") or ""))
    if modality == "mri":
        return _mri(plan, source, entry, header, frames)
    return _ultrasound(plan, source, entry, header, cine.sample(frames, plan.every, plan.frames))


def _name(plan: Plan, entry: dict[str, Any], patient: str, centre: str, scanner: str, modality: str) -> None:
    """Who, where and with what: names for the private folder, pseudonyms for the others."""
    entry["patient_id"], entry["centre_name"] = canonical(patient), " ".join(centre.split())
    entry["scanner_name"], entry["modality"] = " ".join(scanner.split()), modality
    for kind, name in (("patient", "patient_id"), ("centre", "centre_name"), ("scanner", "scanner_name")):
        entry[kind] = identity.code(plan.key, kind, entry[name]) if entry[name] else ""


def _mri(
    plan: Plan, source: Source, entry: dict[str, Any], header: Dataset, frames: int
) -> Iterator[tuple[int, np.ndarray]]:
    if str(header.get("SOPClassUID") or "") not in sequences.IMAGES:
        raise LeftOut("no MR image: a secondary capture, a screen or a report")
    entry["description"] = sequences.description(header)
    entry["series"] = identity.code(plan.key, "series", str(header.get("SeriesInstanceUID") or source.name))
    mapped = plan.mapped.get(entry["description"])
    entry["sequence"] = sequences.recognised(header) if mapped is None else mapped
    if not entry["sequence"]:
        unknown = "a sequence that is not recognised; map it in sequences.toml"
        raise LeftOut(unknown if mapped is None else "a sequence that is to be left out")
    indices = list(range(0, frames, plan.every or 1))
    limits, sketches = plan.windows.get(entry["series"]), []
    for index, stored in zip(indices, dicom.values(source.file, header, indices), strict=True):
        if stored.ndim != GREY:
            raise LeftOut("MRI in colours")
        frame = grey.of_frame(header, index)
        values = grey.rescaled(stored, frame)
        if limits is None and not grey.has_window(frame):
            sketches.append(grey.sketch(values))
            continue
        if not sketches:
            yield index, _sized(grey.shown(values, frame, header, limits))
    if sketches:
        entry["sketch"] = np.mean(sketches, axis=0).tolist() if len(sketches) > 1 else sketches[0]
        raise LeftOut(WAITING)


def _ultrasound(
    plan: Plan, source: Source, entry: dict[str, Any], header: Dataset, indices: list[int]
) -> Iterator[tuple[int, np.ndarray]]:
    frames = _seen(header, indices, dicom.values(source.file, header, indices))
    drawn = plan.crops.get(entry["scanner"])
    try:
        box = drawn or ultrasound.tissue_region(header)
    except LeftOut:  # who draws the box needs a frame
        _show_scanner(plan, entry, next(frames)[1], None)
        raise
    entry["crop"] = "drawn" if drawn else "region" if box else "proposal"
    cut = _Cut(plan, entry, box)
    for index, frame in frames:
        yield from ((index, tissue) for tissue in cut.of(frame))


def _seen(header: Dataset, indices: list[int], stored: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames as a viewer shows them, with their indices: (H, W) or (H, W, 3) uint8."""
    for index, values in zip(indices, stored, strict=True):
        if values.ndim == GREY:
            frame = grey.of_frame(header, index)
            yield index, grey.shown(grey.rescaled(values, frame), frame, header)
        else:
            yield index, values


def _of_picture(plan: Plan, source: Source, entry: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """The picture of a file that is no DICOM: its patient is the folder it stands in, its centre the one above."""
    folders = Path(source.name).parent.parts
    if not folders:
        raise LeftOut("no patient: put the pictures of each patient into a folder of her name")
    if source.size > LARGEST_PICTURE:
        raise LeftOut(f"a picture file of more than {LARGEST_PICTURE // 2**20} MiB")
    try:
        picture, told = pictures.opened(source.file.read_bytes())
    except ValueError as fault:
        raise LeftOut("a picture that cannot be taken: " + _harmless(str(fault))) from None
    centre = folders[-2] if len(folders) > 1 else ""
    _name(plan, entry, folders[-1], centre, f"pictures, {told['width']} x {told['height']}", plan.pictures)
    if plan.pictures == "mri":
        yield 0, _sized(np.asarray(picture.convert("L")))
        return
    drawn = plan.crops.get(entry["scanner"])
    entry["crop"] = "drawn" if drawn else "proposal"
    yield from ((0, tissue) for tissue in _Cut(plan, entry, drawn).of(np.asarray(picture.convert("RGB"))))


def _harmless(fault: str) -> str:
    """What `pictures` itself says; a decoder's own words may hold a comment of the file."""
    return fault if fault.startswith(("no picture", "more than")) or " more than " in fault or "frames" in fault else (
        "it is broken")  # fmt: skip


class _Cut:
    """Cuts the frames of one file to their tissue; where no box is given, the first frame's proposal holds for all."""

    def __init__(self, plan: Plan, entry: dict[str, Any], box: Box | None) -> None:
        self.plan, self.entry, self.box, self.mask = plan, entry, box, None
        self.first = True

    def of(self, frame: np.ndarray) -> list[np.ndarray]:
        """The tissue of a frame, (H, W) or (H, W, 3) uint8, as grey levels; nothing where it holds Doppler colour."""
        colours = frame if frame.ndim != GREY else None
        levels = frame if colours is None else grey.luminance(frame)
        if self.box is None:
            try:
                self.box, self.mask = ultrasound.fan(levels)
            except LeftOut:
                _show_scanner(self.plan, self.entry, frame, None)
                raise
        left, top, right, bottom = self.box
        height, width = levels.shape
        if right > width or bottom > height:
            raise LeftOut("the box in crops.toml leaves the frame")
        if self.first:
            self.first, self.entry["box"] = False, [*self.box, width, height]
            _show_scanner(self.plan, self.entry, frame, self.box)
        tissue = levels[top:bottom, left:right]
        if colours is not None and ultrasound.has_colour(colours[top:bottom, left:right]):
            self.entry["coloured"] = self.entry.get("coloured", 0) + 1
            return []
        return [_sized(tissue if self.mask is None else np.where(self.mask, tissue, np.uint8(0)))]


def _sized(frame: np.ndarray) -> np.ndarray:
    """The frame, where it is no strip and not too small to show anything; else LeftOut."""
    least, most = sorted(frame.shape)
    if least < SMALLEST or most > SLIMMEST * least:
        raise LeftOut(f"an image of less than {SMALLEST} pixels, or more than {SLIMMEST} times as long as wide")
    return np.ascontiguousarray(frame)


def _show_scanner(plan: Plan, entry: dict[str, Any], frame: np.ndarray, box: Box | None) -> None:
    """One whole frame of each scanner with the box, for the person who draws crops.toml; names may stand on it."""
    file = plan.private / "scanners" / f"{entry['scanner']}.png"
    if not file.exists():
        picture = Image.fromarray(frame).convert("RGB")
        if box:
            ImageDraw.Draw(picture).rectangle([box[0], box[1], box[2] - 1, box[3] - 1], outline=(255, 200, 0), width=2)
        with replacing(file) as making:
            picture.save(making)


def crashed(plan: Plan, source: Source) -> dict[str, Any]:
    """The entry of a file on which a decoder ended its process."""
    entry = {"file": identity.code(plan.key, "file", source.name), "path": source.name, "size": source.size,
             "changed": source.changed, "images": [],
             "why": "a decoder crashed on it, or needed more memory than there is"}  # fmt: skip
    return {**entry, "decided": plan.decided(entry)}
