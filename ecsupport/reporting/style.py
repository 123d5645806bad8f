"""One look for every figure: colours with a fixed meaning, sizes and fonts. A notebook calls `use()` once.

Serves every figure of the paper. The palette is that of Okabe and Ito (jfly.uni-koeln.de/color), which readers with
any common form of colour blindness can tell apart.
"""

from collections.abc import Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

from ecsupport.reporting import shown

# fmt: off
PALETTE = {
    "black": "#000000", "orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73",
    "yellow": "#F0E442", "blue": "#0072B2", "vermilion": "#D55E00", "purple": "#CC79A7",
}
COLOURS = {  # what a colour means, in every figure alike
    "carcinoma": PALETTE["vermilion"], "control": PALETTE["blue"],
    "us": PALETTE["sky"],              "mri": PALETTE["purple"],
    "published": PALETTE["black"],     "computed": PALETTE["green"],
    "patients": PALETTE["green"],      "images": PALETTE["orange"],
}
# fmt: on
SERIES = [PALETTE[name] for name in ("blue", "vermilion", "green", "purple", "orange", "sky", "black")]
NARROW, WIDE = 3.5, 7.2  # inches: one column, two columns

_SETTINGS = {
    "figure.figsize": (WIDE, 3.2),
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures look the same everywhere
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": "0.25",
    "axes.prop_cycle": mpl.cycler(color=SERIES),
    "axes.grid": False,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "patch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
}


def use() -> None:
    """Set the style of all figures and tables that are shown from here on.

    Of figures over matplotlib's defaults, not over the user's own file; of tables see `shown`.
    """
    mpl.rcdefaults()
    mpl.rcParams.update(_SETTINGS)
    shown.in_notebooks()


def colours(*names: str) -> list[str]:
    """Colours by meaning, e.g. `colours("carcinoma", "control")`; KeyError for a meaning that has none."""
    return [COLOURS[name] for name in names]


def intervals(
    axis: Axes,
    table: pd.DataFrame,
    at: Sequence[float],
    colour: str | Sequence[str] = SERIES[0],
    solid: bool | Sequence[bool] = True,
    label: str | None = None,
) -> None:
    """Dots with horizontal intervals: rows of a table with the columns estimate, low and high, at these heights.

    colour, solid: of all rows or one a row; a dot that is not solid is open.
    """
    rows = table.assign(at=at, colour=colour, solid=solid)
    for _, row in rows.iterrows():
        axis.plot([row["low"], row["high"]], [row["at"]] * 2, "|-", color=row["colour"], lw=1.4, ms=5)
        inside = row["colour"] if row["solid"] else "white"
        axis.plot(row["estimate"], row["at"], "o", color=row["colour"], mfc=inside, label=label)
        label = None
