"""Diagrams of boxes and arrows for the paper's schemes (Figures 6 and 7), drawn from two tables.

What a diagram says is data: which box feeds which, under which name. The same tables are written beside the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK = "0.2"


@dataclass(frozen=True)
class Box:
    """A box: centre (x, y) and size in the axis' units, text, fill colour, whether its outline is dashed."""

    x: float
    y: float
    text: str
    colour: str = "white"
    width: float = 1.0
    height: float = 0.5
    dashed: bool = False


@dataclass(frozen=True)
class Arrow:
    """An arrow between two named boxes; `bend` is its curvature, a dashed one carries gradients or targets only."""

    start: str
    end: str
    text: str = ""
    bend: float = 0.0
    dashed: bool = False
    colour: str = INK
    shift: tuple[float, float] = (0.0, 0.0)  # of the text, from the middle of the arrow


def draw(axis: Axes, boxes: Mapping[str, Box], arrows: Sequence[Arrow], title: str = "") -> pd.DataFrame:
    """Draw boxes and arrows; returns the arrows as a table (from, to, label), to be written beside the figure.

    KeyError where an arrow names no box.
    """
    for box in boxes.values():
        corner = (box.x - box.width / 2, box.y - box.height / 2)
        style = "--" if box.dashed else "-"
        axis.add_patch(
            FancyBboxPatch(
                corner, box.width, box.height, boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=box.colour, edgecolor=INK, linewidth=0.9, linestyle=style, zorder=2,
            )
        )  # fmt: skip
        axis.text(box.x, box.y, box.text, ha="center", va="center", fontsize=7.5, zorder=3, linespacing=1.25)
    for arrow in arrows:
        a, b = boxes[arrow.start], boxes[arrow.end]
        begin, end = _edge(a, b), _edge(b, a)
        axis.add_patch(
            FancyArrowPatch(
                begin, end, arrowstyle="-|>", mutation_scale=8, linewidth=1.0, color=arrow.colour, zorder=1,
                connectionstyle=f"arc3,rad={arrow.bend}", linestyle="--" if arrow.dashed else "-",
            )
        )  # fmt: skip
        if arrow.text:
            x, y = (begin[0] + end[0]) / 2 + arrow.shift[0], (begin[1] + end[1]) / 2 + arrow.shift[1]
            halo = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.9}
            axis.text(x, y, arrow.text, ha="center", va="center", fontsize=6.8, color=arrow.colour, bbox=halo, zorder=4)
    xs = [side for box in boxes.values() for side in (box.x - box.width / 2, box.x + box.width / 2)]
    ys = [side for box in boxes.values() for side in (box.y - box.height / 2, box.y + box.height / 2)]
    axis.set(xlim=(min(xs) - 0.1, max(xs) + 0.1), ylim=(min(ys) - 0.1, max(ys) + 0.1), title=title)
    axis.set_aspect("equal")
    axis.axis("off")
    names = {key: " ".join(box.text.split()) for key, box in boxes.items()}
    return pd.DataFrame(
        [(title, names[a.start], names[a.end], " ".join(a.text.split())) for a in arrows],
        columns=["diagram", "from", "to", "label"],
    )


def _edge(box: Box, other: Box) -> tuple[float, float]:
    """Where the line from the middle of `box` to that of `other` leaves the box."""
    dx, dy = other.x - box.x, other.y - box.y
    scale = min(
        box.width / 2 / abs(dx) if dx else float("inf"),
        box.height / 2 / abs(dy) if dy else float("inf"),
    )
    return box.x + dx * scale, box.y + dy * scale
