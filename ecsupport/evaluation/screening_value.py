"""Theoretical screening performance (Table 7, Appendix C): what a test is worth at a given prevalence.

With P the prevalence, Se the sensitivity and Sp the specificity:

    LR+  = Se / (1 - Sp)                              LR-  = (1 - Se) / Sp
    rate = P Se + (1 - P)(1 - Sp)                     expected screen-positive rate
    PPV  = P Se / rate                                NPV  = (1 - P) Sp / (1 - rate)
    NNS  = 1 / (P Se)                                 number to screen to detect one true positive

Limits: specificity 1 gives LR+ = inf, specificity 0 gives LR- = inf, sensitivity 0 gives NNS = inf. 0/0 is NaN: PPV
where nobody screens positive, NPV where nobody screens negative, a likelihood ratio with both terms 0.
Sensitivity and specificity are taken to be the same in every population; spectrum and verification differ in
practice, so these are projections and no observations.
"""

import numpy as np
from numpy.typing import ArrayLike

from ecsupport.core.errors import UserError

PREVALENCES = {  # the rows of Table 7
    "general screening": 0.0002,
    "abnormal postmenopausal bleeding": 0.09,
    "atypical hyperplasia": 0.308,
    "Lynch syndrome": 0.40,
}


def screening_value(sensitivity: ArrayLike, specificity: ArrayLike, prevalence: ArrayLike) -> dict[str, np.ndarray]:
    """Predictive values, likelihood ratios, screen-positive rate and number needed to screen.

    sensitivity, specificity: proportions in [0, 1];  prevalence: in (0, 1);  any shapes that broadcast together
    Returns ppv, npv, lr_positive, lr_negative, screen_positive_rate, nns, each of the broadcast shape (a float for
    scalars). nns is not rounded. Raises UserError for a value outside its range or NaN.
    """
    se, sp, p = np.broadcast_arrays(
        check_proportion("sensitivity", sensitivity),
        check_proportion("specificity", specificity),
        check_prevalence(prevalence),
    )
    return _screening_value(se, sp, p)


def screening_value_samples(
    se_samples: ArrayLike, sp_samples: ArrayLike, prevalence: ArrayLike
) -> dict[str, np.ndarray]:
    """The same for every bootstrap resample, so that the uncertainty of both rates carries over.

    se_samples, sp_samples: (n_resamples,) from the same resamples, NaN where undefined;  prevalence: (n_populations,)
    or a scalar
    Returns the keys of `screening_value`, each (n_resamples, n_populations), NaN where a rate is. Take percentiles
    along axis 0. Raises UserError as `screening_value` does, or where the two are not of one length.
    """
    se = check_proportion("se_samples", se_samples, nan_allowed=True)
    sp = check_proportion("sp_samples", sp_samples, nan_allowed=True)
    if se.ndim != 1 or se.shape != sp.shape:
        raise UserError(
            f"se_samples, sp_samples: have shapes {se.shape} and {sp.shape}. "
            "Give both rates of every resample, shape (n_resamples,)."
        )
    populations = np.atleast_1d(check_prevalence(prevalence))  # (n_populations,)
    return _screening_value(*np.broadcast_arrays(se[:, None], sp[:, None], populations[None, :]))


def _screening_value(se: np.ndarray, sp: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    true_positive, false_positive = p * se, (1 - p) * (1 - sp)
    false_negative, true_negative = p * (1 - se), (1 - p) * sp
    with np.errstate(divide="ignore", invalid="ignore"):  # the limits stated above: x/0 = inf, 0/0 = NaN
        return {
            "ppv": true_positive / (true_positive + false_positive),
            "npv": true_negative / (true_negative + false_negative),
            "lr_positive": se / (1 - sp),
            "lr_negative": (1 - se) / sp,
            "screen_positive_rate": true_positive + false_positive,
            "nns": 1 / true_positive,
        }


def check_proportion(name: str, values: ArrayLike, *, nan_allowed: bool = False) -> np.ndarray:
    """The values as float64; UserError where one lies outside [0, 1], or is NaN unless that is allowed."""
    array = _numbers(name, values)
    bad = ~((array >= 0) & (array <= 1)) & ~(nan_allowed & np.isnan(array))
    if bad.any():
        raise UserError(f"{name}: {_remedy(array[bad].flat[0], 'in [0, 1]')}")
    return array


def check_prevalence(values: ArrayLike) -> np.ndarray:
    """The values as float64; UserError where one lies outside (0, 1), with a hint where it looks like a percentage."""
    array = _numbers("prevalence", values)
    bad = ~((array > 0) & (array < 1))
    if bad.any():
        raise UserError(f"prevalence: {_remedy(array[bad].flat[0], 'between 0 and 1, both excluded')}")
    return array


def _numbers(name: str, values: ArrayLike) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{name}: {values!r} is not a number. Give a proportion, such as 0.09.") from None


def _remedy(value: float, expected: str) -> str:
    if 1 < value <= 100:
        return f"{value:g} looks like a percentage; write {value / 100:g}."
    return f"{value:g} is not {expected}. Give a proportion, such as 0.09."
