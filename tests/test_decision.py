"""Decision curves and prior shift: a population drawn at another prevalence is met, and every identity holds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecsupport.core.errors import UserError
from ecsupport.evaluation.bootstrap import bootstrap
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.decision import decision_curve, decision_curve_samples, net_benefit, shift_prior
from ecsupport.evaluation.screening_value import PREVALENCES, screening_value

SIGMAS = 4.5
rate = st.floats(0.01, 0.99)


def population(seed, n, prevalence, separation=2.0):
    """Labels and the posterior at 1:1 of a marker that is N(0, 1) or N(separation, 1)."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < prevalence).astype(int)
    marker = rng.normal(size=n) + separation * y
    return y, 1 / (1 + np.exp(-separation * (marker - separation / 2)))


def worst_bin(y, probability):
    """Largest |mean label - mean probability| over ten bins of equal size, in standard errors."""
    order = np.argsort(probability)
    errors = []
    for images in np.array_split(order, 10):
        p = probability[images]
        errors.append(abs((y[images] - p).sum()) / np.sqrt((p * (1 - p)).sum()))
    return max(errors)


@pytest.mark.parametrize("prevalence", [*list(PREVALENCES.values())[1:], 0.01, 0.8])
def test_scores_calibrated_on_a_1_to_1_set_are_calibrated_after_the_shift(prevalence):
    balanced, p = population(1, 100_000, 0.5)
    assert worst_bin(balanced, p) < SIGMAS
    y, p = population(2, 100_000, prevalence)
    assert worst_bin(y, p) > 2 * SIGMAS  # as they stand they are not
    assert worst_bin(y, shift_prior(p, prevalence)) < SIGMAS


@settings(deadline=None)
@given(rate, rate, rate, rate)
def test_a_shift_multiplies_the_odds_and_can_be_undone(p, one, other, start):
    shifted = shift_prior(p, one, trained_at=start)
    odds = [x / (1 - x) for x in (shifted, p, one, start)]
    assert odds[0] == pytest.approx(odds[1] * odds[2] / odds[3], rel=1e-9)
    assert shift_prior(shifted, start, trained_at=one) == pytest.approx(p, rel=1e-9)
    assert shift_prior(shifted, other, trained_at=one) == pytest.approx(shift_prior(p, other, start), rel=1e-9)


@settings(deadline=None)
@given(rate, rate, rate)
def test_what_a_call_means_after_the_shift_is_its_predictive_value(se, sp, prevalence):
    balanced, real = screening_value(se, sp, 0.5), screening_value(se, sp, prevalence)
    assert shift_prior(balanced["ppv"], prevalence) == pytest.approx(real["ppv"], rel=1e-9)
    assert shift_prior(1 - balanced["npv"], prevalence) == pytest.approx(1 - real["npv"], rel=1e-9)


def test_certainty_stays_and_order_is_kept():
    p = np.linspace(0, 1, 101)
    shifted = shift_prior(p, 0.0002)
    assert (shifted[0], shifted[-1]) == (0, 1)
    assert (np.diff(shifted) > 0).all()
    assert shift_prior(p[:, None], [0.1, 0.5]).shape == (101, 2)
    np.testing.assert_allclose(shift_prior(p, 0.5), p, atol=1e-15)


def test_the_curve_counts_true_positives_less_weighted_false_ones():
    rng = np.random.default_rng(3)
    y, p = rng.permutation(np.arange(200) % 4 == 0).astype(int), rng.integers(21, size=200) / 20  # many on a threshold
    t = np.arange(20) / 20
    curve = decision_curve(y, p, t)
    for threshold, row in curve.iterrows():
        true, false = ((p >= threshold) & (y == 1)).sum(), ((p >= threshold) & (y == 0)).sum()
        assert row["model"] == pytest.approx(true / 200 - false / 200 * threshold / (1 - threshold))
        assert row["sensitivity"] == pytest.approx(true / y.sum())
        assert row["treat_all"] == pytest.approx(0.25 - 0.75 * threshold / (1 - threshold))
    assert (curve["treat_none"] == 0).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), prevalence=rate)
def test_curve_identities(seed, prevalence):
    rng = np.random.default_rng(seed)
    y, p = np.arange(50) % 2, rng.random(50)
    t = np.append([0.0, prevalence], rng.random(8))
    curve = decision_curve(y, p, t, prevalence)
    assert curve["model"].iloc[0] == pytest.approx(prevalence)  # threshold 0 calls everybody
    assert curve["treat_all"].iloc[0] == pytest.approx(prevalence)
    assert curve["treat_all"].iloc[1] == pytest.approx(0, abs=1e-12)  # treating all pays up to the prevalence
    assert (curve["model"] <= prevalence + 1e-12).all()
    np.testing.assert_allclose(decision_curve(y, y.astype(float), t[1:], prevalence)["model"], prevalence)
    none = net_benefit(0.0, 1.0, t, prevalence)
    np.testing.assert_array_equal(none, curve["treat_none"])
    # the benefit of the untreated, (1 - P) Sp (t / (1 - t)) - P (1 - Se), is that of the treated less treating all
    weight = t / (1 - t)
    untreated = (1 - prevalence) * curve["specificity"] * weight - prevalence * (1 - curve["sensitivity"])
    np.testing.assert_allclose(curve["model"] - curve["treat_all"], untreated, atol=1e-9 * (1 + weight.max()))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), prevalence=rate)
def test_shifting_probabilities_and_thresholds_alike_changes_no_call(seed, prevalence):
    rng = np.random.default_rng(seed)
    y, p, t = np.arange(50) % 2, rng.random(50), rng.random(10)
    before = decision_curve(y, p, t, prevalence)
    after = decision_curve(y, shift_prior(p, prevalence), shift_prior(t, prevalence), prevalence)
    for column in ("sensitivity", "specificity"):
        np.testing.assert_array_equal(before[column], after[column])


def test_a_reweighted_1_to_1_set_shows_the_curve_of_a_population():
    prevalence, n, t = 0.09, 200_000, np.array([0.02, 0.05, 0.09, 0.2, 0.4])
    y, p = population(4, n, 0.5)
    here = decision_curve(y, shift_prior(p, prevalence), t, prevalence)
    y, p = population(5, n, prevalence)
    there = decision_curve(y, shift_prior(p, prevalence), t)
    np.testing.assert_allclose(here["model"], there["model"], atol=SIGMAS * np.sqrt(0.09 * 0.91 / n) * 2)
    # and both are those of the two normal distributions
    cut = np.log(t / (1 - t) * (1 - prevalence) / prevalence) / 2 + 1
    exact = net_benefit(stats.norm.sf(cut - 2), stats.norm.cdf(cut), t, prevalence)
    np.testing.assert_allclose(here["model"], exact, atol=SIGMAS * np.sqrt(0.09 * 0.91 / n))


def test_calibrated_probabilities_beat_treating_all_none_and_the_uncorrected_ones():
    prevalence, t = 0.09, np.array([0.02, 0.05, 0.09, 0.2, 0.4])
    y, p = population(6, 200_000, 0.5)
    good = decision_curve(y, shift_prior(p, prevalence), t, prevalence)
    assert (good["model"] > np.maximum(good["treat_all"], 0)).all()
    naive = decision_curve(y, p, t, prevalence)
    assert (good["model"] > naive["model"]).all()
    assert (naive["model"] < 0).any()  # trusting 1:1 probabilities can be worse than treating nobody


def test_resampled_curves_are_the_curves_of_the_resamples():
    y, p = population(7, 300, 0.5)
    patient, t = np.arange(300) // 3, [0.1, 0.3, 0.7]
    got = decision_curve_samples(y, p, patient, t, 0.2, unit="patient", rng=np.random.default_rng(8), n_resamples=50)
    assert got.shape == (50, 3)
    for column, threshold in enumerate(t):
        rates = bootstrap(
            y, p, patient, unit="patient", rng=np.random.default_rng(8), n_resamples=50, threshold=threshold
        ).values
        se, sp = (rates[:, METRICS.index(name)] for name in ("sensitivity", "specificity"))
        np.testing.assert_allclose(got[:, column], net_benefit(se, sp, threshold, 0.2), atol=1e-12)


def test_spread_of_the_curve_is_that_of_two_proportions():
    y, p = population(9, 400, 0.5)
    t = [0.2, 0.6]
    spread = decision_curve_samples(
        y, p, None, t, 0.3, unit="stratified", rng=np.random.default_rng(10), n_resamples=4000
    ).std(axis=0)
    curve = decision_curve(y, p, t, 0.3)
    se, sp, weight = curve["sensitivity"], curve["specificity"], curve.index / (1 - curve.index)
    variance = 0.3**2 * se * (1 - se) / y.sum() + (0.7 * weight) ** 2 * sp * (1 - sp) / (1 - y).sum()
    np.testing.assert_allclose(spread, np.sqrt(variance), rtol=SIGMAS / np.sqrt(2 * 4000))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shift_prior(0.5, 9), r"prevalence: 9 looks like a percentage; write 0\.09"),
        (lambda: shift_prior(0.5, 0.1, trained_at=0), "prevalence: 0 is not between 0 and 1"),
        (lambda: shift_prior([0.5, 1.2], 0.1), "probability: 1.2"),
        (lambda: net_benefit(0.9, 0.9, 1.0, 0.1), "threshold: 1 would weigh a false positive infinitely"),
        (lambda: net_benefit(0.9, 0.9, -0.1, 0.1), "threshold: -0.1"),
        (lambda: decision_curve([0, 1, 1], [0.1, 0.2, 3.5], [0.1]), r"probability, row 3: 3\.5 is not in \[0, 1\]"),
        (lambda: decision_curve([1, 1], [0.1, 0.2], [0.1]), "only one class"),
        (lambda: decision_curve([0, 1], [0.1, np.nan], [0.1]), "row 2"),
        (lambda: decision_curve([0, 1], [0.1, 0.2], [0.1], prevalence=1), "prevalence: 1"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_a_scalar_stays_a_scalar_and_nan_stays_nan():
    assert np.ndim(net_benefit(0.9, 0.8, 0.1, 0.2)) == 0
    assert np.isnan(net_benefit([0.9, np.nan], 0.8, 0.1, 0.2)).tolist() == [False, True]
    assert isinstance(decision_curve([0, 1], [0.1, 0.9], 0.5), pd.DataFrame)
