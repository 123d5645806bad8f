"""Paired differences between two ways of training: training seeds and patients (every claim of Tables 3 to 5).

A difference between two trained models mixes what one method does better with the luck of a seed. Every model is
scored on every image, so seeds and patients are crossed; `components` turns their pseudo-values into one interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ecsupport.core.errors import UserError
from ecsupport.evaluation.bootstrap import make_units
from ecsupport.evaluation.classification import METRICS, check_images, same_rows
from ecsupport.evaluation.components import Spread, crossed
from ecsupport.evaluation.proportions import check_level
from ecsupport.evaluation.pseudo_values import pseudo_values


@dataclass(frozen=True)
class Difference:
    """Model a less model b in every metric, averaged over its seeds.

    estimate: (6,) in the order of METRICS;  spreads: of each;  scope: one of components.SCOPES;  n_seeds: of a and of b
    """

    estimate: np.ndarray
    spreads: tuple[Spread, ...]
    scope: str
    n_seeds: tuple[int, int]


def hierarchical_difference(
    y_true: ArrayLike,
    scores_a: Sequence[ArrayLike],
    scores_b: Sequence[ArrayLike],
    patient_id: ArrayLike,
    *,
    thresholds: tuple[float, float] = (0.5, 0.5),
    paired: bool = False,
) -> Difference:
    """Model a less model b in every metric, over training seeds and patients.

    y_true, patient_id: (n,);  scores_a: (n_seeds_a, n), row i from the i-th training of a, likewise scores_b;
    thresholds: of a and of b;  paired: row i of both came of the same seed (same initial weights or same data order),
    so that their luck cancels
    With fewer than components.MINIMUM_SEEDS trainings of either model patients alone vary, and the scope says so. A
    spread is NaN where the metric is undefined for any training, or would be without one patient.
    Raises UserError as `check_images` and `make_units` do, or where paired trainings differ in number.
    """
    for name, scores in (("scores_a", scores_a), ("scores_b", scores_b)):
        if not len(scores) or np.ndim(scores[0]) == 0:
            raise UserError(f"{name}: give one row of scores per training, shape (n_seeds, n); (1, n) for one.")
    n_a, n_b = len(scores_a), len(scores_b)
    if paired and n_a != n_b:
        raise UserError(f"paired: a was trained {n_a} times and b {n_b} times. Give both for the same seeds.")
    if patient_id is not None:
        same_rows("y_true", y_true, "patient_id", patient_id)
    checked = [check_images(y_true, score) for score in (*scores_a, *scores_b)]
    labels, patient = checked[0][0], make_units(checked[0][0], patient_id, "patient").of_image
    rows = np.stack([score for _, score in checked])  # (n_seeds_a + n_seeds_b, n)
    (of_a, a), (of_b, b) = (
        pseudo_values(labels, part, patient, threshold)
        for part, threshold in zip((rows[:n_a], rows[n_a:]), thresholds, strict=True)
    )
    found = [
        crossed(of_a[..., i] - of_b[..., i] if paired else (of_a[..., i], of_b[..., i])) for i in range(len(METRICS))
    ]
    spreads = tuple(spread for spread, _ in found)
    return Difference(a.mean(axis=0) - b.mean(axis=0), spreads, found[0][1], (n_a, n_b))


def difference_table(difference: Difference, level: float = 0.95, null: float = 0.0) -> pd.DataFrame:
    """What a claim is judged by.

    Returns a frame indexed by METRICS: estimate, low, high, method ("t"; "constant" where nothing varies, which is no
    certainty, so p is 1; "undefined"), standard_error, degrees, p_value (two-sided against null, not adjusted), scope.
    Raises UserError for a level outside (0, 1).
    """
    check_level(level)
    rows = []
    for estimate, spread in zip(difference.estimate, difference.spreads, strict=True):
        known = not np.isnan(estimate + spread.standard_error)
        low, high = spread.interval(estimate, level) if known else (np.nan, np.nan)
        method = "undefined" if not known else "t" if spread.standard_error > 0 else "constant"
        p = spread.p_value(estimate, null) if known else np.nan
        rows.append((estimate, low, high, method, spread.standard_error, spread.degrees, p))
    columns = ["estimate", "low", "high", "method", "standard_error", "degrees", "p_value"]
    table = pd.DataFrame(rows, index=pd.Index(METRICS, name="metric"), columns=columns)
    return table.assign(scope=difference.scope)


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
