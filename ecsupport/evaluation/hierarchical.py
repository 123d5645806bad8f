"""Paired differences between two ways of training: training seeds, then patients (every claim of Tables 3 to 5).

A difference between two trained models mixes what one method does better with the luck of a seed. Every model is
scored on every image, so seeds and patients are crossed: a resample draws the seeds of each model and, once for all
of them, the patients. The value of a resample is the metric of a, averaged over its drawn seeds, less that of b.

What this interval can do is known (Owen, Ann Appl Stat 2007). For the mean over S seeds and P patients, with variance
components s (seeds), p (patients) and i (their interaction), the resamples vary on average by
    (1 - 1/S) s/S + (1 - 1/P) p/P + (3 - 2/S - 2/P + 1/(S P)) i/(S P)
where the truth is s/S + p/P + i/(S P): the share of the seeds is too small by 1/S and that of the interaction about
three times too large. Where few seeds dominate, the 95 % interval is too short: simulated with nothing else varying
it covers 87 % for 5 seeds of each model, 92 % for 10, 94 % for 20 (paired: 83, 90 and 93 %).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ecsupport.core.errors import UserError
from ecsupport.evaluation.bootstrap import Resamples, resampled_metrics
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.intervals import percentile

MINIMUM_SEEDS = 5
SCOPES = ("training seeds and patients", "these trained models")


@dataclass(frozen=True)
class Difference(Resamples):
    """Resamples of a - b, each metric averaged over the drawn seeds.

    scope: one of SCOPES, what the interval speaks about;  n_seeds: of a and of b
    """

    scope: str
    n_seeds: tuple[int, int]


def hierarchical_difference(
    y_true: ArrayLike,
    scores_a: Sequence[ArrayLike],
    scores_b: Sequence[ArrayLike],
    patient_id: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    thresholds: tuple[float, float] = (0.5, 0.5),
    paired: bool = False,
) -> Difference:
    """Model a less model b in every metric, over training seeds, then patients.

    y_true, patient_id: (n,);  scores_a: (n_seeds_a, n), row i from the i-th training of a, likewise scores_b;
    thresholds: of a and of b;  paired: row i of both came of the same seed (same initial weights or same data order),
    so that both are drawn together
    With fewer than MINIMUM_SEEDS trainings of either model the seeds stay as they are, patients alone are drawn, and
    the scope says so. A resample is NaN where the metric is undefined for any training drawn.
    Raises UserError as `resampled_metrics` does, or where paired trainings differ in number.
    """
    for name, scores in (("scores_a", scores_a), ("scores_b", scores_b)):
        if not len(scores) or np.ndim(scores[0]) == 0:
            raise UserError(f"{name}: give one row of scores per training, shape (n_seeds, n); (1, n) for one.")
    n_a, n_b = len(scores_a), len(scores_b)
    if paired and n_a != n_b:
        raise UserError(f"paired: a was trained {n_a} times and b {n_b} times. Give both for the same seeds.")
    values, estimates = resampled_metrics(
        y_true,
        [*scores_a, *scores_b],
        patient_id,
        unit="patient",
        rng=rng,
        n_resamples=n_resamples,
        thresholds=[thresholds[0]] * n_a + [thresholds[1]] * n_b,
    )
    a, b = np.split(values, [n_a], axis=1)  # (n_resamples, n_seeds, 6)
    if min(n_a, n_b) >= MINIMUM_SEEDS:
        scope, resample = SCOPES[0], np.arange(n_resamples)[:, None]
        seeds_a = rng.integers(n_a, size=(n_resamples, n_a))
        seeds_b = seeds_a if paired else rng.integers(n_b, size=(n_resamples, n_b))
        a, b = a[resample, seeds_a], b[resample, seeds_b]
    else:
        scope = SCOPES[1]
    estimate = estimates[:n_a].mean(axis=0) - estimates[n_a:].mean(axis=0)
    return Difference(a.mean(axis=1) - b.mean(axis=1), estimate, "patient", scope, (n_a, n_b))


def p_value(resamples: Resamples, null: float = 0.0) -> pd.Series:
    """Two-sided bootstrap p-value of each metric against a null value, for Holm's adjustment.

    Twice the smaller share of resamples on either side of null, one resample added to each side so that it is never 0
    (Davison and Hinkley 1997, section 4.2); at most 1, NaN where a metric is undefined. It agrees with the percentile
    interval: about below 0.05 where null lies outside the 95 % interval. With B resamples it is at least 2/(B + 1).
    null: difference to be excluded, e.g. minus the margin of a non-inferiority claim
    """
    column, defined = resamples.values, (~np.isnan(resamples.values)).sum(axis=0)
    smaller = np.minimum((column <= null).sum(axis=0), (column >= null).sum(axis=0))
    p = np.minimum(2 * (smaller + 1) / (defined + 1), 1.0)
    p[(defined < 2) | np.isnan(resamples.estimate)] = np.nan
    return pd.Series(p, index=pd.Index(METRICS, name="metric"), name="p_value")


def difference_table(difference: Difference, level: float = 0.95, null: float = 0.0) -> pd.DataFrame:
    """What a claim is judged by.

    Returns a frame indexed by METRICS: estimate, low, high, method, n_undefined (as `percentile`), p_value (not
    adjusted), scope. Raises UserError for a level outside (0, 1).
    """
    return percentile(difference, level).assign(p_value=p_value(difference, null), scope=difference.scope)


def smallest(lines: pd.DataFrame, null: float = 0.0) -> tuple[float, float, float, float]:
    """Estimate, low, high and p-value of the smallest of several differences, for a claim that all lie above null.

    lines: rows of `difference_table` with that null, one a difference. The limits are the smallest of the limits, and
    no interval of the minimum. Where all estimates lie above null p is the largest, since each must hold
    (intersection-union test; Berger, Technometrics 1982); else that of the smallest estimate times their number
    (Bonferroni). All are NaN where a metric is undefined.
    """
    limits = (float(lines[column].min(skipna=False)) for column in ("estimate", "low", "high"))
    estimate, p = lines["estimate"].to_numpy(), lines["p_value"].to_numpy()
    if np.isnan(estimate).any():
        return (np.nan,) * 4
    return *limits, float(p.max() if (estimate > null).all() else min(1.0, len(p) * p[estimate.argmin()]))
