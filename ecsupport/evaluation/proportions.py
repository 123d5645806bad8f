"""Intervals for one proportion and tests for two paired ones, partners of the bootstrap of Tables 6 and 8.

- Wilson and Clopper-Pearson intervals suit a sensitivity or a specificity whose images are independent, also near
  0 and 1, where a bootstrap of images has nothing left to draw.
- McNemar's test asks whether two models, or a reader and a model, are right equally often on the same images.
- Its clustered form takes patients, not images, for independent.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.proportion import proportion_confint

from ecsupport.core.errors import UserError, row_error
from ecsupport.evaluation.classification import same_rows

METHODS = {"wilson": "wilson", "clopper-pearson": "beta"}  # our names, statsmodels' names


@dataclass(frozen=True)
class Proportion:
    """A proportion and the limits of its interval: scalars, or arrays of one shape, in [0, 1]."""

    value: Any
    low: Any
    high: Any


@dataclass(frozen=True)
class McNemar:
    """A McNemar test.

    only_a, only_b: images on which a alone, and b alone, is right
    statistic: min(only_a, only_b) for the exact test, else chi-square on 1 degree of freedom;  p_value: two-sided
    """

    only_a: int
    only_b: int
    statistic: float
    p_value: float


def proportion_interval(count: ArrayLike, n: ArrayLike, *, method: str = "wilson", level: float = 0.95) -> Proportion:
    """Interval for count out of n independent images.

    count, n: whole numbers, scalars or arrays that broadcast, 0 <= count <= n, n >= 1
    method: "wilson" (Wilson, J Am Stat Assoc 1927; covers level on average over the true proportion) or
    "clopper-pearson" (Clopper and Pearson, Biometrika 1934; covers at least level whatever the true proportion)
    The lower limit is exactly 0 at count 0 and the upper exactly 1 at count n.
    Raises UserError for a count that is not whole or outside 0..n, n below 1, an unknown method, or a level outside
    (0, 1).
    """
    check_level(level)
    if method not in METHODS:
        raise UserError(f"method: {method!r} is unknown. Choose one of {', '.join(METHODS)}.")
    counts, sizes = map(np.array, np.broadcast_arrays(_whole("count", count), _whole("n", n)))  # copies, not views
    wrong = (sizes < 1) | (counts < 0) | (counts > sizes)
    if wrong.any():
        first = np.argmax(wrong)
        raise UserError(
            f"count, n: {counts.flat[first]:g} of {sizes.flat[first]:g} is no proportion. "
            "Give a count between 0 and n, and n of 1 or more."
        )
    low, high = proportion_confint(counts, sizes, alpha=1 - level, method=METHODS[method])
    # Wilson's limits are 0 and 1 there too, but for rounding
    low, high = np.where(counts == 0, 0.0, low), np.where(counts == sizes, 1.0, high)
    return Proportion((counts / sizes)[()], low[()], high[()])


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike, *, exact: bool = True) -> McNemar:
    """McNemar's test that a and b are right equally often, images independent (Psychometrika 1947).

    correct_a, correct_b: (n,) True or 1 where right, row i of each is the same image
    exact: the binomial test of the discordant images; else chi-square without continuity correction, which asks
    for some 25 discordant images
    Limit: without discordant images the p-value is 1, and the chi-square, 0/0, is NaN.
    Raises UserError naming the row for a value other than 0 and 1, unequal lengths, no rows, or unequal indexes.
    """
    a, b = _paired(correct_a, correct_b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if not exact and only_a + only_b == 0:
        return McNemar(0, 0, np.nan, 1.0)
    result = contingency_tables.mcnemar([[0, only_a], [only_b, 0]], exact=exact, correction=False)
    return McNemar(only_a, only_b, float(result.statistic), float(result.pvalue))


def mcnemar_clustered(correct_a: ArrayLike, correct_b: ArrayLike, patient_id: ArrayLike) -> McNemar:
    """McNemar's test with patients as clusters (Durkalski et al., Stat Med 2003; 22:2417-2428).

    correct_a, correct_b: (n,) True or 1 where right;  patient_id: (n,) any hashable
    With d_k the images of patient k on which only a is right less those on which only b is, out of n_k images,
        chi-square = (sum_k d_k / n_k)^2 / sum_k (d_k / n_k)^2 on 1 degree of freedom.
    Every patient weighs the same, however many images she has; any correlation within a patient is allowed. With
    one image per patient this is the chi-square of `mcnemar`. It relies on many patients with d_k other than 0.
    Limit: where every d_k is 0 the p-value is 1, and the chi-square, 0/0, is NaN.
    Raises UserError as `mcnemar` does, for an empty patient_id, or fewer than two patients.
    """
    a, b = _paired(correct_a, correct_b)
    same_rows("correct_a", correct_a, "patient_id", patient_id)
    patient, n_patients = number_patients(patient_id)
    if n_patients < 2:
        raise UserError("patient_id: there is only one patient. The clustered test needs at least two.")
    only_a, only_b = a & ~b, b & ~a
    excess = np.bincount(patient, weights=only_a.astype(float) - only_b) / np.bincount(patient)  # (n_patients,)
    between = (excess**2).sum()
    if between == 0:
        return McNemar(int(only_a.sum()), int(only_b.sum()), np.nan, 1.0)
    statistic = float(excess.sum() ** 2 / between)
    return McNemar(int(only_a.sum()), int(only_b.sum()), statistic, float(stats.chi2.sf(statistic, df=1)))


def number_patients(patient_id: ArrayLike) -> tuple[np.ndarray, int]:
    """Number the patients in order of appearance.

    patient_id: (n,) any hashable
    Returns (n,) integers 0..n_patients-1 and n_patients. Raises UserError naming the row of an empty patient_id.
    """
    codes, patients = pd.factorize(pd.Series(patient_id))  # a Series, for in an array of strings NaN is a name
    if (codes < 0).any():
        row = int(np.argmax(codes < 0)) + 1
        raise row_error("patient_id", row, "is empty", "Name the patient of every image.")
    return codes, len(patients)


def check_level(level: float) -> None:
    """Raise UserError unless the level of an interval lies in (0, 1)."""
    if not 0 < level < 1:
        raise UserError(f"level: {level} is not between 0 and 1. Write 0.95 for 95 %.")


def _whole(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or not (np.isfinite(array) & (array == np.floor(array))).all():
        raise UserError(f"{name}: {values!r} is not a number of images. Give whole numbers.")
    return array.astype(np.float64)


def _paired(correct_a: ArrayLike, correct_b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both columns as booleans, (n,) each, or UserError."""
    a, b = _flags("correct_a", correct_a), _flags("correct_b", correct_b)
    same_rows("correct_a", correct_a, "correct_b", correct_b)
    if not len(a):
        raise UserError("correct_a, correct_b: no rows. Give at least one image.")
    return a, b


def _flags(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise UserError(f"{name}: has shape {array.shape}. Give one value per image, shape (n,).")
    if array.dtype.kind in "biuf":
        bad = (array != 0) & (array != 1)
    else:  # objects and strings, where "1" is no number
        bad = np.array([not isinstance(value, Real | np.bool_) or value not in (0, 1) for value in array], dtype=bool)
    if bad.any():
        row = int(np.argmax(bad))
        remedy = "Give 1 where the call is right and 0 where it is wrong."
        raise row_error(name, row + 1, f"the value is {array[row]}", remedy)
    return array.astype(bool)
