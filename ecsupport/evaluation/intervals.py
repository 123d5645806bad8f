"""Percentile and BCa intervals, and how alike the images of a patient are (Table 6, Figure 5, Appendix B).

BCa (Efron, J Am Stat Assoc 1987) shifts the two percentiles by a bias, read off the resamples, and an acceleration,
read off the leave-one-out values of the same units. Every interval says how it was made in its column `method`:
- "bca", "percentile": as asked for; "percentile" in a BCa table: the correction does not exist, since all resamples
  lie on one side of the estimate, or leaving out some unit makes the metric undefined or never moves it;
- "clopper-pearson": the estimate is 0 or 1, so that every resample repeats it (see `exact_at_limits`);
- "constant": every resample has the same value, which both limits repeat, and the width of 0 claims no certainty;
- "undefined": the metric is undefined on the test set or in all resamples but one, and so are its limits, NaN.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from ecsupport.core.errors import UserError
from ecsupport.evaluation.bootstrap import Resamples, Units, bootstrap, make_units, summary
from ecsupport.evaluation.classification import METRICS, check_images, make_cells, metrics_of_weights, same_rows

METHODS = ("percentile", "bca")
_BLOCK = 2**17  # weights held at once, as in the bootstrap


@dataclass(frozen=True)
class LeftOut:
    """Metrics of the test set without one unit, for each unit in turn.

    values: (n_units, 6) in the order of METRICS, NaN where undefined;  strata: number of units in each stratum
    """

    values: np.ndarray
    strata: tuple[int, ...]


def leave_one_out(
    y_true: ArrayLike, score: ArrayLike, patient_id: ArrayLike | None, *, unit: str, threshold: float = 0.5
) -> LeftOut:
    """The jackknife over images or patients.

    y_true: (n,) 0 or 1;  score: (n,) finite;  patient_id: (n,), or None unless unit is "patient"
    Raises UserError as `bootstrap` does.
    """
    labels, scores, units = _check(y_true, score, patient_id, unit)
    cells = make_cells(labels, scores, threshold, units.of_image)
    n_units = sum(units.strata)
    values = np.empty((n_units, len(METRICS)))
    for block in np.array_split(np.arange(n_units), -(-(n_units**2) // _BLOCK)):
        weight = np.ones((len(block), n_units), dtype=np.int64)
        weight[np.arange(len(block)), block] = 0
        values[block] = metrics_of_weights(cells, weight)
    return LeftOut(values, units.strata)


def percentile(resamples: Resamples, level: float = 0.95) -> pd.DataFrame:
    """The interval between the two percentiles of the resamples (Table 6).

    Returns a frame indexed by METRICS: estimate, low, high, method, n_undefined (resamples left out).
    Raises UserError for a level outside (0, 1).
    """
    table = summary(resamples, level)[["estimate", "low", "high", "n_undefined"]]
    spread = np.fmax.reduce(resamples.values, axis=0) - np.fmin.reduce(resamples.values, axis=0)
    unknown = table[["estimate", "low"]].isna().any(axis=1).to_numpy()
    table.loc[unknown, ["low", "high"]] = np.nan
    method = np.where(unknown, "undefined", np.where(spread > 0, "percentile", "constant"))
    table.insert(3, "method", method)
    return table


def bca(resamples: Resamples, left_out: LeftOut, level: float = 0.95) -> pd.DataFrame:
    """The bias-corrected and accelerated interval, or the percentile interval where there is no correction.

    left_out: of the same test set, unit and threshold; for a paired difference the difference of the two models'
    Returns the columns of `percentile`. Raises UserError where left_out has not the units of the resamples' scheme
    (one stratum but for "stratified"), or for a level outside (0, 1).
    """
    if resamples.unit != "stratified" and len(left_out.strata) > 1:
        raise UserError(f'bca: the resamples are by "{resamples.unit}", left_out is by stratum. Use the same unit.')
    table = percentile(resamples, level)
    for metric, name in enumerate(METRICS):
        if table.loc[name, "method"] == "percentile":
            column = resamples.values[:, metric]
            column = column[~np.isnan(column)]
            acceleration = _acceleration(left_out.values[:, metric], left_out.strata)
            shares = _bca_shares(column, resamples.estimate[metric], acceleration, level)
            if shares is not None:
                table.loc[name, ["low", "high"]] = np.quantile(column, shares)
                table.loc[name, "method"] = "bca"
    return table


def exact_at_limits(
    table: pd.DataFrame,
    y_true: ArrayLike,
    score: ArrayLike,
    patient_id: ArrayLike | None,
    *,
    unit: str,
    threshold: float = 0.5,
    level: float = 0.95,
) -> pd.DataFrame:
    """Replace the intervals of metrics that are 0 or 1 by Clopper and Pearson's (Biometrika 1934).

    If all of n independent trials succeed, the lower limit is (alpha/2)^(1/n), the upper 1; mirrored if none does.
    What the n trials are:
    - accuracy, sensitivity, specificity, precision: the images that the metric counts; by patient, the patients
      with such images, each a success if all of them are: a lower limit for the rate by image too, unless patients
      with errors have more images than others;
    - F1: 2J / (1 + J), with J = TP / (TP + FP + FN) the proportion of true positives among images positive or called;
    - ROC AUC: pairs of a positive and a negative that share no unit, as many as there are; all are won.
    By patient this is wider than need be, never a width of 0. Arguments as for `bootstrap`, table as from `percentile`
    or `bca`; returns a new table.
    """
    labels, scores, units = _check(y_true, score, patient_id, unit)
    trials = _independent_trials(labels, scores >= threshold, units.of_image)
    table = table.copy()
    for name, estimate in table["estimate"].items():
        if estimate in (0, 1):
            least = ((1 - level) / 2) ** (1 / trials[name])  # the rate still tenable after nothing but successes
            low, high = (least, 1.0) if estimate == 1 else (0.0, 1 - least)
            if name == "f1":
                low, high = 2 * low / (1 + low), 2 * high / (1 + high)
            table.loc[name, ["low", "high"]] = low, high
            table.loc[name, "method"] = "clopper-pearson"
    return table


def intervals(
    y_true: ArrayLike,
    score: ArrayLike,
    patient_id: ArrayLike | None,
    *,
    unit: str,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    threshold: float = 0.5,
    level: float = 0.95,
    method: str = "bca",
) -> pd.DataFrame:
    """One model's six metrics with their intervals, the fallbacks applied (one row of Table 6).

    Arguments as for `bootstrap`;  method: one of METHODS
    Returns the columns of `percentile`. Raises UserError as `bootstrap` does, or for an unknown method.
    """
    if method not in METHODS:
        raise UserError(f"method: {method!r} is unknown. Choose one of {', '.join(METHODS)}.")
    resamples = bootstrap(y_true, score, patient_id, unit=unit, rng=rng, n_resamples=n_resamples, threshold=threshold)
    if method == "bca":
        table = bca(resamples, leave_one_out(y_true, score, patient_id, unit=unit, threshold=threshold), level)
    else:
        table = percentile(resamples, level)
    return exact_at_limits(table, y_true, score, patient_id, unit=unit, threshold=threshold, level=level)


def intraclass_correlation(values: ArrayLike, patient_id: ArrayLike) -> float:
    """One-way analysis-of-variance estimator (Donner, Int Stat Rev 1986) of the correlation within patients.

    With N patients, n images, m_i of them of patient i, and MSB, MSW the mean squares between and within patients,
        rho = (MSB - MSW) / (MSB + (m_0 - 1) MSW),   m_0 = (n - sum_i m_i^2 / n) / (N - 1).
    values: (n,) finite;  patient_id: (n,) any hashable
    Returns a value of at most 1, negative where images of a patient differ more than others; NaN where every patient
    has one image or no value differs. With m images a patient, a mean has the design effect 1 + (m - 1) rho.
    Raises UserError for an empty patient_id, unequal lengths, values not finite or fewer than two patients.
    """
    same_rows("values", values, "patient_id", patient_id)
    _, x = check_images(np.zeros(len(values)), values)
    units = make_units(np.zeros(len(x)), patient_id, "patient")
    n, n_patients = len(x), units.strata[0]
    if n == n_patients or np.ptp(x) == 0:
        return np.nan
    size = np.bincount(units.of_image)
    x = x - x.mean()
    mean = np.bincount(units.of_image, weights=x) / size
    between = (size * mean**2).sum() / (n_patients - 1)
    within = ((x - mean[units.of_image]) ** 2).sum() / (n - n_patients)
    typical_size = (n - (size**2).sum() / n) / (n_patients - 1)
    return float((between - within) / (between + (typical_size - 1) * within))


def correlation_within_patients(
    y_true: ArrayLike, score: ArrayLike, patient_id: ArrayLike, threshold: float = 0.5
) -> pd.Series:
    """Intraclass correlation, beside `design_effect`, of what the six metrics are made of.

    Returns a Series: correct (whether an image's call is right, the one behind the accuracy), score, and
    score_within_class (less the mean of its class: what is left once the diagnosis, which images of a patient
    mostly share, is known). Raises UserError as `check_images` and `intraclass_correlation` do.
    """
    labels, scores = check_images(y_true, score)
    within_class = np.empty(len(scores))
    for images in (labels == label for label in np.unique(labels)):
        above = scores[images] - scores[images].min()  # exactly 0 where all are equal, so that NaN is found below
        within_class[images] = above - above.mean()
    values = {
        "correct": (scores >= threshold) == labels,
        "score": scores,
        "score_within_class": within_class,
    }
    correlations = {name: intraclass_correlation(column, patient_id) for name, column in values.items()}
    return pd.Series(correlations, name="intraclass_correlation")


def _check(
    y_true: ArrayLike, score: ArrayLike, patient_id: ArrayLike | None, unit: str
) -> tuple[np.ndarray, np.ndarray, Units]:
    labels, scores = check_images(y_true, score)
    if patient_id is not None:
        same_rows("y_true", y_true, "patient_id", patient_id)
    return labels, scores, make_units(labels, patient_id, unit)


def _acceleration(left_out: np.ndarray, strata: tuple[int, ...]) -> float:
    """Skewness of the jackknife over six (Efron 1987); over strata as in Davison and Hinkley (1997), section 5.3.

    left_out: (n_units,). NaN where a value is undefined or none differs.
    """
    starts, size = np.cumsum(strata) - strata, np.asarray(strata)
    mean = np.add.reduceat(left_out, starts) / size
    influence = np.repeat((size - 1) / size, size) * (np.repeat(mean, size) - left_out)
    spread = (influence**2).sum()
    return float((influence**3).sum() / (6 * spread**1.5)) if spread > 1e-24 else np.nan


def _bca_shares(column: np.ndarray, estimate: float, acceleration: float, level: float) -> np.ndarray | None:
    """The two shares of the resamples at which BCa reads its limits, None where it has none."""
    below = ((column < estimate).mean() + (column <= estimate).mean()) / 2  # ties count half: metrics are discrete
    if not (0 < below < 1) or np.isnan(acceleration):
        return None
    bias = stats.norm.ppf(below)
    z = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    stretch = 1 - acceleration * z
    return stats.norm.cdf(bias + z / stretch) if (stretch > 0).all() else None


def _independent_trials(labels: np.ndarray, called: np.ndarray, unit_of_image: np.ndarray) -> dict[str, int]:
    """How many independent trials stand behind each metric (see `exact_at_limits`)."""
    positive = labels == 1
    counted = {
        "accuracy": positive | True,
        "sensitivity": positive,
        "specificity": ~positive,
        "precision": called,
        "f1": positive | called,
    }
    trials = {name: len(np.unique(unit_of_image[images])) for name, images in counted.items()}
    # a patient with images of both classes can stand on one side only, lest two pairs share her
    return trials | {"roc_auc": min(trials["sensitivity"], trials["specificity"], trials["accuracy"] // 2)}
