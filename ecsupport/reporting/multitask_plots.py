"""The picture of notebook 13: what networks are worth against the share of labels that are used."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ecsupport.experiments.multitask import AUC, ERROR, MEAN, MEASURES
from ecsupport.related.dense_attention import PROPORTIONS
from ecsupport.related.self_distillation import ALONE, MULTITASK, ON_LABELLED, SELF
from ecsupport.reporting import style

ONE_TASK = "one task alone"
DRAWN = {  # network: its name in the picture, colour, mark
    **dict.fromkeys(ALONE.values(), (ONE_TASK, "0.35", "D")),
    MULTITASK: (MULTITASK, style.PALETTE["green"], "^"),
    ON_LABELLED: (ON_LABELLED, style.PALETTE["orange"], "s"),
    SELF: (SELF, style.PALETTE["blue"], "o"),
    MEAN: (MEAN, style.PALETTE["vermilion"], "_"),
}
APART = 0.13  # of the distance between two shares of labels


def by_percent(table: pd.DataFrame) -> Figure:
    """One panel a measure, dots with 95 % intervals. table: of `multitask_tables.by_percent`.

    A network of proportions alone is left out where invasion is judged: it has not learnt that.
    """
    measures = [measure for measure in MEASURES if measure in set(table["measure"])]
    figure, axes = plt.subplots(1, len(measures), figsize=(style.WIDE, 3.1), squeeze=False)
    handles = {}
    for axis, measure in zip(axes[0], measures, strict=True):
        rows = table[table["measure"] == measure]
        names = [name for name in DRAWN if name in set(rows["network"])]
        if measure == AUC:
            names = [name for name in names if name != ALONE[PROPORTIONS]]
        percents = sorted(set(rows["percent"]))
        for place, name in enumerate(names):
            label, colour, mark = DRAWN[name]
            of = rows[rows["network"] == name].sort_values("percent")
            at = [percents.index(percent) + APART * (place - (len(names) - 1) / 2) for percent in of["percent"]]
            reach = [of["value"] - of["low"], of["high"] - of["value"]]
            handles[label] = axis.errorbar(at, of["value"], reach, fmt=mark, ms=4, lw=1.2, color=colour)
        better = "lower is better" if measure == ERROR else "higher is better"
        axis.set_title(f"{measure}\n({better})", fontsize=8.5)
        axis.set(xlabel="labels used (%)", xticks=range(len(percents)), xticklabels=percents)
        axis.grid(axis="y", color="0.93")
    scope, patients = (table[column].iloc[0] for column in ("scope", "patients"))
    title = f"95 % interval over {scope}; {patients:,} patients"
    words = {"loc": "outside upper center", "ncols": 5, "title": title, "title_fontsize": 8, "fontsize": 7.5}
    figure.legend(handles.values(), handles.keys(), **words)
    return figure
