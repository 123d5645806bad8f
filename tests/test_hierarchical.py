"""Differences between ways of training: the spread is the known one, few seeds are announced, p-values hold."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecsupport.core.errors import UserError
from ecsupport.evaluation.bootstrap import Resamples, bootstrap
from ecsupport.evaluation.classification import METRICS, metrics
from ecsupport.evaluation.hierarchical import SCOPES, difference_table, hierarchical_difference, p_value, smallest

SIGMAS = 4.5
SEED, PATIENT = 0.1, 0.1  # half the distance between good and bad seeds, easy and hard patients


def scored(y, right):
    """Scores whose calls are right where `right`, (n_seeds, n)."""
    return np.where(right, y, 1 - y).astype(float)


def trainings(rng, y, n_seeds, patient_effect, seed_effect=None):
    """One image a patient, right with probability 0.8 + seed + patient: components 0.01, 0.01 and 0.14 in all."""
    seed = rng.choice([-SEED, SEED], size=n_seeds) if seed_effect is None else seed_effect
    return scored(y, rng.random((n_seeds, len(y))) < 0.8 + seed[:, None] + patient_effect[None, :])


@pytest.mark.parametrize("design", ["against a perfect model", "two models", "two models, seeds paired"])
def test_spread_is_that_of_the_variance_decomposition(design):
    n_seeds, n_patients, n_simulated, rng = 6, 40, 250, np.random.default_rng(1)
    y, patient = np.arange(n_patients) % 2, np.arange(n_patients)
    variance = np.empty(n_simulated)
    for i in range(n_simulated):
        easy = rng.choice([-PATIENT, PATIENT], size=n_patients)
        seed = rng.choice([-SEED, SEED], size=n_seeds)
        a = trainings(rng, y, n_seeds, easy, seed)
        if design == "against a perfect model":
            b = scored(y, np.ones((n_seeds, n_patients), dtype=bool))
        else:
            b = trainings(rng, y, n_seeds, easy, seed if design.endswith("paired") else None)
        difference = hierarchical_difference(
            y, a, b, patient, rng=rng, n_resamples=200, paired=design.endswith("paired")
        )
        assert difference.scope == SCOPES[0]
        variance[i] = difference.values[:, 0].var(ddof=1)
    of_seed, of_patient, interaction = SEED**2, PATIENT**2, 0.8 * 0.2 - SEED**2 - PATIENT**2
    seeds = (1 - 1 / n_seeds) * of_seed / n_seeds
    patients = (1 - 1 / n_patients) * of_patient / n_patients
    cells = n_seeds * n_patients
    rest = (3 - 2 / n_seeds - 2 / n_patients + 1 / cells) * interaction / cells
    expected = {
        "against a perfect model": seeds + patients + rest,
        "two models": 2 * seeds + 2 * rest,  # the same patients, the same difficulty: it cancels
        "two models, seeds paired": 2 * rest,  # and so does the luck of a shared seed
    }[design]
    error = variance.std(ddof=1) / np.sqrt(n_simulated)
    assert variance.mean() == pytest.approx(expected, abs=SIGMAS * error)
    assert error < 0.05 * expected


def test_trainings_alike_in_everything_leave_the_difference_between_two_models():
    rng = np.random.default_rng(2)
    y, patient = np.repeat(np.arange(30) % 2, 4), np.repeat(np.arange(30), 4)
    a, b = rng.normal(size=(2, 120)) + y
    of_a, of_b = (  # on the same draws
        bootstrap(y, score, patient, unit="patient", rng=np.random.default_rng(3), n_resamples=300) for score in (a, b)
    )
    for n_seeds in (1, 5):
        many = hierarchical_difference(
            y, [a] * n_seeds, [b] * (n_seeds + 1), patient, rng=np.random.default_rng(3), n_resamples=300
        )
        np.testing.assert_allclose(many.values, of_a.values - of_b.values, rtol=0, atol=1e-12)
        np.testing.assert_allclose(many.estimate, of_a.estimate - of_b.estimate, rtol=0, atol=1e-12)


def test_the_estimate_is_the_difference_of_mean_metrics():
    rng = np.random.default_rng(4)
    y, patient = np.arange(40) % 2, np.arange(40) // 2
    a, b = rng.random((5, 40)), rng.random((7, 40))
    got = hierarchical_difference(y, a, b, patient, rng=rng, n_resamples=5, thresholds=(0.4, 0.6))
    mean = [np.mean([list(metrics(y, s, t).values()) for s in scores], axis=0) for scores, t in ((a, 0.4), (b, 0.6))]
    np.testing.assert_allclose(got.estimate, mean[0] - mean[1], atol=1e-12)
    assert got.n_seeds == (5, 7)


@pytest.mark.parametrize("n_seeds", [1, 4, 5])
def test_fewer_than_five_seeds_speak_of_these_trained_models_only(n_seeds):
    y, patient = np.arange(60) % 2, np.arange(60)
    share = np.linspace(0.0, 1.0, n_seeds)  # seeds that could not differ more, on patients all alike
    a = scored(y, np.repeat(share[:, None] >= 0.5, 60, axis=1))
    b = scored(y, np.ones((5, 60), dtype=bool))
    difference = hierarchical_difference(y, a, b, patient, rng=np.random.default_rng(5), n_resamples=400)
    table = difference_table(difference)
    if n_seeds < 5:
        assert (table["scope"] == "these trained models").all()
        assert table.loc["accuracy", "method"] == "constant"
        assert table.loc["accuracy", "low"] == table.loc["accuracy", "estimate"]
    else:
        assert (table["scope"] == "training seeds and patients").all()
        assert table.loc["accuracy", "low"] < table.loc["accuracy", "estimate"] < table.loc["accuracy", "high"]


def test_swapping_the_models_turns_the_sign():
    rng = np.random.default_rng(6)
    y, patient = np.arange(60) % 2, np.arange(60) // 3
    a, b = rng.random((6, 60)), rng.random((6, 60))
    one, other = (
        hierarchical_difference(y, *pair, patient, rng=np.random.default_rng(7), n_resamples=200, paired=True)
        for pair in ((a, b), (b, a))
    )
    np.testing.assert_allclose(one.values, -other.values, atol=1e-12)
    np.testing.assert_allclose(p_value(one), p_value(other))


def test_a_metric_undefined_for_one_training_is_undefined_only_where_that_one_is_drawn():
    y, patient = np.arange(40) % 2, np.arange(40)
    a = np.tile(np.linspace(0.3, 0.9, 40), (5, 1))
    a[0] = 0.1  # this training calls nothing positive: no precision
    b = np.tile(np.linspace(0.2, 0.8, 40), (5, 1))
    rng = np.random.default_rng(8)
    with np.errstate(all="raise"):
        difference = hierarchical_difference(y, a, b, patient, rng=rng, n_resamples=2000)
    undefined = np.isnan(difference.values[:, METRICS.index("precision")]).mean()
    assert undefined == pytest.approx(1 - 0.8**5, abs=SIGMAS * np.sqrt(0.25 / 2000))
    table = difference_table(difference)
    assert table.loc["precision", "method"] == "undefined"  # it has no value on the test set
    assert np.isnan(table.loc["precision", "p_value"])
    assert table.loc["accuracy", "n_undefined"] == 0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), centre=st.floats(-3, 3), null=st.sampled_from([0.0, -0.5]))
def test_the_p_value_is_below_5_percent_where_the_interval_excludes_the_null(seed, centre, null):
    values = np.random.default_rng(seed).normal(centre, size=(999, 6))
    resamples = Resamples(values, np.full(6, centre), "patient")
    low, high = np.quantile(values, [0.025, 0.975], axis=0)
    p = p_value(resamples, null).to_numpy()
    assert ((p > 0.045) | (null < low) | (null > high)).all()
    assert ((p < 0.055) | ((low <= null) & (null <= high))).all()
    assert ((p >= 2 / 1000) & (p <= 1)).all()


def test_the_p_value_of_a_normal_spread_is_the_normal_one():
    values = np.repeat(stats.norm.ppf((np.arange(9999) + 0.5) / 9999)[:, None] + 1.5, 6, axis=1)
    p = p_value(Resamples(values, np.full(6, 1.5), "patient"))
    assert p["accuracy"] == pytest.approx(2 * stats.norm.sf(1.5), abs=3e-4)
    assert (p_value(Resamples(np.zeros((99, 6)), np.zeros(6), "patient")) == 1).all()  # no difference at all


def test_two_trainings_of_one_kind_are_seldom_called_different():
    rng, n_simulated = np.random.default_rng(9), 200
    y, patient = np.arange(40) % 2, np.arange(40)
    rejected = 0
    for _ in range(n_simulated):
        easy = rng.choice([-PATIENT, PATIENT], size=40)
        a, b = trainings(rng, y, 10, easy), trainings(rng, y, 10, easy)
        difference = hierarchical_difference(y, a, b, patient, rng=rng, n_resamples=200)
        rejected += p_value(difference)["accuracy"] < 0.05
    assert rejected / n_simulated < 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_simulated)


def test_what_is_refused():
    y, patient, rng = np.arange(10) % 2, np.arange(10), np.random.default_rng(0)
    scores = rng.random((5, 10))
    with pytest.raises(UserError, match="a was trained 5 times and b 4 times"):
        hierarchical_difference(y, scores, scores[:4], patient, rng=rng, paired=True)
    with pytest.raises(UserError, match=r"scores_b: give one row of scores per training, shape \(n_seeds, n\)"):
        hierarchical_difference(y, scores, scores[0], patient, rng=rng)
    with pytest.raises(UserError, match="scores_a"):
        hierarchical_difference(y, [], scores, patient, rng=rng)
    with pytest.raises(UserError, match="score, row 10: missing"):
        hierarchical_difference(y, scores, scores[:, :9], patient, rng=rng)
    scores[3, 6] = np.nan
    with pytest.raises(UserError, match="score, row 7: the value is nan"):
        hierarchical_difference(y, scores, scores, patient, rng=rng)
    with pytest.raises(UserError, match="patient_id: missing"):
        hierarchical_difference(y, scores[:1], scores[:1], None, rng=rng)


def test_the_smallest_of_several_differences_and_its_p_value():
    lines = pd.DataFrame({"estimate": [0.1, 0.3], "low": [0.02, 0.01], "high": [0.2, 0.4], "p_value": [0.01, 0.04]})
    assert smallest(lines) == (0.1, 0.01, 0.2, 0.04)  # both must hold, so the weaker evidence counts
    worse = lines.assign(estimate=[-0.3, 0.3], low=[-0.4, 0.01], high=[-0.2, 0.4], p_value=[0.001, 0.04])
    assert smallest(worse) == (-0.3, -0.4, -0.2, 0.002)  # one of two refutes
    assert smallest(worse.assign(p_value=0.9))[-1] == 1.0
    assert smallest(worse, null=-0.5)[-1] == 0.04
    assert np.isnan(smallest(lines.assign(estimate=[np.nan, 0.1]))).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_smallest_difference_of_equal_methods_is_rarely_called_negative(seed):
    """Under no difference at all the p-value of the smallest of four is below .05 no more often than that."""
    z = np.random.default_rng(seed).normal(size=(300, 4))
    p = 2 * stats.norm.sf(abs(z))
    lines = [pd.DataFrame({"estimate": a, "low": a, "high": a, "p_value": b}) for a, b in zip(z, p, strict=True)]
    share = np.mean([smallest(line)[-1] < 0.05 for line in lines])
    assert share <= 0.05 + SIGMAS * np.sqrt(0.05 * 0.95 / 300)
