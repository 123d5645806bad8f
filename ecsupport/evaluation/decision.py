"""Decision curves and prior-shift correction: what calibrated scores are worth at a real prevalence (Appendix C).

The test set holds as many positives as negatives; a clinic does not. Two corrections carry a result over, both taking
the distribution of scores within each class to be the same in both places.

Probabilities (Elkan, IJCAI 2001; Saerens et al., Neural Comput 2002, eq. 4): calibrated at prevalence P0, at P
    odds' = odds * [P / (1 - P)] / [P0 / (1 - P0)].

Net benefit (Vickers and Elkin, Med Decis Making 2006) of acting on every patient with probability >= t:
    NB(t) = P Se(t) - (1 - P) (1 - Sp(t)) t / (1 - t)
in true positives per patient, where one false positive weighs t / (1 - t) of them; acting on all has Se = 1, Sp = 0, on
none NB = 0. The threshold t is the risk at which a patient would just accept the intervention, so the probabilities
must be those at P: shift first, then draw the curve.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ecsupport.core.errors import UserError, row_error
from ecsupport.evaluation.bootstrap import resampled_metrics
from ecsupport.evaluation.classification import METRICS, check_images
from ecsupport.evaluation.screening_value import check_prevalence, check_proportion

_SENSITIVITY, _SPECIFICITY = METRICS.index("sensitivity"), METRICS.index("specificity")


def shift_prior(probability: ArrayLike, prevalence: ArrayLike, trained_at: float = 0.5) -> np.ndarray:
    """Correct probabilities calibrated at one prevalence so that they are calibrated at another.

    probability: in [0, 1], 0 and 1 stay as they are;  prevalence: in (0, 1), the new one;  trained_at: in (0, 1), that
    of the set on which they were calibrated, 0.5 for 1:1;  probability and prevalence broadcast together
    Returns probabilities of the broadcast shape. Raises UserError for a value outside its range or NaN.
    """
    p, new, old = (
        check_proportion("probability", probability),
        check_prevalence(prevalence),
        check_prevalence(trained_at),
    )
    positive, negative = p * new * (1 - old), (1 - p) * (1 - new) * old  # both cannot be 0
    return positive / (positive + negative)


def net_benefit(
    sensitivity: ArrayLike, specificity: ArrayLike, threshold: ArrayLike, prevalence: ArrayLike
) -> np.ndarray:
    """Net benefit of one operating point, in true positives per patient.

    sensitivity, specificity: in [0, 1], NaN gives NaN;  threshold: in [0, 1);  prevalence: in (0, 1);  any shapes that
    broadcast together
    Returns values of at most prevalence, of the broadcast shape. Raises UserError for a value outside its range.
    """
    se = check_proportion("sensitivity", sensitivity, nan_allowed=True)
    sp = check_proportion("specificity", specificity, nan_allowed=True)
    t, p = _thresholds(threshold), check_prevalence(prevalence)
    return p * se - (1 - p) * (1 - sp) * t / (1 - t)


def decision_curve(
    y_true: ArrayLike, probability: ArrayLike, thresholds: ArrayLike, prevalence: float | None = None
) -> pd.DataFrame:
    """Net benefit of the model, of acting on all and of acting on none, over threshold probabilities.

    y_true: (n,) 0 or 1, both present;  probability: (n,) in [0, 1], calibrated at prevalence (see `shift_prior`);
    thresholds: (n_thresholds,) in [0, 1);  prevalence: in (0, 1), default that of the test set
    Returns a frame indexed by threshold: sensitivity, specificity, model, treat_all, treat_none (net benefits).
    Raises UserError for a value outside its range, or where a class is missing.
    """
    labels, p = _check_probabilities(y_true, probability)
    t = np.atleast_1d(_thresholds(thresholds))
    prevalence = labels.mean() if prevalence is None else prevalence
    # images with p >= t: all but those that searchsorted puts before t
    sensitivity, below = (
        1 - np.searchsorted(np.sort(p[labels == label]), t, side="left") / (labels == label).sum() for label in (1, 0)
    )
    specificity = 1 - below
    curve = {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "model": net_benefit(sensitivity, specificity, t, prevalence),
        "treat_all": net_benefit(1.0, 0.0, t, prevalence),
        "treat_none": np.zeros(len(t)),
    }
    return pd.DataFrame(curve, index=pd.Index(t, name="threshold"))


def decision_curve_samples(
    y_true: ArrayLike,
    probability: ArrayLike,
    patient_id: ArrayLike | None,
    thresholds: Sequence[float],
    prevalence: float,
    *,
    unit: str,
    rng: np.random.Generator,
    n_resamples: int = 1000,
) -> np.ndarray:
    """The model's curve in every resample, all thresholds on the same resamples; prevalence is taken as known.

    Arguments as for `decision_curve` and `bootstrap`. Returns (n_resamples, n_thresholds), NaN where a resample lacks a
    class. Take percentiles along axis 0; treat_all and treat_none do not vary. Raises UserError as they do.
    """
    _, p = _check_probabilities(y_true, probability)
    t = np.atleast_1d(_thresholds(thresholds))
    values, _ = resampled_metrics(
        y_true, [p] * len(t), patient_id, unit=unit, rng=rng, n_resamples=n_resamples, thresholds=t.tolist()
    )  # (n_resamples, n_thresholds, 6)
    return net_benefit(values[..., _SENSITIVITY], values[..., _SPECIFICITY], t, prevalence)


def _check_probabilities(y_true: ArrayLike, probability: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    labels, p = check_images(y_true, probability)
    outside = (p < 0) | (p > 1)
    if outside.any():
        row = int(np.argmax(outside))
        raise row_error("probability", row + 1, f"{p[row]:g} is not in [0, 1]", "Give a calibrated probability.")
    if len(np.unique(labels)) < 2:
        raise UserError("y_true: only one class. A decision curve needs images of both.")
    return labels, p


def _thresholds(values: ArrayLike) -> np.ndarray:
    array = check_proportion("threshold", values)
    if (array == 1).any():
        raise UserError("threshold: 1 would weigh a false positive infinitely. Stay below 1.")
    return array
