"""The pictures of notebook 07: Table 6 and its replay, resampled metrics as boxes and histograms, and coverage."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecsupport.evaluation.bootstrap import Resamples
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.runs import LABELS
from ecsupport.reporting import style
from ecsupport.reporting.bootstrap_tables import FIVE

COLOURS = {unit: style.COLOURS[f"{unit}s"] for unit in ("image", "patient")}  # of the units that are drawn
SHARES = [0.025, 0.25, 0.5, 0.75, 0.975]
NOMINAL, NEAR = 0.95, (0.93, 0.97)  # coverage, and the grey band around it


def published_and_replayed(replayed: pd.DataFrame) -> Figure:
    """Mean and interval of each metric as printed and as replayed, by experiment; of `bootstrap_tables.replayed`."""
    figure, axes = plt.subplots(1, 3, figsize=(style.WIDE, 2.6), sharey=True)
    for axis, (experiment, of) in zip(axes, replayed.groupby("experiment"), strict=True):
        part = of.pivot(index="metric", columns="part", values=["published", "replayed"]).loc[list(FIVE)]
        for kind, shift, colour in (("published", -0.13, "published"), ("replayed", 0.13, "computed")):
            place = np.arange(len(part)) + shift
            axis.hlines(place, part[kind, "low"], part[kind, "high"], color=style.COLOURS[colour], lw=2, label=kind)
            axis.plot(part[kind, "mean"], place, "o", color=style.COLOURS[colour], ms=4)
        axis.set(title=experiment, xlim=(0.94, 1.003), xlabel="mean and 95 % interval")
        axis.set_yticks(range(len(part)), [LABELS[metric] for metric in part.index])
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def boxes(resampled: Mapping[tuple[int, str], Resamples]) -> tuple[Figure, pd.DataFrame]:
    """Figure 5: six metrics over the resamples, by image and by patient, a panel an experiment; and its quantiles.

    resampled: of `bootstrap`, by number of the experiment (1 to 3) and unit. The table has the columns experiment,
    unit, metric, p2.5, p25, p50, p75, p97.5.
    """
    figure, axes = plt.subplots(1, 3, figsize=(style.WIDE, 2.9), sharey=True)
    drawn = []
    for number, axis in enumerate(axes, start=1):
        for (unit, colour), shift in zip(COLOURS.items(), (-0.18, 0.18), strict=True):
            columns = [column[~np.isnan(column)] for column in resampled[number, unit].values.T]
            place, whiskers = np.arange(len(METRICS)) + shift, (100 * SHARES[0], 100 * SHARES[-1])
            made = axis.boxplot(
                columns, positions=place, widths=0.3, showfliers=False, patch_artist=True, whis=whiskers
            )
            for box, median in zip(made["boxes"], made["medians"], strict=True):
                box.set(facecolor=colour, alpha=0.75)
                median.set(color="black")
            for metric, column in zip(METRICS, columns, strict=True):
                drawn.append((f"Exp #{number}", unit, metric, *np.quantile(column, SHARES)))
        axis.set_title(f"Exp #{number}")
        axis.set_xticks(range(len(METRICS)), LABELS.values(), rotation=45, ha="right")
    axes[0].set_ylabel("resampled metric")
    handles = [plt.Rectangle((0, 0), 1, 1, facecolor=colour, alpha=0.75) for colour in COLOURS.values()]
    words = ["images resampled (as in the paper)", "patients resampled"]
    figure.legend(handles, words, loc="outside upper center", ncols=2)
    return figure, pd.DataFrame(drawn, columns=["experiment", "unit", "metric", *(f"p{100 * q:g}" for q in SHARES)])


def histograms(by_unit: Mapping[str, Resamples]) -> tuple[Figure, pd.DataFrame]:
    """Figures B1 to B3: six metrics of one experiment over the resamples, by image and by patient; and their bins.

    by_unit: of `bootstrap`. The table has the columns metric, unit, left_edge, resamples.
    """
    figure, axes = plt.subplots(2, 3, figsize=(style.WIDE, 3.6))
    bins = []
    for axis, (i, metric) in zip(axes.flat, enumerate(METRICS), strict=True):
        values = {unit: by_unit[unit].values[:, i] for unit in COLOURS}
        edges = _edges(np.concatenate([of[~np.isnan(of)] for of in values.values()]))
        for unit in ("patient", "image"):  # the narrower lies in front
            heights, _ = np.histogram(values[unit], edges)
            axis.stairs(heights, edges, fill=True, alpha=0.6, color=COLOURS[unit], label=f"{unit}s")
            bins += [(metric, unit, edge, height) for edge, height in zip(edges, heights, strict=False)]
        axis.set_title(LABELS[metric])
        axis.set_yticks([])
    axes[0, 0].legend()
    figure.supylabel("resamples", fontsize=8.5)
    return figure, pd.DataFrame(bins, columns=["metric", "unit", "left_edge", "resamples"])


def _edges(values: np.ndarray) -> np.ndarray:
    """Edges of 24 bins that hold all but the outermost values, and have a width where all values are equal."""
    low, high = np.quantile(values, [0.001, 0.999])
    return np.linspace(low, high, 25) if low < high else np.linspace(low - 0.02, low + 0.02, 25)


def coverage(covered: pd.DataFrame, replications: int) -> Figure:
    """Share of intervals that hold the truth, with its own interval, by kind of interval and metric.

    covered: of `simulated_coverage.coverage`, from that many replications
    """
    figure, axis = plt.subplots(figsize=(style.WIDE, 2.3))
    margin = 1.96 * np.sqrt(covered * (1 - covered) / replications)
    for shift, (metric, colour) in zip((-0.2, 0, 0.2), zip(covered, style.SERIES, strict=False), strict=True):
        place, label = np.arange(len(covered)) + shift, LABELS[metric]
        axis.errorbar(covered[metric], place, xerr=margin[metric], fmt="o", color=colour, label=label)
    axis.axvline(NOMINAL, color="0.4", lw=0.8)
    axis.axvspan(*NEAR, color="0.93", zorder=0)
    axis.set_yticks(range(len(covered)), covered.index)
    axis.invert_yaxis()
    axis.set_xlabel("coverage (nominal 0.95), with its own 95 % interval")
    figure.legend(loc="outside upper center", ncols=3)
    return figure
