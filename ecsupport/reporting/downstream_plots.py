"""The pictures of notebook 04: mean ROC curves, learning curves, and differences between arms."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from ecsupport.evaluation.components import SCOPES
from ecsupport.experiments.tested import Tested
from ecsupport.experiments.translators import NAMES
from ecsupport.reporting import style
from ecsupport.screening import arms

DRAWN = (arms.REAL_ONLY, *(f"+ {name}" for name in NAMES.values()), arms.NEW)  # the curves of Figure 3


def mean_roc(curves: pd.DataFrame, tested: Tested) -> Figure:
    """Mean ROC curve of each arm, band one SD over runs. Columns of `evaluation.runs.mean_roc`."""
    figure, axis = plt.subplots(figsize=(style.WIDE * 0.9, 3.5))
    for colour, (arm, curve) in zip(style.SERIES, curves.groupby("arm", sort=False), strict=False):
        rows = tested.scores[arm]
        area = np.mean([roc_auc_score(tested.truth, row) for row in rows])
        count = f"{len(rows)} run{'s' if len(rows) > 1 else ''}"
        axis.plot(curve["false_positive_rate"], curve["mean"], color=colour, label=f"{arm}: AUC {area:.2f}, {count}")
        if len(rows) > 1:
            low, high = (curve["mean"] - curve["sd"]).clip(0), (curve["mean"] + curve["sd"]).clip(upper=1)
            axis.fill_between(curve["false_positive_rate"], low, high, color=colour, alpha=0.15, lw=0)
    axis.plot([0, 1], [0, 1], color="0.7", lw=0.8, ls=":")
    axis.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="1 - specificity", ylabel="sensitivity")
    axis.set_aspect("equal")
    figure.legend(loc="outside right center", fontsize=7)
    return figure


def learning(curves: pd.DataFrame) -> Figure:
    """Validation AUC over training by what was added, a panel each. Columns of `downstream_tables.learning`."""
    names = list(curves["arm"].unique())
    groups: Mapping[str, list[str]] = {
        "real ultrasound added, or none": [arm for arm in names if arm in (arms.REAL_ONLY, arms.NEW, arms.DUPLICATED)],
        "synthetic positives added": [f"+ {name}" for name in NAMES.values()],
        "both classes added": [arm for arm in names if arm.endswith("both classes")],
    }
    figure, axes = plt.subplots(1, 3, figsize=(style.WIDE, 2.9), sharey=True)
    for axis, (title, members) in zip(axes, groups.items(), strict=True):
        drawn = curves[curves["arm"].isin(members)].groupby("arm", sort=False)
        for number, (arm, curve) in enumerate(drawn):
            line, label = "-" if number < 5 else "--", arm.removesuffix(", both classes")
            axis.plot(curve["step"], curve["auc"], color=style.SERIES[number % 5], ls=line, label=label)
        axis.axhline(0.5, color="0.7", lw=0.8, ls=":")
        axis.set(xlabel="step", ylim=(-0.1, 1))
        axis.set_title(title, fontsize=8.5)
        axis.legend(fontsize=6, loc="lower right")
    axes[0].set_ylabel("validation ROC AUC")
    return figure


def differences(areas: pd.DataFrame) -> Figure:
    """Differences in ROC AUC between arms, one line a pair. Rows of `downstream_tables.compared` of that metric."""
    figure, axis = plt.subplots(figsize=(style.WIDE, 0.2 * len(areas) + 0.9))
    place = np.arange(len(areas))[::-1]
    colours = np.where(areas["b"] == arms.REAL_ONLY, style.SERIES[2], style.SERIES[0])
    style.intervals(axis, areas, place, colours, areas["scope"] == SCOPES[0])
    axis.axvline(0, color="0.5", lw=0.8)
    axis.set_yticks(place, [f"{a}   less   {b}" for a, b in zip(areas["a"], areas["b"], strict=True)], fontsize=6.5)
    axis.set(xlabel="difference in ROC AUC, 95 % interval", ylim=(-0.7, len(areas) - 0.3))
    return figure
