"""Speed and memory of the bootstrap at the size of Table 6 (672 images, 10,000 resamples) and at 36,000 images."""

import time
from collections.abc import Callable, Iterator

import numpy as np
from sklearn import metrics as reference

from ecsupport.bench import Measure, in_child, measure, memory
from ecsupport.core.seeds import generator
from ecsupport.evaluation.bootstrap import UNITS, bootstrap
from ecsupport.evaluation.intervals import leave_one_out

RESAMPLES = 10_000
TIMED_LOOPS = 100  # of the scikit-learn loop, whose every pass costs the same


def images(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores, patients with four images each; an accuracy of 0.84, for overlap costs time."""
    y = np.repeat([0, 1], n // 2)
    score = 1 / (1 + np.exp(-(generator("bench", "bootstrap").standard_normal(n) + (2 * y - 1))))
    return y, score, np.repeat(np.arange(n // 4), 4)


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """Best of the repeats."""
    best = np.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best


def scikit_learn_loop(y: np.ndarray, score: np.ndarray, rng: np.random.Generator) -> None:
    """What one would write first: draw the images, call six functions."""
    for _ in range(TIMED_LOOPS):
        drawn = rng.integers(len(y), size=len(y))
        truth, called = y[drawn], score[drawn] >= 0.5
        reference.accuracy_score(truth, called)
        reference.recall_score(truth, called)
        reference.recall_score(truth, called, pos_label=0)
        reference.precision_score(truth, called)
        reference.f1_score(truth, called)
        reference.roc_auc_score(truth, score[drawn])


def extra_memory(n: int, unit: str) -> float:
    """MB by which this process's peak exceeds what it held before the bootstrap and the jackknife."""
    before = memory()
    y, score, patient = images(n)
    bootstrap(y, score, patient, unit=unit, rng=generator("bench", "memory"), n_resamples=RESAMPLES)
    leave_one_out(y, score, patient, unit=unit)
    return memory(peak=True) - before


def memory_of(n: int, unit: str) -> float:
    """`extra_memory` in a process of its own."""
    return in_child(__file__, f"extra_memory({n}, {unit!r})")


@measure("statistics")
def table_6() -> Iterator[Measure]:
    """Seconds for one row of the table, six metrics, on one core, beside a loop over scikit-learn in the same run."""
    y, score, patient = images(672)
    rng = generator("bench", "bootstrap", "draws")
    loop = seconds(lambda: scikit_learn_loop(y, score, rng)) * RESAMPLES / TIMED_LOOPS
    yield Measure("loop over scikit-learn, 672 images x 10,000", loop, "s")
    for unit in UNITS:
        ours = seconds(lambda unit=unit: bootstrap(y, score, patient, unit=unit, rng=rng, n_resamples=RESAMPLES), 3)
        yield Measure(f"bootstrap by {unit}, 672 images x 10,000", ours, "s", 1.0)
        yield Measure(f"bootstrap by {unit}, times faster than the loop", loop / ours, "", 100, at_least=True)
    yield Measure("peak memory, 672 images x 10,000", memory_of(672, "image"), "MB", 300)


@measure("statistics")
def many_images() -> Iterator[Measure]:
    """The same at 36,000 images, with the leave-one-out values that BCa needs."""
    y, score, patient = images(36_000)
    rng = generator("bench", "bootstrap", "36,000")
    for unit in ("image", "patient"):
        ours = seconds(lambda unit=unit: bootstrap(y, score, patient, unit=unit, rng=rng, n_resamples=RESAMPLES))
        yield Measure(f"bootstrap by {unit}, 36,000 images x 10,000", ours, "s", 60)
        left_out = seconds(lambda unit=unit: leave_one_out(y, score, patient, unit=unit))
        yield Measure(f"leave one {unit} out, 36,000 images", left_out, "s", 60)
    yield Measure("peak memory, 36,000 images x 10,000", memory_of(36_000, "image"), "MB", 300)
