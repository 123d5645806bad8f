"""The pictures of notebook 03: the extractor's test, differences of distances, kept anatomy, and few images."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecsupport.evaluation import kept_anatomy
from ecsupport.experiments import translators
from ecsupport.experiments.translators import NAMES
from ecsupport.instruments.acceptance import LADDERS
from ecsupport.reporting import style

OUTLINES = {"junctional_zone": style.PALETTE["orange"], "tumour": style.PALETTE["sky"]}


def acceptance(distances: pd.DataFrame) -> Figure:
    """Distance along every ladder, one panel each. Columns ladder, strength, distance."""
    figure, axes = plt.subplots(1, len(LADDERS), figsize=(style.WIDE, 1.9), sharey=True)
    for axis, (ladder, part) in zip(axes, distances.groupby("ladder", sort=False), strict=True):
        axis.plot(range(len(part)), part["distance"], "o-", color=style.SERIES[0])
        axis.set_xticks(range(len(part)), [f"{s:g}" for s in part["strength"]], fontsize=6.5)
        axis.set_title(ladder.replace("_mri", " MRI").replace("mri", "MRI"), fontsize=8.5)
        axis.set_yscale("log")
    axes[0].set_ylabel("Fréchet distance")
    return figure


def differences(compared: pd.DataFrame) -> Figure:
    """SG-CycleGAN less each other translator, a panel a distance. Columns of `distance_tables.difference_table`."""
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDE, 2.4), sharey=True)
    for axis, (_, part), name in zip(axes, compared.groupby("distance"), ("Fréchet", "kernel"), strict=True):
        place = np.arange(len(part))[::-1]
        drawn = part.rename(columns={"difference": "estimate"})
        style.intervals(axis, drawn, place, solid=part["scope"] == "training seeds and patients")
        axis.axvline(0, color="0.5", lw=0.8)
        axis.set_yticks(place, [f"less {less}" for less in part["less"]])
        axis.set(xlabel=f"difference of {name} distance", ylim=(-0.6, len(part) - 0.4))
        axis.set_title("closer: SG-CycleGAN to the left of 0", fontsize=8.5)
    return figure


def by_number(distances: pd.DataFrame) -> Figure:
    """Distances of real to real by the number of images. Columns images, frechet, kernel, one row a draw."""
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDE, 2.3))
    for axis, key, name in zip(axes, ("frechet", "kernel"), ("Fréchet distance", "kernel distance"), strict=True):
        axis.plot(distances["images"], distances[key], ".", color="0.7", ms=4)
        axis.plot(distances.groupby("images")[key].mean(), "o-", color=style.SERIES[0])
        axis.axhline(0, color="0.5", lw=0.8)
        axis.set(xlabel="images in each half", ylabel=name, title="real to real")
    return figure


def anatomy_kept(table: pd.DataFrame, survival: pd.DataFrame) -> Figure:
    """The junctional zone found, its boundary, and invasion status by depth. Tables of `distance_tables.Kept`."""
    figure, axes = plt.subplots(1, 3, figsize=(style.WIDE, 3.4), width_ratios=(1, 1, 1.2))
    shown, ceiling = table[table["images"].isin(translators.labels().values())], table.iloc[-1]
    _kept(axes[0], "dice_junctional_zone", shown, ceiling)
    axes[0].set(xlabel="Dice, more is better")
    axes[0].set_title("junctional zone", fontsize=9)
    zones = [f"{row.images}\nzone found: {row.zone_found:.0%}" for row in shown.itertuples()]
    axes[0].set_yticks(np.arange(len(shown))[::-1], zones, fontsize=7)
    _kept(axes[1], "boundary_mm", shown, ceiling)
    axes[1].set(xlabel="mm apart, less is better")
    axes[1].set_yticks(np.arange(len(shown))[::-1], [])
    axes[1].set_title("its boundary", fontsize=9)
    _survival(axes[2], survival)
    handles, labels = axes[0].get_legend_handles_labels()
    more, names = axes[2].get_legend_handles_labels()
    handles, labels = [*handles, *more[:-1]], [*labels, *names[:-1]]  # the ceiling has its handle already
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=6.5)
    return figure


def _kept(axis: Axes, column: str, shown: pd.DataFrame, ceiling: pd.Series) -> None:
    place = np.arange(len(shown))[::-1]
    error = np.abs(shown[[f"{column}_low", f"{column}_high"]].to_numpy().T - shown[column].to_numpy())
    axis.errorbar(shown[column], place, xerr=error, fmt="o", color=style.SERIES[0], capsize=2)
    axis.plot(shown[f"{column}_floor"], place, "|", color="0.5", ms=9, label="floor: another patient's")
    axis.axvline(ceiling[column], color="0.25", lw=1.0, ls="--", label="ceiling: real ultrasound")
    axis.set_xlim(left=0)


def _survival(axis: Axes, survival: pd.DataFrame) -> None:
    order = list(kept_anatomy.DEPTHS)
    colours = dict(zip(translators.labels().values(), cycle(style.SERIES), strict=False))
    for label, part in survival.groupby("images_of", sort=False):
        place = [order.index(depth) for depth in part["depth"]]
        look = {"color": colours.get(label, "0.25"), "ls": "-" if label in colours else "--"}
        axis.plot(place, part["kept"], "o", ms=3, lw=1.1, label=label, **look)
    axis.set_xticks(range(len(order)), ["none", "< .25", ".25-.5", ".5-.75", "> .75"], fontsize=7)
    axis.set(ylim=(0, 1.02), xlabel="depth in view, of the wall", ylabel="share of views")
    axis.set_title("invasion status kept", fontsize=9)


def anatomy_examples(
    examples: Mapping[str, Mapping[str, np.ndarray]], places: Sequence[int], sequences: Sequence[str]
) -> tuple[Figure, pd.DataFrame]:
    """Outlines of junctional zone and tumour: in MRI, true, and in their translations by each model, found.

    examples: by model, what `experiments.anatomy` keeps of it: mri, picture, true and found, (k, S, S) uint8
    places, sequences: of the k MRI, their number among the test MRI and what names the sequence
    Returns the figure, and what it draws: columns row, structure, image, share_of_picture.
    """
    one = next(iter(examples.values()))
    rows = {"MRI, truth": (one["mri"], one["true"])}
    rows |= {f"{NAMES[name]}, found": (of["picture"], of["found"]) for name, of in examples.items()}
    figure, axes = plt.subplots(len(rows), 5, figsize=(style.WIDE * 0.9, 4.1))
    drawn = []
    for line, (name, (pictures, layers)) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, fontsize=7)
        for axis in line:
            axis.set(xticks=[], yticks=[])
        for axis, place, picture, labels in zip(line, places, pictures, layers, strict=False):
            axis.imshow(picture, vmin=0, vmax=255)
            drawn += [(name, structure, int(place), share) for structure, share in _outline(axis, labels)]
    for axis, sequence in zip(axes[0], sequences, strict=False):
        axis.set_title(str(sequence).replace("_", " "), fontsize=7.5)
    return figure, pd.DataFrame(drawn, columns=["row", "structure", "image", "share_of_picture"])


def _outline(axis: Axes, labels: np.ndarray) -> list[tuple[str, float]]:
    """Draw the outlines of `OUTLINES` in a label map (S, S); returns each structure's share of the picture."""
    shares = []
    for structure, colour in OUTLINES.items():
        outline = kept_anatomy.mask(labels[None], structure)[0]
        if outline.any():
            axis.contour(outline, [0.5], colors=[colour], linewidths=0.8)
        shares.append((structure, outline.mean()))
    return shares
