"""The few pictures of phantoms and of own images that notebook 01 shows, as a job."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ecsupport.cohort import images, manifest, mri, phantom
from ecsupport.core import tables
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.experiments import cohort

SIDE = 160  # pixels
CENTRES = 5
LABELS = "labels.npy"
SPEED = 20.0  # images of 160 pixels that are rendered, or read, in a second


def read(run: Run) -> list[Job]:
    """The jobs that notebook 01 reads."""
    return [shown(run)]


def first_images(rows: pd.DataFrame) -> pd.DataFrame:
    """The first ultrasound image of each of at most `CENTRES` centres, carcinomas before controls, from manifest rows.

    A centre without ultrasound of a class has no row of it.
    """
    centres = sorted(rows["centre"].unique())[:CENTRES]
    us = rows[(rows["modality"] == "us") & rows["centre"].isin(centres)]
    first = us.drop_duplicates(["centre", "label"])
    return first.sort_values(["label", "centre"], ascending=[False, True])


def one_uterus(rows: pd.DataFrame) -> pd.DataFrame:
    """One MRI of each sequence of `mri.SEQUENCES` of the carcinoma patient who has most of them; may be empty."""
    scanned = rows[(rows["modality"] == "mri") & (rows["label"] == 1) & manifest.in_cohort(rows)]
    scanned = scanned[scanned["sequence"].isin(mri.SEQUENCES)]
    if scanned.empty:
        return scanned
    complete = scanned.groupby("patient_id")["sequence"].nunique().idxmax()
    return scanned[scanned["patient_id"] == complete].drop_duplicates("sequence")


def view_pair(rows: pd.DataFrame) -> pd.DataFrame:
    """Two ultrasound views of a carcinoma: one shows the invasion, the other misses it; empty where nobody has both.

    Empty too where some carcinoma image has no invasion_depth or does not say whether it is visible.
    """
    table = rows[(rows["label"] == 1) & (rows["modality"] == "us") & manifest.in_cohort(rows)]
    if table[["invasion_depth", "visible"]].isna().any(axis=None):
        return table.iloc[:0]
    invading = table[table["invasion_depth"] > 0]
    mixed = invading[invading.groupby("patient_id")["visible"].transform("nunique") == 2]
    views = mixed[mixed["patient_id"] == mixed["patient_id"].iloc[0]] if len(mixed) else mixed
    seen = views["visible"].astype(bool)
    return pd.concat([views[seen].head(1), views[~seen].head(1)])


def shown(run: Run) -> Job:
    """The images of `first_images`, `one_uterus` and `view_pair` at `SIDE` pixels, a pool as `cohort.open_pool` reads.

    labels.npy: (K, SIDE, SIDE) uint8, index into `anatomy.TISSUES`, of the rows `known` of `given`: the phantoms'
    ultrasound of carcinomas. Of own images nothing is known.
    """
    every, where = cohort.rows(run), run.cohort
    parts = [choose(every) for choose in (first_images, one_uterus, view_pair)]
    wanted = pd.concat(parts).drop_duplicates("image", ignore_index=True)
    drawn = (wanted["modality"] == "us") & (wanted["label"] == 1) & (where is None)
    return Job(
        "pictures/cohort",
        partial(_draw, where=where),
        {"size": SIDE, "revision": images.REVISION if where else phantom.REVISION},
        given={"rows": wanted, "known": np.flatnonzero(drawn)},
        minutes=(len(wanted) + drawn.sum()) / SPEED / 60,
    )


def _draw(folder: Path, job: Job, where: Path | None) -> None:
    cohort.write(folder, job, where)
    size, labels = job.recipe["size"], []
    for name in job.given["rows"]["image"].iloc[job.given["known"]]:
        version, patient, modality, index = name.split("/")
        labels.append(phantom.truth(version, patient, int(index), modality, size).labels)
    np.save(folder / LABELS, np.stack(labels) if labels else np.empty((0, size, size), np.uint8))


def open_shown(job: Job) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What `shown` made: pictures and exact labels, (SIDE, SIDE) uint8 each, by the manifest's name of the image."""
    folder = job.folder
    names, known = tables.reread(folder / cohort.ROWS)["image"], job.given["known"]
    labels = dict(zip(names.iloc[known], np.load(folder / LABELS), strict=True))
    return dict(zip(names, np.load(folder / cohort.IMAGES), strict=True)), labels
