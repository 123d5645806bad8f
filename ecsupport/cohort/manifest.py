"""Manifests: one row an image, for phantoms and for a person's own files alike (Results, "Data").

| column | meaning |
|---|---|
| image | `version/patient/modality/index` of a phantom, or a path relative to the manifest |
| patient_id, centre, modality, sequence | who, where, `us` or `mri`, MRI sequence |
| diagnosis, invasion_depth, visible | leading finding; fraction of the wall; whether this view shows the invasion |
| label | 1 carcinoma, 0 control |
| split | train, validation, test, unused, or the name of a pool that belongs to no split |
| source | phantom, phantom_extra, instrument or file |
| hash | recipe hash of a phantom, SHA-256 of a file |
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd

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


def read(path: Path) -> pd.DataFrame:
    """Read and check a person's manifest; missing optional columns are filled with what is not known.

    Raises UserError naming file, row and remedy: missing column, empty cell, unknown modality, label or split,
    duplicate image, missing file, patient in two splits, patient of two centres, class without images.
    """
    try:
        images = pd.read_csv(path, dtype={"image": str, "patient_id": str, "centre": str, "split": str})
        for column in images.select_dtypes("str"):
            images[column] = images[column].str.strip().replace("", None)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV file ({error}). Save it as comma-separated UTF-8") from error
    missing = [c for c in REQUIRED if c not in images]
    if missing:
        raise UserError(f"{path}: column {missing[0]!r} is missing. The header needs: {', '.join(REQUIRED)}")
    if images.empty:
        raise UserError(f"{path}: no rows. Write one row an image")
    for column in REQUIRED:
        _demand(path, images[column].notna(), f"empty {column}", "Fill the cell")
    _demand(path, images["modality"].isin(phantom.MODALITIES), "unknown modality", "Write us or mri")
    _demand(path, images["label"].isin([0, 1]), "label is not 0 or 1", "Write 1 for carcinoma, 0 for control")
    _demand(path, ~images["image"].duplicated(), "image listed twice", "Remove one of the rows")
    _demand(path, images["image"].map(lambda name: (path.parent / name).is_file()), "image file does not exist",
            "Give its path relative to the manifest")  # fmt: skip
    images["label"] = images["label"].astype(int)
    images["hash"] = [sha256(path.parent / name) for name in images["image"]]
    images["source"] = "file"
    depth = pd.to_numeric(images.get("invasion_depth", pd.Series(np.nan, images.index)), errors="coerce")
    given = images["invasion_depth"].notna() if "invasion_depth" in images else depth.notna()
    _demand(path, ~given | depth.between(0, 1), "invasion_depth is no fraction of the wall", "Write 0 to 1, or nothing")
    images["invasion_depth"] = depth
    if "visible" in images:
        flags = images["visible"].astype("str").str.lower().map({"true": True, "false": False, "1": True, "0": False})
        _demand(path, flags.notna() | images["visible"].isna(), "visible is not true or false", "Write one, or nothing")
        images["visible"] = flags
    unknown = {"sequence": "", "diagnosis": "", "invasion_depth": np.nan, "visible": pd.NA, "split": ""}
    for column, value in unknown.items():
        images[column] = images[column].fillna(value) if column in images else value
    _demand(
        path, images["split"].isin(["", *SPLITS]), "unknown split", f"Write one of: {', '.join(SPLITS)}, or nothing"
    )
    for column, problem in (("centre", "a second centre"), ("label", "another label")):
        first = images.groupby("patient_id")[column].transform("first")
        _demand(path, images[column] == first, f"patient has {problem}", f"Give all her images one {column}")
    check_splits(images, str(path))
    for label in (0, 1):
        if not (images["modality"].eq("us") & images["label"].eq(label)).any():
            raise UserError(f"{path}: no ultrasound image with label {label}. Both classes are needed")
    return images[list(COLUMNS)]


def check_splits(images: pd.DataFrame, where: str = "manifest") -> None:
    """UserError naming the first row whose patient stands in a second split too (`unused` does not count)."""
    placed = images[~images["split"].isin(["", "unused"])]
    first = placed.drop_duplicates("patient_id").set_index("patient_id")["split"]
    clash = placed[placed["split"] != placed["patient_id"].map(first)]
    if len(clash):
        row = clash.iloc[0]
        raise row_error(
            where,
            images.index.get_loc(clash.index[0]) + 1,
            f"patient {row.patient_id} is in {row.split} and in {first[row.patient_id]}",
            "Put all images of a patient into one split",
        )


def to_csv(images: pd.DataFrame) -> str:
    """Canonical text of a manifest; its SHA-256 is the cohort's digest."""
    text = io.StringIO()
    images.to_csv(text, index=False, lineterminator="\n")
    return text.getvalue()


def _demand(path: Path, good: pd.Series, problem: str, remedy: str) -> None:
    if not good.all():
        raise row_error(path, int(np.flatnonzero(~good.to_numpy())[0]) + 1, problem, remedy)
