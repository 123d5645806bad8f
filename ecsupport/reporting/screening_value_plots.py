"""The pictures of notebook 08: predictive values over prevalence, and the decision curve."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ecsupport.reporting import style

NAMES = {"ppv": "positive predictive value", "npv": "negative predictive value"}
TICKS = {1e-4: "0.01 %", 1e-3: "0.1 %", 1e-2: "1 %", 1e-1: "10 %", 0.5: "50 %"}


def predictive_values(curves: pd.DataFrame, table_7: pd.DataFrame) -> Figure:
    """Predictive values over prevalence with their interval, and the printed cells as dots.

    curves: of `screening_value_tables.over_prevalence`;  table_7: columns quantity, prevalence, published
    """
    figure, axes = plt.subplots(1, 2, figsize=(style.WIDE, 2.9), sharex=True)
    colour, grid = style.COLOURS["computed"], curves["prevalence"]
    for axis, (quantity, name) in zip(axes, NAMES.items(), strict=True):
        limits = curves[f"{quantity}_low"], curves[f"{quantity}_high"]
        axis.fill_between(grid, *limits, color=colour, alpha=0.3, lw=0, label="95 % interval")
        axis.plot(grid, curves[quantity], color=colour, label="computed")
        points = table_7[table_7["quantity"] == quantity]
        axis.plot(points["prevalence"], points["published"], "o", color=style.COLOURS["published"], label="Table 7")
        axis.set_xscale("log")
        axis.set_xticks(list(TICKS), TICKS.values())
        axis.set(xlabel="prevalence", ylabel=name)
    axes[0].legend(loc="upper left")
    return figure


def decision_curve(curve: pd.DataFrame) -> Figure:
    """Net benefit over threshold probability: columns threshold, published, model, low, high, treat_all, treat_none."""
    figure, axis = plt.subplots(figsize=(style.WIDE, 2.7))
    at, colour = curve["threshold"], style.COLOURS["computed"]
    axis.plot(at, curve["published"], color=style.COLOURS["published"], label="LSNet, published Se and Sp")
    axis.plot(at, curve["model"], color=colour, label="LSNet, this cohort")
    axis.fill_between(at, curve["low"], curve["high"], color=colour, alpha=0.2, lw=0, label="95 %, patients resampled")
    axis.plot(at, curve["treat_all"], color="0.55", ls="--", label="everybody")
    axis.plot(at, curve["treat_none"], color="0.55", lw=0.8, label="nobody")
    axis.set(ylim=(-0.02, 0.1), xlabel="threshold probability", ylabel="net benefit")
    figure.legend(loc="outside upper center", ncols=3)
    return figure
