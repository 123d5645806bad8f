"""The pictures of notebook 02: the scheme of SG-CycleGAN, the course of its training, translations and features.

Each function that draws images returns the figure and, as a table, what it draws.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecsupport.experiments.translators import NAMES
from ecsupport.reporting import style
from ecsupport.reporting.diagram import Arrow, Box, draw

NETWORK, SHARED, JUDGE, REVERSAL = "#E8EEF7", "#FBE3D6", "#F3F3F3", "#FFF6D8"  # fills of Figure 6
CONSISTENCY = "#B0522A"  # its dashed arrows
CYCLEGAN = {
    "x": Box(0, 1, "MRI  x", width=1.3),
    "y": Box(5, 1, "ultrasound  y", width=1.6),
    "G": Box(2.5, 1.7, "G", NETWORK, 0.9),
    "F": Box(2.5, 0.3, "F", NETWORK, 0.9),
    "DX": Box(-2.2, 1, "D_X", JUDGE, 0.9),
    "DY": Box(7.4, 1, "D_Y", JUDGE, 0.9),
}
CYCLE = [
    Arrow("x", "G"), Arrow("G", "y"), Arrow("y", "F"), Arrow("F", "x"),
    Arrow("y", "DY", "real?", shift=(0, 0.18)), Arrow("x", "DX", "real?", shift=(0, 0.18)),
]  # fmt: skip
GUIDED = {
    "x": Box(0, 2.2, "MRI  x", width=1.3),
    "y": Box(0, 0.8, "ultrasound  y", width=1.6),
    "E": Box(2.4, 1.5, "MAFE  E\n(shared)", SHARED, 1.3, 0.8),
    "HY": Box(4.8, 2.2, "branch  H_Y", NETWORK, 1.4),
    "HX": Box(4.8, 0.8, "branch  H_X", NETWORK, 1.4),
    "yh": Box(7.0, 2.2, "G(x)", width=0.9),
    "xh": Box(7.0, 0.8, "F(y)", width=0.9),
    "DY": Box(8.9, 2.2, "D_Y", JUDGE, 0.9),
    "DX": Box(8.9, 0.8, "D_X", JUDGE, 0.9),
    "R": Box(2.4, -0.1, "gradient reversal", REVERSAL, 1.9),
    "Dp": Box(5.4, -0.1, "D_φ: MRI or ultrasound?", JUDGE, 2.5),
}
STRUCTURE = [
    Arrow("x", "E"), Arrow("y", "E"), Arrow("E", "HY"), Arrow("E", "HX"), Arrow("HY", "yh"), Arrow("HX", "xh"),
    Arrow("yh", "DY"), Arrow("xh", "DX"), Arrow("E", "R"), Arrow("R", "Dp"),
    Arrow("yh", "E", "E(G(x)) like E(x)", dashed=True, colour=CONSISTENCY, shift=(0.35, -0.05)),
    Arrow("xh", "E", "E(F(y)) like E(y)", dashed=True, colour=CONSISTENCY, shift=(0.35, 0.05)),
]  # fmt: skip
TERMS = ("gan", "cycle", "identity", "reconstruction", "contrast", "feature", "domain", "discriminator_us")


def scheme() -> tuple[Figure, pd.DataFrame]:
    """Figure 6, and its arrows as a table."""
    figure, axes = plt.subplots(2, 1, figsize=(style.WIDE, 4.3), height_ratios=(2.0, 2.9))
    plain = draw(axes[0], CYCLEGAN, CYCLE, "(a) CycleGAN")
    return figure, pd.concat([plain, draw(axes[1], GUIDED, STRUCTURE, "(b) SG-CycleGAN")])


def losses(curves: pd.DataFrame) -> Figure:
    """Terms over training, a panel each, running means of five records. Columns model, step and `TERMS`; one seed."""
    figure, axes = plt.subplots(2, 4, figsize=(style.WIDE, 3.6), sharex=True)
    for axis, term in zip(axes.flat, TERMS, strict=True):
        for colour, name in zip(style.SERIES, NAMES.values(), strict=False):
            part = curves[(curves["model"] == name) & curves[term].notna()]
            axis.plot(part["step"], part[term].rolling(5, min_periods=1).mean(), color=colour, lw=1.1)
        axis.set_title(term.replace("_", " "))
        axis.set_ylim(bottom=0)
    for axis in axes[1]:
        axis.set_xlabel("step")
    lines = [plt.Line2D([], [], color=colour) for colour in style.SERIES[: len(NAMES)]]
    figure.legend(lines, NAMES.values(), loc="outside upper center", ncols=len(NAMES))
    return figure


def over_training(snapshots: Mapping[str, np.ndarray], steps: Sequence[int]) -> tuple[Figure, pd.DataFrame]:
    """One MRI as each translator translates it while it is trained.

    snapshots: (times, K, S, S) uint8 by the name of the translator, of which the first image is drawn;  steps: (times,)
    Columns model, step, mean_grey, sd_grey.
    """
    figure, axes = plt.subplots(len(snapshots), len(steps), figsize=(style.WIDE, 1.15 * len(snapshots)))
    drawn = []
    for number, (line, (name, of)) in enumerate(zip(axes, snapshots.items(), strict=True)):
        for axis, step, picture in zip(line, steps, of, strict=True):
            axis.imshow(picture[0], vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
            axis.set_title("" if number else f"step {step}", fontsize=8)
            drawn.append((name, step, picture[0].mean(), picture[0].std()))
        line[0].set_ylabel(name, fontsize=7.5)
    return figure, pd.DataFrame(drawn, columns=["model", "step", "mean_grey", "sd_grey"])


def rows_of_images(
    rows: Mapping[str, np.ndarray], columns: int, size: tuple[float, float], titles: Sequence[str] = ()
) -> tuple[Figure, pd.DataFrame]:
    """Rows of images, each with its name on the left; a row with fewer images than `columns` ends in empty frames.

    rows: (k, S, S) uint8 by name;  size: of the figure in inches;  titles: of the columns. Columns of the table: row,
    mean_grey, sd_grey.
    """
    figure, axes = plt.subplots(len(rows), columns, figsize=size)
    drawn = []
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.set(xticks=[], yticks=[])
        for axis, picture in zip(line, pictures, strict=False):
            axis.imshow(picture, vmin=0, vmax=255)
            drawn.append((name.replace("\n", " "), picture.mean(), picture.std()))
        line[0].set_ylabel(name, fontsize=7.5)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=7.5)
    return figure, pd.DataFrame(drawn, columns=["row", "mean_grey", "sd_grey"])


def feature_maps(
    pictures: Mapping[str, np.ndarray], maps: Mapping[str, np.ndarray], channels: Sequence[int]
) -> tuple[Figure, pd.DataFrame]:
    """Images beside some of their feature maps, one grey scale a channel.

    pictures: (S, S) uint8 by modality;  maps: (c, S, S) of each, of the c `channels`
    Columns modality, channel, mean, sd.
    """
    figure, axes = plt.subplots(len(pictures), 1 + len(channels), figsize=(style.WIDE, 3.0))
    drawn = []
    for number, (line, (name, picture)) in enumerate(zip(axes, pictures.items(), strict=True)):
        line[0].imshow(picture, vmin=0, vmax=255)
        line[0].set_ylabel(name)
        for place, (axis, channel) in enumerate(zip(line[1:], channels, strict=True)):
            low, high = np.quantile([of[place] for of in maps.values()], [0.02, 0.98])
            axis.imshow(maps[name][place], cmap="cividis", vmin=low, vmax=high)
            axis.set_title("" if number else f"channel {channel}", fontsize=8)
            drawn.append((name, int(channel), maps[name][place].mean(), maps[name][place].std()))
        for axis in line:
            axis.set(xticks=[], yticks=[])
    return figure, pd.DataFrame(drawn, columns=["modality", "channel", "mean", "sd"])
