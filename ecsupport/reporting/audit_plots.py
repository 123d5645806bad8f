"""The pictures of notebook 10: verdicts on every number, sizes that intervals imply, and the reporting checklists."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ecsupport.audit.checklists import STATUSES, SUBJECTS
from ecsupport.audit.interval_sizes import METHODS
from ecsupport.audit.verdicts import AT_A_GLANCE
from ecsupport.reporting import style

UNDECIDED = "0.82"
VERDICT_COLOURS = (style.PALETTE["green"], style.PALETTE["yellow"], style.PALETTE["vermilion"], UNDECIDED)
STATUS_COLOURS = (style.PALETTE["green"], style.PALETTE["orange"], UNDECIDED)
SIZE_TICKS = {
    "Sensitivity": (300, 400, 500, 650),
    "Specificity": (336, 1000, 3000, 10_000),
    "ROC AUC": (672, 2000, 6000),
}
STATED_SIZES = {"Sensitivity": 336, "Specificity": 336, "ROC AUC": 672}
LONGEST = 14  # characters of a row's name


def verdicts_by_table(cells: pd.DataFrame) -> Figure:
    """One square a printed number, a panel a table, coloured by verdict. Columns of `audit.verdicts.of_tables`."""
    figure, axes = plt.subplots(2, 4, figsize=(style.WIDE, 4.4))
    for axis, (name, of) in zip(axes.ravel(), cells.groupby("where", sort=False), strict=True):
        rows = list(of["row"].unique())
        place = of.groupby("row").cumcount()
        grid = np.full((len(rows), place.max() + 1), np.nan)
        grid[of["row"].map(rows.index), place] = of["verdict"].map(AT_A_GLANCE.index)
        _squares(axis, grid, VERDICT_COLOURS)
        short = [row if len(row) <= LONGEST else f"{row[: LONGEST - 1]}…" for row in rows]
        axis.set_yticks(np.arange(len(rows)) + 0.5, short, fontsize=6)
        axis.set_xticks([])
        axis.set_title(name.replace("_", " ").capitalize())
        axis.spines[:].set_visible(False)
    figure.legend([Patch(color=c) for c in VERDICT_COLOURS], AT_A_GLANCE, loc="outside upper center", ncols=4)
    return figure


def reader_sizes(sizes: pd.DataFrame) -> Figure:
    """Numbers of images that each reader's intervals imply, from least to greatest, by method; dashed: as stated.

    sizes: of `audit.interval_sizes.reader_sizes`
    """
    figure, axes = plt.subplots(1, 3, figsize=(style.WIDE, 3.2), sharey=True)
    readers = list(sizes["reader"].unique())
    for axis, (metric, of) in zip(axes, sizes.groupby("metric", sort=False), strict=True):
        for line in of[of["sizes"] > 0].itertuples():
            place, shift = readers.index(line.reader), METHODS.index(line.method)
            label = line.method if place == 0 else None
            height = [place + 0.22 * (shift - 1)] * 2
            axis.plot([line.least, line.greatest], height, color=style.SERIES[shift], lw=2, label=label)
        axis.axvline(STATED_SIZES[metric], color="black", lw=1, ls="--", label="stated")
        axis.set_xscale("log")
        axis.set_xticks(SIZE_TICKS[metric], [f"{tick:,}" for tick in SIZE_TICKS[metric]])
        axis.minorticks_off()
        axis.set_xlabel("images")
        axis.set_title(metric)
    axes[0].set_yticks(range(len(readers)), readers)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def checklists(items: pd.DataFrame) -> Figure:
    """One square an item of a checklist, a panel a list, for paper and companion. Columns of `load_checklists`."""
    groups = list(items.groupby("checklist", sort=False))
    figure, axes = plt.subplots(len(groups), 1, figsize=(style.WIDE, 3.4))
    for axis, (name, of) in zip(axes, groups, strict=True):
        _squares(axis, np.array([of[subject].map(STATUSES.index) for subject in SUBJECTS]), STATUS_COLOURS)
        axis.set_yticks([0.5, 1.5], SUBJECTS)
        axis.set_xticks(np.arange(len(of)) + 0.5, of["item"], fontsize=5, rotation=90)
        axis.set_title(name)
    handles = [Patch(color=colour, label=status) for status, colour in zip(STATUSES, STATUS_COLOURS, strict=True)]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _squares(axis: Axes, grid: np.ndarray, colours: tuple[str, ...]) -> None:
    """A grid of squares, first row on top; grid: places in `colours`, NaN for none."""
    look = {"cmap": ListedColormap(list(colours)), "vmin": 0, "vmax": len(colours) - 1}
    axis.pcolormesh(grid, **look, edgecolor="white", lw=0.8)
    axis.invert_yaxis()
    axis.tick_params(length=0)
