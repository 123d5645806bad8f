"""Which weights of a training run are kept: the paper's rules for LSNet and for Table 2, and the area under the curve.

Which validations a rule looks at is said in `settings.Settings.selectable_after`.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

RULES = ("dual", "sensitivity", "auc")
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
        "auc": area(probability[label == 1], probability[label == 0]),
    }


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive image's score is the higher one of a pair, ties counted half.

    In NumPy, so that no training process waits until scikit-learn is imported.
    """
    ordered = np.sort(negative)
    below, upto = (np.searchsorted(ordered, positive, side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(ordered)))


def select(history: pd.DataFrame, rule: str = "dual") -> int:
    """Step of the weights that a rule keeps, of those in `history`.

    dual: highest sensitivity while none reaches .95, else highest specificity among those; ties go to the higher of
    the other rate, then to the higher area under the curve.  sensitivity, auc: the highest.  Then to the earlier step.
    history: columns step, sensitivity, specificity, auc (all on validation images); rows without a validation (NaN)
    are passed over. ValueError where no row has a validation, or for another rule.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r} is unknown, expected one of {', '.join(RULES)}")
    rows = history.dropna(subset=["sensitivity", "specificity"])
    if rows.empty:
        raise ValueError("the history has no validation, expected at least one row with sensitivity and specificity")
    order = [rule]
    if rule == "dual":
        order = ["sensitivity", "specificity", "auc"]
        enough = rows[rows["sensitivity"] >= ENOUGH]
        if len(enough):
            rows, order = enough, ["specificity", "sensitivity", "auc"]
    best = rows.sort_values([*order, "step"], ascending=[False] * len(order) + [True])
    return int(best["step"].iloc[0])


def suffix(rule: str) -> str:
    """What a rule adds to the names of its weights and of its column: nothing for `dual`, LSNet's own."""
    return "" if rule == "dual" else f"_{rule}"


def all_positive(histories: Iterable[pd.DataFrame], rule: str) -> int:
    """In how many training runs a rule kept a network that calls every validation image positive.

    Such a network has the highest sensitivity there is (1, at specificity 0), and it need not have learnt anything.
    histories: history.csv of runs that kept weights by the rule.
    """
    kept = pd.concat([history[history[f"chosen{suffix(rule)}"]] for history in histories])
    return int(((kept["sensitivity"] == 1) & (kept["specificity"] == 0)).sum())
