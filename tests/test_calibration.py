"""Calibration: a known distortion is found again, the curve of true probabilities is the diagonal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecsupport.evaluation.calibration import curve, logit, slope_and_intercept


def drawn(seed, count=40_000):
    rng = np.random.default_rng(seed)
    probability = rng.beta(1.5, 2, count)
    return (rng.random(count) < probability).astype(int), probability


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), slope=st.floats(0.4, 2.5), shift=st.floats(-1, 1))
def test_a_known_distortion_is_found_again(seed, slope, shift):
    truth, probability = drawn(seed)
    distorted = 1 / (1 + np.exp(-(logit(probability) - shift) / slope))
    assert slope_and_intercept(truth, distorted) == pytest.approx((slope, shift), rel=0.06, abs=0.06)


def test_the_curve_of_true_probabilities_is_the_diagonal():
    found = curve(*drawn(1))
    assert found["images"].tolist() == [5000] * 8
    np.testing.assert_allclose(found["observed"], found["predicted"], atol=0.025)
    assert found["predicted"].is_monotonic_increasing


def test_what_has_no_slope_says_so():
    assert np.isnan(slope_and_intercept(np.ones(5), np.linspace(0, 1, 5))).all()
    assert np.isnan(slope_and_intercept(np.arange(4) % 2, np.full(4, 0.3))).all()
    assert len(curve(np.array([0, 1, 1]), np.array([0.2, 0.5, 0.9]))) == 3
    assert np.isfinite(slope_and_intercept(np.array([0, 1, 0, 1, 1]), np.array([0.0, 1.0, 0.3, 0.2, 0.6]))).all()
