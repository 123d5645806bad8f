"""The archive: what of made jobs is committed, so that everybody re-makes tables and figures without training."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from ecsupport.core import jobs, paths
from ecsupport.core.artefacts import PROVENANCE, write_record
from ecsupport.core.errors import UserError
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run

BUDGET = 20e6  # bytes of a profile's archive


def place(run: Run) -> Path:
    """Folder of a profile's archive."""
    return paths.reference() / run.name / "trained"


def keep(run: Run, wanted: Iterable[Job]) -> list[Path]:
    """Put the made ones of these jobs into the archive, with the files that each archives; returns their folders.

    Each is whole or absent; an older key of a name that is put anew goes. UserError for own images, which do not belong
    into a repository, where none is made, and where the archive would exceed its budget: nothing is then put.
    """
    if run.cohort:
        raise UserError("results of own images are not kept in the repository. Copy them to where they may be")
    made = [job for job in wanted if job.archived and job.state == "made"]
    if not made:
        raise UserError(f"none of these jobs is made. Make them first: python -m ecsupport make --profile {run.name}")
    goals = {job: place(run) / job.name / job.key[:20] for job in made}
    old = sum(f.stat().st_size for f in place(run).rglob("*") if f.is_file() and f.parents[1] not in _names(run, made))
    new = sum((job.place / name).stat().st_size for job in made for name in _files(job))
    if old + new > BUDGET:
        raise UserError(
            f"the archive of {run.name} would have {(old + new) / 1e6:.1f} MB, and {BUDGET / 1e6:.0f} MB are its "
            "budget. Name fewer jobs, or let them archive fewer files"
        )
    for job, goal in goals.items():
        if jobs.verified(goal, job.key):
            continue
        making = goal.with_name(f".{goal.name}")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        note = jobs.record(job.place)
        kept = _files(job)
        note["left_out"] = sorted(note["files"].keys() - kept)
        note["files"] = {name: note["files"][name] for name in kept}
        for name in kept:
            shutil.copyfile(job.place / name, making / name)
        write_record(making / PROVENANCE, note)
        for older in goal.parent.glob("[!.]*"):
            shutil.rmtree(older)
        making.rename(goal)
    return list(goals.values())


def _names(run: Run, made: Iterable[Job]) -> set[Path]:
    return {place(run) / job.name for job in made}


def _files(job: Job) -> list[str]:
    """Which of its files a made job archives; UserError where it made no file of that name."""
    files = jobs.record(job.place)["files"]
    kept = sorted(files) if "*" in job.archived else list(job.archived)
    if lost := set(kept) - set(files):
        raise UserError(f"{job.name} made no {lost.pop()}, which it should archive. It made: {', '.join(files)}")
    return kept
