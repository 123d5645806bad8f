"""Does a predicted probability mean what it says? Slope, intercept and the curve behind them (Figure 4 lacks them).

After Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17:230, 2019. Classes
are balanced in training and not in the cohort, so that an intercept other than 0 is expected.
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
    """Maximum-likelihood fit of logit P(truth = 1) = intercept + slope x logit(probability): 1 and 0 if calibrated.

    truth: (N,) 0 or 1; probability: (N,) of class 1. A slope below 1 says that the probabilities are too extreme. Both
    are NaN where there is none: a class missing, all probabilities one, or classes that a threshold separates.
    """
    x, y = logit(probability), np.asarray(truth, np.float64)
    ill, well = x[y == 1], x[y == 0]
    if not len(ill) or not len(well) or ill.min() >= well.max() or ill.max() <= well.min():
        return np.nan, np.nan
    centre, scale = x.mean(), x.std()
    design = np.stack([np.ones_like(x), (x - centre) / scale])  # (2, N)

    def likelihood(beta: np.ndarray) -> float:
        return float(-np.logaddexp(0, (1 - 2 * y) * (beta @ design)).sum())

    beta = np.zeros(2)
    for _ in range(STEPS):  # Newton's method; the likelihood is concave and has a maximum
        p = expit(beta @ design)
        step = np.linalg.solve((design * p * (1 - p)) @ design.T, design @ (y - p))
        while likelihood(beta + step) < likelihood(beta) and np.abs(step).max() > TOLERANCE:
            step /= 2
        beta = beta + step
        if np.abs(step).max() <= TOLERANCE:
            break
    slope = beta[1] / scale
    return float(slope), float(beta[0] - slope * centre)


def curve(truth: np.ndarray, probability: np.ndarray, groups: int = 8) -> pd.DataFrame:
    """Groups of equally many images by their probability: columns predicted (mean), observed (share), images.

    Fewer groups where there are fewer images. truth, probability: (N,).
    """
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, min(groups, len(order)))
    rows = [(probability[part].mean(), truth[part].mean(), len(part)) for part in parts]
    return pd.DataFrame(rows, columns=["predicted", "observed", "images"])
