"""Coverage of the 95 % intervals of Table 6 where a patient's images are alike: simulated test sets with known truth.

A patient carries a lesion with probability 1/2; her images, as many as in the phantom cohort (1 + negative binomial,
mean 5.7, SD 3.6), score N(±d/2, 1) with correlation r among them, called positive above 0. Then accuracy, sensitivity
and specificity are Phi(d/2) and the AUC is Phi(d/sqrt 2), whatever the numbers of patients and images.
"""

import numpy as np
import pandas as pd
from scipy import stats

from ecsupport.evaluation.bootstrap import bootstrap
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.intervals import bca, correlation_within_patients, exact_at_limits, leave_one_out, percentile

PATIENTS = 130  # about 740 images, where the paper has 672
CORRELATION = 0.5  # r of the scores within a class: the calls' correctness then correlates about 0.3
KINDS = ("patient, BCa", "patient, percentile", "image, percentile")
SHOWN = ("accuracy", "sensitivity", "roc_auc")


def draw(rng: np.random.Generator, distance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and patients of one test set, (n,) each; n varies with the images of `PATIENTS` patients."""
    patient = np.repeat(np.arange(PATIENTS), 1 + rng.negative_binomial(2.76, 0.37, size=PATIENTS))
    y = rng.integers(2, size=PATIENTS)[patient]
    own, other = rng.standard_normal(PATIENTS)[patient], rng.standard_normal(len(patient))
    score = np.sqrt(CORRELATION) * own + np.sqrt(1 - CORRELATION) * other + distance * (y - 0.5)
    return y, score, patient


def coverage(
    rate: float, *, replications: int, n_resamples: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, float]:
    """Share of test sets whose interval holds the truth, and the mean ICC of the calls' correctness.

    rate: the true sensitivity and specificity, in (0.5, 1). Returns a frame indexed by KINDS with the columns SHOWN.
    """
    distance = 2 * stats.norm.ppf(rate)
    truth = np.array([rate, rate, stats.norm.cdf(distance / np.sqrt(2))])
    rows = [METRICS.index(name) for name in SHOWN]
    held = {kind: np.zeros(len(SHOWN)) for kind in KINDS}
    correlation = 0.0
    for _ in range(replications):
        data = draw(rng, distance)
        by_patient, by_image = (
            bootstrap(*data, unit=unit, rng=rng, n_resamples=n_resamples, threshold=0.0)
            for unit in ("patient", "image")
        )
        left_out = leave_one_out(*data, unit="patient", threshold=0.0)
        tables = (bca(by_patient, left_out), percentile(by_patient), percentile(by_image))
        for kind, table in zip(KINDS, tables, strict=True):
            exact = exact_at_limits(table, *data, unit=kind.split(",")[0], threshold=0.0)
            low, high = exact[["low", "high"]].to_numpy()[rows].T
            held[kind] += (low <= truth) & (truth <= high)
        correlation += correlation_within_patients(*data, threshold=0.0)["correct"]
    shares = pd.DataFrame(held, index=SHOWN).T / replications
    return shares.rename_axis("interval"), correlation / replications
