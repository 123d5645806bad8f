"""A logistic model on simple image features: the floor that any network of Table 3 has to beat."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecsupport.core.errors import UserError
from ecsupport.core.pixels import demand_grey

REVISION = 1  # what is told of an image, and the logistic model
BLOCKS = 8
AT_ONCE = 512  # images held in floating point


def block_features(images: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of the grey levels in an 8 x 8 grid of blocks.

    images: (N, S, S) uint8 with S a multiple of 8; returns (N, 128) float64 in [0, 1].
    UserError for any other array or size.
    """
    count, side, _ = demand_grey(images).shape
    if side % BLOCKS:
        raise UserError(
            f"images of {side} x {side} pixels do not divide into {BLOCKS} x {BLOCKS} blocks. Resize them to a multiple"
        )
    parts = [np.empty((0, 2, BLOCKS, BLOCKS))]
    for start in range(0, count, AT_ONCE):
        part = images[start : start + AT_ONCE] / 255
        blocks = part.reshape(-1, BLOCKS, side // BLOCKS, BLOCKS, side // BLOCKS)  # (N, S, S) -> (N, 8, s, 8, s)
        parts.append(np.stack([blocks.mean(axis=(2, 4)), blocks.std(axis=(2, 4))], axis=1))
    return np.concatenate(parts).reshape(count, 2 * BLOCKS**2)  # (N, 2, 8, 8) -> (N, 128)


def fit_and_score(
    train: np.ndarray, label: np.ndarray, patient_id: np.ndarray, test: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Probability of the positive class for `test`, from a model fitted to a bootstrap sample of training patients.

    train, test: (N, S, S) uint8; label: (N,) 0 or 1. Resampling patients stands in for a training seed, since the fit
    itself is deterministic. Classes weigh equally. Returns (N_test,) in [0, 1].
    """
    names, index = np.unique(patient_id, return_inverse=True)
    weight = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[index].astype(float)
    for c in (0, 1):
        weight[label == c] /= weight[label == c].sum()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    model.fit(block_features(train), label, logisticregression__sample_weight=weight * len(label))
    return model.predict_proba(block_features(test))[:, 1]
