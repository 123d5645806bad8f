"""Two groups of few readers: what their points say of readers like them (Table 8, junior and senior).

Readers are the only source of variance here: images and patients cannot be drawn again without the answers.
"""

import numpy as np
import pandas as pd
from scipy import stats

ENDS = (0.975, 0.025)  # upper tail first: a greater quantile gives the smaller limit


def mean_difference(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Mean of the first group less that of the second, with Welch's 95 % interval.

    first, second: [n_readers, n_metrics] with the same columns, one row a reader
    Returns a frame indexed by metric: difference, low, high, p.
    """
    welch = {metric: stats.ttest_ind(first[metric], second[metric], equal_var=False) for metric in first}
    limits = {metric: test.confidence_interval(0.95) for metric, test in welch.items()}
    return pd.DataFrame(
        {
            "difference": first.mean() - second.mean(),
            "low": {metric: interval.low for metric, interval in limits.items()},
            "high": {metric: interval.high for metric, interval in limits.items()},
            "p": {metric: test.pvalue for metric, test in welch.items()},
        }
    )


def variance_ratio(first: pd.Series, second: pd.Series) -> tuple[float, float, float]:
    """Variance of the first group over that of the second, with its 95 % F interval: exact for normal readers."""
    ratio = first.var() / second.var()
    low, high = ratio / stats.f.ppf(ENDS, len(first) - 1, len(second) - 1)
    return ratio, low, high


def sd_interval(values: pd.Series) -> tuple[float, float, float]:
    """Standard deviation (ddof 1) of one group, with its 95 % chi-squared interval: exact for normal readers."""
    sd, free = values.std(), len(values) - 1
    low, high = sd * np.sqrt(free / stats.chi2.ppf(ENDS, free))
    return sd, low, high
