"""The pictures of notebook 01: what phantoms look like, views that miss an invasion, covariates, and the split.

Pictures and labels are (S, S) uint8 by the manifest's name of the image, as `experiments.pictures.open_shown` gives.
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from ecsupport.cohort import mri
from ecsupport.cohort.anatomy import TISSUES
from ecsupport.cohort.split import ULTRASOUND
from ecsupport.reporting import style

Pictures = Mapping[str, np.ndarray]
TISSUE_COLOURS = ListedColormap(
    [
        *("#000000", "#2f2f2f", "#56B4E9", "#FFFFFF", "#8c8c8c", "#0072B2"),
        *("#F0E442", "#E69F00", "#FFFFFF", "#CC79A7", "#009E73"),
    ]
)
COVARIATES = {
    "age": "age (years)",
    "bmi": "body mass index (kg/m²)",
    "endometrial_thickness_mm": "endometrium (mm)",
    "ca125_u_ml": "CA-125 (U/mL)",
}


def ultrasound(first: pd.DataFrame, centres: list[str], pictures: Pictures, labels: Pictures) -> tuple[Figure, str]:
    """One image of each class a centre, the anatomy of the carcinoma between them where it is known; and a caption.

    first: manifest rows, at most one a centre and class, of `experiments.pictures.first_images`
    """
    kinds = [("carcinoma\nultrasound", 1, pictures), ("control\nultrasound", 0, pictures)]
    if labels:
        kinds.insert(1, ("its exact\nanatomy", 1, labels))
    figure, axes = plt.subplots(len(kinds), len(centres), figsize=(style.WIDE, 1.5 * len(kinds)), squeeze=False)
    for line, (name, label, source) in zip(axes, kinds, strict=True):
        line[0].set_ylabel(name)
        of = first[first["label"] == label].set_index("centre")["image"]
        for axis, centre in zip(line, centres, strict=True):
            _show(axis, source.get(of.get(centre)), anatomy=source is labels)
    for axis, centre in zip(axes[0], centres, strict=True):
        axis.set_title(centre.replace("_", " "))
    rows = ", ".join(name.replace("\n", " ") for name, *_ in kinds)
    return figure, f"{len(centres)} centres, one patient each: {rows}."


def sequences(same: pd.DataFrame, pictures: Pictures) -> Figure:
    """The MRI sequences of one patient, in the order of `mri.SEQUENCES`; same: manifest rows, one a sequence."""
    image_of = same.set_index("sequence")["image"]
    figure, axes = plt.subplots(2, 4, figsize=(style.WIDE, 3.9))
    known = [sequence for sequence in mri.SEQUENCES if sequence in image_of.index]
    for axis, sequence in zip(axes.flat, known, strict=False):
        _show(axis, pictures[image_of[sequence]])
        axis.set_title(sequence.upper().replace("_", " "))
    for axis in axes.flat[len(known) :]:
        axis.set_axis_off()
    return figure


def views(pair: pd.DataFrame, pictures: Pictures, labels: Pictures) -> Figure:
    """Two views of one carcinoma, each beside its anatomy where that is known; pair: two manifest rows."""
    kinds = [pictures, labels] if labels else [pictures]
    figure, axes = plt.subplots(1, 2 * len(kinds), figsize=(0.5 * style.WIDE * len(kinds), 2.3))
    drawn = [(image, source) for image in pair["image"] for source in kinds]
    for axis, (image, source) in zip(axes, drawn, strict=True):
        _show(axis, source[image], anatomy=source is labels)
    axes[0].set_title(f"{pair['patient_id'].iloc[0]}: seen")
    axes[len(kinds)].set_title("the same patient: less than\na quarter of the wall", fontsize=9)
    return figure


def _show(axis: Axes, picture: np.ndarray | None, anatomy: bool = False) -> None:
    """A picture in grey, or labels in the colours of tissues; an empty frame where there is none."""
    axis.set(xticks=[], yticks=[])
    if picture is None:
        return
    look = {"cmap": TISSUE_COLOURS, "vmax": len(TISSUES) - 1} if anatomy else {"cmap": "gray", "vmax": 255}
    axis.imshow(picture, vmin=0, **look)


def covariates(people: pd.DataFrame) -> Figure:
    """Histograms of the covariates by class, a panel each. Columns of `COVARIATES` and class, one row a patient."""
    figure, axes = plt.subplots(1, len(COVARIATES), figsize=(style.WIDE, 2.4))
    for axis, (column, name) in zip(axes, COVARIATES.items(), strict=True):
        edges = np.linspace(*np.percentile(people[column], [0.5, 99.5]), 19)
        for group in ("control", "carcinoma"):
            values, look = people.loc[people["class"] == group, column], {"histtype": "stepfilled", "alpha": 0.55}
            axis.hist(values, edges, density=True, color=style.COLOURS[group], label=group, **look)
        axis.set_xlabel(name)
        axis.set_yticks([])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def split_centres(by_centre: pd.DataFrame) -> Figure:
    """Where the patients of every split come from, a panel a class. Columns split, label, centre, share."""
    centres = sorted(by_centre["centre"].unique())
    many = len(centres) > len(style.SERIES)
    colours = plt.get_cmap("turbo")(np.linspace(0, 1, len(centres))) if many else style.SERIES
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDE, 2.4), sharey=True)
    for axis, (label, name) in zip(axes, ((1, "carcinoma"), (0, "control")), strict=True):
        table = by_centre[by_centre["label"] == label].pivot(index="split", columns="centre", values="share").fillna(0)
        table = table.reindex(list(ULTRASOUND)).reindex(columns=centres, fill_value=0)
        left = np.zeros(len(table))
        for centre, colour in zip(table, colours, strict=False):
            look = {"color": colour, "edgecolor": "white", "label": centre.replace("_", " ")}
            axis.barh(table.index, table[centre], left=left, **look)
            left += table[centre].to_numpy()
        axis.set(title=name, xlabel="share of the split's patients", xlim=(0, 1))
    axes[0].invert_yaxis()  # the panels share this axis
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure
