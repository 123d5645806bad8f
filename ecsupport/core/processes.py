"""Lacking jobs in several processes at once, for a machine with many cores or a GPU; those that hold up most go first.

`jobs.make` is the same in one process, and Snakemake, which knows more places than one machine, is behind `reproduce`.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path

from ecsupport.core import jobs, owner
from ecsupport.core.errors import UserError
from ecsupport.core.jobs import Job

STUDENTS = 4  # of one teacher in a process: more would save little of its work and keep other processes waiting


def make(
    wanted: Iterable[Job], processes: int, told: Callable[[list[Job]], None] = lambda _: None, whole: bool = False
) -> None:
    """Make what is lacking, as `jobs.make` does, in so many processes.

    One that fails holds up those alone that need it; its error is told, and raised when all others are made. UserError
    where the system ended a process.
    """
    waiting = jobs.lacking(wanted, whole)
    urgent = urgency(waiting)
    running: dict[Future, list[Job]] = {}
    errors: list[BaseException] = []
    owner.announce()
    with ProcessPoolExecutor(processes, get_context("spawn"), owner.follow) as pool, _ended_when_stopped():
        while waiting or running:
            absent = {job.place for job in [*waiting, *(job for group in running.values() for job in group)]}
            ready = [job for job in waiting if not absent & {one.place for one in job.inputs.values()}]
            ready.sort(key=lambda job: -urgent[job.place])
            while ready and len(running) < processes:
                first = ready[0]
                alike = [job for job in ready if job is first or (first.together and job.together == first.together)]
                group = alike[:STUDENTS]
                told(group)
                running[pool.submit(jobs.make_group, group)] = group
                ready = [job for job in ready if job not in group]
                waiting = [job for job in waiting if job not in group]
            if not running:  # all that is left needs what failed
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                group = running.pop(future)
                if error := future.exception():
                    if isinstance(error, BrokenProcessPool):
                        raise UserError(
                            f"a process was ended while it made {group[0].name}, probably for want of memory. "
                            "Make fewer at once; what was begun goes on from its checkpoint"
                        ) from None
                    sys.stderr.write(f"{', '.join(job.name for job in group)}: {error}\n")
                    errors.append(error)
                    waiting = _without(waiting, {job.place for job in group if job.state == "lacking"})
    if errors:
        raise errors[0]


@contextlib.contextmanager
def _ended_when_stopped() -> Iterator[None]:
    """A signal may reach this process alone: then the others end too, instead of training on for minutes."""
    try:
        yield
    except KeyboardInterrupt:
        for child in active_children():
            child.terminate()
        raise


def urgency(waiting: Sequence[Job]) -> dict[Path, float]:
    """Minutes of the longest chain of jobs that begins with each of these, which stand after their inputs, by place."""
    found: dict[Path, float] = {}
    for job in reversed(waiting):
        found[job.place] = found.get(job.place, 0.0) + job.minutes
        for one in job.inputs.values():
            found[one.place] = max(found.get(one.place, 0.0), found[job.place])
    return found


def _without(waiting: Sequence[Job], failed: set[Path]) -> list[Job]:
    """Jobs that need none of the failed ones, whatever lies between."""
    left = []
    for job in waiting:
        if failed & {one.place for one in job.inputs.values()}:
            failed.add(job.place)
        else:
            left.append(job)
    return left
