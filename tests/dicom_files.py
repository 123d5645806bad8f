"""DICOM files made for tests: any photometric interpretation, transfer syntax and tag, from known pixels."""

import io

import numpy as np
import pydicom
from PIL import Image
from pydicom import encaps, pixels, uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence

US, MR = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.4"
NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian,
          uid.DeflatedExplicitVRLittleEndian)  # fmt: skip


def dataset(values, photometric="MONOCHROME2", stored=None, signed=False, planar=0, **tags):
    """An ultrasound (or other) file in explicit little endian: values (F, H, W) or (F, H, W, 3), or one frame."""
    values = np.asarray(values)
    colours = values.ndim == 4 or (values.ndim == 3 and values.shape[-1] == 3)
    values = values[None] if values.ndim == 2 + colours else values  # (F, H, W) or (F, H, W, 3)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = uid.ExplicitVRLittleEndian, US
    meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = US, meta.MediaStorageSOPInstanceUID, "US"
    ds.PatientID, ds.InstitutionName, ds.StudyDate = "P1", "North", "20200110"
    ds.Manufacturer, ds.ManufacturerModelName = "Maker", "Model"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3 if colours else 1), photometric
    ds.Rows, ds.Columns = values.shape[1:3]
    ds.BitsAllocated = values.dtype.itemsize * 8
    ds.BitsStored = stored or ds.BitsAllocated
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(signed)
    if len(values) > 1:
        ds.NumberOfFrames = len(values)
    if colours:
        ds.PlanarConfiguration = planar
        values = np.moveaxis(values, 3, 1) if planar else values  # (F, H, W, 3) -> (F, 3, H, W)
    raw = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    ds.PixelData = raw + b"\0" * (len(raw) % 2)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    set_tags(ds, tags)
    return ds


def set_tags(ds, tags):
    """Set tags by keyword; a list of dictionaries is a sequence."""
    for name, value in tags.items():
        nested = isinstance(value, list) and value and isinstance(value[0], dict)
        setattr(ds, name, Sequence([set_tags(Dataset(), item) for item in value]) if nested else value)
    return ds


def regions(*boxes, kind=1, form=1):
    """Ultrasound regions by left, top, right and bottom, the last two included."""
    names = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
    return [
        {"RegionSpatialFormat": form, "RegionDataType": kind, **dict(zip(names, box, strict=True))} for box in boxes
    ]


def save(ds, file, syntax=uid.ExplicitVRLittleEndian):
    """Write a dataset under a native transfer syntax, or compress it with pydicom's own encoders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if syntax in NATIVE:
        if syntax == uid.ExplicitVRBigEndian and ds.BitsAllocated == 16:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").byteswap().tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
        ds.file_meta.FileMetaInformationGroupLength = 0  # counted when it is written
        encoding = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
        pydicom.dcmwrite(file, ds, force_encoding=True, **encoding)
    else:
        planar, ds.PixelData = ds.get("PlanarConfiguration"), _by_pixel(ds)
        if planar is not None:
            ds.PlanarConfiguration = 0
        ds.compress(syntax, generate_instance_uid=False)
        if planar is not None:
            ds.PlanarConfiguration = planar
        ds.save_as(file, enforce_file_format=True)
    return file


def _by_pixel(ds):
    """Native pixel data as encoders take them: the samples of a pixel side by side."""
    if ds.get("PlanarConfiguration") != 1:
        return ds.PixelData
    planes = np.frombuffer(ds.PixelData, np.uint8).reshape(-1, 3, ds.Rows, ds.Columns)  # (F, 3, H, W)
    return np.ascontiguousarray(np.moveaxis(planes, 1, 3)).tobytes()


def jpeg(frames, photometric, file, mode="RGB", subsampling=0, marker=None, **tags):
    """A baseline JPEG file: Pillow's YCbCr with a JFIF marker or, with `marker`, an Adobe marker instead."""
    ds = dataset(np.asarray(frames), photometric, **tags)
    streams = []
    for frame in np.asarray(frames):
        raw = io.BytesIO()
        Image.fromarray(frame, mode).save(raw, "JPEG", quality=95, subsampling=subsampling)
        stream = raw.getvalue()
        if marker is not None:  # JFIF's segment is replaced
            length = int.from_bytes(stream[4:6], "big")
            app14 = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([marker])
            stream = stream[:2] + app14 + stream[4 + length :]
        streams.append(stream)
    ds.PixelData = encaps.encapsulate(streams)
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    file.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(file, enforce_file_format=True)
    return file


def subsampled(rgb):
    """RGB (H, W, 3) as the bytes of native YBR_FULL_422: two luminances, then their mean colours."""
    ybr = pixels.convert_color_space(rgb, "RGB", "YBR_FULL").astype(int)  # (H, W, 3)
    pairs = ybr.reshape(len(ybr), -1, 2, 3)  # (H, W, 3) -> (H, W/2, 2, 3)
    chroma = np.rint(pairs[..., 1:].mean(axis=2)).astype(int)
    return np.concatenate([pairs[..., 0], chroma], axis=2).astype(np.uint8).tobytes()


def fan(height=240, width=320, seed=0):
    """A grey frame (H, W) uint8 as a scanner draws it: a sector of speckle on black, and the box that holds it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    radius, angle = np.hypot(y + 20, x - width / 2), np.arctan2(x - width / 2, y + 20)
    inside = (radius > 50) & (radius < height - 10) & (np.abs(angle) < 0.6)
    waves = sum(
        np.sin((x * np.cos(a) + y * np.sin(a)) / s + p) for a, s, p in rng.uniform([0, 9, 0], [6, 25, 6], (6, 3))
    )
    speckle = 110 + 25 * waves / 2 + rng.normal(0, 14, (height, width))
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return np.where(inside, np.clip(speckle, 30, 255), 0).astype(np.uint8), box


def with_name(frame, text="DOE^JANE 1961"):
    """The frame with a text burned in at its upper left."""
    from PIL import ImageDraw  # noqa: PLC0415

    picture = Image.fromarray(frame)
    ImageDraw.Draw(picture).text((4, 4), text, fill=255)
    return np.asarray(picture)
