"""Calibration: a known distortion is found again, the curve of true probabilities is the diagonal."""

import numpy as np
import pytest
import statsmodels.api as sm
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
    assert slope_and_intercept(truth, distorted)[0] == pytest.approx(slope, rel=0.06)
    shifted = 1 / (1 + np.exp(-(logit(probability) - shift)))
    assert slope_and_intercept(truth, shifted) == pytest.approx((1, shift), rel=0.06, abs=0.06)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(20, 200), sharp=st.floats(0.1, 4))
def test_the_fits_are_those_of_statsmodels(seed, count, sharp):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, sharp, count)
    truth = (rng.random(count) < 1 / (1 + np.exp(-x))).astype(int)
    found = slope_and_intercept(truth, 1 / (1 + np.exp(-x)))
    if np.isnan(found).any():
        ill, well = x[truth == 1], x[truth == 0]
        assert not len(ill) or not len(well) or ill.min() >= well.max() or ill.max() <= well.min()
        return
    slope = sm.Logit(truth, sm.add_constant(x)).fit(method="newton", maxiter=200, disp=False).params[1]
    at_large = sm.GLM(truth, np.ones(count), sm.families.Binomial(), offset=x).fit().params[0]
    assert found == pytest.approx((slope, at_large), rel=1e-4, abs=1e-4)


def test_the_curve_of_true_probabilities_is_the_diagonal():
    found = curve(*drawn(1))
    assert found["images"].tolist() == [5000] * 8
    np.testing.assert_allclose(found["observed"], found["predicted"], atol=0.025)
    assert found["predicted"].is_monotonic_increasing


def test_what_has_no_slope_says_so():
    assert np.isnan(slope_and_intercept(np.ones(5), np.linspace(0, 1, 5))).all()
    assert np.isnan(slope_and_intercept(np.arange(4) % 2, np.full(4, 0.3))).all()
    assert np.isnan(slope_and_intercept(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.7, 0.8]))).all()
    assert len(curve(np.array([0, 1, 1]), np.array([0.2, 0.5, 0.9]))) == 3
    assert np.isfinite(slope_and_intercept(np.array([0, 1, 0, 1, 1]), np.array([0.0, 1.0, 0.3, 0.2, 0.6]))).all()
