"""The picture of notebook 06: what each part of LSNet is worth."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ecsupport.evaluation.components import SCOPES
from ecsupport.reporting import style


def differences(table: pd.DataFrame) -> Figure:
    """LSNet less each arm in AUC and sensitivity; table: rows of `difference_table`, with columns metric and arm.

    Dots are filled where the interval is over training seeds too.
    """
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDE, 2.6), sharey=True)
    for axis, metric in zip(axes, ("roc_auc", "sensitivity"), strict=True):
        of = table[table["metric"] == metric].reset_index(drop=True)
        style.intervals(axis, of, of.index, solid=of["scope"] == SCOPES[0])
        axis.axvline(0, color="0.7", lw=0.8, zorder=0)
        axis.set_yticks(of.index, of["arm"])
        axis.set(xlabel=f"LSNet less the arm, {'ROC AUC' if metric == 'roc_auc' else metric}")
        axis.locator_params(axis="x", nbins=5)
    axes[0].invert_yaxis()
    kinds = [axes[0].plot([], [], "o", color=style.SERIES[0], mfc=fill)[0] for fill in (style.SERIES[0], "white")]
    said = (SCOPES[0], f"patients, for {SCOPES[1]}")
    figure.legend(
        kinds, said, fontsize=7, ncols=2, loc="outside upper center", title="95 % interval over", title_fontsize=7
    )
    return figure
