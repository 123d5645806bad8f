"""The benches: what a measurement is, and how the groups in `tests/bench_<group>.py` are run and judged.

A group's file defines functions marked `@measure("group")`; each yields `Measure`s. Nothing is measured at import.
Times differ from run to run, and a run's tables must not: notebooks that speak of them read measures that were kept.
"""

import contextlib
import csv
import importlib.util
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ecsupport.core import paths, progress
from ecsupport.core.artefacts import replacing
from ecsupport.core.errors import UserError

FOLDER = paths.ROOT / "tests"


@dataclass(frozen=True)
class Measure:
    """One measured value and its bound, which it must reach (`at_least`) or stay below; no bound: shown only.

    low, high: its 95 % interval over rounds or processes, where there is one.
    """

    name: str
    value: float
    unit: str
    bound: float | None = None
    at_least: bool = False
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def ratio(
        cls, name: str, one: np.ndarray, other: np.ndarray, bound: float | None = None, at_least: bool = False
    ) -> "Measure":
        """Median of the ratios of two rows of `interleaved`, or of what processes measured."""
        value, low, high = quantile(one / other)
        return cls(name, value, "times", bound, at_least, low, high)

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


def quantile(values: np.ndarray, q: float = 0.5) -> tuple[float, float, float]:
    """A quantile of values (n,) and its 95 % interval between two of them, whatever their distribution.

    For the extremes of few values the interval ends at the last of them and covers less.
    """
    n, ordered = len(values), np.sort(values)
    below = np.cumsum([math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n)])  # so many lie below it
    low, high = max(0, int((below <= 0.025).sum()) - 1), int((below < 0.975).sum())
    return float(np.quantile(ordered, q)), float(ordered[low]), float(ordered[min(high, n - 1)])


def interleaved(*steps: Callable[[], object], rounds: int = 40, warm_up: int = 5) -> np.ndarray:
    """Seconds of each step function (steps, rounds); taken in turn, so that what slows one slows all.

    Every round has an order of its own: none always finds the memory as the same other one left it.
    """
    taken, order = np.zeros((len(steps), warm_up + rounds)), np.random.default_rng(len(steps))
    for number in progress.bar(range(warm_up + rounds), "rounds"):
        for which in order.permutation(len(steps)):
            start = time.perf_counter()
            steps[which]()
            taken[which, number] = time.perf_counter() - start
    return taken[:, warm_up:]


def memory(peak: bool = False) -> float:
    """Resident memory of this process in MB, now or at its peak; NaN, which meets no bound, without /proc."""
    status = Path("/proc/self/status")
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else math.nan


def forget_peak() -> None:
    """Let the peak of `memory` begin anew, where /proc allows it; else it is that of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def in_child(file: str, call: str, **environment: str) -> float:
    """The number that `call`, a call of a function of that bench file, gives in a process of its own."""
    code = f"import sys; sys.path.insert(0, {str(Path(file).parent)!r}); import {Path(file).stem} as b; print(b.{call})"
    surroundings = os.environ | {progress.HEADLESS: "1"} | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=surroundings)
    if done.returncode:
        raise RuntimeError(f"{call} in {file} failed:\n{done.stderr}")
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


def run(group: str = "", folder: Path = FOLDER, keep: bool = False) -> int:
    """Measure one group, or all, and print a line a measure; 1 where a bound is not met, else 0.

    keep: also store them for the notebooks, as `kept` reads them. UserError where there is no such group.
    """
    known = groups(folder)
    if group and group not in known:
        raise UserError(f"there is no group {group!r} to measure. Choose one of: {', '.join(known)}")
    met = True
    sys.path.append(str(folder))  # for what a file shares with tests
    for name in [group] if group else known:
        _REGISTRY.pop(name, None)
        spec = importlib.util.spec_from_file_location(f"bench_{name}", known[name])
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        print(name)
        results = []
        for function in _REGISTRY.get(name, []):
            for result in function():
                print(f"  {result.line()}", flush=True)
                met &= result.ok
                results.append(result)
        if keep:
            _store(name, results)
    return 0 if met else 1


def kept(group: str) -> dict[str, Measure]:
    """The measures of a group that were stored with `keep`, by name; none where there are none."""
    file = paths.reference() / "bench" / f"{group}.csv"
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {
        row["name"]: Measure(
            row["name"], float(row["value"]), row["unit"], low=float(row["low"]), high=float(row["high"])
        )
        for row in rows
    }


def _store(group: str, results: list[Measure]) -> None:
    if len({result.name for result in results}) < len(results):
        raise ValueError(f"two measures of {group} have one name")
    file = paths.reference() / "bench" / f"{group}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {version('torch')}"
    with replacing(file) as path, path.open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(["name", "value", "low", "high", "unit", "machine"])
        for result in results:
            table.writerow(
                [result.name, *(f"{x:.4g}" for x in (result.value, result.low, result.high)), result.unit, machine]
            )
