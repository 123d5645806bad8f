"""The pictures of notebook 12: AUC against the share of clinical data that is missing."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ecsupport.experiments.clinical import INDICATOR, LOGISTIC
from ecsupport.related.bidirectional import BOTH, DROPOUT, IMAGES, MEAN, ZERO
from ecsupport.related.missingness import MECHANISMS
from ecsupport.reporting import style

DRAWN = {  # reading: colour, line, mark
    BOTH: (style.PALETTE["blue"], "-", "o"),
    DROPOUT: (style.PALETTE["orange"], "-", "s"),
    MEAN: (style.PALETTE["green"], "-", "^"),
    ZERO: (style.PALETTE["purple"], "-", "v"),
    IMAGES: ("0.35", "--", ""),
    LOGISTIC: ("0.35", ":", ""),
    INDICATOR: (style.PALETTE["vermilion"], "-.", ""),
}


def by_rate(table: pd.DataFrame, kind: str) -> Figure:
    """One panel a mechanism; the band is the 95 % interval of bidirectional distillation. table: of `by_rate`."""
    mechanisms = [name for name in MECHANISMS if name in set(table["mechanism"])] or MECHANISMS
    figure, axes = plt.subplots(1, len(mechanisms), figsize=(style.WIDE, 2.9), sharex=True, sharey=True)
    for axis, mechanism in zip(axes, mechanisms, strict=True):
        rows = table[(table["kind"] == kind) & (table["mechanism"] == mechanism)]
        for reading, (colour, line, mark) in DRAWN.items():
            of = rows[rows["reading"] == reading].sort_values("rate")
            axis.plot(of["rate"], of["auc"], ls=line, marker=mark, ms=4, lw=1.4, color=colour, label=reading)
            if reading == BOTH:
                axis.fill_between(of["rate"], of["low"], of["high"], color=colour, alpha=0.15, lw=0)
        axis.set(title=f"missing {mechanism}", xlabel="share missing", xticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
        axis.grid(color="0.93")
    axes[0].set_ylabel(f"AUC, {kind} missing")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure
