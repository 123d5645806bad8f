"""Several training runs of several arms on one test set: rows of Tables 2 to 5, curves of Figures 3 and 4."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from ecsupport.evaluation.classification import METRICS, metrics

LABELS = dict(zip(METRICS, ("Accuracy", "Sensitivity", "Specificity", "Precision", "F1-score", "ROC AUC"), strict=True))
Scores = Mapping[str, Sequence[ArrayLike]]  # arm -> one row of scores a training run, each (n,)


def metric_runs(truth: ArrayLike, scores: Scores) -> pd.DataFrame:
    """Six metrics of every run: columns arm, run (from 1), metric, value. truth: (n,) 0 or 1."""
    rows = [
        (arm, number, metric, value)
        for arm, runs in scores.items()
        for number, score in enumerate(runs, start=1)
        for metric, value in metrics(truth, score).items()
    ]
    return pd.DataFrame(rows, columns=["arm", "run", "metric", "value"])


def beside_published(runs: pd.DataFrame, published: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Mean and SD over runs beside the published ones: arm, metric, published_mean, published_sd, mean, sd, runs.

    runs: as from `metric_runs`;  published: cells of one table of numbers.csv, the arm in `row` or in `column`;
    names: arm -> its name in the paper, in the order wanted; a published arm that was not run has no computed value,
    an arm that the paper does not have no published one. SDs divide by the number of runs, as the tables do; one run
    has none.
    """
    cells: dict[tuple[str, str, str], float] = {}
    for row, column, part, value in published[["row", "column", "part", "value"]].itertuples(index=False):
        cells |= {(row, column, part): value, (column, row, part): value}
    rows = []
    for arm, name in names.items():
        for metric, label in LABELS.items():
            values = runs.loc[(runs["arm"] == arm) & (runs["metric"] == metric), "value"].to_numpy()
            printed = [cells.get((name, label, part), np.nan) for part in ("mean", "sd")]
            ours = values.mean() if len(values) else np.nan, values.std() if len(values) > 1 else np.nan
            rows.append((name, metric, *printed, *ours, len(values)))
    return pd.DataFrame(rows, columns=["arm", "metric", "published_mean", "published_sd", "mean", "sd", "runs"])


def mean_roc(truth: ArrayLike, scores: Scores) -> pd.DataFrame:
    """Mean ROC curve over runs with its SD: arm, false_positive_rate, mean, sd (over the number of runs; NaN for one).

    Each run's true positive rate is read off its curve at 101 evenly spaced false positive rates, linearly between its
    points (Fawcett 2006, vertical averaging).
    """
    grid = np.linspace(0, 1, 101)
    parts = []
    for arm, runs in scores.items():
        curves = np.array([np.interp(grid, *roc_curve(truth, score)[:2]) for score in runs])
        curves[:, 0] = 0.0
        sd = curves.std(axis=0) if len(curves) > 1 else np.full(len(grid), np.nan)
        parts.append(pd.DataFrame({"arm": arm, "false_positive_rate": grid, "mean": curves.mean(axis=0), "sd": sd}))
    return pd.concat(parts, ignore_index=True)


def sensitivity_at(truth: ArrayLike, score: ArrayLike, specificity: float) -> float:
    """Highest sensitivity over the thresholds that reach at least that specificity (0 to 1)."""
    false_positive_rate, true_positive_rate, _ = roc_curve(truth, score, drop_intermediate=False)
    return float(true_positive_rate[false_positive_rate <= 1 - specificity + 1e-12].max())
