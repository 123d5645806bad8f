"""The bootstrap: each resample is what scikit-learn says it is, its spread is the known one, Table 6 comes back."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from ecsupport.core.errors import UserError
from ecsupport.evaluation import bootstrap as module
from ecsupport.evaluation.bootstrap import (
    UNITS,
    Resamples,
    _weights,
    bootstrap,
    bootstrap_counts,
    design_effect,
    make_units,
    resampled_metrics,
    statistic_interval,
    summary,
)
from ecsupport.evaluation.classification import METRICS, Counts, counts_from_rates

B = 10_000
SIGMAS = 4.5  # of Monte Carlo error allowed: a chance of 1 in 150,000 per comparison


def images(seed, n, images_per_patient=1, shift=2.0, digits=1):
    """Labels, scores rounded so that some tie, patients of equal size and one class each."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n // images_per_patient) % 2, images_per_patient)
    patient = np.repeat(np.arange(n // images_per_patient), images_per_patient)
    score = np.round(1 / (1 + np.exp(-(rng.normal(size=n) + shift * (y - 0.5)))), digits)
    return y, score, patient


def shares_around(share, n_resamples):
    """Shares between which a sample quantile lies but for Monte Carlo error, when both samples have it."""
    error = SIGMAS * np.sqrt(2 * share * (1 - share) / n_resamples)
    return [share - error, share + error]


def draws(units, seed, n_resamples):
    """How often each unit was drawn in each resample, (n_resamples, n_units)."""
    return np.concatenate(list(_weights(units, np.random.default_rng(seed), n_resamples)))


def scikit_learn(y, score):
    called = score >= 0.5
    undefined = {"zero_division": np.nan}
    return [
        reference.accuracy_score(y, called),
        reference.recall_score(y, called, **undefined),
        reference.recall_score(y, called, pos_label=0, **undefined),
        reference.precision_score(y, called, **undefined),
        reference.f1_score(y, called, **undefined),
        reference.roc_auc_score(y, score) if np.ptp(y) else np.nan,
    ]


@pytest.mark.parametrize("unit", UNITS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_patients=st.integers(2, 12))
def test_every_resample_is_what_scikit_learn_says_of_the_drawn_images(unit, seed, n_patients):
    rng = np.random.default_rng(seed)
    patient = rng.integers(n_patients, size=30)
    patient[:2] = 0, 1
    y, score = rng.permutation(np.arange(30) % 3 == 0).astype(int), rng.integers(9, size=30) / 8
    got = bootstrap(y, score, patient, unit=unit, rng=np.random.default_rng(seed), n_resamples=8)
    units = make_units(y, patient, unit)
    weight = draws(units, seed, 8)  # the same draws, (8, n_units)
    for values, of_unit in zip(got.values, weight, strict=True):
        drawn = np.repeat(np.arange(30), of_unit[units.of_image])  # an explicit resample of the images
        np.testing.assert_allclose(values, scikit_learn(y[drawn], score[drawn]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.estimate, scikit_learn(y, score), rtol=0, atol=1e-12)


def test_what_each_unit_draws():
    y, _, patient = images(1, 60, images_per_patient=3)
    drawn = {}
    for unit in UNITS:
        units = make_units(y, patient, unit)
        weight = draws(units, 0, 500)
        drawn[unit] = weight[:, units.of_image]  # (500, 60)
    assert (drawn["image"].sum(axis=1) == 60).all()
    assert np.ptp(drawn["image"][:, y == 1].sum(axis=1)) > 0
    assert (drawn["stratified"][:, y == 1].sum(axis=1) == 30).all()
    assert (drawn["stratified"][:, y == 0].sum(axis=1) == 30).all()
    together = drawn["patient"].reshape(500, 20, 3)  # (500, 60) -> (500, patient, image)
    assert (together == together[:, :, :1]).all()
    assert np.ptp(drawn["patient"][:, y == 1].sum(axis=1)) > 0  # patients are not stratified by class


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_is_drawn_equally_often(unit):
    y, _, patient = images(2, 40, images_per_patient=2)
    units = make_units(y, patient, unit)
    weight = draws(units, 7, 5000)
    expected = np.full(weight.shape[1], 5000.0)
    assert stats.chisquare(weight.sum(axis=0), expected).pvalue > 1e-4


@pytest.mark.parametrize("unit", UNITS)
def test_same_seed_same_bytes_whatever_the_block(unit, monkeypatch):
    y, score, patient = images(3, 90, images_per_patient=3)

    def run(n):
        return bootstrap(y, score, patient, unit=unit, rng=np.random.default_rng(11), n_resamples=n).values

    whole = run(500)
    for block in (1, 1000, 7777):
        monkeypatch.setattr(module, "_BLOCK", block)
        assert run(500).tobytes() == whole.tobytes()
    assert run(123).tobytes() == whole[:123].tobytes()  # a short run is the beginning of a long one
    other = bootstrap(y, score, patient, unit=unit, rng=np.random.default_rng(12), n_resamples=500).values
    assert other.tobytes() != whole.tobytes()


def test_percentiles_agree_with_scipy():
    y, score, _ = images(4, 200)
    correct = ((score >= 0.5) == y).astype(float)
    theirs = stats.bootstrap((correct,), np.mean, n_resamples=B, method="percentile", rng=np.random.default_rng(1))
    ours = bootstrap(y, score, None, unit="image", rng=np.random.default_rng(2), n_resamples=B).values[:, 0]
    for share, bound in ((0.025, theirs.confidence_interval.low), (0.975, theirs.confidence_interval.high)):
        low, high = np.quantile(ours, shares_around(share, B))
        assert low <= bound <= high


def test_spread_of_a_proportion_is_the_binomial_one():
    y, score, patient = images(5, 400)
    correct = (score >= 0.5) == y
    error = SIGMAS / np.sqrt(2 * B)  # relative, of a standard deviation from B draws
    for unit, index, of in (
        ("image", 0, correct),
        ("stratified", 1, correct[y == 1]),
        ("stratified", 2, correct[y == 0]),
    ):
        table = summary(bootstrap(y, score, patient, unit=unit, rng=np.random.default_rng(6)))
        p = of.mean()
        assert table["estimate"].iloc[index] == pytest.approx(p)
        assert table["sd"].iloc[index] == pytest.approx(np.sqrt(p * (1 - p) / len(of)), rel=error)
        assert table["skewness"].iloc[index] == pytest.approx(
            (1 - 2 * p) / np.sqrt(p * (1 - p) * len(of)), abs=SIGMAS * np.sqrt(6 / B)
        )


@pytest.mark.parametrize("copies", [2, 5])
def test_identical_images_of_a_patient_multiply_the_variance_by_their_number(copies):
    y, score, patient = (np.repeat(column, copies) for column in images(7, 300))
    by = {unit: bootstrap(y, score, patient, unit=unit, rng=np.random.default_rng(8)) for unit in UNITS}
    effect = design_effect(by["patient"], by["image"])
    assert effect.index.tolist() == list(METRICS)
    assert effect.to_numpy() == pytest.approx(np.full(6, copies), rel=SIGMAS * 2 / np.sqrt(B))


def test_patients_with_one_image_each_are_images():
    y, score, patient = images(9, 150)
    named = pd.Series(patient).map("P{:03d}".format)
    by = [bootstrap(y, score, named, unit=unit, rng=np.random.default_rng(1)).values for unit in ("image", "patient")]
    assert by[0].tobytes() == by[1].tobytes()


def test_image_intervals_miss_the_truth_where_images_of_a_patient_are_alike():
    # 40 patients, 5 images each, all right or all wrong together with probability 0.8: the truth is known
    hits = {"image": 0, "patient": 0}
    rng = np.random.default_rng(10)
    for _ in range(200):
        y, patient = np.repeat(np.arange(40) % 2, 5), np.repeat(np.arange(40), 5)
        right = np.repeat(rng.random(40) < 0.8, 5)
        for unit in hits:
            resamples = bootstrap(y, np.where(right, y, 1 - y), patient, unit=unit, rng=rng, n_resamples=400)
            row = summary(resamples).loc["accuracy"]
            hits[unit] += row["low"] <= 0.8 <= row["high"]
    assert hits["patient"] / 200 > 0.87  # nominal 0.95, less for 40 patients
    assert hits["image"] / 200 < 0.75  # normal theory: P(|Z| < 1.96 / sqrt(5)) = 0.62


TABLE_6 = {  # mean, SD, interval as printed; the counts are the nearest to the printed means of 336 and 336
    1: {
        "accuracy": "0.9866 0.0044 0.9777 0.9940",
        "sensitivity": "0.9940 0.0042 0.9847 1.0000",
        "specificity": "0.9792 0.0078 0.9625 0.9938",
        "precision": "0.9795 0.0077 0.9632 0.9939",
        "f1": "0.9867 0.0044 0.9772 0.9943",
    },
    2: {
        "accuracy": "0.9806 0.0053 0.9702 0.9896",
        "sensitivity": "0.9941 0.0042 0.9848 1.0000",
        "specificity": "0.9671 0.0096 0.9474 0.9848",
        "precision": "0.9680 0.0094 0.9484 0.9853",
        "f1": "0.9808 0.0052 0.9699 0.9902",
    },
    3: {
        "accuracy": "0.9836 0.0049 0.9732 0.9926",
        "sensitivity": "0.9970 0.0030 0.9906 1.0000",
        "specificity": "0.9702 0.0093 0.9504 0.9874",
        "precision": "0.9710 0.0090 0.9518 0.9878",
        "f1": "0.9838 0.0049 0.9736 0.9926",
    },
}


@pytest.mark.parametrize("experiment", TABLE_6)
def test_table_6_comes_back_from_four_counts(experiment):
    printed = {name: tuple(map(float, text.split())) for name, text in TABLE_6[experiment].items()}
    counts, _ = counts_from_rates(printed["sensitivity"][0], printed["specificity"][0], 336, 336)
    assert (counts.tp, counts.tn) == {1: (334, 329), 2: (334, 325), 3: (335, 326)}[experiment]
    resamples = bootstrap_counts(counts, rng=np.random.default_rng(experiment))
    table, half_digit = summary(resamples), 0.5e-4
    for name, (mean, sd, low, high) in printed.items():
        row = table.loc[name]
        # both the paper's 10,000 resamples and ours carry Monte Carlo error, hence sqrt(2)
        kurtosis = stats.kurtosis(resamples.values[:, METRICS.index(name)], fisher=False)
        assert row["mean"] == pytest.approx(mean, abs=half_digit + SIGMAS * np.sqrt(2 / B) * row["sd"])
        assert row["sd"] == pytest.approx(sd, abs=half_digit + SIGMAS * np.sqrt((kurtosis - 1) / 2 / B) * row["sd"])
        for share, bound in ((0.025, low), (0.975, high)):
            around = np.quantile(resamples.values[:, METRICS.index(name)], shares_around(share, B))
            assert around[0] - half_digit <= bound <= around[1] + half_digit, (name, share)
    assert np.isnan(table.loc["roc_auc", "estimate"])
    assert table.loc["roc_auc", "n_undefined"] == B


def test_replay_from_counts_is_the_image_bootstrap():
    counts = Counts(tp=40, fp=12, fn=10, tn=58)
    y = np.repeat([1, 0, 1, 0], [40, 12, 10, 58])
    called = np.repeat([1, 1, 0, 0], [40, 12, 10, 58])
    replayed = bootstrap_counts(counts, rng=np.random.default_rng(1))
    resampled = bootstrap(y, called, None, unit="image", rng=np.random.default_rng(2))
    np.testing.assert_allclose(replayed.estimate[:5], resampled.estimate[:5], rtol=0, atol=1e-15)
    for metric in range(5):
        assert stats.ks_2samp(replayed.values[:, metric], resampled.values[:, metric]).pvalue > 1e-4


def test_any_number_of_models_share_the_draws():
    y, score, patient = images(16, 60, images_per_patient=2)
    scores = [score, 1 - score, score**2]
    values, estimates = resampled_metrics(
        y, scores, patient, unit="patient", rng=np.random.default_rng(6), n_resamples=40
    )
    assert (values.shape, estimates.shape) == ((40, 3, 6), (3, 6))
    for model, each in enumerate(scores):
        alone = bootstrap(y, each, patient, unit="patient", rng=np.random.default_rng(6), n_resamples=40)
        assert np.array_equal(values[:, model], alone.values)
    with pytest.raises(UserError, match="3 models and 1 thresholds"):
        resampled_metrics(y, scores, patient, unit="image", rng=np.random.default_rng(6), thresholds=[0.5])


def test_resamples_of_one_class_are_counted_and_left_out():
    y, score = [1, 0, 0, 0], [0.9, 0.8, 0.2, 0.1]
    resamples = bootstrap(y, score, None, unit="image", rng=np.random.default_rng(17))
    table = summary(resamples)
    p_no_positive, p_no_negative, p_no_call = 0.75**4, 0.25**4, 0.5**4
    expected = {
        "accuracy": 0,
        "sensitivity": p_no_positive,
        "specificity": p_no_negative,
        "precision": p_no_call,
        "f1": p_no_call,
        "roc_auc": p_no_positive + p_no_negative,
    }
    for name, p in expected.items():
        assert table.loc[name, "n_undefined"] == pytest.approx(p * B, abs=SIGMAS * np.sqrt(p * (1 - p) * B)), name
    assert table.loc["sensitivity", ["mean", "sd", "low", "high"]].tolist() == [1, 0, 1, 1]
    assert not table[["mean", "sd", "low", "high"]].isna().any(axis=None)


def test_a_test_set_of_one_class_is_undefined_throughout_where_the_other_is_needed():
    table = summary(bootstrap([1] * 20, [0.9] * 15 + [0.1] * 5, None, unit="image", rng=np.random.default_rng(0)))
    assert table.loc["sensitivity", "n_undefined"] == 0
    assert table.loc["sensitivity", "sd"] > 0
    for name in ("specificity", "roc_auc"):
        assert table.loc[name, "n_undefined"] == B
        assert table.loc[name, ["estimate", "mean", "sd", "low", "high", "skewness"]].isna().all()


def test_equal_scores_have_an_auc_of_one_half_without_spread():
    resamples = bootstrap([0, 1] * 20, [0.3] * 40, None, unit="stratified", rng=np.random.default_rng(0))
    assert (resamples.values[:, METRICS.index("roc_auc")] == 0.5).all()
    row = summary(resamples).loc["roc_auc"]
    assert (row["sd"], row["low"], row["high"]) == (0, 0.5, 0.5)
    assert np.isnan(row["skewness"])


def test_summary_is_arithmetic_on_the_defined_values():
    values = np.full((5, 6), np.nan)
    values[:4, 0] = [0.1, 0.2, 0.3, 0.8]
    values[0, 1] = 0.5
    table = summary(Resamples(values, np.full(6, 0.35), "image"), level=0.5)
    row = table.loc["accuracy"]
    assert row["mean"] == pytest.approx(0.35)
    assert row["sd"] == pytest.approx(np.sqrt(np.sum((np.array([0.1, 0.2, 0.3, 0.8]) - 0.35) ** 2) / 3))
    assert (row["low"], row["high"]) == (pytest.approx(0.175), pytest.approx(0.425))
    assert row["skewness"] > 0
    assert table["n_undefined"].tolist() == [1, 4, 5, 5, 5, 5]
    assert np.isnan(table.loc["sensitivity", "sd"])  # one value has no spread


GOOD = {"y_true": [0, 1, 0, 1], "score": [0.1, 0.9, 0.4, 0.6], "patient_id": ["a", "a", "b", "c"], "unit": "patient"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": [0.1, np.nan, 0.4, 0.6]}, "score, row 2: the value is nan"),
        ({"y_true": [0, 1, 0, 3]}, "y_true, row 4: the value is 3"),
        ({"patient_id": ["a", "a", "b"]}, "patient_id, row 4: missing"),
        ({"patient_id": ["a", None, "b", "c"]}, "patient_id, row 2: is empty"),
        ({"patient_id": ["a", np.nan, "b", "c"]}, "patient_id, row 2: is empty"),
        ({"patient_id": None}, "patient_id: missing"),
        ({"patient_id": ["a"] * 4}, "only one patient"),
        ({"unit": "stratified", "y_true": [0, 1, 0, 0]}, "only one image of a class"),
        ({"unit": "image", "y_true": [1], "score": [0.5], "patient_id": None}, "only one image"),
        ({"unit": "centre"}, "unit: 'centre' is unknown. Choose one of image, stratified, patient"),
        ({"n_resamples": 1}, "n_resamples: 1 shows no spread"),
        ({"threshold": np.nan}, "threshold: is NaN"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    bootstrap(**GOOD, rng=np.random.default_rng(0), n_resamples=20)
    with pytest.raises(UserError, match=message):
        bootstrap(**{**GOOD, "rng": np.random.default_rng(0), **change})


def test_bad_counts_level_and_order_are_refused():
    rng = np.random.default_rng(0)
    for counts in (Counts(0, 0, 0, 0), Counts(1.5, 2, 3, 4), Counts([1, 2], [1, 2], [1, 2], [1, 2])):
        with pytest.raises(UserError, match="four whole numbers"):
            bootstrap_counts(counts, rng=rng)
    by_image = bootstrap(**{**GOOD, "unit": "image"}, rng=rng, n_resamples=20)
    with pytest.raises(UserError, match="level: 95"):
        summary(by_image, level=95)
    with pytest.raises(UserError, match='by "patient" first'):
        design_effect(by_image, by_image)


def test_a_statistic_of_ones_own_has_the_interval_of_the_fast_bootstrap():
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(60), 3)
    truth = np.repeat(rng.integers(2, size=60), 3)
    score = np.clip(0.5 + 0.2 * rng.normal(size=180) + 0.2 * (truth - 0.5), 0, 1)

    def accuracy(rows):
        return float(((score[rows] >= 0.5) == truth[rows]).mean())

    value, low, high, n = statistic_interval(accuracy, patients, rng=rng, n_resamples=4000)
    fast = bootstrap(truth, score, patients, unit="patient", rng=rng, n_resamples=4000)
    table = summary(fast).loc["accuracy"]
    assert (value, n) == (pytest.approx(table["estimate"]), 60)
    assert (low, high) == pytest.approx((table["low"], table["high"]), abs=0.015)  # strata make little difference here


def test_a_statistic_that_no_resample_defines_has_no_interval(recwarn):
    value, low, high, _ = statistic_interval(lambda rows: np.nan, np.arange(5), rng=np.random.default_rng(0))
    assert np.isnan([value, low, high]).all()
    assert not recwarn.list
