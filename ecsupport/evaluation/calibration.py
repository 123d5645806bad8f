"""Does a predicted probability mean what it says? Slope, intercept and the curve behind them (Figure 4 lacks them).

After Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17:230, 2019. Batches
of training hold both classes alike, and so does the test set: what is calibrated here is not at another prevalence.
"""

import numpy as np
import pandas as pd
from scipy.special import expit

LIMIT = 1e-6  # a probability of 0 or 1 has no logit
STEPS, TOLERANCE = 100, 1e-9


def logit(probability: np.ndarray) -> np.ndarray:
    """log p / (1 - p) of probabilities (N,), cut at 1e-6 from 0 and 1."""
    p = np.clip(np.asarray(probability, np.float64), LIMIT, 1 - LIMIT)
    return np.log(p / (1 - p))


def slope_and_intercept(truth: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """Calibration slope and calibration-in-the-large: 1 and 0 where probabilities mean what they say.

    slope: of the maximum-likelihood fit logit P(truth = 1) = a + slope x logit(probability); below 1 probabilities are
    too extreme.  intercept: of that fit with a slope of 1; above 0 they are too low on the whole.
    truth: (N,) 0 or 1; probability: (N,) of class 1. Both are NaN where there is no fit: a class missing, all
    probabilities one, or classes that a threshold separates.
    """
    x, y = logit(probability), np.asarray(truth, np.float64)
    ill, well = x[y == 1], x[y == 0]
    if not len(ill) or not len(well) or ill.min() >= well.max() or ill.max() <= well.min():
        return np.nan, np.nan
    scaled = (x - x.mean()) / x.std()
    slope = _fit(np.stack([np.ones_like(x), scaled]), y)[1] / x.std()
    return float(slope), float(_fit(np.ones((1, len(x))), y, x)[0])


def _fit(design: np.ndarray, y: np.ndarray, offset: np.ndarray | float = 0.0) -> np.ndarray:
    """Coefficients (c,) of a logistic model with the columns of `design` (c, N) that has a maximum: Newton's method."""

    def likelihood(beta: np.ndarray) -> float:
        return float(-np.logaddexp(0, (1 - 2 * y) * (beta @ design + offset)).sum())

    beta = np.zeros(len(design))
    for _ in range(STEPS):
        p = expit(beta @ design + offset)
        step = np.linalg.solve((design * p * (1 - p)) @ design.T, design @ (y - p))
        while likelihood(beta + step) < likelihood(beta) and np.abs(step).max() > TOLERANCE:
            step /= 2
        beta = beta + step
        if np.abs(step).max() <= TOLERANCE:
            break
    return beta


def curve(truth: np.ndarray, probability: np.ndarray, groups: int = 8) -> pd.DataFrame:
    """Groups of equally many images by their probability: columns predicted (mean), observed (share), images.

    Fewer groups where there are fewer images. truth, probability: (N,).
    """
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, min(groups, len(order)))
    rows = [(probability[part].mean(), truth[part].mean(), len(part)) for part in parts]
    return pd.DataFrame(rows, columns=["predicted", "observed", "images"])
