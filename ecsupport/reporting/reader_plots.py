"""The pictures of notebook 09: published readers in ROC space, and simulated readers beside the model's curves."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecsupport.evaluation.readers import TABLE_8
from ecsupport.reporting import style
from ecsupport.reporting.reader_tables import METRICS, Printed, score_columns

COLOURS = {"Junior": style.PALETTE["orange"], "Senior": style.PALETTE["blue"], "model": style.PALETTE["vermilion"]}
DIFFERENCE_COLOURS = {"sensitivity": style.PALETTE["purple"], "specificity": style.PALETTE["green"]}
GROUPS = ("Junior", "Senior")


def published_readers(printed: Printed, lsnet: pd.DataFrame) -> Figure:
    """Ten readers with their intervals and LSNet's runs, in ROC space and by metric.

    lsnet: columns TABLE_8, one row a run
    """
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDE, 3.3), width_ratios=(1.25, 1))
    _published_points(axes[0], printed, lsnet)
    _groups(axes[1], printed, lsnet)
    return figure


def _published_points(axis: Axes, printed: Printed, lsnet: pd.DataFrame) -> None:
    for level in (0.7, 0.8, 0.9):
        axis.plot([0, 1], [2 * level - 1, 2 * level], "--", color="0.8", lw=0.8, zorder=0)
        x, centred = min(0.43, 1.98 - 2 * level), {"ha": "center", "va": "center"}
        axis.text(x, 2 * level - 1 + x, f"{level}", color="0.5", fontsize=7, backgroundcolor="white", **centred)
    for reader, group in zip(printed.points.index, printed.group, strict=True):
        point, low, high = (of.loc[reader] for of in (printed.points, printed.low, printed.high))
        across = 1 - high["specificity"], 1 - low["specificity"]
        axis.hlines(point["sensitivity"], *across, color=COLOURS[group], lw=1.2)
        upright = low["sensitivity"], high["sensitivity"]
        axis.vlines(1 - point["specificity"], *upright, color=COLOURS[group], lw=1.2)
    for group in GROUPS:
        of, name = printed.of_group(group), f"{group.lower()} sonographers"
        axis.plot(1 - of["specificity"], of["sensitivity"], "o", color=COLOURS[group], label=name)
    look = {"color": COLOURS["model"], "ms": 9, "label": "LSNet, three runs"}
    axis.plot(1 - lsnet["specificity"], lsnet["sensitivity"], "*", **look)
    axis.set(xlim=(0, 0.45), ylim=(0.4, 1.01), xlabel="1 - specificity", ylabel="sensitivity")
    axis.set_title("published operating points")
    axis.legend(loc="lower right")


def _groups(axis: Axes, printed: Printed, lsnet: pd.DataFrame) -> None:
    for place, metric in enumerate(TABLE_8):
        for group, shift in zip(GROUPS, (-0.16, 0.16), strict=True):
            of = printed.of_group(group)[metric]
            axis.plot(np.full(len(of), place + shift), of, "o", color=COLOURS[group], alpha=0.75)
            axis.hlines(of.mean(), place + shift - 0.11, place + shift + 0.11, color="black", lw=1.2)
        axis.plot(np.full(len(lsnet), place), lsnet[metric], "*", ms=8, color=COLOURS["model"])
    axis.set(xticks=range(3), ylim=(0.5, 1.01), title="readers and means of their groups", ylabel="value")
    axis.set_xticklabels(METRICS.values())


def readers_on_images(
    predictions: pd.DataFrame, drawn: pd.DataFrame, intervals: pd.DataFrame, compared: pd.DataFrame, printed: Printed
) -> Figure:
    """Simulated readers and LSNet's curves on the same images, and LSNet less each reader.

    predictions: columns truth and score_*;  drawn: of `reader_tables.in_roc_space`;  intervals: of `reader_intervals`
    compared: of `against_model`
    """
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDE, 3.2), width_ratios=(1.1, 1))
    _curves(axes[0], predictions, drawn)
    _simulated_points(axes[0], intervals, printed)
    _differences(axes[1], compared)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _curves(axis: Axes, predictions: pd.DataFrame, drawn: pd.DataFrame) -> None:
    """The curve of each run of LSNet, and its point at the threshold 0.5."""
    truth = predictions["truth"].to_numpy()
    for number, column in enumerate(score_columns(predictions)):
        curve = drawn[drawn["reader"] == column]
        look = {"color": COLOURS["model"], "lw": 1, "alpha": 0.7}
        axis.step(curve["x"], curve["y"], where="post", label="LSNet, three runs" if number == 0 else None, **look)
        called = predictions[column] >= 0.5
        axis.plot(called[truth == 0].mean(), called[truth == 1].mean(), "*", ms=9, color=COLOURS["model"])


def _simulated_points(axis: Axes, intervals: pd.DataFrame, printed: Printed) -> None:
    """Each simulated reader with her intervals by patient, and a ring where the published point lies."""
    computed = intervals.set_index(["reader", "metric"])
    for reader, group in zip(printed.points.index, printed.group, strict=True):
        se, sp = computed.loc[(reader, "sensitivity")], computed.loc[(reader, "specificity")]
        look = {"color": COLOURS[group], "lw": 0.8, "alpha": 0.5}
        axis.hlines(se["estimate"], 1 - sp["patient_high"], 1 - sp["patient_low"], **look)
        axis.vlines(1 - sp["estimate"], se["patient_low"], se["patient_high"], **look)
        axis.plot(1 - sp["estimate"], se["estimate"], "o", color=COLOURS[group])
        published, ring = printed.points.loc[reader], {"mfc": "none", "mec": "0.5", "ms": 4}
        axis.plot(1 - published["specificity"], published["sensitivity"], "o", zorder=0, **ring)
    axis.set(xlim=(-0.02, 1), ylim=(0, 1.02), xlabel="1 - specificity", ylabel="sensitivity")
    axis.set_title("simulated readers, these images")
    axis.plot([], [], "o", color="0.4", label="simulated readers (rings: as published)")
    axis.legend(loc="lower right")


def _differences(axis: Axes, compared: pd.DataFrame) -> None:
    """LSNet less each reader, and less their mean, in sensitivity and in specificity."""
    for shift, (metric, colour) in zip((-0.14, 0.14), DIFFERENCE_COLOURS.items(), strict=True):
        of = compared[compared["metric"] == metric].reset_index(drop=True)
        axis.hlines(of.index + shift, of["low"], of["high"], color=colour, lw=1.4)
        axis.plot(of["difference"], of.index + shift, "o", ms=3.5, color=colour, label=metric)
    axis.axvline(0, color="0.7", lw=0.8, zorder=0)
    readers = compared["reader"].unique()
    axis.set(yticks=range(len(readers)), xlabel="model - reader, 95 % (patients resampled)")
    axis.set_title("the first run against each")
    axis.set_yticklabels(readers)
    axis.invert_yaxis()
