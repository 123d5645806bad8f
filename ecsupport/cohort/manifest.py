"""Manifests: one row an image, for phantoms and for a person's own files alike (Results, "Data").

| column | meaning |
|---|---|
| image | `version/patient/modality/index` of a phantom, or a path relative to the manifest |
| patient_id, centre, modality, sequence | who, where, `us` or `mri`, MRI sequence |
| diagnosis, invasion_depth, visible | leading finding; fraction of the wall; whether this view shows the invasion |
| label | 1 carcinoma, 0 control |
| split | train, validation, test, unused, or a pool outside the cohort: extra (MRI no translator sees), instrument |
| source | phantom, phantom_extra, instrument or file |
| hash | recipe hash of a phantom, SHA-256 of a file |
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from ecsupport.cohort import phantom
from ecsupport.core.artefacts import sha256
from ecsupport.core.errors import UserError, row_error
from ecsupport.core.profiles import CohortSize
from ecsupport.core.seeds import generator

REQUIRED = ("image", "patient_id", "centre", "modality", "label")
COLUMNS = (
    *("image", "patient_id", "centre", "modality", "sequence", "diagnosis", "invasion_depth", "visible", "label"),
    *("split", "source", "hash"),
)
SPLITS = ("train", "validation", "test", "unused")
POOL_SPLITS = {"phantom_extra": "extra", "instrument": "instrument"}
PLACES = (*SPLITS[:3], *POOL_SPLITS.values())  # a patient stands in one of them, and her surplus images in `unused`
FLAGS = {"true": True, "false": False, "1": True, "0": False}
SHOWN = 20  # problems of a manifest that are listed


def target(images: pd.DataFrame, task: str) -> pd.Series:
    """Positive class of the task, 0 or 1 an image: carcinoma (`cohort`), or invasion of any depth (`invasion`).

    UserError where the manifest cannot answer (no invasion depth).
    """
    if task == "cohort":
        return images["label"].astype(int)
    if images["invasion_depth"].isna().any():
        row = int(np.flatnonzero(images["invasion_depth"].isna())[0]) + 1
        raise row_error("manifest", row, "no invasion_depth", "Fill the column, or set task = cohort in the profile")
    return (images["invasion_depth"] > 0).astype(int)


def phantoms(size: CohortSize) -> pd.DataFrame:
    """Manifest of the phantom cohort without splits: every pool with exactly the profile's patients and images."""
    pools = (
        ("carcinoma", size.carcinoma_patients, {"us": size.carcinoma_images}),
        ("control", size.control_patients, {"us": size.control_images}),
        ("mri", size.mri_patients, {"mri": size.mri_images}),
        ("extra", size.extra_patients, {"mri": size.extra_images}),
        ("instrument", size.instrument_patients, dict.fromkeys(phantom.MODALITIES, size.instrument_images // 2)),
    )
    rows = [
        row for pool, patients, images in pools for m, n in images.items() for row in _rows(size, pool, patients, m, n)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"sequence": "str", "split": "str"})


def _rows(size: CohortSize, pool: str, patients: int, modality: str, images: int) -> list[tuple]:
    rng = generator(size.version, pool, modality, patients, images, "images per patient")
    weight = rng.gamma(4.0, size=patients)
    counts = 1 + rng.multinomial(images - patients, weight / weight.sum())
    source, rows = phantom.POOLS[pool].source, []
    for number, count in enumerate(counts, start=1):
        name = phantom.patient_id(pool, number)
        who = phantom.patient(size.version, name)
        for index in range(count):
            shows = bool(who.uterus.tongues) and phantom.view(size.version, name, index, modality).shows_invasion(
                who.uterus
            )
            rows.append((
                f"{size.version}/{name}/{modality}/{index}", name, who.centre, modality,
                phantom.sequence(index) if modality == "mri" else "", who.diagnosis,
                round(who.uterus.invasion_depth, 3), shows, int(who.carcinoma), POOL_SPLITS.get(source, ""), source,
                phantom.recipe_hash(size.version, name, index, modality),
            ))  # fmt: skip
    return rows


def patients(images: pd.DataFrame) -> pd.DataFrame:
    """Clinical covariates of the phantom patients in a manifest, one row a patient, in order of appearance."""
    rows = []
    for version, name in images["image"].str.split("/").str[:2].drop_duplicates():
        who = phantom.patient(version, name)
        rows.append({
            "patient_id": name, "centre": who.centre, "diagnosis": who.diagnosis, "age": who.age,
            "postmenopausal": who.postmenopausal, "bmi": who.bmi, "bleeding": who.bleeding,
            "endometrial_thickness_mm": who.endometrial_thickness, "ca125_u_ml": who.ca125,
        })  # fmt: skip
    return pd.DataFrame(rows)


def in_cohort(images: pd.DataFrame) -> pd.Series:
    """Which rows count as the cohort, phantoms or files: all but those of the pools `extra` and `instrument`."""
    return ~images["split"].isin(POOL_SPLITS.values())


def read(path: Path) -> pd.DataFrame:
    """Read and check a person's manifest; missing optional columns are filled with what is not known.

    Raises one UserError with a line for every problem, in order of rows: missing column, empty cell, unknown modality,
    label or split, duplicate image, missing file or no picture, patient in two splits, of two centres or with two
    labels, split without a class.
    """
    try:
        images = pd.read_csv(path, dtype="str", encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV file ({error}). Save it as comma-separated UTF-8") from error
    images = images.apply(lambda column: column.astype("str").str.strip().replace("", None))
    missing = [c for c in REQUIRED if c not in images]
    if missing and (signs := [sign for sign in (";", "\t") if sign in "".join(images.columns)]):
        raise UserError(f"{path}: columns are separated by {signs[0]!r}. Save it with commas")
    if missing:
        _refuse(
            [UserError(f"{path}: column {c!r} is missing. The header needs: {', '.join(REQUIRED)}") for c in missing]
        )
    if images.empty:
        raise UserError(f"{path}: no rows. Write one row an image")
    images = images.reindex(columns=list(COLUMNS)).astype("str").reset_index(drop=True)
    checked = _checks(path, images)
    problems = [
        (row, row_error(path, row + 1, problem, remedy))
        for good, problem, remedy in checked
        for row in np.flatnonzero(~good.to_numpy(dtype=bool))
    ]
    problems += [(row, row_error(path, row + 1, *words)) for row, words in _clashes(images)]
    problems += [(len(images), error) for error in _absent_classes(path, images)]
    _refuse([error for _, error in sorted(problems, key=lambda problem: problem[0])])
    words = ["sequence", "diagnosis", "split"]
    images[words] = images[words].fillna("").astype("str")
    images["label"] = pd.to_numeric(images["label"]).astype(int)
    images["invasion_depth"] = pd.to_numeric(images["invasion_depth"])
    seen = images["visible"].str.lower().map(FLAGS)
    images["visible"] = seen.astype(bool) if seen.notna().all() else seen.astype(object).where(seen.notna(), pd.NA)
    images["source"] = "file"
    images["hash"] = [sha256(path.parent / name) for name in images["image"]]
    return images


def _checks(path: Path, images: pd.DataFrame) -> list[tuple[pd.Series, str, str]]:
    """What every row must fulfil: good rows, the problem of the others, its remedy. An empty cell is one problem."""
    given = images.notna()
    depth, label = (pd.to_numeric(images[c], errors="coerce") for c in ("invasion_depth", "label"))
    known = label.where(label.isin([0, 1]))
    files = images["image"].dropna().map(lambda name: path.parent / name)
    exists = files.map(lambda file: file.is_file())
    faults = files[exists].map(_fault)
    return [
        *((given[column], f"empty {column}", "Fill the cell") for column in REQUIRED),
        (~given["modality"] | images["modality"].isin(phantom.MODALITIES), "unknown modality", "Write us or mri"),
        (~given["label"] | label.isin([0, 1]), "label is not 0 or 1", "Write 1 for carcinoma, 0 for control"),
        (~given["image"] | ~images["image"].duplicated(), "image listed twice", "Remove one of the rows"),
        (exists.reindex(images.index, fill_value=True), "image file does not exist",
         "Give its path relative to the manifest"),
        *((faults.reindex(images.index) != fault, f"cannot read the image ({fault})", "Export it as 8-bit PNG")
          for fault in faults[faults != ""].unique()),
        (~given["invasion_depth"] | depth.between(0, 1), "invasion_depth is no fraction of the wall",
         "Write 0 to 1, or nothing"),
        (~given["visible"] | images["visible"].str.lower().isin(FLAGS), "visible is not true or false",
         "Write one, or nothing"),
        (~given["split"] | images["split"].isin([*PLACES, "unused"]), "unknown split",
         f"Write one of: {', '.join((*SPLITS, *POOL_SPLITS.values()))}, or nothing"),
        *((~given["patient_id"] | values.isna() | values.eq(values.groupby(images["patient_id"]).transform("first")),
           f"patient has {problem}", f"Give all her images one {values.name}")
          for values, problem in ((images["centre"], "a second centre"), (known, "another label"))),
    ]  # fmt: skip


def _fault(file: Path) -> str:
    """Why a file is no picture to be taken, by its head; empty where it is one."""
    try:
        with Image.open(file) as picture:
            return f"mode {picture.mode}: more than 8 bits" if picture.mode.startswith(("I", "F")) else ""
    except UnidentifiedImageError:
        return "no picture"
    except (OSError, ValueError) as error:
        return str(error)


def _absent_classes(path: Path, images: pd.DataFrame) -> list[UserError]:
    """A class without ultrasound; or, where every ultrasound image has a split, a split without a class."""
    us = images[images["modality"].eq("us") & in_cohort(images)]
    label, problems = pd.to_numeric(us["label"], errors="coerce"), []
    for value in (0, 1):
        own = us[label == value]
        if own.empty:
            problems.append(UserError(f"{path}: no ultrasound image with label {value}. Both classes are needed"))
        elif us["split"].notna().all():
            problems += [
                UserError(f"{path}: no ultrasound image with label {value} in {name}. Put a patient there")
                for name in SPLITS[:3] if name not in set(own["split"])
            ]  # fmt: skip
    return problems


def _clashes(images: pd.DataFrame) -> list[tuple[int, tuple[str, str]]]:
    """Rows, counted from 0, whose patient stands in a second split too, with problem and remedy."""
    where = images["split"].reset_index(drop=True)
    who = images["patient_id"].reset_index(drop=True)
    placed = where.isin(PLACES) & who.notna()
    first = where[placed].groupby(who[placed]).first()
    return [
        (row, (f"patient {who[row]} is in {where[row]} and in {first[who[row]]}",
               "Put all images of a patient into one split"))
        for row in where.index[placed] if where[row] != first[who[row]]
    ]  # fmt: skip


def _refuse(problems: list[UserError]) -> None:
    """Raise the problems as one, a line each, the first twenty in full."""
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise UserError("\n".join([*map(str, problems[:SHOWN]), *more]))


def check_splits(images: pd.DataFrame, where: str = "manifest") -> None:
    """UserError naming the rows whose patient stands in a second split or pool too (`unused` does not count)."""
    _refuse([row_error(where, row + 1, *words) for row, words in _clashes(images)])


def to_csv(images: pd.DataFrame) -> str:
    """Canonical text of a manifest; its SHA-256 is the cohort's digest."""
    text = io.StringIO()
    images.to_csv(text, index=False, lineterminator="\n")
    return text.getvalue()
