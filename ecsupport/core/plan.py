"""A plan before a long run: what each cell takes, what fits into the budget, and what is cut by a listed priority.

Serves Tables 1 to 5. A plan leaves out whole cells (an arm, a seed); it never shortens a training.
"""

import heapq
import importlib
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import numpy as np
import pandas as pd

from ecsupport.core import code
from ecsupport.core.artefacts import Spec, ensure, workers_of

MEASURED = "seconds.json"
_start: Barrier | None = None  # in a worker process: where it waits for the others


@dataclass(frozen=True)
class Cell:
    """`count` trainings of one sort, kept or cut together.

    kind: what is trained in one go, e.g. all translators; one kind comes after another.  seconds: of one training
    with all workers busy; NaN where nothing was measured.  priority: 1 is the highest. What a cell is made from must
    have a higher priority than the cell, or the same.
    """

    name: str
    kind: str
    count: int
    seconds: float
    priority: int


@dataclass(frozen=True)
class Plan:
    """What will be done.

    cells: one row a cell with kept and why, for a file: without times, hence the same in every run that keeps the same.
    times: the same rows for a person, with the minutes of one training and of the cell's share of all workers' time;
    the last row is the minutes from start to end of what is kept.
    """

    cells: pd.DataFrame
    times: pd.DataFrame

    def keeps(self, name: str) -> bool:
        """Whether the cell of that name is kept; ValueError where there is none."""
        found = self.cells.loc[self.cells["cell"] == name, "kept"]
        if len(found) != 1:
            raise ValueError(f"{len(found)} cells are named {name!r}, expected one")
        return bool(found.iloc[0])


def draw_up(cells: Sequence[Cell], workers: int, minutes: float) -> Plan:
    """Keep the cells that `workers` can train in `minutes`, by priority; 0 minutes set no limit.

    Cells of one priority are kept or cut together, and nothing of a lower priority than one that was cut is kept, so
    that no kept cell lacks what it is made from. The highest priority is kept in any case. ValueError for a limit
    where a cell was not measured.
    """
    if minutes and (unknown := [cell.name for cell in cells if math.isnan(cell.seconds)]):
        raise ValueError(
            f"{unknown[0]!r} was not measured, expected the seconds of every cell where minutes are limited"
        )

    def fits(priority: int) -> bool:
        return not minutes or elapsed([c for c in cells if c.priority <= priority], workers) <= 60 * minutes

    priorities = sorted({cell.priority for cell in cells})
    held = [priority for priority in priorities if fits(priority)]  # more cells never take less time
    kept = [cell for cell in cells if cell.priority in held or cell.priority == priorities[0]]
    limit = f"{minutes} minutes on {workers} workers" if minutes else "no limit"
    table = pd.DataFrame({
        "cell": [cell.name for cell in cells],
        "kind": [cell.kind for cell in cells],
        "trainings": [cell.count for cell in cells],
        "priority": [cell.priority for cell in cells],
        "kept": [cell in kept for cell in cells],
    })  # fmt: skip
    fitting = f"fits into {limit}" if minutes else limit
    table["why"] = table["priority"].isin(held).map({True: fitting, False: f"does not fit into {limit}"})
    table.loc[table["kept"] & ~table["priority"].isin(held), "why"] += ", but is needed"
    each = np.array([cell.seconds for cell in cells]) / 60
    times = table.assign(minutes_each=each, minutes=each * table["trainings"] / workers)
    total = {
        "cell": "from start to end",
        "kind": "",
        "trainings": sum(cell.count for cell in kept),
        "priority": max(cell.priority for cell in kept),
        "kept": True,
        "why": limit,
        "minutes_each": math.nan,
        "minutes": elapsed(kept, workers) / 60,
    }
    return Plan(table, pd.concat([times, pd.DataFrame([total])], ignore_index=True))


def elapsed(cells: Sequence[Cell], workers: int) -> float:
    """Seconds from start to end: one kind after another, each training by the worker that is free first, in order.

    NaN where a cell was not measured.
    """
    if any(math.isnan(cell.seconds) for cell in cells):
        return math.nan
    total = 0.0
    for kind in dict.fromkeys(cell.kind for cell in cells):
        free = [0.0] * workers
        for cell in cells:
            for _ in range(cell.count if cell.kind == kind else 0):
                heapq.heapreplace(free, free[0] + cell.seconds)
        total += max(free)
    return total


def seconds(trainings: Mapping[int, Spec], steps: int, workers: int) -> float:
    """Seconds that a training of `steps` takes with `workers` of them at a time, from two short ones.

    trainings: by number of steps, two of one maker whose arguments differ in the length alone; a straight line goes
    through their times. Whatever comes once in a training, and what comes every so many steps, is thereby counted
    right. Measured once in a workspace, so that its plan stays, and anew when the code of the training changes.
    ValueError for other than two lengths.
    """
    if len(trainings) != 2:
        raise ValueError(f"{len(trainings)} trainings to time, expected two of different length")
    (few, short), (many, long) = sorted(trainings.items())
    module = short.make.__module__
    arguments = {
        "module": module,
        "function": short.make.__qualname__,
        "short": dict(short.arguments),
        "long": dict(long.arguments),
        "workers": workers,
        "digest": code.digest(module),
    }
    taken = json.loads((ensure(Spec("seconds", measure, arguments)) / MEASURED).read_text())
    slope = max(taken["long"] - taken["short"], 0.0) / (many - few)  # noise may turn it about, and then all would fit
    return max(taken["long"] + slope * (steps - many), 0.0)


def measure(
    folder: Path, module: str, function: str, short: dict[str, Any], long: dict[str, Any], workers: int, digest: str
) -> None:
    """Time `module.function(folder, **arguments)` for both arguments, mean over workers, into seconds.json.

    Every worker does the same at the same time, each run begun by all at once: one training alone has the caches and
    the memory to itself. What they make is thrown away, and so is a first run that warms up. `digest` only makes the
    artefact know the function's code. Raises what the function raises.
    """
    with workers_of(workers, "timing", _wait_at) as pool:
        jobs = [pool.submit(_time, module, function, (short, short, long)) for _ in range(workers)]
        errors = [error for job in jobs if (error := job.exception())]
        for error in sorted(errors, key=lambda e: isinstance(e, BrokenBarrierError)):  # a cause before its consequence
            raise error
        taken = np.mean([job.result() for job in jobs], axis=0)  # (workers, 3) -> (3,)
    (folder / MEASURED).write_text(json.dumps({"short": taken[1], "long": taken[2]}))


def _wait_at(start: Barrier) -> None:
    global _start  # noqa: PLW0603 - one value a worker process, set once
    _start = start


def _time(module: str, function: str, runs: Sequence[dict[str, Any]]) -> list[float]:
    assert _start is not None
    taken = []
    try:
        make = getattr(importlib.import_module(module), function)
        for arguments in runs:
            with tempfile.TemporaryDirectory() as folder:
                _start.wait()
                begin = time.perf_counter()
                make(Path(folder), **arguments)
                taken.append(time.perf_counter() - begin)
    except BaseException:
        _start.abort()  # else the others would wait for ever
        raise
    return taken
