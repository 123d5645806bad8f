"""The search engine of the audit: what was counted and printed is found again, and "none" is a proof."""

from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from ecsupport.audit import compatible
from ecsupport.audit.compatible import FIVE, run_sets, sizes, triples
from ecsupport.audit.interval_sizes import METHODS, implied_sizes
from ecsupport.evaluation.classification import Counts, metrics_from_counts


def printed_row(pairs, n_positive, n_negative, ddof):
    """Mean and SD of the five metrics over runs, as a paper would print them."""
    tp, tn = np.array(pairs).T
    values = metrics_from_counts(Counts(tp=tp, fp=n_negative - tn, fn=n_positive - tp, tn=tn))
    return {m: (f"{values[m].mean():.4f}", f"{values[m].std(ddof=ddof):.4f}") for m in FIVE}


# --- one printed proportion ---


def test_printed_values_are_exact_and_ties_count_both_ways():
    assert compatible.exact("99.5%") == Fraction(199, 200) and compatible.exact("two-thirds") == Fraction(2, 3)
    assert compatible.bounds("0.50") == (Fraction(99, 200), Fraction(101, 200))
    assert list(compatible.counts("0.7188", 288)) == [207]  # 207 / 288 = 0.71875, a tie
    assert list(compatible.counts("0.7187", 288)) == [207]


@given(st.integers(1, 3000), st.data(), st.integers(1, 4))
def test_a_printed_count_is_found_again(n, data, places):
    k = data.draw(st.integers(0, n))
    printed = f"{k / n:.{places}f}"
    found = compatible.counts(printed, n)
    assert k in found
    assert all(abs(Fraction(i, n) - compatible.exact(printed)) <= Fraction(1, 2 * 10**places) for i in found)
    assert n in sizes(printed, n)


@pytest.mark.parametrize("printed", ["0.7188", "0.96", "0.5", "0.3333", "1.0000"])
def test_sizes_are_those_of_an_exhaustive_search(printed):
    low, high = compatible.bounds(printed)
    for runs in (1, 3):
        slow = [n for n in range(1, 61) if any(low <= Fraction(k, runs * n) <= high for k in range(runs * n + 1))]
        assert sizes(printed, 60, runs).tolist() == slow


def test_the_next_attainable_values_enclose_the_printed_one():
    below, above = compatible.nearest("0.9467", 1008)
    assert below < Fraction("0.9467") < above and above - below == Fraction(1, 1008)
    assert not compatible.counts("0.9467", 1008)


# --- three runs ---


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize(("mean", "sd"), [("0.50", "0.10"), ("0.917", "0.059"), ("0.25", "0.00"), ("1.0", "0.0")])
def test_triples_are_those_of_an_exhaustive_search(mean, sd, ddof):
    n = 12
    slow = [
        three
        for three in combinations_with_replacement(range(n + 1), 3)
        if abs(np.mean(three) / n - float(mean)) <= compatible.half_unit(mean) + 1e-12
        and abs(np.std(three, ddof=ddof) / n - float(sd)) <= compatible.half_unit(sd) + 1e-12
    ]
    assert sorted(map(tuple, triples(mean, sd, n, ddof).tolist())) == slow


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 400), st.integers(20, 400), st.sampled_from([0, 1]), st.data())
def test_printed_runs_are_found_again(n_positive, n_negative, ddof, data):
    few = st.floats(0.85, 1)
    runs = [(round(data.draw(few) * n_positive), round(data.draw(few) * n_negative)) for _ in range(3)]
    row = printed_row(runs, n_positive, n_negative, ddof)
    assert tuple(sorted(runs)) in {found.pairs for found in run_sets(row, n_positive, n_negative, ddof)}
    rest = {metric: row[metric] for metric in ("accuracy", "sensitivity", "f1")}  # the specificity is solved for
    assert tuple(sorted(runs)) in {found.pairs for found in run_sets(rest, n_positive, n_negative, ddof)}


def test_a_row_is_solved_or_refused_exactly():
    n, ddof = 7, 0
    runs = ((4, 6), (5, 5), (6, 7))
    row = printed_row(runs, n, n, ddof)
    everything = combinations_with_replacement([(a, b) for a in range(n + 1) for b in range(n + 1)], 3)
    slow = {pairs for pairs in everything if printed_row_matches(pairs, row, n, ddof)}
    assert {found.pairs for found in run_sets(row, n, n, ddof)} == slow and runs in slow


def printed_row_matches(pairs, row, n, ddof):
    tp, tn = np.array(pairs).T
    if not (tp + n - tn).all():
        return False
    values = metrics_from_counts(Counts(tp=tp, fp=n - tn, fn=n - tp, tn=tn))
    ends = ((values[m].mean(), mean) for m, (mean, _) in row.items())
    spreads = ((values[m].std(ddof=ddof), sd) for m, (_, sd) in row.items())
    return all(abs(v - float(p)) <= 0.00005 + 1e-12 for v, p in [*ends, *spreads])


def test_a_wrong_metric_is_the_one_left_out():
    row = printed_row([(63, 71), (71, 77), (73, 73)], 96, 96, 0)
    assert [left for left, _ in compatible.without_fewest(row, 96, 96)] == [()]
    assert list(compatible.balanced_sizes(row, 150)) == [96]
    assert list(compatible.unequal_sizes(row, 150)) == [(96, 96)]
    wrong = row | {"f1": ("0.7790", "0.0364")}
    [(left, runs)] = compatible.without_fewest(wrong, 96, 96)
    assert left == ("f1",) and runs[0].pairs == ((63, 71), (71, 77), (73, 73))
    assert f"{runs[0].mean_sd('f1')[0]:.4f}" == row["f1"][0] and "63/71" in str(runs[0])
    assert compatible.balanced_sizes(wrong, 150) == {}


def test_too_many_candidates_are_undetermined_and_not_none():
    row = {"accuracy": ("0.5000", "0.1000"), "f1": ("0.5000", "0.1000")}
    assert run_sets(row, 300, 300, 0) is None
    assert run_sets({"accuracy": ("0.5004", "0.0000")}, 10, 10, 0) == []


@given(st.integers(30, 336), st.data())
def test_one_run_is_found_again(n, data):
    tp, tn = data.draw(st.integers(n // 2, n)), data.draw(st.integers(n // 2, n))
    values = metrics_from_counts(Counts(tp=tp, fp=n - tn, fn=n - tp, tn=tn))
    found = compatible.one_run({m: (f"{values[m]:.4f}", 0.0) for m in FIVE}, n, n)
    assert (tp, tn) in [(c.tp, c.tn) for c in found]
    assert all(c.tp + c.fn == n and c.tn + c.fp == n for c in found)


# --- intervals read backwards ---

STATSMODELS = {"Wald": "normal", "Wilson": "wilson", "Clopper-Pearson": "beta"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("value", "low", "high"), [("0.80", "0.69", "0.89"), ("0.9", "0.8", "1.0"), ("0.5", "0.2", "0.8")]
)
def test_implied_sizes_are_those_of_statsmodels(method, value, low, high):
    half = {p: compatible.half_unit(p) + 1e-9 for p in (value, low, high)}
    slow = []
    for n in range(1, 121):
        k = np.array([k for k in range(n + 1) if abs(k / n - float(value)) <= half[value]])
        if len(k):
            ends = [np.atleast_1d(e) for e in proportion_confint(k, n, 0.05, STATSMODELS[method])]
            if method == "Wald":  # statsmodels cuts this interval to [0, 1]
                spread = 1.959963984540054 * np.sqrt(k / n * (1 - k / n) / n)
                ends = [k / n - spread, k / n + spread]
            fits = (abs(ends[0] - float(low)) <= half[low]) & (abs(ends[1] - float(high)) <= half[high])
            slow += [n] if fits.any() else []
    assert implied_sizes(value, low, high, 120, method).tolist() == slow


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 800), st.floats(0.2, 0.95), st.sampled_from(METHODS), st.integers(2, 3))
def test_the_true_size_is_among_the_implied(n, share, method, places):
    k = round(share * n)
    low, high = proportion_confint(k, n, 0.05, STATSMODELS[method])
    if low > 0 and high < 1:
        found = implied_sizes(*(f"{x:.{places}f}" for x in (k / n, low, high)), 1000, method)
        assert n in found and len(found) < 1000
