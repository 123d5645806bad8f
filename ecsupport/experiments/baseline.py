"""The floor of Tables 3 to 5 as jobs: a logistic model on simple image features, fitted anew for every seed."""

from pathlib import Path

import numpy as np

from ecsupport.cohort import manifest
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.experiments import cohort, networks
from ecsupport.screening import baseline


def floor(run: Run, seed: int) -> Job:
    """What a model of resampled real training patients says of the patients of `networks.scored`, by their names."""
    rows = cohort.pool(run, "ultrasound")
    inputs, given = networks.scored(run, run.profile.image_size)
    train = np.flatnonzero(rows["split"] == "train")
    return Job(
        f"floor/{seed}",
        _fit,
        {"seed": seed, "revision": baseline.REVISION},
        inputs,
        {
            "train": train,
            "label": manifest.target(rows, run.profile.task).to_numpy(np.int64)[train],
            "patient": rows["patient_id"].to_numpy(str)[train],
            **given,
        },
        minutes=(len(train) + sum(map(len, given.values()))) / 60_000 * (run.profile.image_size / 64) ** 2,
        archived=("*",),
    )


def scores(run: Run, seed: int, patients: str = "test") -> np.ndarray:
    """What a made `floor` holds of some patients, probabilities (N,) float64."""
    return networks.read_scores(floor(run, seed))[patients]


def _fit(folder: Path, job: Job) -> None:
    given, pixels = job.given, cohort.open_pool(job.inputs["ultrasound"].folder).images
    names = [name for name in networks.POOL_OF if name in given]
    rng = generator("baseline", job.recipe["seed"])
    scored = networks.images(job, *names)
    score = baseline.fit_and_score(pixels[given["train"]], given["label"], given["patient"], scored, rng)
    ends = np.cumsum([len(given[name]) for name in names])[:-1]
    networks.write_scores(folder, dict(zip(names, np.split(score, ends), strict=True)))
