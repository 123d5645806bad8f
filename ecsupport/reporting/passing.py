"""Do translations pass for ultrasound? What a fresh network makes of them, as a table and a picture (notebook 03)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecsupport.core import tables
from ecsupport.core.profiles import Run
from ecsupport.evaluation.auc import auc_interval
from ecsupport.experiments import passing, translators
from ecsupport.reporting import style

CONTROLS = {passing.UNTRANSLATED: "MRI as it is", passing.REAL: "ultrasound of other patients"}


def table(run: Run) -> pd.DataFrame:
    """AUC of the fresh network, .5 to 1, by images and seed, with its 95 % interval over patients.

    Columns images, seed, estimate, low, high, patients; empty where nothing was judged.
    """
    lines = []
    for (name, seed), job in passing.judged(run).items():
        scores = tables.reread(job.file("scores.csv"))
        found = auc_interval(scores["label"], scores["score"], scores["patient_id"])
        label = CONTROLS.get(name) or translators.labels()[name]
        lines.append((label, seed, found.auc, found.low, found.high, scores["patient_id"].nunique()))
    return pd.DataFrame(lines, columns=["images", "seed", "estimate", "low", "high", "patients"])


def picture(told: pd.DataFrame) -> Figure:
    """One row a kind of images, one dot with its interval a seed. Columns of `table`."""
    kinds = list(dict.fromkeys(told["images"]))
    figure, axis = plt.subplots(figsize=(style.WIDE, 0.6 + 0.32 * len(kinds)))
    for place, kind in enumerate(reversed(kinds)):
        rows = told[told["images"] == kind]
        colour = "0.5" if kind in CONTROLS.values() else style.SERIES[0]
        style.intervals(axis, rows, place + np.linspace(0.25, -0.25, len(rows)) * (len(rows) > 1), colour)
    axis.set_yticks(range(len(kinds)), reversed(kinds))
    axis.axvline(0.5, color="0.5", lw=0.8, ls=":")
    axis.set(xlim=(0.3, 1.01), xlabel="AUC of a fresh network   ← cannot tell | knows every one →")
    axis.set_title("Told from ultrasound of other patients")
    return figure
