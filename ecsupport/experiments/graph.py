"""The graph of a run: lacking jobs in units, each made by one process, and what a unit waits for.

Known before anything runs, and written down for workflow/Snakefile, which is read anew on every node of a cluster. Few
units make many small jobs each, so that starting Python takes little of the time.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecsupport.core import jobs
from ecsupport.core.jobs import Job

STAGES = (  # by the first word of a job's name; all others are measured last
    ("images", ("pixels", "pictures")),
    ("translators", ("translator", "translations", "instrument", "floor")),
    ("networks", ("screening", "downstream", "design", "difficulty", "clinical", "tissue", "multitask", "scores")),
    ("measures", ()),
)
ENOUGH = 20.0  # minutes of one core: a unit of that much work is not made longer
SPARE = 4.0  # times as long as estimated may a job of a cluster take, whose cores may be slow
LEAST = 30.0  # minutes that it may take at least


@dataclass(frozen=True)
class Unit:
    """Jobs that one process makes, inputs first, and the names of the units that must be whole before."""

    name: str
    jobs: tuple[Job, ...]
    needs: tuple[str, ...]


def units(lacking: Sequence[Job], workers: int) -> list[Unit]:
    """Lacking jobs (each after its inputs, as `jobs.lacking` gives them) in units, at least `workers` a stage.

    A job and its inputs of the same stage are one family, and so are students of one teacher; a stage's families are
    spread over its units by their minutes. ValueError for a job whose input is of a later stage.
    """
    found: list[Unit] = []
    unit_of = dict.fromkeys((job.place for job in lacking), "")
    for place, (stage, _) in enumerate(STAGES):
        families = _families([job for job in lacking if _stage(job) == place])
        families.sort(key=_minutes, reverse=True)
        count = min(len(families), max(workers, math.ceil(sum(map(_minutes, families)) / ENOUGH)))
        loads: list[list[Job]] = [[] for _ in range(count)]
        for family in families:
            min(loads, key=lambda load: (_minutes(load), len(load))).extend(family)  # of no minutes too
        for number, load in enumerate(loads, start=1):
            name = f"{stage}_{number}"
            unit_of |= dict.fromkeys((job.place for job in load), name)
            read = [one for job in load for one in job.inputs.values() if one.place in unit_of]
            if late := [one for one in read if not unit_of[one.place]]:
                raise ValueError(f"a job of {stage} reads {late[0].name}, which is made in a later stage")
            needs = {unit_of[one.place] for one in read} - {name}
            found.append(Unit(name, tuple(load), tuple(sorted(needs))))
    return found


def drawn(wanted: Mapping[str, Sequence[Job]], stale: Iterable[str], workers: int) -> dict[str, Any]:
    """Plain JSON values: the stages with their units, and by notebook the keys of its jobs and the units it waits for.

    wanted: the jobs that each notebook reads;  stale: the notebooks that will run, whose lacking jobs are made.
    A stage is one rule: its units ask for the memory (MB) and the time (minutes) of the largest of them.
    """
    made = units(jobs.lacking(job for name in stale for job in wanted[name]), workers)
    unit_of = {job.place: unit.name for unit in made for job in unit.jobs}
    stages: dict[str, dict[str, Any]] = {}
    for unit in made:
        stage = stages.setdefault(unit.name.rpartition("_")[0], {"units": {}, "memory": 0, "minutes": LEAST, "gpu": 0})
        stage["units"][unit.name] = {"jobs": [job.name for job in unit.jobs], "needs": unit.needs}
        stage["memory"] = max(stage["memory"], *(math.ceil(1000 * job.memory) for job in unit.jobs))
        stage["minutes"] = max(stage["minutes"], math.ceil(SPARE * _minutes(unit.jobs)))
        stage["gpu"] = max(stage["gpu"], *(int(job.device != "cpu") for job in unit.jobs))
    notebooks = {
        name: {
            "jobs": [job.key for job in of],
            "units": sorted({unit_of[job.place] for job in of if job.place in unit_of}),
        }
        for name, of in wanted.items()
    }
    return {"stages": stages, "notebooks": notebooks}


def _minutes(some: Iterable[Job]) -> float:
    return sum(job.minutes for job in some)


def _stage(job: Job) -> int:
    first = job.name.split("/")[0]
    return next((place for place, (_, words) in enumerate(STAGES) if first in words), len(STAGES) - 1)


def _families(stage: Sequence[Job]) -> list[list[Job]]:
    """Jobs of a stage that belong into one process, each list in the order given."""
    family = {job.place: {job.place} for job in stage}
    teachers: dict[str, Job] = {}
    for job in stage:
        kin = [one for one in job.inputs.values() if one.place in family]
        if job.together:
            kin.append(teachers.setdefault(job.together, job))
        for one in kin:
            if (joined := family[one.place]) is not family[job.place]:
                joined |= family[job.place]
                family |= dict.fromkeys(joined, joined)
    lists = {id(places): [job for job in stage if job.place in places] for places in family.values()}
    return list(lists.values())
