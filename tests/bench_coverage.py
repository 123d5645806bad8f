"""Coverage of the 95 % intervals where a patient's images are alike: 2,000 simulated test sets whose truth is known.

A patient carries a lesion with probability 1/2; her images, as many as in the phantom cohort (1 + negative binomial,
mean 5.7, SD 3.6), score N(±d/2, 1) with correlation r among them, called positive above 0. Then accuracy, sensitivity
and specificity are Phi(d/2) and the AUC is Phi(d/sqrt 2), whatever the numbers of patients and images.
"""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from ecsupport.bench import Measure, measure
from ecsupport.core.seeds import generator
from ecsupport.evaluation.bootstrap import bootstrap
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.intervals import (
    bca,
    correlation_within_patients,
    exact_at_limits,
    leave_one_out,
    percentile,
)

REPLICATIONS, RESAMPLES = 2000, 1000
PATIENTS = 130  # about 740 images, where the paper has 672
CORRELATION = 0.5  # r of the scores within a class: the calls' correctness then correlates about 0.3
BOUND = "patient, BCa"
SHOWN = ("accuracy", "sensitivity", "roc_auc")


def draw(rng: np.random.Generator, distance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and patients of one test set."""
    patient = np.repeat(np.arange(PATIENTS), 1 + rng.negative_binomial(2.76, 0.37, size=PATIENTS))
    y = rng.integers(2, size=PATIENTS)[patient]
    own, other = rng.standard_normal(PATIENTS)[patient], rng.standard_normal(len(patient))
    score = np.sqrt(CORRELATION) * own + np.sqrt(1 - CORRELATION) * other + distance * (y - 0.5)
    return y, score, patient


def coverage(rate: float, replications: int, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], float]:
    """Share of test sets whose interval holds the truth, (3,) by kind of interval, and the mean ICC of the calls."""
    distance = 2 * stats.norm.ppf(rate)
    truth = np.array([rate, rate, stats.norm.cdf(distance / np.sqrt(2))])
    rows = [METRICS.index(name) for name in SHOWN]
    held = {kind: np.zeros(len(SHOWN)) for kind in ("patient, percentile", BOUND, "image, percentile")}
    correlation = 0.0
    for _ in range(replications):
        y, score, patient = draw(rng, distance)
        data = (y, score, patient)
        by_patient, by_image = (
            bootstrap(*data, unit=unit, rng=rng, n_resamples=RESAMPLES, threshold=0.0) for unit in ("patient", "image")
        )
        left_out = leave_one_out(*data, unit="patient", threshold=0.0)
        for kind, unit, table in (
            ("patient, percentile", "patient", percentile(by_patient)),
            (BOUND, "patient", bca(by_patient, left_out)),
            ("image, percentile", "image", percentile(by_image)),
        ):
            exact = exact_at_limits(table, *data, unit=unit, threshold=0.0)
            low, high = exact[["low", "high"]].to_numpy()[rows].T
            held[kind] += (low <= truth) & (truth <= high)
        correlation += correlation_within_patients(*data, threshold=0.0)["correct"]
    return {kind: n / replications for kind, n in held.items()}, correlation / replications


@measure("coverage")
def moderate_errors() -> Iterator[Measure]:
    """Sensitivity and specificity 0.85: the bound is the side of 93 to 97 % on which the value lies."""
    shares, correlation = coverage(0.85, REPLICATIONS, generator("bench", "coverage", "0.85"))
    yield Measure("0.85: intraclass correlation of the calls", correlation, "")
    for kind, values in shares.items():
        for name, value in zip(SHOWN, values, strict=True):
            low = value < 0.95
            bound = (0.93 if low else 0.97) if kind == BOUND else None
            yield Measure(f"0.85: {name}, by {kind}", value, "held", bound, at_least=low)


@measure("coverage")
def few_errors() -> Iterator[Measure]:
    """Sensitivity and specificity 0.975, as published: shown without a bound, for so few patients err."""
    shares, correlation = coverage(0.975, REPLICATIONS // 2, generator("bench", "coverage", "0.975"))
    yield Measure("0.975: intraclass correlation of the calls", correlation, "")
    for kind, values in shares.items():
        for name, value in zip(SHOWN, values, strict=True):
            yield Measure(f"0.975: {name}, by {kind}", value, "held")
