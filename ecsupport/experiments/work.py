"""How many floating-point operations the trainings of the profile `paper` take, and how many days of a GPU that is."""

from collections.abc import Iterable

import pandas as pd

from ecsupport.core import paths
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run

SUSTAINED = 30e12  # floating-point operations a second: a tenth of what an A100 is sold as (312 in bfloat16)


def total(run: Run, jobs: Iterable[Job]) -> float:
    """Floating-point operations of translators and of Tables 2 to 5, by the kept measures of `make bench GROUP=paper`.

    Every student counts with a teacher of its own. 0 for a run of other sizes than those that were measured.
    """
    if run.profile.name != "paper":
        return 0.0
    kept = pd.read_csv(paths.reference() / "bench" / "paper.csv", index_col="name")
    each = dict(1e12 * kept["value"])  # of images, in TFLOP
    return sum(images * each[_kind(job)] for job in jobs if (images := _images(job)))


def in_words(operations: float) -> str:
    """The operations, and the days of a GPU that sustains SUSTAINED."""
    days, speed = operations / SUSTAINED / 86400, SUSTAINED / 1e12
    return f"{operations / 1e18:.0f} × 10¹⁸ floating-point operations, {days:.0f} days of a GPU at {speed:.0f} TFLOP/s"


def _kind(job: Job) -> str:
    first, settings = job.name.split("/")[0], job.recipe["settings"]
    if first == "screening":
        taught = settings["knowledge"] or settings["guidance"] == "teacher"
        dense = settings["network"].removesuffix("_dense").replace("lsnet", "lsnet_dense")  # untaught keys cost little
        return f"screening/{'lsnet' if taught else dense}"
    return f"translator/{job.recipe['model']}" if first == "translator" else first


def _images(job: Job) -> int:
    """How many images a training sees, one for every place in a batch."""
    first, settings = job.name.split("/")[0], job.recipe.get("settings", {})
    if first == "translator":
        return settings["steps"] * settings["batch"]
    if first not in ("screening", "downstream") or "batch" not in settings:  # students that are looked at share runs
        return 0
    return (settings["mixed_steps"] + settings["real_steps"]) * settings["batch"]
