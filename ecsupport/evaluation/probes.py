"""Linear probes: what a plain linear model can read from a network's features (claims on Figure 2).

A probe asks whether information is there, not whether the network uses it: Alain and Bengio 2017 (arXiv 1610.01644).
Arrays only; fitted on training patients and scored on test patients by the caller's choice of rows.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

REVISION = 1  # probes, their scores, Dice
PIXELS = 8000  # drawn of each class


def channel_summary(maps: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each channel. maps: (N, C, H, W); returns (N, 2C)."""
    return np.concatenate([maps.mean(axis=(2, 3)), maps.std(axis=(2, 3))], axis=1)


def probe_scores(features: np.ndarray, label: ArrayLike, unseen: np.ndarray) -> np.ndarray:
    """Scores of a logistic probe for rows it has not seen. features: (N, d); label: (N,) 0 or 1; unseen: (M, d)."""
    return _probe(features, label)(unseen)


def _probe(features: np.ndarray, label: ArrayLike) -> Callable[[np.ndarray], np.ndarray]:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(features, label).decision_function


def pixel_probe(
    maps: Iterable[np.ndarray], masks: np.ndarray, unseen: Iterable[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Where a probe of single pixels, fitted to `masks`, sees the structure in unseen maps.

    maps, unseen: of N and M images in their order, in parts (n, C, H, W), gone through twice and once, so that one part
    at a time is held;  masks: (N, H, W) bool. At most PIXELS of each class are drawn for the fit; the threshold is the
    one with the highest Dice over all fitted images. Returns (M, H, W) bool.
    ValueError where the masks hold one class only.
    """
    wanted = masks.ravel()
    if wanted.all() or not wanted.any():
        raise ValueError("the masks hold one class only; give images that show the structure")
    drawn = np.concatenate([rng.permutation(np.flatnonzero(wanted == side))[:PIXELS] for side in (True, False)])
    order, start, taken = np.argsort(drawn), 0, []
    ascending = drawn[order]
    for part in maps:
        pixels = _pixels(part)
        first, last = np.searchsorted(ascending, [start, start + len(pixels)])
        taken.append(pixels[ascending[first:last] - start])
        start += len(pixels)
    score = _probe(np.concatenate(taken)[np.argsort(order)], wanted[drawn])
    seen, new = (np.concatenate([score(_pixels(part)) for part in of]) for of in (maps, unseen))
    cuts = np.quantile(seen, np.linspace(0.5, 0.99, 50))
    best = cuts[np.argmax([2 * (wanted & (seen > cut)).sum() / (wanted.sum() + (seen > cut).sum()) for cut in cuts])]
    return (new > best).reshape(-1, *masks.shape[1:])  # (M * H * W,) -> (M, H, W)


def dice(called: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Dice overlap of two masks (N, H, W), one an image, 0 to 1; NaN where both are empty."""
    size = called.sum(axis=(1, 2)) + wanted.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        return 2 * (called & wanted).sum(axis=(1, 2)) / np.where(size, size, np.nan)


def mean_by_patient(values: ArrayLike, patient_id: ArrayLike) -> np.ndarray:
    """Mean of the patients' means, (S,). values: (S, N), one row a training seed, NaN left out; patient_id: (N,)."""
    values, (_, index) = np.asarray(values, float), np.unique(np.asarray(patient_id), return_inverse=True)
    means = []
    for row in values:
        known = ~np.isnan(row)
        count = np.bincount(index[known])
        total = np.bincount(index[known], row[known])
        means.append((total[count > 0] / count[count > 0]).mean())
    return np.array(means)


def by_patient(values: ArrayLike, patient_id: ArrayLike) -> np.ndarray:
    """Means of patients, (S, P). values: (S, N), one row a training seed, NaN left out; patient_id: (N,).

    Patients without a value in some row are left out of all.
    """
    values, (_, index) = np.asarray(values, float), np.unique(np.asarray(patient_id), return_inverse=True)
    known = ~np.isnan(values)
    count = np.stack([np.bincount(index[of], minlength=index.max() + 1) for of in known])
    total = np.stack([np.bincount(index, np.nan_to_num(row), minlength=index.max() + 1) for row in values])
    whole = (count > 0).all(axis=0)
    return total[:, whole] / count[:, whole]


def mean_over_patients(
    values: ArrayLike, patient_id: ArrayLike, rng: np.random.Generator, n_resamples: int = 10_000
) -> tuple[float, float, float, int]:
    """Mean of the patients' means, its 95 % percentile interval with patients resampled, and their number.

    values: (N,) one an image, NaN left out; patient_id: (N,).  The interval of one patient is NaN.
    """
    values, (_, index) = np.asarray(values, float), np.unique(np.asarray(patient_id), return_inverse=True)
    known = ~np.isnan(values)
    count = np.bincount(index[known], minlength=index.max() + 1)
    total = np.bincount(index[known], values[known], minlength=index.max() + 1)
    means = total[count > 0] / count[count > 0]
    if len(means) < 2:
        return float(means.mean()), np.nan, np.nan, len(means)
    drawn = means[rng.integers(len(means), size=(n_resamples, len(means)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(means.mean()), float(low), float(high), len(means)


def _pixels(maps: np.ndarray) -> np.ndarray:
    return maps.transpose(0, 2, 3, 1).reshape(-1, maps.shape[1])  # (N, C, H, W) -> (N * H * W, C)
