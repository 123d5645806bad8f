"""Differences between ways of training: pseudo-values by brute force, errors by other routes, simulated coverage."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecsupport.core.errors import UserError
from ecsupport.evaluation import crossed_coverage, mrmc
from ecsupport.evaluation.auc import auc_difference
from ecsupport.evaluation.classification import METRICS, metrics
from ecsupport.evaluation.components import SCOPES, Factor, Spread, crossed, spread
from ecsupport.evaluation.hierarchical import difference_table, hierarchical_difference, smallest
from ecsupport.evaluation.pseudo_values import pseudo_values
from ecsupport.paper.published import PAPER

SIGMAS = 4.5
AUC = METRICS.index("roc_auc")


def scored(y, right):
    """Scores whose calls are right where `right`, (n_seeds, n)."""
    return np.where(right, y, 1 - y).astype(float)


def clustered(rng, n_patients=30, images=4, n_seeds=(5, 5)):
    """Labels, scores of two models, patients; a patient's images are of both classes."""
    patient = np.repeat(np.arange(n_patients), images)
    y = rng.integers(2, size=len(patient))
    own = rng.normal(size=n_patients)[patient]
    return y, *(y + own + rng.normal(size=(n, len(y))) + rng.normal(size=(n, 1)) * y for n in n_seeds), patient


# --- pseudo-values --------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
@settings(max_examples=15, deadline=None)
def test_pseudo_values_are_those_of_leaving_each_patient_out(seed, digits):
    rng = np.random.default_rng(seed)
    patient = rng.permutation(np.repeat(np.arange(12), 4))
    y, scores = rng.integers(2, size=48), rng.normal(size=(2, 48)).round(digits)  # with ties
    psi, every = pseudo_values(y, scores, patient, 0.1)
    for s, score in enumerate(scores):
        np.testing.assert_allclose(every[s], list(metrics(y, score, 0.1).values()))
        for p in range(12):
            kept = patient != p
            left = np.array(list(metrics(y[kept], score[kept], 0.1).values()))
            np.testing.assert_allclose(psi[s, p], 12 * every[s] - 11 * left, atol=1e-9)


def test_what_is_undefined_without_one_patient_is_nan():
    y, scores, patient = np.array([1, 0, 0, 0]), np.array([[0.9, 0.1, 0.2, 0.3]]), np.arange(4)
    psi, every = pseudo_values(y, scores, patient)
    undefined = np.isnan(psi[0, 0])
    assert undefined.tolist() == [name in ("sensitivity", "precision", "f1", "roc_auc") for name in METRICS]
    assert not np.isnan(every).any() and not np.isnan(psi[0, 1:]).any()


# --- the error by other routes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_error_of_a_paired_difference_is_obuchowski_and_rockette_s(seed):
    """Seeds are their readers: MS_TR and the covariances give the same variance, but for the bias of the jackknife."""
    y, a, b, patient = clustered(np.random.default_rng(seed))
    a = a + y * np.linspace(-2, 2, len(a))[:, None]  # seeds differ enough for nothing to be truncated
    b = b + np.random.default_rng(seed + 9).normal(size=30)[patient]  # nor are patients alike for both
    found = hierarchical_difference(y, a, b, patient, paired=True)
    result = mrmc.obuchowski_rockette(y, np.stack([a.T, b.T], axis=-1), patient_id=patient)
    theirs = result.differences.iloc[0]
    assert found.estimate[AUC] == pytest.approx(theirs["difference"])
    assert result.components["cov2"] > result.components["cov3"]  # else they truncate where we do not
    assert found.spreads[AUC].standard_error == pytest.approx(theirs["random_se"], rel=0.01)


def test_the_error_of_one_training_is_about_obuchowski_s():
    y, a, b, patient = clustered(np.random.default_rng(3), n_patients=300, n_seeds=(1, 1))
    found = hierarchical_difference(y, a, b, patient)
    assert found.scope == SCOPES[1]
    theirs = auc_difference(y, a[0], b[0], patient)
    assert found.estimate[AUC] == pytest.approx(theirs.difference)
    assert found.spreads[AUC].standard_error == pytest.approx(theirs.standard_error, rel=0.02)


def test_one_factor_alone_gives_student_s_t():
    rng = np.random.default_rng(4)
    for psi in (np.repeat(rng.normal(size=(6, 1)), 9, axis=1), np.repeat(rng.normal(size=(1, 9)), 6, axis=0)):
        values = psi[:, 0] if np.ptp(psi[0]) == 0 else psi[0]
        found, scope = crossed(psi)
        expected = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        assert found.interval(values.mean()) == pytest.approx(expected)
        assert found.p_value(values.mean()) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
        assert scope == SCOPES[0]


def test_the_half_width_is_howe_s():
    patients, seeds, both = Factor(2.0, 100), Factor(1.5, 4), 0.5
    low, high = spread([patients], [seeds], both).interval(0.0)
    t = stats.t.ppf(0.975, [100, 4])
    assert high == -low == pytest.approx(np.sqrt(t[0] ** 2 * 2.0 + t[1] ** 2 * 1.0))


@given(st.floats(0, 4), st.floats(0, 4), st.floats(0, 8))
def test_the_variance_is_never_below_that_of_one_factor(patients, seeds, both):
    found = spread([Factor(patients, 50)], [Factor(seeds, 4)], both)
    variance = found.standard_error**2
    assert variance >= max(patients, seeds) * (1 - 1e-9)
    assert variance <= patients + seeds + 1e-9
    assert variance == 0 or 4 <= found.degrees <= 50


def test_two_models_with_unlike_seeds_share_their_patients_alone():
    y, a, b, patient = clustered(np.random.default_rng(5), n_seeds=(4, 6))
    of_a, of_b = (pseudo_values(y, scores, patient)[0][..., AUC] for scores in (a, b))
    n = len(of_a[0])
    of_patients = (of_a.mean(axis=0) - of_b.mean(axis=0)).var(ddof=1) / n
    of_seeds = sum(psi.mean(axis=1).var(ddof=1) / len(psi) for psi in (of_a, of_b))
    both = 0.0
    for psi in (of_a, of_b):
        rest = psi - psi.mean(axis=0) - psi.mean(axis=1, keepdims=True) + psi.mean()
        both += (rest**2).sum() / ((len(psi) - 1) * (n - 1)) / psi.size
    found = hierarchical_difference(y, a, b, patient)
    assert found.spreads[AUC].standard_error ** 2 == pytest.approx(of_patients + of_seeds - min(both, of_patients))
    assert found.n_seeds == (4, 6)


def test_luck_that_both_models_share_cancels_where_they_are_paired():
    rng = np.random.default_rng(6)
    y, patient = np.arange(200) % 2, np.arange(200)
    luck = rng.normal(size=(5, 1)) * y
    a, b = (rng.normal(size=(5, 200)) + y + luck for _ in range(2))
    paired, apart = (hierarchical_difference(y, a, b, patient, paired=how) for how in (True, False))
    np.testing.assert_allclose(paired.estimate, apart.estimate)
    assert paired.spreads[AUC].standard_error < 0.7 * apart.spreads[AUC].standard_error


# --- coverage -------------------------------------------------------------------------------------------------------


def test_intervals_hold_the_truth_as_often_as_they_say():
    n, of = 200, crossed_coverage.DESIGNS["mixed"]
    shares = crossed_coverage.held(of, 5, 130, n, np.random.default_rng(7))
    hits = np.rint(shares * n)
    assert (hits >= stats.binom.ppf(1e-4, n, 0.93)).all()
    assert (hits <= stats.binom.ppf(1 - 1e-4, n, 0.97)).all()


def test_the_truth_of_a_simulated_design_is_that_of_very_many_patients_and_seeds():
    of, rng = crossed_coverage.DESIGNS["seeds dominate"], np.random.default_rng(8)
    means = []
    for _ in range(150):
        y, scores, patient = crossed_coverage.draw(rng, of, 5, 130)
        a, b = (pseudo_values(y, model, patient, 0.0)[1].mean(axis=0) for model in scores)
        means.append((a[AUC], a[METRICS.index("sensitivity")], a[AUC] - b[AUC]))
    error = np.std(means, axis=0) / np.sqrt(len(means))
    assert (abs(np.mean(means, axis=0) - crossed_coverage.truth(of, 5, 130)) < SIGMAS * error).all()


def test_the_committed_coverage_is_that_of_the_whole_simulation_and_within_its_bounds():
    """93 to 97 % but for the error of the simulation, two standard errors."""
    table = pd.read_csv(PAPER / "crossed_coverage.csv")
    assert len(table) == 16 and set(table["components"]) == set(crossed_coverage.DESIGNS)
    assert (table["repetitions"] == crossed_coverage.REPETITIONS).all()
    bounds = np.array([0.93, 0.97])
    low, high = bounds + np.array([-2, 2]) * np.sqrt(bounds * (1 - bounds) / crossed_coverage.REPETITIONS)
    assert table[list(crossed_coverage.QUANTITIES)].stack().between(low, high).all()


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_estimate_is_the_difference_of_mean_metrics():
    rng = np.random.default_rng(4)
    y, patient = np.arange(40) % 2, np.arange(40) // 2
    a, b = rng.random((5, 40)), rng.random((7, 40))
    got = hierarchical_difference(y, a, b, patient, thresholds=(0.4, 0.6))
    mean = [np.mean([list(metrics(y, s, t).values()) for s in scores], axis=0) for scores, t in ((a, 0.4), (b, 0.6))]
    np.testing.assert_allclose(got.estimate, mean[0] - mean[1], atol=1e-12)
    assert got.n_seeds == (5, 7)


@pytest.mark.parametrize("n_seeds", [1, 2, 3])
def test_fewer_than_three_seeds_speak_of_these_trained_models_only(n_seeds):
    y, patient = np.arange(60) % 2, np.arange(60)
    share = np.linspace(0.0, 1.0, n_seeds)  # seeds that could not differ more, on patients all alike
    a = scored(y, np.repeat(share[:, None] >= 0.4, 60, axis=1))
    b = scored(y, np.ones((5, 60), dtype=bool))
    table = difference_table(hierarchical_difference(y, a, b, patient))
    row = table.loc["accuracy"]
    if n_seeds < 3:
        assert (table["scope"] == "these trained models").all()
        assert row["method"] == "constant" and row["p_value"] == 1
        assert row["low"] == row["estimate"] == row["high"]
    else:
        assert (table["scope"] == "training seeds and patients").all()
        assert row["low"] < row["estimate"] < row["high"] and row["degrees"] == 2


def test_swapping_the_models_turns_the_sign():
    y, a, b, patient = clustered(np.random.default_rng(6))
    one, other = (difference_table(hierarchical_difference(y, *of, patient, paired=True)) for of in ((a, b), (b, a)))
    np.testing.assert_allclose(one[["estimate", "low", "high"]], -other[["estimate", "high", "low"]], atol=1e-12)
    np.testing.assert_allclose(one["p_value"], other["p_value"])


def test_a_metric_undefined_for_one_training_has_no_interval():
    y, patient = np.arange(40) % 2, np.arange(40)
    a = np.tile(np.linspace(0.3, 0.9, 40), (5, 1))
    a[0] = 0.1  # this training calls nothing positive: no precision
    b = np.tile(np.linspace(0.2, 0.8, 40), (5, 1))
    with warnings.catch_warnings(action="error"):
        table = difference_table(hierarchical_difference(y, a, b, patient))
    assert table.loc["precision", "method"] == "undefined"
    assert table.loc["precision", ["low", "high", "p_value"]].isna().all()
    assert table.loc["accuracy", ["low", "high", "p_value"]].notna().all()


@given(st.floats(-3, 3), st.floats(0.1, 3), st.floats(1, 200), st.floats(-1, 1))
def test_the_p_value_is_below_5_percent_where_the_interval_excludes_the_null(estimate, error, degrees, null):
    found = Spread(error, degrees)
    low, high = found.interval(estimate)
    if min(abs(low - null), abs(high - null)) > 1e-6:
        assert (found.p_value(estimate, null) < 0.05) == (not low <= null <= high)


def test_what_is_refused():
    y, patient, rng = np.arange(10) % 2, np.arange(10), np.random.default_rng(0)
    scores = rng.random((5, 10))
    with pytest.raises(UserError, match="a was trained 5 times and b 4 times"):
        hierarchical_difference(y, scores, scores[:4], patient, paired=True)
    with pytest.raises(UserError, match=r"scores_b: give one row of scores per training, shape \(n_seeds, n\)"):
        hierarchical_difference(y, scores, scores[0], patient)
    with pytest.raises(UserError, match="scores_a"):
        hierarchical_difference(y, [], scores, patient)
    with pytest.raises(UserError, match="score, row 10: missing"):
        hierarchical_difference(y, scores, scores[:, :9], patient)
    scores[3, 6] = np.nan
    with pytest.raises(UserError, match="score, row 7: the value is nan"):
        hierarchical_difference(y, scores, scores, patient)
    with pytest.raises(UserError, match="patient_id: missing"):
        hierarchical_difference(y, scores[:1], scores[:1], None)
    with pytest.raises(UserError, match="only one patient"):
        hierarchical_difference(y, scores[:1], scores[:1], np.zeros(10))
    with pytest.raises(UserError, match="level: 95 is not between 0 and 1"):
        difference_table(hierarchical_difference(y, scores[:1], scores[:1], patient), level=95)


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
