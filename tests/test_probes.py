"""Linear probes: they find what is linearly there, nothing where nothing is, and count patients, not images."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ecsupport.evaluation.probes import channel_summary, dice, mean_over_patients, pixel_probe, probe_scores


def test_a_probe_finds_a_shift_and_no_more():
    rng = np.random.default_rng(0)
    features, label = rng.normal(size=(600, 5)), rng.integers(2, size=600)
    blind = probe_scores(features[:400], label[:400], features[400:])
    assert abs(roc_auc_score(label[400:], blind) - 0.5) < 0.12  # three standard errors
    features[:, 2] += 2 * label
    seen = probe_scores(features[:400], label[:400], features[400:])
    assert roc_auc_score(label[400:], seen) == pytest.approx(0.92, abs=0.05)  # Phi(2 / sqrt 2)


def test_a_channel_summary_is_means_then_deviations():
    maps = np.stack([np.zeros((4, 4)), np.arange(16.0).reshape(4, 4)])[None]
    assert channel_summary(maps)[0] == pytest.approx([0, 7.5, 0, np.arange(16).std()])


def test_a_pixel_probe_finds_a_structure_that_one_channel_shows():
    rng = np.random.default_rng(1)
    masks = np.zeros((6, 16, 16), bool)
    for i, mask in enumerate(masks):
        mask[3 + i : 6 + i, 4:12] = True
    maps = rng.normal(size=(6, 3, 16, 16))
    maps[:, 1] += 6 * masks
    assert dice(pixel_probe([maps[:2], maps[2:3]], masks[:3], [maps[3:]], rng), masks[3:]).min() > 0.9
    assert dice(pixel_probe([maps[:3, [0, 2]]], masks[:3], [maps[3:, [0, 2]]], rng), masks[3:]).max() < 0.4
    with pytest.raises(ValueError, match="one class only"):
        pixel_probe([maps], np.zeros_like(masks), [maps], rng)


def test_dice_of_written_examples():
    a, b = np.zeros((3, 2, 2), bool), np.zeros((3, 2, 2), bool)
    a[0, 0], b[0, :, 0] = True, True  # two pixels each, one shared
    a[1] = b[1] = True
    assert dice(a, b)[:2] == pytest.approx([0.5, 1.0])
    assert np.isnan(dice(a, b)[2])


def test_the_mean_counts_patients_and_its_interval_covers():
    value, low, high, n = mean_over_patients([1, 1, 1, 1, 5, np.nan], list("aaaabb"), np.random.default_rng(0))
    assert (value, n) == (3.0, 2)
    assert (low, high) == (1.0, 5.0)
    value, low, high, n = mean_over_patients([0, 1, np.nan], list("aab"), np.random.default_rng(0))
    assert (value, n) == (0.5, 1) and np.isnan([low, high]).all()  # of one patient nothing says how others differ
    rng, held = np.random.default_rng(3), 0
    for _ in range(200):
        patients = np.repeat(np.arange(40), 3)
        values = rng.normal(size=40)[patients] + 0.3 * rng.normal(size=120)
        _, low, high, _ = mean_over_patients(values, patients, rng, 500)
        held += low <= 0 <= high
    assert 0.90 <= held / 200 <= 0.99
