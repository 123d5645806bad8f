"""The six classification metrics of Tables 3 to 6, for one test set or for many weightings of it at once.

A resample, a jackknife replicate and a weighted sample are all the same thing: non-negative weights on the
images. The scores never change, so they are sorted once, into *cells* (see `Cells`); a metric is then a function
of the weight that falls into each cell.

Rules that hold everywhere in this package:
- label 1 is the positive class of the task (carcinoma, or invasion), label 0 the negative class;
- an image is called positive where score >= threshold;
- a ratio 0/0 is undefined and is NaN: sensitivity without positives, specificity without negatives, precision
  where nothing is called positive, F1 where there is neither a positive nor a call, ROC AUC with a single class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse

from ecsupport.core.errors import UserError, row_error

METRICS = ("accuracy", "sensitivity", "specificity", "precision", "f1", "roc_auc")


@dataclass(frozen=True)
class Counts:
    """The 2 x 2 table: true/false positives and negatives; scalars, or arrays of one shape, non-negative."""

    tp: Any
    fp: Any
    fn: Any
    tn: Any

    def __post_init__(self) -> None:
        for name in ("tp", "fp", "fn", "tn"):
            value = np.asarray(getattr(self, name))
            if not (np.isfinite(value).all() and (value >= 0).all()):
                raise UserError(f"Counts: {name} is negative or not finite. Give the number of images in each cell.")


@dataclass(frozen=True)
class Cells:
    """Test images sorted by score, in so few cells that nothing about the metrics is lost.

    Images with equal scores share a run, and so do neighbours in the order that are all of one class and on one
    side of the threshold: no metric depends on the order within a run. Run k of K, ascending in score, has two
    cells: row k of the matrix for its positive images, row K + k for its negative ones.

    matrix: (2K, n_units) sparse, images of each unit in each cell; a unit is one image or one patient
    first_called: the runs from this one on have score >= threshold
    """

    matrix: sparse.csr_array
    first_called: int


def check_images(y_true: ArrayLike, score: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Validate labels and scores of the same images.

    y_true: (n,) 0 or 1;  score: (n,) finite, higher is more suspicious, any scale
    Returns y_true as (n,) int64 and score as (n,) float64.
    Raises UserError naming the row (1-based) for a label other than 0 and 1, a score that is NaN, infinite or no
    number, unequal lengths, no rows, or two pandas Series whose indexes differ (they would be paired wrongly).
    """
    labels, scores = _numbers("y_true", y_true), _numbers("score", score)
    same_rows("y_true", y_true, "score", score)
    if not len(labels):
        raise UserError("y_true, score: no rows. Give at least one image.")
    _reject(
        "y_true", labels, (labels != 0) & (labels != 1), "Write 1 for the positive class of the task, 0 for the other."
    )
    _reject("score", scores, ~np.isfinite(scores), "Score the image again or leave it out of the test set.")
    return labels.astype(np.int64), scores.astype(np.float64)


def same_rows(first: str, a: Sequence[Any], second: str, b: Sequence[Any]) -> None:
    """Raise UserError unless the columns a and b, called first and second, describe the same rows.

    They must be equally long; two pandas Series must also share their index, lest they be paired wrongly.
    """
    if len(a) != len(b):
        name, row = (first, len(a)) if len(a) < len(b) else (second, len(b))
        problem = f"missing: {first} has {len(a)} values and {second} has {len(b)}"
        raise row_error(name, row + 1, problem, "Give one value per image in both.")
    if isinstance(a, pd.Series) and isinstance(b, pd.Series) and not a.index.equals(b.index):
        row = int(np.argmax(a.index.to_numpy() != b.index.to_numpy()))
        problem = f"index {a.index[row]!r} stands beside {b.index[row]!r} of {second}"
        raise row_error(first, row + 1, problem, "Join the two by image before calling.")


def make_cells(
    y_true: np.ndarray, score: np.ndarray, threshold: float, unit_of_image: np.ndarray | None = None
) -> Cells:
    """Sort the images once into the cells on which every metric depends.

    y_true, score: (n,) as `check_images` returns them
    unit_of_image: (n,) integers 0..n_units-1, what is weighted; default: every image is its own unit
    Raises UserError where the threshold is NaN.
    """
    if np.isnan(threshold):
        raise UserError("threshold: is NaN, so no image could be called positive. Give a number, such as 0.5.")
    distinct, tie = np.unique(score, return_inverse=True)  # tie: (n,) rank of the image's score
    n_positive = np.bincount(tie, weights=y_true, minlength=len(distinct))
    n_negative = np.bincount(tie, weights=1 - y_true, minlength=len(distinct))
    called = distinct >= threshold
    same_class = ((n_positive[1:] == 0) & (n_positive[:-1] == 0)) | ((n_negative[1:] == 0) & (n_negative[:-1] == 0))
    starts = np.append(True, ~(same_class & (called[1:] == called[:-1])))
    run = np.cumsum(starts) - 1  # (n distinct,) run of each distinct score
    n_runs = int(run[-1]) + 1
    first_called = int(run[np.argmax(called)]) if called.any() else n_runs

    unit = np.arange(len(score)) if unit_of_image is None else unit_of_image
    row = run[tie] + n_runs * (1 - y_true)
    shape = (2 * n_runs, int(unit.max()) + 1)
    return Cells(sparse.csr_array((np.ones(len(unit), dtype=np.int64), (row, unit)), shape=shape), first_called)


def metrics_of_weights(cells: Cells, weight: np.ndarray) -> np.ndarray:
    """All six metrics for many weightings of the same units.

    weight: (m, n_units) non-negative; integers (how often a unit was drawn) are counted exactly
    Returns (m, 6) in the order of METRICS, NaN where undefined.

    ROC AUC is the Mann-Whitney statistic, ties counted half (Hanley and McNeil, Radiology 1982): with P_k and N_k
    the positive and negative weight in run k, and C_k = N_1 + ... + N_k,
        AUC = sum_k P_k (C_(k-1) + C_k) / (2 sum_k P_k sum_k N_k).
    """
    drawn = cells.matrix @ np.ascontiguousarray(weight.T)  # (2K, n_units) @ (n_units, m) -> (2K, m)
    positive, negative = drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :]  # (K, m) each
    first = cells.first_called
    counts = Counts(
        tp=positive[first:].sum(axis=0),
        fp=negative[first:].sum(axis=0),
        fn=positive[:first].sum(axis=0),
        tn=negative[:first].sum(axis=0),
    )
    pairs = (counts.tp + counts.fn) * (counts.fp + counts.tn)
    negatives_below = np.cumsum(negative, axis=0)  # C_k, (K, m)
    twice_won = np.einsum("km,km->m", positive, 2 * negatives_below - negative)  # C_(k-1) + C_k = 2 C_k - N_k
    return np.column_stack([*metrics_from_counts(counts).values(), _ratio(twice_won, 2 * pairs)])


def metrics_from_counts(counts: Counts) -> dict[str, Any]:
    """The five metrics that a 2 x 2 table determines (all of METRICS but the ROC AUC), NaN where 0/0.

    Each value has the shape of the counts: a float for scalars.
    """
    tp, fp, fn, tn = (np.asarray(value) for value in (counts.tp, counts.fp, counts.fn, counts.tn))
    return {
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
        "sensitivity": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "precision": _ratio(tp, tp + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
    }


def metrics(
    y_true: ArrayLike, score: ArrayLike, threshold: float = 0.5, weight: ArrayLike | None = None
) -> dict[str, float]:
    """The six metrics of one test set (columns of Table 3).

    y_true: (n,) 0 or 1;  score: (n,) finite;  weight: (n,) finite and non-negative, default 1 each
    Returns metric -> value in [0, 1], NaN where undefined. Raises UserError as `check_images` does, or for a
    weight that is negative or not finite.
    """
    labels, scores = check_images(y_true, score)
    weights = np.ones(len(labels), dtype=np.int64)
    if weight is not None:
        weights = _numbers("weight", weight)
        same_rows("y_true", y_true, "weight", weight)
        _reject("weight", weights, ~(np.isfinite(weights) & (weights >= 0)), "Give a finite weight of 0 or more.")
    values = metrics_of_weights(make_cells(labels, scores, threshold), weights[None, :])[0]
    return dict(zip(METRICS, values.tolist(), strict=True))


def count_calls(y_true: ArrayLike, score: ArrayLike, threshold: float = 0.5) -> Counts:
    """The 2 x 2 table of one test set, positive where score >= threshold. Raises UserError as `check_images`."""
    labels, scores = check_images(y_true, score)
    called, positive = scores >= threshold, labels == 1
    pairs = {"tp": called & positive, "fp": called & ~positive, "fn": ~called & positive, "tn": ~called & ~positive}
    return Counts(**{name: int(images.sum()) for name, images in pairs.items()})


def counts_from_rates(
    sensitivity: float, specificity: float, n_positive: int, n_negative: int
) -> tuple[Counts, dict[str, float]]:
    """The whole counts nearest to published rates, and by how much the rates miss them.

    Returns (counts, residual): residual["sensitivity"] is the published value less the one the counts give, and
    likewise the specificity. A residual beyond half a unit of the last printed digit says that no count of this
    many images gives the printed rate. Raises UserError for a rate outside [0, 1] or a number below 1.
    """
    for name, rate in (("sensitivity", sensitivity), ("specificity", specificity)):
        if not 0 <= rate <= 1:
            raise UserError(f"{name}: {rate} is not in [0, 1]. Give a proportion, such as 0.994.")
    for name, number in (("n_positive", n_positive), ("n_negative", n_negative)):
        if not isinstance(number, Integral) or number < 1:
            raise UserError(f"{name}: {number} is not a number of images. Give a whole number of 1 or more.")
    tp, tn = round(sensitivity * n_positive), round(specificity * n_negative)
    residual = {"sensitivity": sensitivity - tp / n_positive, "specificity": specificity - tn / n_negative}
    return Counts(tp=tp, fp=n_negative - tn, fn=n_positive - tp, tn=tn), residual


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> Any:
    """numerator / denominator, NaN where the denominator is 0; a float for scalars."""
    undefined = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=np.asarray(denominator) > 0)[()]


def _numbers(name: str, values: ArrayLike) -> np.ndarray:
    """One-dimensional array of real numbers, or UserError naming the first row that holds none."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise UserError(f"{name}: has shape {array.shape}. Give one value per image, shape (n,).")
    if array.dtype.kind in "biuf":
        return array
    for row, value in enumerate(array, start=1):
        if not isinstance(value, Real | np.bool_):
            raise row_error(name, row, f"{value!r} is not a number", "Give one number per image.")
    return array.astype(np.float64)


def _reject(name: str, values: np.ndarray, bad: np.ndarray, remedy: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise row_error(name, row + 1, f"the value is {values[row]}", remedy)
