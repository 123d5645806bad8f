"""The pictures of notebook 11: reported beside true for every design, one endpoint after another."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecsupport.reporting import style

REPORTED, TRUE = style.PALETTE["orange"], style.PALETTE["blue"]
WIDEST = 0.55  # optimism that is shown: intervals of two trainings reach further than any value


def trials(table: pd.DataFrame, note: str) -> Figure:
    """Reported (open) and true (filled) values, and their difference with its interval, the most optimistic first.

    Trials of which a value is undefined are left out.

    table: of `design_tables.with_expected`;  note: whose values these are, e.g. the number of trainings
    """
    rows = table.dropna(subset="optimism").sort_values("optimism").reset_index(drop=True)
    at = np.arange(len(rows))
    sizes = {"width_ratios": (3, 2), "wspace": 0.04}
    figure, (values, gaps) = plt.subplots(
        1, 2, figsize=(style.WIDE, 0.27 * len(rows) + 1.1), sharey=True, gridspec_kw=sizes
    )
    values.hlines(at, rows["true"], rows["reported"], color="0.75", lw=2.2, zorder=1)
    values.plot(rows["reported"], at, "o", color=REPORTED, mfc="white", mew=1.5, label="reported")
    values.plot(rows["true"], at, "o", color=TRUE, label="true")
    values.set_yticks(at, [f"{row.words} [{row.measure}]" for row in rows.itertuples()], fontsize=8)
    values.set_xlabel("value")
    figure.suptitle("What a design reports, and what is true", x=0.01, ha="left", fontsize=9.5)
    figure.legend(*values.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    certain = rows["found"].isin(["higher", "lower"])
    intervals = rows.assign(estimate=rows["optimism"])
    style.intervals(gaps, intervals, at, [REPORTED if one else "0.55" for one in certain], certain.tolist())
    gaps.axvline(0, color="0.4", lw=0.8)
    gaps.set(xlabel="← too low | too high →", xlim=(-WIDEST, WIDEST))
    gaps.set_title(note, fontsize=8.5)
    for axis in (values, gaps):
        axis.grid(axis="y", color="0.93")
        axis.set_axisbelow(True)
    return figure


def waterfall(steps: pd.DataFrame, title: str) -> Figure:
    """AUC, sensitivity and specificity after each change; the last row is another network. Columns of `waterfall`."""
    figure, axis = plt.subplots(figsize=(style.WIDE, 2.6))
    at = np.arange(len(steps))[::-1]
    marks = {"auc": ("o", "AUC"), "sensitivity": ("^", "sensitivity"), "specificity": ("s", "specificity")}
    for (name, (mark, label)), colour in zip(marks.items(), style.SERIES, strict=False):
        axis.plot(steps[name][:-1], at[:-1], "-", color=colour, lw=1, alpha=0.6)
        axis.plot(steps[name], at, mark, color=colour, label=label)
    axis.axhline(0.5, color="0.7", lw=0.8, ls="--")
    axis.set_yticks(at, steps["step"])
    axis.set(xlabel="value", title=title, ylim=(-0.6, len(steps) - 0.4))
    axis.grid(axis="y", color="0.93")
    figure.legend(loc="outside right center")
    return figure


def called(shares: pd.DataFrame, title: str) -> Figure:
    """Share of images called positive by finding, one mark a network. Columns finding and one a design."""
    figure, axis = plt.subplots(figsize=(style.WIDE, 3.2))
    at = np.arange(len(shares))[::-1]
    names = {
        "without-findings": "carcinoma against normal uteri",
        "sound": "carcinoma against the clinic's controls",
        "invasion": "invasion against everybody else",
    }
    for (name, label), colour, mark in zip(names.items(), style.SERIES, "os^", strict=False):
        axis.plot(shares[name], at, mark, color=colour, label=f"trained on {label}")
    axis.set_yticks(at, shares["finding"])
    axis.set(xlabel="share of images called positive", xlim=(-0.02, 1.02), title=title)
    axis.grid(axis="y", color="0.93")
    figure.legend(loc="outside upper center", ncols=1)
    return figure
