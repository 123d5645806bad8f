"""Whether translations pass for ultrasound, as jobs: a fresh network tells them from real phantom images (Table 1)."""

from pathlib import Path

import numpy as np
import pandas as pd

from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.experiments import cohort, translators
from ecsupport.instruments import features, passing

SEED, SPEED = 42, 60.0  # of the fresh network; its training steps in a second at 64 pixels, on one core
UNTRANSLATED, REAL = "mri", "ultrasound"  # controls: what nobody takes for ultrasound, and what is ultrasound


def judged(run: Run) -> dict[tuple[str, int], Job]:
    """Scores of every translator's test translations by model and seed, and of two controls (seed 0).

    scores.csv: label (1: translated), score, patient_id; of the patients that judge. None where nothing is translated.
    """
    size, real, made = run.profile.translation.image_size, _real(run), translators.tests(run)
    rows = translators.sources(run, "test")["mri"]
    mri = cohort.pool(run, "mri").iloc[rows]
    if not made or mri["patient_id"].nunique() < 2 or real["patient_id"].nunique() < 4:
        return {}
    found = {}
    for job in made:
        _, model, seed, _ = job.name.split("/")
        found[model, int(seed)] = _job(run, f"{model}/{seed}", job, mri, np.arange(len(mri)), real)
    found[UNTRANSLATED, 0] = _job(run, UNTRANSLATED, cohort.pixels(run, "mri", size), mri, rows, real)
    half = real["patient_id"].isin(np.unique(real["patient_id"])[::2])
    pixels = cohort.pixels(run, "ultrasound", size)
    found[REAL, 0] = _job(run, REAL, pixels, real[half], real.index[half].to_numpy(), real[~half])
    return found


def _real(run: Run) -> pd.DataFrame:
    """Carcinomas of test patients, indexed by their place in the pool `ultrasound`."""
    rows = cohort.pool(run, "ultrasound")
    return rows[(rows["label"] == 1) & (rows["split"] == "test")]


def _job(run: Run, name: str, images: Job, rows: pd.DataFrame, places: np.ndarray, real: pd.DataFrame) -> Job:
    size = run.profile.translation.image_size
    steps = min(passing.STEPS, run.profile.screening.instrument_steps)
    given = {"places": places, "patient": rows["patient_id"].to_numpy(str)}
    given |= {"real": real.index.to_numpy(), "real_patient": real["patient_id"].to_numpy(str)}
    return Job(
        f"passing/{name}",
        _judge,
        {"seed": SEED, "steps": steps, "revision": [passing.REVISION, features.REVISION]},
        {"images": images, "ultrasound": cohort.pixels(run, "ultrasound", size)},
        given,
        minutes=steps / SPEED / 60 * (size / 64) ** 2,
        device=run.profile.device,
        archived=("*",),
    )


def _judge(folder: Path, job: Job) -> None:
    images, real = (cohort.open_pool(job.inputs[name].folder).images for name in ("images", "ultrasound"))
    label, score, patient = passing.told_apart(
        real[job.given["real"]], job.given["real_patient"], images[job.given["places"]], job.given["patient"],
        job.recipe["seed"], job.recipe["steps"], job.device,
    )  # fmt: skip
    table = pd.DataFrame({"label": label, "score": score.astype(np.float32), "patient_id": patient})
    table.to_csv(folder / "scores.csv", index=False, lineterminator="\n")
