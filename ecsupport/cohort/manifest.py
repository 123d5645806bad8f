"""Manifests: one row an image, for phantoms and for a person's own files alike (Results, "Data").

| column | meaning |
|---|---|
| image | `version/patient/modality/index` of a phantom, or a path relative to the manifest |
| patient_id, centre, modality, sequence | who, where, `us` or `mri`, MRI sequence |
| diagnosis, invasion_depth, visible | leading finding; fraction of the wall; whether this view shows the invasion |
| label | 1 carcinoma, 0 control |
| split | train, validation, test, unused, or a pool outside the cohort: extra (MRI no translator sees), instrument |
| source | phantom, phantom_extra, instrument or file; in the manifest of `extended` both are that word |
| hash | recipe hash of a phantom, SHA-256 of a file |
"""

import io

import numpy as np
import pandas as pd

from ecsupport.cohort import phantom
from ecsupport.core.errors import UserError, row_error
from ecsupport.core.profiles import CohortSize
from ecsupport.core.seeds import generator
from ecsupport.core.tables import SHOWN

REQUIRED = ("image", "patient_id", "centre", "modality", "label")
COLUMNS = (
    *("image", "patient_id", "centre", "modality", "sequence", "diagnosis", "invasion_depth", "visible", "label"),
    *("split", "source", "hash"),
)
SPLITS = ("train", "validation", "test", "unused")
POOL_SPLITS = {"phantom_extra": "extra", "instrument": "instrument"}
EXTENDED_IMAGES = 4  # of each patient of the pool `extended`
PLACES = (*SPLITS[:3], *POOL_SPLITS.values())  # a patient stands in one of them, and her surplus images in `unused`


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
    every = [
        row
        for pool, patients, images in pools
        for modality, number in images.items()
        for row in rows(size.version, pool, modality, _counts(size.version, pool, modality, patients, number))
    ]
    return frame(every)


def extended(size: CohortSize) -> pd.DataFrame:
    """Manifest of the patients on whom claims are decided: half carcinomas, `EXTENDED_IMAGES` ultrasound images each.

    They stand outside the cohort and its splits, with `extended` in the column split: nothing is trained or selected
    on them. A patient is a carcinoma by chance, so that half holds about; controls have the cohort's findings.
    """
    counts = np.full(size.extended_patients, EXTENDED_IMAGES)
    return frame(rows(size.version, "extended", "us", counts)).assign(split="extended")


def frame(rows: list[tuple]) -> pd.DataFrame:
    """The manifest of such rows."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"sequence": "str", "split": "str"})


def _counts(version: str, pool: str, modality: str, patients: int, images: int) -> np.ndarray:
    """Images of each patient, at least one, in all `images`."""
    rng = generator(version, pool, modality, patients, images, "images per patient")
    weight = rng.gamma(4.0, size=patients)
    return 1 + rng.multinomial(images - patients, weight / weight.sum())


def rows(version: str, pool: str, modality: str, counts: np.ndarray) -> list[tuple]:
    """Rows without a split, in the order of COLUMNS: of the first patients of a pool, with so many images each."""
    source, found = phantom.POOLS[pool].source, []
    for number, count in enumerate(counts, start=1):
        name = phantom.patient_id(pool, number)
        who = phantom.patient(version, name)
        for index in range(count):
            shows = bool(who.uterus.tongues) and phantom.view(version, name, index, modality).shows_invasion(who.uterus)
            found.append((
                f"{version}/{name}/{modality}/{index}", name, who.centre, modality,
                phantom.sequence(index) if modality == "mri" else "", who.diagnosis,
                round(who.uterus.invasion_depth, 3), shows, int(who.carcinoma), POOL_SPLITS.get(source, ""), source,
                phantom.recipe_hash(version, name, index, modality),
            ))  # fmt: skip
    return found


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


def splits_of_patients(images: pd.DataFrame) -> list[tuple[int, str, str]]:
    """Index, problem and remedy of every row whose patient stands in an earlier row's other split or pool too.

    `unused` and rows without a split or a patient do not count.
    """
    placed = images[images["split"].isin(PLACES) & (images["patient_id"] != "")]
    first = placed.groupby("patient_id")["split"].transform("first")
    return [
        (row, f"patient {who} is in {split} and in {there}", "Put all images of a patient into one split")
        for row, who, split, there in zip(placed.index, placed["patient_id"], placed["split"], first, strict=True)
        if split != there
    ]


def check_splits(images: pd.DataFrame) -> None:
    """UserError naming the rows, from 1, whose patient stands in a second split or pool too."""
    clashes = splits_of_patients(images.reset_index(drop=True))
    if clashes:
        raise UserError("\n".join(str(row_error("manifest", row + 1, *words)) for row, *words in clashes[:SHOWN]))


def to_csv(images: pd.DataFrame) -> str:
    """Canonical text of a manifest; its SHA-256 is the cohort's digest."""
    text = io.StringIO()
    images.to_csv(text, index=False, lineterminator="\n")
    return text.getvalue()
