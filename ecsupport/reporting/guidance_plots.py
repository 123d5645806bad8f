"""Pictures of notebook 05's section on guidance and the label; each draws a table of `guidance_tables`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecsupport.experiments.guidance import BATCH, SIMULATED, TOLD, TRUE, WHEN
from ecsupport.reporting import style
from ecsupport.screening import ablations, guided
from ecsupport.screening.label_leak import CHOICES

NAMES = {ablations.FULL: "α = 0.7", ablations.EITHER_SIGN: "α = 0.5", ablations.MAGNITUDE: "|G|"}


def in_guidance(told: pd.DataFrame) -> Figure:
    """Does a kept key tell the label? Overlap and decoding by choice of keys and block; of `in_guidance`.

    Dots are training runs, whiskers 95 % intervals over patients.
    """
    figure, axes = plt.subplots(1, 3, figsize=(style.WIDE, 4.6), sharey=True)
    overlap, auc = told[told["measure"] == "overlap"], told[told["measure"] == "auc"]
    random, true = auc[auc["given"] == TOLD], auc[auc["when"] == BATCH]
    for number, when in enumerate(WHEN):
        _dots(axes[0], overlap[overlap["when"] == when], number, when)
        _dots(axes[1], random[random["when"] == when], number, when)
    for number, (given, label) in enumerate(((TRUE, "teacher's map"), (SIMULATED, "simulated map"))):
        _dots(axes[2], true[true["given"] == given], 3 + number, label)
    runs, patients = told["seed"].nunique(), int(auc["patients"].max())
    axes[0].set(title="Keys that both labels keep", xlabel="share of keys", xlim=(-0.03, 1.05))
    axes[1].set(title="Random label, read back", xlabel=f"AUC ({runs} runs; 95 % of {patients} patients)")
    axes[2].set(title="True label, read from keys", xlabel=f"AUC, {BATCH}")
    figure.suptitle("Only |G| still hides the label while the teacher hands over", x=0.01, ha="left", fontsize=10)
    for axis in axes:
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), handletextpad=0.1)
        axis.grid(axis="y")
    for axis in axes[1:]:
        axis.axvline(0.5, color="0.7", lw=0.8, zorder=0)
        axis.set_xlim(min(0.35, float(auc["low"].min()) - 0.02), 1.03)
    blocks = sorted(told["block"].unique())
    axes[0].set_yticks(
        range(len(CHOICES) * len(blocks)), [f"{choice}, block {block}" for choice in CHOICES for block in blocks]
    )
    axes[0].invert_yaxis()
    return figure


def _dots(axis: Axes, rows: pd.DataFrame, number: int, label: str) -> None:
    """Runs of one series, the `number`-th colour, a little below those of the one before."""
    blocks, choices = sorted(rows["block"].unique()), list(CHOICES)
    for seed, (_, run) in enumerate(rows.groupby("seed")):
        row = run["choice"].map(choices.index) * len(blocks) + run["block"].map(blocks.index)
        at = row + 0.26 * (number % 3 - 1) + 0.06 * (seed - 1)
        axis.hlines(at, run["low"], run["high"], color=style.SERIES[number], lw=0.8, alpha=0.6)
        axis.plot(run["value"], at, "o", ms=3.2, color=style.SERIES[number], label="" if seed else label)


def guided_students(made: pd.DataFrame) -> Figure:
    """What an exchanged map does to a student's class loss; of `guidance_tables.guided_students`."""
    figure, axes = plt.subplots(1, len(NAMES), figsize=(style.WIDE, 2.7), sharex=True, sharey=True)
    given = [name for name in guided.GIVEN if name != guided.NONE]
    for axis, arm in zip(axes, NAMES, strict=True):
        for number, (part, of) in enumerate(made[made["arm"] == arm].groupby("images", sort=False)):
            rows = of.set_index("given").loc[given, ["less", "low", "high"]].rename(columns={"less": "estimate"})
            number_of = f"{part} images, {of['patients'].iloc[0]} patients"
            style.intervals(
                axis, rows, np.arange(len(rows)) + 0.24 * (number - 0.5), style.SERIES[number], label=number_of
            )
        axis.axvline(0, color="0.7", lw=0.8, zorder=0)
        axis.set(title=NAMES[arm], xlabel="class loss − no map's\n← map helps | map hurts →")
    axes[0].set_yticks(range(len(given)), given)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, ncols=2, loc="outside upper center")
    return figure
