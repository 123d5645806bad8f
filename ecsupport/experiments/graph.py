"""The graph of a run: lacking jobs in units, each made by one process, and what a unit waits for.

Known before anything runs. Few units make many small jobs each, so that starting Python takes little of the time.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ecsupport.core.jobs import Job

STAGES = (  # by the first word of a job's name; all others are measured last
    ("images", ("pixels", "pictures")),
    ("translators", ("translator", "translations", "instrument", "floor")),
    ("networks", ("screening", "downstream", "scores")),
    ("measures", ()),
)
ENOUGH = 20.0  # minutes of one core: a unit of that much work is not made longer


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
            min(loads, key=_minutes).extend(family)
        for number, load in enumerate(loads, start=1):
            name = f"{stage}_{number}"
            unit_of |= dict.fromkeys((job.place for job in load), name)
            read = [one for job in load for one in job.inputs.values() if one.place in unit_of]
            if late := [one for one in read if not unit_of[one.place]]:
                raise ValueError(f"a job of {stage} reads {late[0].name}, which is made in a later stage")
            needs = {unit_of[one.place] for one in read} - {name}
            found.append(Unit(name, tuple(load), tuple(sorted(needs))))
    return found


def _minutes(jobs: Iterable[Job]) -> float:
    return sum(job.minutes for job in jobs)


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
