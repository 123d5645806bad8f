"""Intervals: the jackknife is what it says, BCa is SciPy's, each fallback is announced, copies correlate fully."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from ecsupport.core.errors import UserError
from ecsupport.evaluation import intervals as module
from ecsupport.evaluation.bootstrap import UNITS, Resamples, bootstrap, bootstrap_counts, design_effect, summary
from ecsupport.evaluation.classification import Counts, metrics
from ecsupport.evaluation.intervals import (
    LeftOut,
    bca,
    correlation_within_patients,
    intervals,
    intraclass_correlation,
    leave_one_out,
    percentile,
)

SIGMAS = 4.5


def images(seed, n_patients, per_patient=1, shift=2.0, alike=0.0):
    """Labels by patient, scores in (0, 1) of which a share `alike` of the variance is her own, patients."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), per_patient)
    y = patient % 2
    own = rng.normal(size=n_patients)[patient] * np.sqrt(alike)
    latent = own + rng.normal(size=len(y)) * np.sqrt(1 - alike) + shift * (y - 0.5)
    return y, 1 / (1 + np.exp(-latent)), patient


def six_times(values, estimate, unit="image"):
    return Resamples(np.repeat(np.asarray(values)[:, None], 6, axis=1), np.full(6, estimate), unit)


def auc(negative, positive, axis=-1):
    return (negative[..., :, None] < positive[..., None, :]).mean(axis=(-2, -1))


@pytest.mark.parametrize("unit", UNITS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), block=st.sampled_from([1, 50, 2**17]))
def test_leaving_a_unit_out_is_scoring_the_rest(unit, seed, block):
    rng = np.random.default_rng(seed)
    y, score = rng.permutation(np.arange(20) % 3 == 0).astype(int), rng.integers(9, size=20) / 8
    patient = rng.permutation(np.arange(20) % 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        got = leave_one_out(y, score, patient, unit=unit)
    name = {"image": np.arange(20), "stratified": np.arange(20), "patient": patient}[unit]
    order = pd.unique(name) if unit != "stratified" else np.argsort(y, kind="stable")
    rest = [list(metrics(y[name != left], score[name != left]).values()) for left in order]
    np.testing.assert_allclose(got.values, rest, rtol=0, atol=1e-12)
    assert got.strata == ((13, 7) if unit == "stratified" else (len(order),))


@pytest.mark.parametrize("level", [0.90, 0.95])
@pytest.mark.parametrize("per_patient", [1, 4])
def test_bca_of_the_accuracy_is_that_of_scipy_on_the_same_resamples(level, per_patient):
    y, score, patient = images(1, 80, per_patient)
    right = ((score >= 0.5) == y).reshape(80, per_patient).mean(axis=1)  # (80,) by patient
    theirs = stats.bootstrap((right,), np.mean, method="BCa", confidence_level=level, rng=np.random.default_rng(2))
    left_out = leave_one_out(y, score, patient, unit="patient")
    ours = bca(six_times(theirs.bootstrap_distribution, right.mean(), "patient"), left_out, level).loc["accuracy"]
    assert ours["method"] == "bca"
    np.testing.assert_allclose(ours[["low", "high"]].astype(float), theirs.confidence_interval, rtol=0, atol=1e-12)


def test_bca_of_the_auc_over_strata_is_that_of_scipy_over_two_samples():
    y, score, _ = images(3, 60, shift=1.5)
    y[:10] = 0  # 35 negatives, 25 positives
    theirs = stats.bootstrap(
        (score[y == 0], score[y == 1]), auc, method="BCa", n_resamples=2000, rng=np.random.default_rng(4)
    )
    estimate = metrics(y, score)["roc_auc"]
    left_out = leave_one_out(y, score, None, unit="stratified")
    ours = bca(six_times(theirs.bootstrap_distribution, estimate, "stratified"), left_out).loc["roc_auc"]
    assert ours["method"] == "bca"
    np.testing.assert_allclose(ours[["low", "high"]].astype(float), theirs.confidence_interval, rtol=0, atol=1e-12)


def test_bca_limits_agree_with_scipy_from_resamples_of_ones_own():
    y, score, _ = images(5, 500)
    right = ((score >= 0.5) == y).astype(float)
    theirs = stats.bootstrap((right,), np.mean, method="BCa", rng=np.random.default_rng(6)).confidence_interval
    repeats = [intervals(y, score, None, unit="image", rng=np.random.default_rng(seed)) for seed in range(8)]
    limits = np.array([table.loc["accuracy", ["low", "high"]].astype(float) for table in repeats])  # (8, 2)
    error = np.sqrt(limits.var(axis=0, ddof=1) * (1 + 1 / 8)) + 0.001 / np.sqrt(3)  # and the step of 1/500
    assert (np.abs(limits.mean(axis=0) - theirs) < SIGMAS * error).all()


def test_bca_moves_the_limits_of_a_rate_near_1_towards_the_exact_ones():
    y, score = np.repeat([0, 1], 336), np.repeat([0.0, 1.0, 0.0, 1.0], [329, 7, 2, 334])
    by = {
        m: intervals(y, score, None, unit="stratified", rng=np.random.default_rng(7), method=m) for m in module.METHODS
    }
    for name, right in (("sensitivity", 334), ("specificity", 329)):
        exact = np.array(proportion_confint(right, 336, method="beta"))
        off = {m: np.abs(table.loc[name, ["low", "high"]].astype(float) - exact) for m, table in by.items()}
        assert off["bca"]["low"] < off["percentile"]["low"]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    unit=st.sampled_from(["image", "patient"]),
    method=st.sampled_from(["percentile", "bca"]),
)
def test_naming_the_other_class_positive_swaps_sensitivity_and_specificity(seed, unit, method):
    rng = np.random.default_rng(seed)
    patient = rng.permutation(np.arange(40) % 15)
    y, score = rng.permutation(np.arange(40) % 2), (rng.integers(8, size=40) + 0.5) / 8  # never 0.5 itself
    one, other = (
        intervals(labels, scores, patient, unit=unit, rng=np.random.default_rng(seed), n_resamples=200, method=method)
        for labels, scores in ((y, score), (1 - y, 1 - score))
    )
    swapped = {"accuracy": "accuracy", "sensitivity": "specificity", "specificity": "sensitivity", "roc_auc": "roc_auc"}
    for name, counterpart in swapped.items():
        pd.testing.assert_series_equal(one.loc[name], other.loc[counterpart], check_names=False, atol=1e-12)
    limits = one[["low", "high"]].to_numpy()
    assert ((limits >= 0) & (limits <= 1)).all()
    assert (limits[:, 0] <= limits[:, 1]).all()


@pytest.mark.parametrize("method", module.METHODS)
@pytest.mark.parametrize(("unit", "trials"), [("image", 60), ("stratified", 60), ("patient", 20)])
def test_nothing_but_right_calls_give_the_exact_limits_of_as_many_independent_trials(unit, trials, method):
    y, _, patient = images(8, 20, 3)
    table = intervals(
        y, y.astype(float), patient, unit=unit, rng=np.random.default_rng(9), n_resamples=100, method=method
    )
    assert (table["method"] == "clopper-pearson").all()
    assert (table["high"] == 1).all()
    for name, n in (("accuracy", trials), ("sensitivity", trials // 2), ("precision", trials // 2)):
        assert table.loc[name, "low"] == pytest.approx(proportion_confint(n, n, method="beta")[0], abs=1e-12)
    jaccard = proportion_confint(trials // 2, trials // 2, method="beta")[0]
    assert table.loc["f1", "low"] == pytest.approx(2 * jaccard / (1 + jaccard))
    assert table.loc["roc_auc", "low"] == pytest.approx(table.loc["sensitivity", "low"])  # 10 pairs of patients
    inverted = intervals(1 - y, y.astype(float), patient, unit=unit, rng=np.random.default_rng(9), n_resamples=100)
    for name in ("accuracy", "sensitivity", "specificity", "roc_auc"):
        mirrored = [1 - inverted.loc[name, "high"], 1 - inverted.loc[name, "low"]]
        assert mirrored == pytest.approx(table.loc[name, ["low", "high"]].tolist())


def test_pairs_of_the_auc_share_no_patient():
    y, patient = np.tile([0, 1], 9), np.repeat(np.arange(9), 2)  # every patient has both classes: 4 pairs of 9
    table = intervals(y, y.astype(float), patient, unit="patient", rng=np.random.default_rng(1), n_resamples=50)
    assert table.loc["roc_auc", "low"] == pytest.approx(0.025 ** (1 / 4))
    assert table.loc["sensitivity", "low"] == pytest.approx(0.025 ** (1 / 9))


def test_an_auc_of_1_is_no_likelier_than_disjoint_pairs_all_won():
    rng, m, true_auc = np.random.default_rng(10), 6, 0.9
    negative = rng.normal(size=(20_000, m))
    positive = rng.normal(size=(20_000, 2 * m)) + stats.norm.ppf(true_auc) * np.sqrt(2)
    perfect = (auc(negative, positive) == 1).mean()
    assert 0.01 < perfect < true_auc**m  # so the limit (alpha/2)^(1/m) exceeds the truth too rarely, never too often


def test_an_undefined_metric_stays_undefined_and_says_so():
    table = intervals(
        np.ones(30, dtype=int), np.linspace(0, 1, 30), None, unit="image", rng=np.random.default_rng(0), n_resamples=100
    )
    for name in ("specificity", "roc_auc"):
        assert table.loc[name, "method"] == "undefined"
        assert table.loc[name, ["estimate", "low", "high"]].isna().all()
        assert table.loc[name, "n_undefined"] == 100
    assert table.loc["precision", "method"] == "clopper-pearson"  # every call is right, for all are positive
    assert table.loc["sensitivity", "method"] == "bca"


def test_scores_all_tied_give_a_constant_and_say_so():
    y, _, _ = images(0, 40)
    table = intervals(y, np.full(40, 0.7), None, unit="stratified", rng=np.random.default_rng(0), n_resamples=100)
    assert table.loc["roc_auc", ["low", "high", "method"]].tolist() == [0.5, 0.5, "constant"]
    assert table.loc["accuracy", "method"] == "constant"  # every image is called, half of them rightly
    assert table.loc["sensitivity", "method"] == "clopper-pearson"


def test_where_bca_does_not_exist_the_percentiles_stand_in():
    y, score, patient = images(11, 12, 3)
    y[:] = 0
    y[patient == 4] = 1  # without her there is no positive image
    score[patient == 4] = 0.2, 0.6, 0.9
    table = intervals(y, score, patient, unit="patient", rng=np.random.default_rng(12), n_resamples=500)
    assert table.loc["roc_auc", "method"] == "percentile"
    assert table.loc["roc_auc", "n_undefined"] == pytest.approx(500 * (11 / 12) ** 12, abs=SIGMAS * np.sqrt(500 / 4))
    assert table.loc["specificity", "method"] == "bca"
    left_out = LeftOut(np.random.default_rng(0).normal(size=(9, 6)), (9,))
    one_sided = bca(six_times(np.linspace(1, 2, 50), 0.9), left_out)  # all resamples above the estimate
    assert (one_sided["method"] == "percentile").all()
    unmoved = bca(six_times(np.linspace(0, 2, 50), 1.1), LeftOut(np.ones((9, 6)), (9,)))
    assert (unmoved["method"] == "percentile").all()
    skewed = np.zeros((400, 6))
    skewed[0] = -1.0  # acceleration 0.165, and all resamples but one in 100,000 below the estimate
    extreme = bca(six_times(np.append(np.zeros(99_999), 2.0), 1.0), LeftOut(skewed, (400,)))
    assert (extreme["method"] == "percentile").all()


def test_percentile_is_the_summary_of_table_6():
    resamples = bootstrap_counts(Counts(tp=334, fp=7, fn=2, tn=329), rng=np.random.default_rng(1), n_resamples=500)
    table = percentile(resamples, 0.9)
    pd.testing.assert_frame_equal(table[["low", "high"]], summary(resamples, 0.9)[["low", "high"]])
    assert table["method"].tolist() == ["percentile"] * 5 + ["undefined"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 10), offset=st.floats(-10, 10))
def test_intraclass_correlation_is_the_f_ratio_of_scipy(seed, scale, offset):
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 7, size=8) + (np.arange(8) == 0)  # at least one patient with two images
    patient = np.repeat(list("abcdefgh"), size)
    x = rng.normal(size=8)[np.repeat(np.arange(8), size)] + rng.normal(size=len(patient))
    f = stats.f_oneway(*(x[patient == name] for name in "abcdefgh")).statistic
    typical = (size.sum() - (size**2).sum() / size.sum()) / 7
    assert intraclass_correlation(x, patient) == pytest.approx((f - 1) / (f + typical - 1), abs=1e-9)
    assert intraclass_correlation(offset + scale * x, patient) == pytest.approx(intraclass_correlation(x, patient))


def test_intraclass_correlation_recovers_the_truth_and_its_limits():
    _, score, patient = images(16, 2000, 5, shift=0.0, alike=0.3)
    assert intraclass_correlation(np.log(score / (1 - score)), patient) == pytest.approx(0.3, abs=0.06)
    assert intraclass_correlation(np.repeat([1.0, 2.0, 4.0], 3), np.repeat([1, 2, 3], 3)) == 1
    assert intraclass_correlation([0, 1, 0, 1], [1, 1, 2, 2]) == -1  # as unlike as two images can be
    assert np.isnan(intraclass_correlation([0.1, 0.2, 0.3], [1, 2, 3]))
    assert np.isnan(intraclass_correlation([0.1, 0.1, 0.1], [1, 1, 2]))


def test_the_design_effect_follows_from_the_intraclass_correlation():
    y, score, patient = images(17, 300, 4, shift=1.0, alike=0.5)
    by = [bootstrap(y, score, patient, unit=u, rng=np.random.default_rng(18)) for u in ("patient", "image")]
    rho = correlation_within_patients(y, score, patient)
    assert rho["correct"] > 0.15
    assert design_effect(*by)["accuracy"] == pytest.approx(1 + 3 * rho["correct"], rel=SIGMAS * 2 / np.sqrt(10_000))
    assert rho["score"] > rho["score_within_class"] > 0.3  # a shared diagnosis makes scores alike by itself
    perfect = correlation_within_patients(y, np.where(y == 1, 0.9, 0.1), patient)
    assert perfect["score"] == 1
    assert perfect[["correct", "score_within_class"]].isna().all()


def test_what_is_refused():
    y, score, patient = images(0, 10, 2)
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="method: 'bcaa' is unknown. Choose one of percentile, bca"):
        intervals(y, score, patient, unit="patient", rng=rng, method="bcaa")
    with pytest.raises(UserError, match="level: 95"):
        intervals(y, score, patient, unit="patient", rng=rng, level=95, n_resamples=10)
    with pytest.raises(UserError, match="only one patient"):
        leave_one_out(y, score, np.zeros(20), unit="patient")
    with pytest.raises(UserError, match="patient_id, row 20: missing"):
        leave_one_out(y, score, patient[:-1], unit="patient")
    with pytest.raises(UserError, match="Use the same unit"):
        bca(bootstrap(y, score, None, unit="image", rng=rng, n_resamples=5), LeftOut(np.zeros((20, 6)), (10, 10)))
    with pytest.raises(UserError, match="row 3"):
        intraclass_correlation([1.0, 2.0, np.nan], [1, 1, 2])
    with pytest.raises(UserError, match="only one patient"):
        intraclass_correlation([1.0, 2.0], ["a", "a"])
