"""Pseudo-values of the six metrics by patient: what the jackknife over patients makes of every one, in closed form.

With theta the metric of all P patients and theta_(p) that without patient p, psi_p = P theta - (P - 1) theta_(p)
(Efron and Stein, Ann Stat 1981). Counts without a patient are differences. So are the pairs that the ROC AUC counts:
all, less those of the patient's positive images, less those of her negative ones, plus those among her own images.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ecsupport.evaluation.classification import METRICS, Counts, metrics_from_counts


def pseudo_values(
    y_true: np.ndarray, scores: ArrayLike, patient: np.ndarray, threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Of every training and patient, and the metrics themselves.

    y_true: (n,) 0 or 1;  scores: (S, n), row s from training s;  patient: (n,) integers 0..P-1
    Returns (S, P, 6) and (S, 6), metrics in the order of METRICS; NaN where a metric is undefined, or would be without
    that patient.
    """
    scores, positive = np.asarray(scores, float), y_true == 1
    n_patients = int(patient.max()) + 1

    def total(values: np.ndarray, of: np.ndarray) -> np.ndarray:
        """Sums (S, P) by patient of values (S, n), over the images that a mask (n,) names."""
        return np.stack([np.bincount(patient[of], row[of], minlength=n_patients) for row in values])

    called = (scores >= threshold).astype(float)
    cells = {"tp": total(called, positive), "fp": total(called, ~positive)}
    cells |= {"fn": total(1 - called, positive), "tn": total(1 - called, ~positive)}
    whole = {name: cell.sum(axis=1, keepdims=True) for name, cell in cells.items()}
    all_five = metrics_from_counts(Counts(**whole))
    left_five = metrics_from_counts(Counts(**{name: whole[name] - cell for name, cell in cells.items()}))

    of_positive, of_negative = (cells[a] + cells[b] for a, b in (("tp", "fn"), ("tn", "fp")))  # (S, P)
    won = _won(scores, positive)
    own = total(_won_within(scores, positive, patient), positive)
    by_positive, by_negative = total(won, positive), total(won, ~positive)
    wins, m, n = by_positive.sum(axis=1, keepdims=True), of_positive.sum(1)[0], of_negative.sum(1)[0]
    pairs = (m - of_positive) * (n - of_negative)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = wins / np.float64(m * n)
        area_left = np.where(pairs > 0, (wins - by_positive - by_negative + own) / pairs, np.nan)
    every = np.stack([*all_five.values(), area], axis=-1)  # (S, 1, 6)
    left = np.stack([*left_five.values(), area_left], axis=-1)  # (S, P, 6)
    assert every.shape[-1] == len(METRICS)
    return n_patients * every - (n_patients - 1) * left, every[:, 0]


def _won(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Images of the other class against which each is ranked rightly, ties half; (S, n)."""
    won = np.empty_like(scores)
    for row, into in zip(scores, won, strict=True):
        order = np.argsort(row)
        ill, ordered = positive[order], row[order]
        tie = np.cumsum(np.append(False, ordered[1:] != ordered[:-1]))  # number of the distinct score
        positives, negatives = (np.bincount(tie, weights=of) for of in (ill, ~ill))
        lower = (np.cumsum(negatives) - negatives / 2)[tie]
        higher = (positive.sum() - np.cumsum(positives) + positives / 2)[tie]
        into[order] = np.where(ill, lower, higher)
    return won


def _won_within(scores: np.ndarray, positive: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """The same among the images of one patient, for patients with both classes; 0 for the others. (S, n)."""
    classes = [np.bincount(patient[side], minlength=patient.max() + 1) for side in (positive, ~positive)]
    mixed = np.flatnonzero(((classes[0] > 0) & (classes[1] > 0))[patient])
    won = np.zeros_like(scores)
    if len(mixed):
        key = patient[mixed] * (scores.shape[1] + 1.0) + stats.rankdata(scores[:, mixed], axis=1)
        below = stats.rankdata(key, axis=1)  # patients one after the other, each in the order of her scores
        for side in (positive[mixed], ~positive[mixed]):
            below[:, side] -= stats.rankdata(key[:, side], axis=1)
        start = np.cumsum(classes[1] * (classes[0] > 0)) - classes[1] * (classes[0] > 0)  # negatives of those before
        here = positive[mixed]
        won[:, mixed[here]] = below[:, here] - start[patient[mixed[here]]]
    return won
