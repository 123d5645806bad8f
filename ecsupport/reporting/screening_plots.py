"""Pictures of notebook 05: who teaches whom, the course of a training, gradients, keys, calibration, who is missed.

Each function draws a table that is written beside the picture, and returns the figure.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecsupport.reporting import style
from ecsupport.reporting.diagram import Arrow, Box, draw
from ecsupport.screening import cost

DENSE, SPARSE, PLAIN, GRADIENT = "#E8EEF7", "#FBE3D6", "#F3F3F3", "#FFF6D8"  # fills of Figure 7
LESSON, GUIDE = "#B0522A", "#0072B2"  # its dashed arrows
STAGES = {f"stages.{i}": f"convolutions {i + 1}" for i in range(3)} | {
    f"blocks.{i}": f"block {i + 1}" for i in range(3)
}
BOXES = {
    "image": Box(0, 1.5, "image", width=1.1),
    "teacher": Box(2.3, 2.6, "teacher\ndense MobileViT", DENSE, 2.0, 0.8),
    "lt": Box(5.0, 2.6, "class loss,\nbackward pass", PLAIN, 1.7, 0.8),
    "gt": Box(7.6, 2.6, "G: gradient of the\nattention scores", GRADIENT, 2.2, 0.8),
    "phi": Box(10.6, 2.6, "φ, smoothed\nover steps", GRADIENT, 1.8, 0.8),
    "student": Box(2.3, 0.4, "student\nsparse MobileViT", SPARSE, 2.0, 0.8),
    "sim": Box(5.0, 0.4, "simulator  Ĝ", SPARSE, 1.6),
    "keys": Box(7.6, 0.4, "top k keys of\neach query", SPARSE, 1.8, 0.8),
    "attend": Box(10.6, 0.4, "sparse attention,\nclass", SPARSE, 1.9, 0.8),
}
ARROWS = [
    Arrow("image", "teacher"), Arrow("image", "student"), Arrow("teacher", "lt"), Arrow("lt", "gt"),
    Arrow("gt", "phi"), Arrow("student", "sim"), Arrow("sim", "keys"), Arrow("keys", "attend"),
    Arrow("teacher", "student", "soft\nlabels", dashed=True, colour=LESSON, shift=(0.55, 0.0)),
    Arrow("gt", "keys", "guides, ever less", dashed=True, colour=GUIDE, shift=(-0.75, 0.35)),
    Arrow("phi", "sim", "target of the simulator", dashed=True, colour=LESSON, shift=(1.4, 0.05)),
]  # fmt: skip


def scheme() -> tuple[Figure, pd.DataFrame]:
    """Figure 7, and its arrows as a table."""
    figure, axis = plt.subplots(figsize=(style.WIDE, 2.5))
    return figure, draw(axis, BOXES, ARROWS)


def cost_by_stage(of_stages: pd.DataFrame) -> Figure:
    """Multiply-accumulates of LSNet and of its dense twin by stage; the second table of `network_sizes`."""
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDE, 2.6), sharey=True)
    for axis, label in zip(axes, ("LSNet", "LSNet, dense attention"), strict=True):
        of = of_stages[of_stages["network"] == label]
        left = np.zeros(len(of))
        for colour, kind in zip(style.SERIES, cost.KINDS, strict=False):
            axis.barh(of["stage"].replace(STAGES), of[kind] * 1000, left=left, color=colour, label=kind)
            left += of[kind].to_numpy() * 1000
        axis.set(title=label, xlabel="M multiply-accumulates at 320 px", xlim=(0, 190))
    axes[0].invert_yaxis()
    axes[1].legend(fontsize=7)
    return figure


def training(history: pd.DataFrame, mixed_steps: int) -> Figure:
    """The course of LSNet's trainings: losses and hand-over of the first run, ranks and validation of all.

    history: rows of history.csv of all runs, with a column seed;  mixed_steps: of the first phase.
    """
    figure, ((losses, handover), (ranks, validation)) = plt.subplots(2, 2, figsize=(style.WIDE, 4.4), sharex=True)
    first = history[history["seed"] == history["seed"].iloc[0]]
    _losses(losses, first)
    handover.plot(first["step"], first["teacher_share"], color=style.SERIES[0], label="teacher's share m")
    handover.plot(
        first["step"], first["simulation_weight"], color=style.SERIES[3], ls="--", label="simulator's rate, w"
    )
    handover.set(title="hand-over", ylim=(-0.03, 1.1))
    handover.legend(fontsize=7)
    _checks(ranks, validation, history.dropna(subset=["auc"]))
    validation.axvline(mixed_steps, ymin=0.18, color="0.7", ls=":", lw=1)
    return figure


def _losses(axis: Axes, first: pd.DataFrame) -> None:
    for colour, term in zip(style.SERIES, ("teacher", "student", "distillation", "simulation"), strict=False):
        axis.plot(first["step"], first[term].rolling(10, min_periods=1).mean(), color=colour, lw=1.1, label=term)
    elsewhere = first["simulation_elsewhere"].rolling(10, min_periods=1).mean()
    axis.plot(first["step"], elsewhere, color=style.SERIES[3], lw=1.1, ls="--", label="simulation, another's target")
    highest = first[["simulation", "simulation_elsewhere", "teacher", "student"]].max().max()
    axis.set(title="losses, first run", ylim=(0, 1.5 * highest))
    axis.legend(fontsize=7, ncols=2, loc="upper center")


def _checks(ranks: Axes, validation: Axes, checked: pd.DataFrame) -> None:
    """What is looked at whenever a training is validated; rows of the history with a validation AUC."""
    for colour, (seed, of) in zip(style.SERIES, checked.groupby("seed"), strict=False):
        ranks.plot(of["step"], of["agreement"], "o-", ms=3, lw=1, color=colour, label=f"run {seed}")
        validation.plot(of["step"], of["auc"], lw=1, color=colour)
        chosen = of[of["chosen"]]
        validation.plot(chosen["step"], chosen["auc"], "*", ms=9, color=colour)
    validation.plot([], [], "*", ms=9, color="0.4", ls="", label="kept by the paper's rule")
    largest = 1.2 * checked["agreement"].abs().max()
    ranks.axhline(0, color="0.8", lw=0.8, zorder=0)
    ranks.set(title="rank correlation with the teacher", xlabel="step", ylim=(-1.7 * largest, largest))
    ranks.legend(fontsize=7, ncols=3, loc="lower center")
    validation.set(title="validation AUC", xlabel="step (right of the dots: real only)", ylim=(None, 1.02))
    validation.legend(fontsize=7, loc="lower right")


def roc(curves: pd.DataFrame, published: pd.DataFrame, runs: int) -> Figure:
    """Figure 4: mean ROC curves of `mean_roc` beside the published operating points, of `load_numbers`, if any."""
    figure, axis = plt.subplots(figsize=(style.WIDE * 0.85, 3.4))
    means = published[(published["where"] == "table_3") & (published["part"] == "mean")]
    for colour, (arm, curve) in zip(style.SERIES, curves.groupby("arm", sort=False), strict=False):
        rate, mean, sd = (curve[name] for name in ("false_positive_rate", "mean", "sd"))
        axis.plot(rate, mean, color=colour, label=f"{arm}, mean of {runs} runs")
        axis.fill_between(rate, (mean - sd).clip(0), (mean + sd).clip(upper=1), color=colour, alpha=0.18, lw=0)
        cells = means[means["column"] == arm].set_index("row")["value"]
        if len(cells):
            axis.plot(1 - cells["Specificity"], cells["Sensitivity"], "D", ms=5, mfc="none", color=colour)
    axis.plot([], [], "D", ms=5, mfc="none", color="0.4", label="published operating points, clinical images")
    axis.fill_between([], [], color="0.5", alpha=0.3, lw=0, label="band: one SD over runs")
    axis.plot([0, 1], [0, 1], color="0.7", lw=0.8, ls=":")
    axis.set(xlim=(-0.01, 1), ylim=(0, 1.02), xlabel="1 - specificity", ylabel="sensitivity")
    axis.set_aspect("equal")
    figure.legend(loc="outside right center", fontsize=7)
    return figure


def maps(mapped: pd.DataFrame, pictures: np.ndarray, kinds: Sequence[str]) -> Figure:
    """Importance of each key over its image; mapped: of the job `keys.maps`, pictures: (B, S, S), kinds: B words."""
    figure, axes = plt.subplots(len(pictures), 4, figsize=(style.WIDE * 0.8, 1.35 * len(pictures)))
    for number, (row, picture) in enumerate(zip(axes, pictures, strict=True)):
        row[0].imshow(picture, vmin=0, vmax=255)
        row[0].set_ylabel(kinds[number], fontsize=7.5)
        of_image = mapped[mapped["image"] == number].groupby("map", sort=False)["value"]
        for axis, (name, values) in zip(row[1:], of_image, strict=True):
            side = int(len(values) ** 0.5)
            axis.imshow(picture, vmin=0, vmax=255)
            extent = axis.get_images()[0].get_extent()
            axis.imshow(values.to_numpy().reshape(side, side), cmap="magma", alpha=0.6, extent=extent)
            axis.set_title(name if number == 0 else "", fontsize=8)
        for axis in row:
            axis.set(xticks=[], yticks=[])
    return figure


def lessons(learnt: pd.DataFrame) -> Figure:
    """What a simulation loss teaches, by step and block; learnt: of the job `keys.lessons`, losses in words."""
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDE, 2.5))
    for colour, (label, of) in zip(style.SERIES, learnt.groupby("loss", sort=False), strict=False):
        one = of[of["block"] == 1]
        axes[0].plot(one["step"], one["simulation"], color=colour, label=label)
        axes[0].plot(one["step"], one["elsewhere"], color=colour, ls="--")
        for line, (block, part_of) in zip(("-", "--", ":"), of.groupby("block"), strict=False):
            named = f"{label}, block {block}"
            axes[1].plot(part_of["step"], part_of["agreement"], color=colour, ls=line, label=named)
    axes[0].plot([], [], color="0.4", ls="--", label="against another image's target")
    axes[0].set(title="loss", xlabel="step", ylim=(0, None))
    axes[1].set(title="rank correlation with the target", xlabel="step", ylim=(0, 1))
    axes[0].legend(fontsize=7)
    figure.legend(*axes[1].get_legend_handles_labels(), fontsize=7, loc="outside right center")
    return figure


def keys_on_anatomy(on_zone: pd.DataFrame, kept_keys: pd.DataFrame) -> Figure:
    """Share of keys on each structure less that on another image's; on_zone: of `screening_tables.keys_on_anatomy`.

    kept_keys: columns N and k, a row a block.
    """
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDE, 2.6), sharey=True)
    for (block, of_block), axis in zip(on_zone.groupby("block"), axes, strict=True):
        for number, (chooser, of) in enumerate(of_block.groupby("chooser", sort=False)):
            at = np.arange(len(of)) + 0.22 * (number - 1)
            style.intervals(axis, 100 * of, at, style.SERIES[number], label=chooser)
        axis.set_yticks(range(len(of)), of.index.get_level_values("zone"))
        axis.axvline(0, color="0.7", lw=0.8, zorder=0)
        axis.locator_params(axis="x", nbins=5)
        n, k = kept_keys.loc[block - 1, ["N", "k"]]
        axis.set(title=f"block {block}: N = {n}, k = {k}", xlabel="% of keys, less % on another image's")
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, ncols=3, loc="outside upper center")
    return figure


def calibration(reliability: pd.DataFrame) -> Figure:
    """Share of positive images by predicted probability; columns predicted, observed and seed."""
    figure, axis = plt.subplots(figsize=(style.NARROW * 1.1, 3.0))
    for colour, (seed, of) in zip(style.SERIES, reliability.groupby("seed"), strict=False):
        axis.plot(of["predicted"], of["observed"], "o-", ms=3.5, lw=1, color=colour, label=f"run {seed}")
    axis.plot([0, 1], [0, 1], color="0.7", lw=0.8, ls=":")
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="predicted probability", ylabel="share of positive images")
    axis.set_aspect("equal")
    axis.legend(fontsize=7)
    return figure


def sensitivity_by_group(tail: pd.DataFrame) -> Figure:
    """Who is missed: `screening_tables.sensitivity_by_group`; open where there is no interval."""
    figure, axis = plt.subplots(figsize=(style.NARROW * 1.6, 0.24 * len(tail) + 0.8))
    at = np.arange(len(tail))[::-1]
    style.intervals(axis, tail, at, solid=tail["low"] < tail["high"])
    counted = [f"{n} patient{'s' if n > 1 else ''}" for n in tail["patients"]]
    named = [
        group.replace("_", " ") if by in ("all", "centre") else f"{by}: {group}"
        for by, group in zip(tail["by"], tail["group"], strict=True)
    ]
    axis.set_yticks(at, [f"{group}  ({n})" for group, n in zip(named, counted, strict=True)], fontsize=7)
    axis.set(xlabel="sensitivity, 95 % interval over patients", xlim=(-0.02, 1.02))
    return figure
