"""Does a predicted probability mean what it says? Slope, intercept and the curve behind them (Figure 4 lacks them).

After Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17:230, 2019. Classes
are balanced in training and not in the cohort, so that an intercept other than 0 is expected.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

LIMIT = 1e-6  # a probability of 0 or 1 has no logit


def logit(probability: np.ndarray) -> np.ndarray:
    """log p / (1 - p) of probabilities (N,), cut at 1e-6 from 0 and 1."""
    p = np.clip(np.asarray(probability, np.float64), LIMIT, 1 - LIMIT)
    return np.log(p / (1 - p))


def slope_and_intercept(truth: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """Maximum-likelihood fit of logit P(truth = 1) = intercept + slope x logit(probability): 1 and 0 if calibrated.

    truth: (N,) 0 or 1; probability: (N,) of class 1. A slope below 1 says that the probabilities are too extreme. Both
    are NaN where a class is missing or all probabilities are one.
    """
    x = logit(probability)
    if len(set(np.asarray(truth).tolist())) < 2 or np.ptp(x) == 0:
        return np.nan, np.nan
    fit = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(x[:, None], truth)
    return float(fit.coef_[0, 0]), float(fit.intercept_[0])


def curve(truth: np.ndarray, probability: np.ndarray, groups: int = 8) -> pd.DataFrame:
    """Groups of equally many images by their probability: columns predicted (mean), observed (share), images.

    Fewer groups where there are fewer images. truth, probability: (N,).
    """
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, min(groups, len(order)))
    rows = [(probability[part].mean(), truth[part].mean(), len(part)) for part in parts]
    return pd.DataFrame(rows, columns=["predicted", "observed", "images"])
