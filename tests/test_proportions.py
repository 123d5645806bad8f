"""Wilson, Clopper-Pearson and McNemar: the inversions they claim to be, R's numbers, the simulated type-I error."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from ecsupport.core.errors import UserError
from ecsupport.evaluation.proportions import mcnemar, mcnemar_clustered, number_patients, proportion_interval

DATA = Path(__file__).parent / "data"  # proc_*.csv are written by proc.R there
SIGMAS = 4.5  # of Monte Carlo error allowed: a chance of 1 in 150,000 per comparison

COUNTS = st.integers(1, 700).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
LEVELS = st.sampled_from([0.8, 0.9, 0.95, 0.99])


def root(function, low, high):
    return optimize.brentq(function, low, high, xtol=1e-14, rtol=1e-14)


@settings(deadline=None, max_examples=60)
@given(COUNTS, LEVELS)
def test_clopper_pearson_are_the_proportions_at_which_each_tail_of_the_binomial_is_half_alpha(count_n, level):
    count, n = count_n
    tail = (1 - level) / 2
    low = root(lambda p: stats.binom.sf(count - 1, n, p) - tail, 0, 1) if count > 0 else 0.0
    high = root(lambda p: stats.binom.cdf(count, n, p) - tail, 0, 1) if count < n else 1.0
    got = proportion_interval(count, n, method="clopper-pearson", level=level)
    assert (got.value, got.low, got.high) == pytest.approx((count / n, low, high), rel=0, abs=1e-11)


@settings(deadline=None, max_examples=60)
@given(COUNTS, LEVELS)
def test_wilson_are_the_proportions_that_the_score_test_just_does_not_reject(count_n, level):
    count, n = count_n
    share, z = count / n, stats.norm.isf((1 - level) / 2)

    def beyond(p):
        return (share - p) ** 2 - z**2 * p * (1 - p) / n

    aside = 1e-9  # the share itself is a root where it is 0 or 1
    low = root(beyond, 0, share - aside) if count > 0 else 0.0
    high = root(beyond, share + aside, 1) if count < n else 1.0
    got = proportion_interval(count, n, level=level)
    assert (got.value, got.low, got.high) == pytest.approx((share, low, high), rel=0, abs=1e-11)


@pytest.mark.parametrize(("method", "column"), [("wilson", "wilson"), ("clopper-pearson", "exact")])
def test_intervals_equal_those_of_r(method, column):
    for level, rows in pd.read_csv(DATA / "proc_proportions.csv").groupby("level"):
        got = proportion_interval(rows["count"], rows["n"], method=method, level=level)  # arrays go through at once
        np.testing.assert_allclose(got.low, rows[f"{column}_low"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(got.high, rows[f"{column}_high"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["wilson", "clopper-pearson"])
def test_limits_at_the_ends_are_exact_and_mirrored(method):
    none, every = (proportion_interval(count, 336, method=method) for count in (0, 336))
    assert (none.low, every.high) == (0.0, 1.0)
    assert every.low == pytest.approx(1 - none.high, abs=1e-12)
    assert 0.98 < every.low < 1


@pytest.mark.parametrize(("method", "guaranteed"), [("wilson", False), ("clopper-pearson", True)])
def test_coverage_summed_over_all_counts(method, guaranteed):
    n, truth = 40, np.linspace(0.05, 0.95, 91)
    intervals = proportion_interval(np.arange(n + 1), n, method=method)
    inside = (intervals.low <= truth[:, None]) & (truth[:, None] <= intervals.high)  # (91, n + 1)
    coverage = (inside * stats.binom.pmf(np.arange(n + 1), n, truth[:, None])).sum(axis=1)
    if guaranteed:
        assert coverage.min() >= 0.95
    else:
        assert coverage.mean() == pytest.approx(0.95, abs=0.005)
        assert coverage.min() < 0.95  # the price


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((5, 4), {}, "5 of 4 is no proportion"),
        ((-1, 4), {}, "-1 of 4"),
        ((0, 0), {}, "0 of 0"),
        (([3, 5], [4, 4]), {}, "5 of 4"),
        ((0.994, 336), {}, "count: 0.994 is not a number of images"),
        ((3, np.nan), {}, "n: nan is not a number of images"),
        (("3", 4), {}, "count: '3'"),
        ((3, 4), {"method": "wald"}, "'wald' is unknown. Choose one of wilson, clopper-pearson"),
        ((3, 4), {"level": 95}, "level: 95 is not between 0 and 1"),
    ],
)
def test_what_is_no_proportion_is_refused(arguments, options, message):
    with pytest.raises(UserError, match=message):
        proportion_interval(*arguments, **options)


def pairs(only_a, only_b, both=10, neither=4):
    """Columns with the given numbers of discordant and concordant images."""
    a = np.repeat([1, 0, 1, 0], [only_a, only_b, both, neither])
    b = np.repeat([0, 1, 1, 0], [only_a, only_b, both, neither])
    return a, b


def test_mcnemar_equals_r():
    for row in pd.read_csv(DATA / "proc_mcnemar.csv").itertuples():
        a, b = pairs(row.only_a, row.only_b)
        exact, chi_square = mcnemar(a, b), mcnemar(a, b, exact=False)
        assert (exact.only_a, exact.only_b) == (row.only_a, row.only_b)
        assert exact.p_value == pytest.approx(row.exact_p, abs=1e-12)
        assert chi_square.statistic == pytest.approx(row.chi_square, abs=1e-12)
        assert chi_square.p_value == pytest.approx(row.chi_square_p, abs=1e-12)


def test_models_that_are_never_told_apart_have_p_value_1():
    a, b = pairs(0, 0)
    assert mcnemar(a, b).p_value == 1.0
    for result in (mcnemar(a, b, exact=False), mcnemar_clustered(a, b, np.arange(len(a)))):
        assert result.p_value == 1.0
        assert np.isnan(result.statistic)


@st.composite
def answers(draw):
    """Two columns of right and wrong, and the patient of each image: at least two patients."""
    n = draw(st.integers(2, 40))

    def column(values):
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    patient = column(st.integers(0, 9))
    patient[:2] = 0, 1
    return column(st.booleans()), column(st.booleans()), patient


@settings(deadline=None)
@given(answers())
def test_clustered_statistic_is_durkalski_s_patient_by_patient(columns):
    a, b, patient = columns
    scaled = []
    for one in set(patient):
        of_one = patient == one
        scaled.append((sum(a[of_one] & ~b[of_one]) - sum(b[of_one] & ~a[of_one])) / sum(of_one))
    result = mcnemar_clustered(a, b, patient)
    if any(scaled):
        expected = sum(scaled) ** 2 / sum(share**2 for share in scaled)
        assert result.statistic == pytest.approx(expected, abs=1e-10)
        assert result.p_value == pytest.approx(stats.chi2.sf(expected, 1), abs=1e-10)
    else:
        assert result.p_value == 1.0
    assert (result.only_a, result.only_b) == (sum(a & ~b), sum(b & ~a))


@settings(deadline=None)
@given(answers())
def test_clustered_test_with_one_image_per_patient_is_the_ordinary_one(columns):
    a, b, _ = columns
    clustered, ordinary = mcnemar_clustered(a, b, np.arange(len(a))), mcnemar(a, b, exact=False)
    assert clustered.statistic == pytest.approx(ordinary.statistic, abs=1e-12, nan_ok=True)
    assert clustered.p_value == pytest.approx(ordinary.p_value, abs=1e-12)


@settings(deadline=None)
@given(answers(), st.integers(2, 5))
def test_copies_of_a_patient_s_images_add_nothing(columns, copies):
    a, b, patient = columns
    once = mcnemar_clustered(a, b, patient)
    copied = mcnemar_clustered(*(np.repeat(column, copies) for column in columns))
    assert copied.statistic == pytest.approx(once.statistic, abs=1e-10, nan_ok=True)
    ordinary, naive = mcnemar(a, b, exact=False), mcnemar(np.repeat(a, copies), np.repeat(b, copies), exact=False)
    assert naive.statistic == pytest.approx(copies * ordinary.statistic, abs=1e-10, nan_ok=True)  # and is fooled


def test_type_one_error_by_simulation():
    rng = np.random.default_rng(20)
    n_patients, replications = 80, 2000
    rejected = {"clustered": 0, "chi-square": 0}
    for _ in range(replications):
        patient = np.repeat(np.arange(n_patients), rng.integers(1, 8, n_patients))
        # each model has an ability of its own with each patient, and both are right with the same probability
        ability = rng.normal(size=(n_patients, 2))[patient]
        a, b = (ability + rng.normal(size=(len(patient), 2)) > -1).T
        rejected["clustered"] += mcnemar_clustered(a, b, patient).p_value < 0.05
        rejected["chi-square"] += mcnemar(a, b, exact=False).p_value < 0.05
    error = SIGMAS * np.sqrt(0.05 * 0.95 / replications)
    assert rejected["clustered"] / replications == pytest.approx(0.05, abs=error)
    assert rejected["chi-square"] / replications > 0.05 + 2 * error


def test_clustered_test_finds_a_true_difference():
    rng = np.random.default_rng(21)
    patient = np.repeat(np.arange(80), 4)
    a, b = rng.random(320) < 0.9, rng.random(320) < 0.7
    assert mcnemar_clustered(a, b, patient).p_value < 1e-4
    assert mcnemar_clustered(a, b, patient) == mcnemar_clustered(a, b, patient.astype(str))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 0, 2], [1, 0, 1], "correct_a, row 3: the value is .*2"),
        ([1, 0, 1], [1, np.nan, 1], "correct_b, row 2: the value is .*nan"),
        ([1, 0, 1], [1, 0, None], "correct_b, row 3: the value is None"),
        (["1", "0"], [1, 0], "correct_a, row 1"),
        ([1, 0, 1], [1, 0], "correct_b, row 3: missing"),
        ([], [], "no rows"),
        ([[1, 0]], [1, 0], r"correct_a: has shape \(1, 2\)"),
        (pd.Series([1, 0], index=["x", "y"]), pd.Series([1, 0], index=["y", "x"]), "row 1: index 'x' stands beside"),
    ],
)
def test_bad_answers_are_refused_by_row(a, b, message):
    for test in (lambda: mcnemar(a, b), lambda: mcnemar_clustered(a, b, np.arange(len(a)))):
        with pytest.raises(UserError, match=message):
            test()


@pytest.mark.parametrize(
    ("patient", "message"),
    [
        (["p1", "p1", "p1"], "only one patient"),
        (["p1", None, "p2"], "patient_id, row 2: is empty"),
        (["p1", "p2"], "patient_id, row 3: missing"),
    ],
)
def test_bad_patients_are_refused(patient, message):
    with pytest.raises(UserError, match=message):
        mcnemar_clustered([1, 0, 1], [1, 1, 0], patient)


def test_patients_are_numbered_as_they_appear():
    codes, n_patients = number_patients(np.array(["p9", "p1", "p9", "nan"]))
    assert codes.tolist() == [0, 1, 0, 2]
    assert n_patients == 3
