"""The picture of notebook 13: what networks are worth against the share of patients with labels."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ecsupport.experiments.multitask import ERROR, MEASURES
from ecsupport.related.self_distillation import ALONE, MULTITASK, ON_LABELLED, SELF
from ecsupport.reporting import style

DRAWN = {  # network: colour, line, mark
    SELF: (style.PALETTE["blue"], "-", "o"),
    ON_LABELLED: (style.PALETTE["orange"], "-", "s"),
    MULTITASK: (style.PALETTE["green"], "-", "^"),
    **dict.fromkeys(ALONE.values(), ("0.35", "--", "")),
}


def by_percent(table: pd.DataFrame) -> Figure:
    """One panel a measure; the band is the 95 % interval of self-distillation. table: of `multitask_tables`."""
    measures = [measure for measure in MEASURES if measure in set(table["measure"])]
    figure, axes = plt.subplots(1, len(measures), figsize=(style.WIDE, 2.9), squeeze=False)
    handles = {}
    for axis, measure in zip(axes[0], measures, strict=True):
        rows = table[table["measure"] == measure]
        for name, (colour, line, mark) in DRAWN.items():
            of = rows[rows["network"] == name].sort_values("percent")
            if of.empty:
                continue
            (handle,) = axis.plot(of["percent"], of["value"], ls=line, marker=mark, ms=4, lw=1.4, color=colour)
            handles.setdefault("one task alone" if name in ALONE.values() else name, handle)
            if name == SELF:
                axis.fill_between(of["percent"], of["low"], of["high"], color=colour, alpha=0.15, lw=0)
        better = "lower is better" if measure == ERROR else "higher is better"
        axis.set_title(f"{measure}\n({better})", fontsize=8.5)
        axis.set(xlabel="patients with labels (%)", xticks=sorted(set(rows["percent"])))
        axis.grid(color="0.93")
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4)
    return figure
