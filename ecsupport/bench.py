"""The benches: what a measurement is, and how the groups in `tests/bench_<group>.py` are run and judged.

A group's file defines functions marked `@measure("group")`; each yields `Measure`s. Nothing is measured at import.
"""

import importlib.util
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ecsupport.core import paths, progress
from ecsupport.core.errors import UserError

FOLDER = paths.ROOT / "tests"


@dataclass(frozen=True)
class Measure:
    """One measured value and its bound, which it must reach (`at_least`) or stay below; no bound: shown only."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    at_least: bool = False

    @property
    def ok(self) -> bool:
        """Whether the bound is met; NaN meets none."""
        if self.bound is None:
            return True
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def line(self) -> str:
        """Name, value, unit, bound and judgement as one aligned line."""
        sign = "≥" if self.at_least else "≤"
        bound = "" if self.bound is None else f"{sign} {self.bound:.4g}"
        judgement = "" if self.bound is None else "ok" if self.ok else "FAIL"
        return f"{self.name:<48} {self.value:>10.4g} {self.unit:<12} {bound:>12}  {judgement}".rstrip()


def interleaved(*steps: Callable[[], object], rounds: int = 40, warm_up: int = 5) -> list[float]:
    """Median seconds of each step function, taken in turn, so that whatever slows the machine slows all of them."""
    taken = []
    for number in progress.bar(range(warm_up + rounds), "rounds"):
        row = []
        for step in steps:
            start = time.perf_counter()
            step()
            row.append(time.perf_counter() - start)
        if number >= warm_up:
            taken.append(row)
    return [median(column) for column in zip(*taken, strict=True)]


def memory(peak: bool = False) -> float:
    """Resident memory of this process in MB, now or at its peak; NaN, which meets no bound, without /proc."""
    status = Path("/proc/self/status")
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else math.nan


def in_child(file: str, call: str, **environment: str) -> float:
    """The number that `call`, a call of a function of that bench file, gives in a process of its own."""
    code = f"import sys; sys.path.insert(0, {str(Path(file).parent)!r}); import {Path(file).stem} as b; print(b.{call})"
    surroundings = os.environ | {progress.HEADLESS: "1"} | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=surroundings)
    return float(done.stdout)


Bench = Callable[[], Iterator[Measure]]
_REGISTRY: dict[str, list[Bench]] = {}


def measure(group: str) -> Callable[[Bench], Bench]:
    """Mark a function that yields measures as part of a group: `@measure("cohort")`."""

    def mark(function: Bench) -> Bench:
        _REGISTRY.setdefault(group, []).append(function)
        return function

    return mark


def groups(folder: Path = FOLDER) -> dict[str, Path]:
    """The groups there are and the file of each."""
    return {file.stem.removeprefix("bench_"): file for file in sorted(folder.glob("bench_*.py"))}


def run(group: str = "", folder: Path = FOLDER) -> int:
    """Measure one group, or all, and print a line a measure; 1 where a bound is not met, else 0.

    UserError where there is no such group.
    """
    known = groups(folder)
    if group and group not in known:
        raise UserError(f"there is no group {group!r} to measure. Choose one of: {', '.join(known)}")
    met = True
    for name in [group] if group else known:
        _REGISTRY.pop(name, None)
        spec = importlib.util.spec_from_file_location(f"bench_{name}", known[name])
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        print(name)
        for function in _REGISTRY.get(name, []):
            for result in function():
                print(f"  {result.line()}", flush=True)
                met &= result.ok
    return 0 if met else 1
