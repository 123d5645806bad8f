"""Variance of the AUC: equal to pROC, to its definitions, to simulated truth, and honest about clusters."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecsupport.core.errors import UserError
from ecsupport.evaluation.auc import auc_covariance, auc_difference, auc_interval, hanley_mcneil
from ecsupport.evaluation.classification import metrics

DATA = Path(__file__).parent / "data"  # proc_*.csv are written by proc.R there, from proc_input.csv
SIGMAS = 4.5  # of Monte Carlo error allowed: a chance of 1 in 150,000 per comparison


@pytest.fixture(scope="module")
def datasets():
    """Labels and the scores of two models by name, as pROC was given them."""
    return dict(iter(pd.read_csv(DATA / "proc_input.csv").groupby("dataset")))


def test_one_auc_equals_proc(datasets):
    reference = pd.read_csv(DATA / "proc_auc.csv")
    assert len(reference) == 2 * len(datasets)
    for row in reference.itertuples():
        images = datasets[row.dataset]
        got = auc_interval(images["y"], images[row.score])
        assert got.auc == pytest.approx(row.auc, abs=1e-12), row
        assert got.standard_error**2 == pytest.approx(row.variance, rel=1e-10, abs=0), row
        if row.variance > 0:
            assert (got.low, got.high) == pytest.approx((row.low, row.high), abs=1e-12), row
        else:  # pROC prints an interval of width 0 and warns
            assert row.low == row.high
            assert np.isnan([got.low, got.high]).all()


def test_paired_aucs_equal_proc(datasets):
    reference = pd.read_csv(DATA / "proc_paired.csv")
    assert len(reference) == len(datasets)
    for row in reference.itertuples():
        images = datasets[row.dataset]
        scores = [images["score_a"], images["score_b"]]
        assert auc_covariance(images["y"], scores)[1][0, 1] == pytest.approx(row.covariance, rel=1e-9, abs=0), row
        got = auc_difference(images["y"], *scores, level=0.90)
        assert got.difference == pytest.approx(row.difference, abs=1e-12), row
        assert got.p_value == pytest.approx(row.p_value, abs=1e-10), row
        if got.standard_error > 0:
            assert got.z == pytest.approx(row.z, abs=1e-10), row
            assert (got.low, got.high) == pytest.approx((row.low, row.high), abs=1e-10), row


@st.composite
def image_sets(draw, n_models=2):
    """Labels, scores on a coarse grid (n, models), and patients; at least two patients with images of either class."""
    n = draw(st.integers(4, 30))

    def column(values):
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    labels, patient = column(st.integers(0, 1)), column(st.integers(0, 7))
    labels[:4], patient[:4] = [1, 1, 0, 0], draw(st.sampled_from([[0, 1, 0, 1], [0, 1, 2, 3], [0, 1, 1, 2]]))
    return labels, np.column_stack([column(st.integers(0, 6)) / 6 for _ in range(n_models)]), patient


def by_definition(labels, scores, patient):
    """AUCs and Obuchowski's covariance from the kernel of all pairs and a loop over patients."""
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    n_pos, n_neg, k = len(positive), len(negative), scores.shape[1]
    won = scores[positive][:, None] - scores[negative][None]  # (n positive, n negative, k)
    won = (np.sign(won) + 1) / 2
    aucs = won.mean(axis=(0, 1))
    v10, v01 = won.mean(axis=1), won.mean(axis=0)  # (n positive, k), (n negative, k)
    s10, s01, s11 = np.zeros((k, k)), np.zeros((k, k)), np.zeros((k, k))
    for one in np.unique(patient):
        x = (v10[patient[positive] == one] - aucs).sum(axis=0)
        y = (v01[patient[negative] == one] - aucs).sum(axis=0)
        s10 += np.outer(x, x)
        s01 += np.outer(y, y)
        s11 += np.outer(x, y) + np.outer(y, x)
    i10, i01, i = (len(np.unique(patient[of])) for of in (positive, negative, slice(None)))
    s10 *= i10 / ((i10 - 1) * n_pos)
    s01 *= i01 / ((i01 - 1) * n_neg)
    s11 *= i / (i - 1)
    return aucs, s10 / n_pos + s01 / n_neg + s11 / (n_pos * n_neg)


@settings(deadline=None)
@given(image_sets(n_models=3))
def test_covariance_is_its_definition_and_a_covariance(images):
    labels, scores, patient = images
    for ids, units in ((patient, patient), (None, np.arange(len(labels)))):
        aucs, covariance = auc_covariance(labels, list(scores.T), ids)
        expected_aucs, expected = by_definition(labels, scores, units)
        np.testing.assert_allclose(aucs, expected_aucs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(covariance, expected, rtol=0, atol=1e-12)
        assert np.linalg.eigvalsh(covariance).min() >= -1e-12
        assert aucs[0] == pytest.approx(metrics(labels, scores[:, 0])["roc_auc"], abs=1e-12)


def same(result):
    """The fields of a result, to be equal to another's up to rounding and NaN to NaN."""
    return pytest.approx(vars(result), rel=0, abs=1e-11, nan_ok=True)


@settings(deadline=None)
@given(image_sets())
def test_one_image_per_patient_is_delong(images):
    labels, scores, _ = images
    names = [f"p{number}" for number in range(len(labels))]
    assert vars(auc_interval(labels, scores[:, 0], names)) == same(auc_interval(labels, scores[:, 0]))
    assert vars(auc_difference(labels, *scores.T, names)) == same(auc_difference(labels, *scores.T))


@settings(deadline=None)
@given(image_sets(), st.integers(2, 4))
def test_copies_within_a_patient_add_nothing_but_deceive_delong(images, copies):
    labels, scores, _ = images
    patient = np.arange(len(labels))
    copied_labels, copied_patient = np.repeat(labels, copies), np.repeat(patient, copies)
    copied = np.repeat(scores, copies, axis=0)
    once = auc_interval(labels, scores[:, 0])
    assert vars(auc_interval(copied_labels, copied[:, 0], copied_patient)) == same(once)
    assert vars(auc_difference(copied_labels, *copied.T, copied_patient)) == same(auc_difference(labels, *scores.T))
    naive = auc_interval(copied_labels, copied[:, 0])
    assert naive.standard_error < once.standard_error or once.standard_error == 0


@settings(deadline=None)
@given(image_sets())
def test_difference_agrees_with_the_covariance_and_changes_sign_with_the_order(images):
    labels, scores, patient = images
    forth, back = auc_difference(labels, *scores.T, patient), auc_difference(labels, *scores.T[::-1], patient)
    aucs, covariance = auc_covariance(labels, list(scores.T), patient)
    assert [forth.auc_a, forth.auc_b] == aucs.tolist()
    expected = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert forth.standard_error**2 == pytest.approx(expected, abs=1e-12)
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-forth.difference, -forth.high, -forth.low), nan_ok=True
    )
    assert back.p_value == pytest.approx(forth.p_value, nan_ok=True)


def clustered_scores(rng, labels, patient, effect, n_models=1):
    """Scores N(labels, 1), of which the share `effect` of the variance belongs to the patient: (n, n_models)."""
    of_patient = rng.normal(size=(patient.max() + 1, n_models))[patient]
    return labels[:, None] + np.sqrt(effect) * of_patient + np.sqrt(1 - effect) * rng.normal(size=of_patient.shape)


def expected_auc(labels, patient, effect):
    """Mean of the sample AUC for these labels and patients: pairs within a patient share her effect."""
    pair = np.ix_(labels == 1, labels == 0)
    within = np.equal.outer(patient, patient)[pair]
    return np.where(within, stats.norm.cdf(1 / np.sqrt(2 * (1 - effect))), stats.norm.cdf(1 / np.sqrt(2))).mean()


N = 120  # simulated patients
DESIGNS = {  # labels, patients, and whether DeLong's interval is too narrow or too wide
    "four images, one class per patient": (np.repeat(np.arange(N) % 2, 4), np.repeat(np.arange(N), 4), "narrow"),
    "four images, some patients with both classes": (
        (np.arange(4 * N) % 16 < 6).astype(int),
        np.repeat(np.arange(N), 4),
        "narrow",
    ),
    "one positive and one negative image": (np.tile([0, 1], N), np.repeat(np.arange(N), 2), "wide"),
}


@pytest.mark.parametrize("design", DESIGNS)
def test_clustered_interval_covers_and_delong_s_does_not(design):
    labels, patient, delong = DESIGNS[design]
    effect, replications = 0.7, 600
    rng = np.random.default_rng(7)
    truth = expected_auc(labels, patient, effect)
    covered, aucs, variances = np.zeros(3), [], []
    for _ in range(replications):
        score = clustered_scores(rng, labels, patient, effect)[:, 0]
        plain, naive = auc_interval(labels, score, patient), auc_interval(labels, score)
        logit = auc_interval(labels, score, patient, scale="logit")
        covered += [interval.low <= truth <= interval.high for interval in (plain, logit, naive)]
        aucs.append(plain.auc)
        variances.append(plain.standard_error**2)
    error = SIGMAS * np.sqrt(0.05 * 0.95 / replications)
    assert covered[:2] / replications == pytest.approx(0.95, abs=error)
    share = covered[2] / replications
    assert share < 0.95 - 2 * error if delong == "narrow" else share > 0.95 + error
    assert np.mean(aucs) == pytest.approx(truth, abs=SIGMAS * np.std(aucs) / np.sqrt(replications))
    # the relative error of a variance from R replications is about sqrt(2 / R)
    assert np.mean(variances) == pytest.approx(np.var(aucs, ddof=1), rel=SIGMAS * np.sqrt(2 / replications))


def test_clustered_comparison_keeps_its_level_and_delong_s_does_not():
    labels, patient, _ = DESIGNS["four images, some patients with both classes"]
    rng = np.random.default_rng(8)
    replications, rejected = 600, np.zeros(2)
    for _ in range(replications):  # two models of one AUC, each with its own patient effects
        a, b = clustered_scores(rng, labels, patient, 0.7, n_models=2).T
        rejected += [auc_difference(labels, a, b, ids).p_value < 0.05 for ids in (patient, None)]
    error = SIGMAS * np.sqrt(0.05 * 0.95 / replications)
    assert rejected[0] / replications == pytest.approx(0.05, abs=error)
    assert rejected[1] / replications > 0.05 + 2 * error


def test_near_1_the_logit_scale_covers_and_the_plain_lies_too_high():
    labels, replications = np.repeat([0, 1], 40), 700
    rng = np.random.default_rng(10)
    truth = stats.norm.cdf(2.5 / np.sqrt(2))  # 0.961
    too_high, too_low = np.zeros(2), np.zeros(2)
    for _ in range(replications):
        score = 2.5 * labels + rng.normal(size=80)
        both = auc_interval(labels, score), auc_interval(labels, score, scale="logit")
        too_high += [truth < interval.low for interval in both]
        too_low += [truth > interval.high for interval in both]
    error = SIGMAS * np.sqrt(0.05 * 0.95 / replications)
    assert (too_high + too_low)[0] / replications > 0.05 + error
    assert (too_high + too_low)[1] / replications == pytest.approx(0.05, abs=error)
    assert too_high[0] > 5 * too_low[0]


@settings(deadline=None)
@given(image_sets())
def test_logit_interval_mirrors_with_the_score_and_stays_inside(images):
    labels, scores, patient = images
    got, mirrored = (auc_interval(labels, sign * scores[:, 0], patient, scale="logit") for sign in (1, -1))
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - got.high, 1 - got.low), abs=1e-12, nan_ok=True)
    if got.standard_error > 0:
        assert 0 <= got.low < got.auc < got.high <= 1
        odds = [np.log(p / (1 - p)) for p in (got.low, got.auc, got.high) if 0 < p < 1]
        if len(odds) == 3:
            assert odds[1] == pytest.approx((odds[0] + odds[2]) / 2, abs=1e-6)


@pytest.mark.parametrize(("n_positive", "n_negative", "auc"), [(20, 40, 0.8), (50, 10, 0.6), (336, 336, 0.98)])
def test_hanley_mcneil_is_the_spread_of_the_auc_of_exponential_scores(n_positive, n_negative, auc):
    rng = np.random.default_rng(9)
    replications, labels = 2000, np.repeat([1, 0], [n_positive, n_negative])
    scale = np.where(labels == 1, auc / (1 - auc), 1.0)  # P(positive > negative) = scale / (1 + scale)
    ranks = stats.rankdata(rng.exponential(scale, size=(replications, len(labels))), axis=1)
    won = ranks[:, labels == 1].sum(axis=1) - n_positive * (n_positive + 1) / 2
    aucs = won / (n_positive * n_negative)
    assert aucs.mean() == pytest.approx(auc, abs=SIGMAS * aucs.std() / np.sqrt(replications))
    kurtosis = stats.kurtosis(aucs)  # the relative error of an sd is sqrt((2 + kurtosis) / R) / 2
    error = SIGMAS * np.sqrt((2 + kurtosis) / replications) / 2
    assert hanley_mcneil(auc, n_positive, n_negative) == pytest.approx(aucs.std(ddof=1), rel=error)


def test_hanley_mcneil_at_its_ends():
    assert hanley_mcneil(0, 5, 9) == hanley_mcneil(1, 5, 9) == 0
    assert hanley_mcneil(0.7, 1, 1) == pytest.approx(np.sqrt(0.7 * 0.3))  # one pair: a coin


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((98.2, 5, 9), "auc: 98.2"),
        ((np.nan, 5, 9), "auc: nan"),
        ((0.9, 0, 9), "n_positive: 0"),
        ((0.9, 5, 0.5), "n_neg"),
    ],
)
def test_impossible_aucs_and_sizes_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        hanley_mcneil(*arguments)


Y = [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("score", "auc"), [([1, 4, 2, 5, 3, 6], 1.0), ([6, 3, 5, 2, 4, 1], 0.0), ([0.3] * 6, 0.5)], ids=["1", "0", "ties"]
)
@pytest.mark.parametrize("patient", [None, ["p", "p", "q", "q", "r", "r"]])
def test_placements_that_do_not_vary_give_no_interval(score, auc, patient):
    got = auc_interval(Y, score, patient)
    assert (got.auc, got.standard_error) == (auc, 0.0)
    assert np.isnan([got.low, got.high]).all()


def test_variance_that_vanishes_within_patients_is_exactly_0():
    # each patient's positive image loses by as much as her negative one wins: the AUC is the same in any resample
    got = auc_interval([1, 0, 1, 0, 1, 0], [0, 0, 1, 1, 2, 2], ["p", "p", "q", "q", "r", "r"])
    assert (got.auc, got.standard_error) == (0.5, 0.0)
    assert auc_interval([1, 0, 1, 0, 1, 0], [0, 0, 1, 1, 2, 2]).standard_error > 0


def test_comparison_without_a_standard_error_says_what_it_can():
    score = np.array([0.1, 0.4, 0.3, 0.2, 0.5, 0.6])
    alike = auc_difference(Y, score, 3 * score + 1)
    assert (alike.difference, alike.standard_error, alike.p_value) == (0.0, 0.0, 1.0)
    opposite = auc_difference(Y, Y, 1 - np.array(Y))
    assert (opposite.difference, opposite.standard_error) == (1.0, 0.0)
    assert np.isnan([opposite.low, opposite.high, opposite.z, opposite.p_value]).all()
    assert np.isnan([alike.low, alike.high, alike.z]).all()


def test_limits_stay_within_the_possible():
    got = auc_interval([0, 0, 0, 1, 1, 1], [1, 2, 4, 3, 5, 6])
    assert got.high == 1.0
    assert got.low == pytest.approx(got.auc - stats.norm.ppf(0.975) * got.standard_error)
    assert auc_interval([0, 0, 0, 1, 1, 1], [-1, -2, -4, -3, -5, -6]).low == 0.0


@pytest.mark.parametrize(
    ("y", "patient", "message"),
    [
        ([1] * 6, None, "6 positive and 0 negative images"),
        ([0] * 6, list("ppqqrr"), "0 positive and 3 negative patients"),
        ([0, 1, 0, 0, 0, 0], None, "1 positive and 5 negative images. .* at least two of either"),
        (Y, ["p"] * 6, "1 positive and 1 negative patients"),
        ([0, 1, 1, 0, 0, 0], list("ppprrr"), "1 positive and 2 negative patients"),
        (Y, ["p", "p", None, "q", "q", "q"], "patient_id, row 3: is empty"),
        (Y, ["p", "q"], "patient_id, row 3: missing"),
        ([0, 1, 0, 1, 0, 3], None, "y_true, row 6: the value is 3"),
    ],
)
def test_too_few_of_a_class_or_bad_labels_are_refused(y, patient, message):
    for call in (lambda: auc_interval(y, range(6), patient), lambda: auc_difference(y, range(6), range(6), patient)):
        with pytest.raises(UserError, match=message):
            call()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_scores_are_refused_by_row(bad):
    with pytest.raises(UserError, match="score, row 2"):
        auc_interval(Y, [0.1, bad, 0.3, 0.4, 0.5, 0.6])
    with pytest.raises(UserError, match="score, row 2"):
        auc_difference(Y, range(6), [0.1, bad, 0.3, 0.4, 0.5, 0.6])
    with pytest.raises(UserError, match="row 6: missing"):
        auc_interval(Y, range(5))


def test_bad_level_and_no_model_are_refused():
    for call in (lambda: auc_interval(Y, range(6), level=95), lambda: auc_difference(Y, range(6), range(6), level=1)):
        with pytest.raises(UserError, match="level: "):
            call()
    with pytest.raises(UserError, match="'probit' is unknown. Choose one of plain, logit"):
        auc_interval(Y, range(6), scale="probit")
    with pytest.raises(UserError, match="no model"):
        auc_covariance(Y, [])
