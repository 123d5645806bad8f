"""The measuring instruments as jobs: the feature extractor of Table 1, the segmenter and judge of Figure 1."""

from pathlib import Path

import numpy as np

from ecsupport.cohort import phantom, structures
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.experiments import cohort
from ecsupport.instruments import features, segmenter

SEED = 42
STEPS_A_SECOND = {"extractor": 60.0, "segmenter": 12.0}  # at 64 pixels, on one core


def extractor(run: Run) -> Job:
    """The trained feature extractor, weights.safetensors: it tells centre, diagnosis and modality of the pool."""
    rows = cohort.pool(run, "instrument")
    given = {name: rows[name].astype("category").cat.codes.to_numpy(np.int64) for name in ("centre", "diagnosis")}
    given["modality"] = (rows["modality"] == "us").to_numpy(np.int64)
    recipe = {"tasks": list(features.TASKS), "revision": features.REVISION}
    return _instrument(run, "extractor", _train_extractor, recipe, given)


def trained_segmenter(run: Run) -> Job:
    """The trained segmenter and judge, weights.safetensors: it learns from the pool's phantom ultrasound."""
    rows = cohort.pool(run, "instrument")
    revision = [segmenter.REVISION, structures.REVISION, phantom.REVISION]
    recipe = {"size": run.profile.translation.image_size, "revision": revision}
    return _instrument(run, "segmenter", _train_segmenter, recipe, {"rows": np.flatnonzero(rows["modality"] == "us")})


def _instrument(run: Run, name: str, make: object, recipe: dict, given: dict[str, np.ndarray]) -> Job:
    size, steps = run.profile.translation.image_size, run.profile.screening.instrument_steps
    return Job(
        f"instrument/{name}",
        make,
        {"steps": steps, "seed": SEED, **recipe},
        {"pixels": cohort.pixels(run, "instrument", size)},
        given,
        minutes=steps / STEPS_A_SECOND[name] / 60 * (size / 64) ** 2,
        device=run.profile.device,
        archived=("*",),
    )


def _train_extractor(folder: Path, job: Job) -> None:
    content = {"image": cohort.open_pool(job.inputs["pixels"].folder).images, **job.given}
    features.train(folder, content, job.recipe["steps"], job.recipe["seed"], job.recipe["tasks"], job.device)


def _train_segmenter(folder: Path, job: Job) -> None:
    pool = cohort.open_pool(job.inputs["pixels"].folder)
    rows = job.given["rows"]
    known = structures.known(pool.rows.iloc[rows], job.recipe["size"])
    content = {"image": pool.images[rows], "labels": known.labels, "invasion": known.visible.astype(np.int64)}
    segmenter.train(folder, content, job.recipe["steps"], job.recipe["seed"], job.device)
