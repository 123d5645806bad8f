"""The pictures of notebook 14: LSNet against others at each difficulty, and what a patient looks like at it."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecsupport.reporting import ledger, style


def difficulties(table: pd.DataFrame, note: str) -> Figure:
    """LSNet's AUC less each other network's, one panel a network, the easiest phantoms on top; filled where decided.

    table: of `design_tables.difficulties`, whose intervals are drawn;  note: of how many trainings
    """
    others = table["against"].unique()
    figure, axes = plt.subplots(1, len(others), figsize=(style.WIDE, 2.1), sharex=True, sharey=True, squeeze=False)
    for axis, other in zip(axes[0], others, strict=True):
        rows = table[table["against"] == other].reset_index(drop=True)
        at = np.arange(len(rows))[::-1]
        style.intervals(axis, rows, at, style.SERIES[0], rows["verdict"].isin(ledger.DECIDED).tolist())
        axis.axvline(0, color="0.4", lw=0.8)
        axis.set_yticks(at, [f"{row.difficulty}\n(LSNet {row.lsnet:.3f})" for row in rows.itertuples()])
        axis.set(title=f"against {other}", ylim=(-0.6, len(rows) - 0.4))
        axis.grid(axis="y", color="0.93")
        axis.set_axisbelow(True)
    figure.suptitle(f"AUC of LSNet less the other's ({note})", x=0.01, ha="left", fontsize=9.5)
    return figure


def at_each_difficulty(drawn: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Ultrasound of a patient at each difficulty, beneath it with the tumour outlined; of `difficulty.patient`."""
    figure, axes = plt.subplots(2, len(drawn), figsize=(style.WIDE * 0.75, style.WIDE * 0.5), squeeze=False)
    for column, (difficulty, (image, tumour)) in zip(axes.T, drawn.items(), strict=True):
        for axis in column:
            axis.imshow(image, vmin=0, vmax=255)
            axis.set_axis_off()
        if tumour.any():
            column[1].contour(tumour, [0.5], colors=style.PALETTE["orange"], linewidths=1)
        column[0].set_title(difficulty)
    return figure
