"""Which weights of a training run are kept: the paper's two-threshold rule (Results, on LSNet)."""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

ENOUGH = 0.95
THRESHOLD = 0.5


def validate(label: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Sensitivity and specificity at a probability of one half, and the area under the ROC curve.

    label: (N,) 0 or 1, both present; probability: (N,) of class 1.
    """
    called = probability >= THRESHOLD
    return {
        "sensitivity": float(called[label == 1].mean()),
        "specificity": float((~called)[label == 0].mean()),
        "auc": float(roc_auc_score(label, probability)),
    }


def select(history: pd.DataFrame) -> int:
    """Step of the weights to keep: highest sensitivity while none reaches .95, else highest specificity among those.

    history: columns step, sensitivity, specificity, auc (all on validation images); rows without a validation (NaN)
    are passed over. Ties go to the higher of the other rate, then to the higher area under the curve, then to the
    earlier step. ValueError where no row has a validation.
    """
    rows = history.dropna(subset=["sensitivity", "specificity"])
    if rows.empty:
        raise ValueError("the history has no validation, expected at least one row with sensitivity and specificity")
    enough = rows[rows["sensitivity"] >= ENOUGH]
    first, second = ("sensitivity", "specificity") if enough.empty else ("specificity", "sensitivity")
    candidates = rows if enough.empty else enough
    best = candidates.sort_values([first, second, "auc", "step"], ascending=[False, False, False, True])
    return int(best["step"].iloc[0])
