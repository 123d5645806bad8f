"""Variance, interval and comparison of ROC AUCs without resampling, partners of the bootstrap of Table 6.

The AUC is the share of pairs of a positive and a negative image that the score ranks rightly, ties half. The
*placement* of an image is the share of the other class against which it is ranked rightly; the AUC is the mean
placement of either class, and the placements' spread gives its variance:
- images independent: DeLong, DeLong and Clarke-Pearson, Biometrics 1988; 44:837-845;
- patients independent: Obuchowski, Biometrics 1997; 53:567-578. The placements are summed within each patient
  first, positive and negative images apart, since a patient may have both. With one image per patient this is
  DeLong's variance, so the same few lines compute both.
Placements come from mid-ranks (Sun and Xu, IEEE Signal Process Lett 2014; 21:1389-1393), in O(n log n).

Limit: a variance of 0 means that the placements do not vary (AUC 0 or 1, all scores tied, two models that rank
alike). It is returned as it is, but supports no interval: low and high are NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from ecsupport.core.errors import UserError
from ecsupport.evaluation.classification import check_images, same_rows
from ecsupport.evaluation.proportions import check_level, number_patients

SCALES = ("plain", "logit")


@dataclass(frozen=True)
class AucInterval:
    """An AUC, its standard error, and the limits of its interval in [0, 1]; NaN limits where that error is 0."""

    auc: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class AucDifference:
    """Model a less model b: AUCs, difference, its standard error and interval in [-1, 1], and its test.

    z: difference / standard_error;  p_value: two-sided, from the normal distribution
    Where the standard error is 0, low, high and z are NaN, and so is p_value unless the AUCs are equal: then it is 1.
    """

    auc_a: float
    auc_b: float
    difference: float
    standard_error: float
    low: float
    high: float
    z: float
    p_value: float


def auc_interval(
    y_true: ArrayLike,
    score: ArrayLike,
    patient_id: ArrayLike | None = None,
    *,
    scale: str = "plain",
    level: float = 0.95,
) -> AucInterval:
    """AUC with the interval of a normal approximation.

    y_true: (n,) 0 or 1;  score: (n,) finite
    patient_id: (n,) any hashable, for Obuchowski's variance; None for DeLong's, which takes images for independent
    scale: "plain", auc -/+ z standard errors, cut to [0, 1], as pROC does; or "logit", the same for
    log(auc / (1 - auc)) with the standard error that the delta method gives, transformed back (Pepe, The Statistical
    Evaluation of Medical Tests, 2003). Near 1, or with few patients, "plain" covers too rarely: it lies too high.
    Raises UserError as `auc_covariance` does, for an unknown scale, or for a level outside (0, 1).
    """
    check_level(level)
    if scale not in SCALES:
        raise UserError(f"scale: {scale!r} is unknown. Choose one of {', '.join(SCALES)}.")
    aucs, covariance = auc_covariance(y_true, [score], patient_id)
    auc, error = float(aucs[0]), float(np.sqrt(covariance[0, 0]))
    if scale == "plain" or error == 0:
        return AucInterval(auc, error, *_limits(auc, error, level, 0.0, 1.0))
    low, high = _limits(special.logit(auc), error / (auc * (1 - auc)), level, -np.inf, np.inf)
    return AucInterval(auc, error, float(special.expit(low)), float(special.expit(high)))


def auc_difference(
    y_true: ArrayLike,
    score_a: ArrayLike,
    score_b: ArrayLike,
    patient_id: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> AucDifference:
    """Compare the AUCs of two models on the same images.

    y_true, score_a, score_b: (n,), row i of each is the same image;  patient_id: as for `auc_interval`
    Raises UserError as `auc_covariance` does, or for a level outside (0, 1).
    """
    check_level(level)
    aucs, steps, labels, unit = _steps_of_models(y_true, [score_a, score_b], patient_id)
    # the variance of a - b from its own steps: var(a) + var(b) - 2 cov(a, b) would lose digits where a resembles b
    error = float(np.sqrt(_covariance(steps[:, :1] - steps[:, 1:], labels, unit)[0, 0]))
    auc_a, auc_b = map(float, aucs)
    difference = auc_a - auc_b
    z = difference / error if error > 0 else np.nan
    p_value = 2 * float(stats.norm.sf(abs(z))) if error > 0 else (1.0 if difference == 0 else np.nan)
    return AucDifference(auc_a, auc_b, difference, error, *_limits(difference, error, level, -1.0, 1.0), z, p_value)


def auc_covariance(
    y_true: ArrayLike, scores: Sequence[ArrayLike], patient_id: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """AUCs of k models or readers on the same images, and the covariance of their estimates.

    y_true: (n,) 0 or 1;  scores: k arrays (n,);  patient_id: as for `auc_interval`
    Returns aucs (k,) and covariance (k, k), positive semidefinite.
    Raises UserError as `check_images` does, for an empty patient_id, or where fewer than two images (patients, if
    given) are positive or fewer than two negative: the spread of one cannot be told.
    """
    aucs, steps, labels, unit = _steps_of_models(y_true, scores, patient_id)
    return aucs, _covariance(steps, labels, unit)


def hanley_mcneil(auc: float, n_positive: int, n_negative: int) -> float:
    """Standard error of an AUC of which nothing but its value and the class sizes is known, images independent.

    Hanley and McNeil, Radiology 1982; 143:29-36: exact where the scores of both classes are exponential. With
    Q1 = A / (2 - A) and Q2 = 2 A^2 / (1 + A),
        SE^2 = (A (1 - A) + (n_positive - 1) (Q1 - A^2) + (n_negative - 1) (Q2 - A^2)) / (n_positive n_negative).
    Limit: 0 at AUC 0 and 1. Raises UserError for an AUC outside [0, 1] or a class size below 1.
    """
    if not 0 <= auc <= 1:
        raise UserError(f"auc: {auc} is not in [0, 1]. Give a proportion, such as 0.98.")
    for name, number in (("n_positive", n_positive), ("n_negative", n_negative)):
        if not isinstance(number, Integral) or number < 1:
            raise UserError(f"{name}: {number} is not a number of images. Give a whole number of 1 or more.")
    two_positives = auc / (2 - auc) - auc**2  # Q1: both of two positives above one negative
    two_negatives = 2 * auc**2 / (1 + auc) - auc**2  # Q2: one positive above both of two negatives
    total = auc * (1 - auc) + (n_positive - 1) * two_positives + (n_negative - 1) * two_negatives
    return float(np.sqrt(max(total, 0.0) / (n_positive * n_negative)))


def _steps_of_models(
    y_true: ArrayLike, scores: Sequence[ArrayLike], patient_id: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Validate; return aucs (k,), steps (n, k), labels (n,) and the independent unit of each image (n,)."""
    if not len(scores):
        raise UserError("scores: no model. Give the scores of at least one.")
    checked = [check_images(y_true, score) for score in scores]
    labels = checked[0][0]
    if patient_id is None:
        unit = np.arange(len(labels))
    else:
        same_rows("y_true", y_true, "patient_id", patient_id)
        unit, _ = number_patients(patient_id)
    with_positive, with_negative = (len(np.unique(unit[labels == side])) for side in (1, 0))
    if min(with_positive, with_negative) < 2:
        what = "images" if patient_id is None else "patients with such images"
        raise UserError(
            f"y_true: {with_positive} positive and {with_negative} negative {what}. "
            "The variance of an AUC needs at least two of either."
        )
    aucs, steps = zip(*(_steps(labels, score) for _, score in checked), strict=True)
    return np.array(aucs), np.column_stack(steps), labels, unit


def _steps(labels: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    """The AUC and each image's contribution to its error, a step.

    The step of a positive image is (placement - AUC) / n_positive, of a negative one (placement - AUC) / n_negative.
    Returned (n,) in units of 1 / (2 n_positive^2 n_negative^2), where they are whole numbers: sums and differences
    that ought to be 0 are 0 exactly (below 2^53; beyond, to rounding).
    """
    positive = labels == 1
    m, n = int(positive.sum()), int((~positive).sum())
    other_below = stats.rankdata(score)  # mid-ranks among all
    for side in (positive, ~positive):
        other_below[side] -= stats.rankdata(score[side])  # less mid-ranks in the own class: ties half
    twice_won = 2 * np.where(positive, other_below, m - other_below)
    total = twice_won[positive].sum()
    steps = np.where(positive, n * (m * twice_won - total), m * (n * twice_won - total))
    return total / (2 * m * n), steps


def _covariance(steps: np.ndarray, labels: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Obuchowski's covariance (k, k) of AUCs from steps (n, k) of images in independent units (n,).

    Her S10 / M + S01 / N + 2 S11 / (M N), with x_i and y_i the steps of unit i summed over its positive and its
    negative images, I10 units with a positive image, I01 with a negative one and I in all, is
        I10 / (I10 - 1) sum x_i^2 + I01 / (I01 - 1) sum y_i^2 + 2 I / (I - 1) sum x_i y_i;
    written as three sums of squares it cannot become negative, for I >= I10 and I >= I01.
    """
    sums, weight = [], []
    for side in (1, 0):
        image = np.flatnonzero(labels == side)
        sums.append(np.zeros((unit.max() + 1, steps.shape[1])))
        np.add.at(sums[-1], unit[image], steps[image])
        n_units = len(np.unique(unit[image]))
        weight.append(n_units / (n_units - 1))
    x, y = sums
    both = len(x) / (len(x) - 1)
    squares = (weight[0] - both) * x.T @ x + (weight[1] - both) * y.T @ y + both * (x + y).T @ (x + y)
    m, n = int((labels == 1).sum()), int((labels == 0).sum())
    return squares / (2.0 * m**2 * n**2) ** 2


def _limits(value: float, error: float, level: float, lowest: float, highest: float) -> tuple[float, float]:
    """value -/+ z errors, cut to [lowest, highest]; NaN where the error is 0."""
    if error == 0:
        return np.nan, np.nan
    reach = float(-special.ndtri((1 - level) / 2)) * error
    return float(max(value - reach, lowest)), float(min(value + reach, highest))
