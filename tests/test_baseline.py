"""The logistic floor: learns what is there to learn, and nothing from shuffled labels."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ecsupport.core.errors import UserError
from ecsupport.screening.baseline import block_features, fit_and_score


def pictures(rng, n):
    """Noise images; the positive class is brighter in one block."""
    images, label = rng.integers(0, 200, (n, 32, 32), np.uint8), np.arange(n) % 2
    images[label == 1, :4, :4] += 50
    return images, label


def test_block_features_are_means_and_sds_of_blocks():
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 24), np.uint8)
    features = block_features(images).reshape(3, 2, 8, 8)  # (N, 128) -> (N, 2, 8, 8)
    block = images[1, 3:6, 6:9] / 255
    assert features[1, 0, 1, 2] == pytest.approx(block.mean())
    assert features[1, 1, 1, 2] == pytest.approx(block.std())
    with pytest.raises(UserError, match="23 x 23 pixels do not divide"):
        block_features(images[:, 1:, 1:])


def test_learns_a_signal_and_no_more_than_chance_from_shuffled_labels():
    rng = np.random.default_rng(1)
    (train, label), (test, truth) = pictures(rng, 1200), pictures(rng, 600)
    patients = np.arange(len(train)) // 3
    assert roc_auc_score(truth, fit_and_score(train, label, patients, test, np.random.default_rng(0))) > 0.9
    chance = roc_auc_score(
        truth, fit_and_score(train, rng.permutation(label), patients, test, np.random.default_rng(0))
    )
    assert abs(chance - 0.5) < 4 * np.sqrt(1 / 12 * (2 / 300))  # four standard errors of the AUC under no signal


def test_generator_decides_the_run():
    rng = np.random.default_rng(2)
    (train, label), (test, _) = pictures(rng, 200), pictures(rng, 50)
    patients = np.arange(len(train)) // 4
    one, same, other = (fit_and_score(train, label, patients, test, np.random.default_rng(s)) for s in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
