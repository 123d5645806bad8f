"""The floor of Tables 3 to 5 as jobs: a logistic model on simple image features, fitted anew for every seed."""

from pathlib import Path

import numpy as np

from ecsupport.cohort import manifest
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.experiments import cohort, networks
from ecsupport.screening import baseline

TEST = "test.npy"


def floor(run: Run, seed: int) -> Job:
    """test.npy: probabilities (N,) float64 of the test images, by a model of resampled real training patients."""
    rows, size = cohort.pool(run, "ultrasound"), run.profile.image_size
    train = np.flatnonzero(rows["split"] == "train")
    return Job(
        f"floor/{seed}",
        _fit,
        {"seed": seed, "revision": baseline.REVISION},
        {"pixels": cohort.pixels(run, "ultrasound", size)},
        {
            "train": train,
            "label": manifest.target(rows, run.profile.task).to_numpy(np.int64)[train],
            "patient": rows["patient_id"].to_numpy(str)[train],
            "test": networks.patients(run, "test").index.to_numpy(),
        },
        minutes=len(train) / 60_000 * (size / 64) ** 2,
        archived=("*",),
    )


def scores(run: Run, seed: int) -> np.ndarray:
    """What a made `floor` holds."""
    return np.load(floor(run, seed).file(TEST))


def _fit(folder: Path, job: Job) -> None:
    images, given = cohort.open_pool(job.inputs["pixels"].folder).images, job.given
    rng = generator("baseline", job.recipe["seed"])
    train, test = images[given["train"]], images[given["test"]]
    np.save(folder / TEST, baseline.fit_and_score(train, given["label"], given["patient"], test, rng))
