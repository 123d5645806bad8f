"""What a test set of a given size can decide: draws from many more patients, whose own difference is known.

Of a draw the same paired difference is taken as of all patients, with a 95 % interval over patients for the trained
models as they are: Obuchowski's for the ROC AUC (`auc_covariance`), for the sensitivity that of a ratio of sums over
patients. Where the interval leaves zero out the draw *decides*; where its sign is not that of all patients it decides
*wrongly*.

Limit: draws share patients. Where they take a large part of them, they differ by less than new patients would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from ecsupport.core.errors import UserError
from ecsupport.evaluation.auc import auc_covariance

DRAWS = 200
THRESHOLD = 0.5  # of sensitivity
METRICS = ("roc_auc", "sensitivity")
REACH = float(special.ndtri(0.975))  # standard errors


@dataclass(frozen=True)
class Size:
    """Patients of a test set by class, and images: what is drawn of theirs without replacement, all where fewer."""

    positive_patients: int
    negative_patients: int
    images_a_class: int


def decidable(
    y_true: ArrayLike,
    scores: Mapping[str, Sequence[ArrayLike]],
    patient_id: ArrayLike,
    size: Size,
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """How often test sets of a size decide between the first model and each other one.

    y_true, patient_id: (n,), one class a patient;  scores: by model one row (n,) a training, means over trainings are
    compared;  size: of each draw
    Returns a row a metric of METRICS and other model: metric, less, estimate, low, high (of all patients); decided,
    wrong (shares of draws), draws, positive_patients, negative_patients, positive_images, negative_images (of a draw,
    means).
    UserError where a class has fewer patients than are drawn, and as `auc_covariance` does.
    """
    truth, (_, patients) = np.asarray(y_true), np.unique(np.asarray(patient_id), return_inverse=True)
    rows = np.concatenate([np.asarray(runs, float) for runs in scores.values()])  # (runs of all models, n)
    contrasts = _contrasts([len(runs) for runs in scores.values()])
    whole = _differences(truth, rows, patients, contrasts)
    found = np.empty((draws, *whole.shape))
    images = np.empty((draws, 2))
    for number in range(draws):
        drawn = _draw(truth, patients, size, rng)
        found[number] = _differences(truth[drawn], rows[:, drawn], patients[drawn], contrasts)
        images[number] = [(truth[drawn] == side).sum() for side in (1, 0)]
    estimate, error = found[..., 0], found[..., 1]
    decided = np.abs(estimate) > REACH * error + 1e-12  # what rounding leaves of 0 decides nothing
    wrong = decided & (np.sign(estimate) != np.sign(whole[..., 0]))
    of_draw = dict(zip(("positive_images", "negative_images"), images.mean(axis=0), strict=True))
    lines = [
        {
            "metric": metric, "less": other, "estimate": whole[m, o, 0], "low": whole[m, o, 0] - REACH * whole[m, o, 1],
            "high": whole[m, o, 0] + REACH * whole[m, o, 1], "decided": decided[:, m, o].mean(),
            "wrong": wrong[:, m, o].mean(), "draws": draws, "positive_patients": size.positive_patients,
            "negative_patients": size.negative_patients, **of_draw,
        }
        for m, metric in enumerate(METRICS)
        for o, other in enumerate(list(scores)[1:])
    ]  # fmt: skip
    return pd.DataFrame(lines)


def _contrasts(runs: Sequence[int]) -> np.ndarray:
    """Weights (others, all runs) of the first model's mean less each other's."""
    of = np.repeat(np.arange(len(runs)), runs)
    return np.stack([(of == 0) / runs[0] - (of == other) / runs[other] for other in range(1, len(runs))])


def _differences(truth: np.ndarray, rows: np.ndarray, patients: np.ndarray, contrasts: np.ndarray) -> np.ndarray:
    """Estimate and standard error of each metric and contrast, (2, others, 2)."""
    found = []
    for values, covariance in (auc_covariance(truth, rows, patients), _sensitivities(truth, rows, patients)):
        variance = np.einsum("ij,jk,ik->i", contrasts, covariance, contrasts)
        found.append(np.stack([contrasts @ values, np.sqrt(variance.clip(0))], axis=-1))
    return np.stack(found)


def _sensitivities(truth: np.ndarray, rows: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of positive images at or above THRESHOLD, (k,), and the covariance (k, k) of these ratios over patients."""
    called = rows[:, truth == 1] >= THRESHOLD
    names, whose = np.unique(patients[truth == 1], return_inverse=True)
    share = called.mean(axis=1)
    sums = np.zeros((len(names), len(rows)))
    np.add.at(sums, whose, (called - share[:, None]).T)
    return share, len(names) / (len(names) - 1) * sums.T @ sums / called.shape[1] ** 2


def _draw(truth: np.ndarray, patients: np.ndarray, size: Size, rng: np.random.Generator) -> np.ndarray:
    """Places of the images of one draw."""
    places = []
    for side, number in ((1, size.positive_patients), (0, size.negative_patients)):
        names = np.unique(patients[truth == side])
        if number > len(names):
            raise UserError(f"a draw of {number} patients with label {side}: there are {len(names)}. Draw fewer")
        of = np.flatnonzero((truth == side) & np.isin(patients, rng.choice(names, number, replace=False)))
        places.append(rng.permutation(of)[: size.images_a_class])
    return np.sort(np.concatenate(places))
