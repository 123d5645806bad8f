"""Table 7 from its formulae: which printed cells follow, which do not, and what holds at any prevalence."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecsupport.core.errors import UserError
from ecsupport.evaluation.bootstrap import bootstrap_counts
from ecsupport.evaluation.classification import METRICS, Counts
from ecsupport.evaluation.screening_value import PREVALENCES, screening_value, screening_value_samples

SENSITIVITY, SPECIFICITY = 0.9950, 0.9722  # Table 3, LSNet
TABLE_7 = {  # as printed, in the columns' order of the table
    "general screening": ("0.71", "99.99", "35.79", "2.80", "5025"),
    "abnormal postmenopausal bleeding": ("78.00", "99.95", "35.79", "11.48", "11"),
    "atypical hyperplasia": ("94.10", "99.77", "35.79", "32.57", "3"),
    "Lynch syndrome": ("96.00", "99.66", "35.79", "41.47", "3"),
}
COLUMNS = ("ppv", "npv", "lr_positive", "screen_positive_rate", "nns")
PERCENT = {"ppv", "npv", "screen_positive_rate"}

rate = st.floats(0.01, 0.99)


def printed_cells():
    """population, column, printed text, computed value in the printed unit."""
    table = screening_value(SENSITIVITY, SPECIFICITY, list(PREVALENCES.values()))
    for row, population in enumerate(PREVALENCES):
        for column, printed in zip(COLUMNS, TABLE_7[population], strict=True):
            yield population, column, printed, table[column][row] * (100 if column in PERCENT else 1)


def test_table_7_agrees_to_the_last_digit_in_sixteen_cells_of_twenty():
    differing = {}
    for population, column, printed, value in printed_cells():
        digits = len(printed.partition(".")[2])
        if f"{value:.{digits}f}" != printed:
            differing[population, column] = (printed, f"{value:.{digits}f}")
    assert differing == {
        ("general screening", "npv"): ("99.99", "100.00"),
        ("abnormal postmenopausal bleeding", "ppv"): ("78.00", "77.97"),
        ("atypical hyperplasia", "ppv"): ("94.10", "94.09"),
        ("Lynch syndrome", "ppv"): ("96.00", "95.98"),
    }


def test_the_four_others_are_a_matter_of_rounding():
    cells = {(population, column): (printed, value) for population, column, printed, value in printed_cells()}
    for population in list(PREVALENCES)[1:]:  # rounded to one decimal, printed with two
        printed, value = cells[population, "ppv"]
        assert printed == f"{value:.1f}0"
    printed, value = cells["general screening", "npv"]  # cut, not rounded
    assert printed == f"{np.floor(value * 100) / 100:.2f}"


def test_table_7_does_not_follow_from_the_rates_its_text_names():
    in_text = screening_value(0.975, 0.955, 0.0002)
    assert in_text["lr_positive"] == pytest.approx(21.67, abs=0.005)  # the table says 35.79
    assert in_text["ppv"] == pytest.approx(0.0043, abs=0.00005)  # the table says 0.71 %, the text 0.36 %


def test_nns_of_the_table_is_rounded_to_the_nearest_not_up():
    nns = screening_value(SENSITIVITY, SPECIFICITY, list(PREVALENCES.values()))["nns"]
    assert np.rint(nns).tolist() == [5025, 11, 3, 3]
    assert np.ceil(nns).tolist() == [5026, 12, 4, 3]


def test_a_simulated_population_meets_every_formula():
    rng = np.random.default_rng(3)
    n, se, sp, p = 2_000_000, 0.9, 0.8, 0.1
    diseased = rng.random(n) < p
    positive = rng.random(n) < np.where(diseased, se, 1 - sp)
    value = screening_value(se, sp, p)
    for share, given_that, name in (
        (diseased, positive, "ppv"),
        (~diseased, ~positive, "npv"),
        (positive, np.full(n, True), "screen_positive_rate"),
        (positive & diseased, np.full(n, True), None),
    ):
        observed, expected = share[given_that].mean(), value[name] if name else 1 / value["nns"]
        assert observed == pytest.approx(expected, abs=4.5 * np.sqrt(expected * (1 - expected) / given_that.sum()))
    in_diseased, in_healthy = positive[diseased].mean(), positive[~diseased].mean()
    error = np.sqrt((1 - se) / (se * diseased.sum()) + sp / ((1 - sp) * (~diseased).sum()))  # of log LR+
    assert np.log(in_diseased / in_healthy) == pytest.approx(np.log(value["lr_positive"]), abs=4.5 * error)
    error = np.sqrt(se / ((1 - se) * diseased.sum()) + (1 - sp) / (sp * (~diseased).sum()))
    assert np.log((1 - in_diseased) / (1 - in_healthy)) == pytest.approx(np.log(value["lr_negative"]), abs=4.5 * error)


@settings(deadline=None)
@given(rate, rate, rate)
def test_odds_before_times_likelihood_ratio_is_odds_after(se, sp, p):
    value = screening_value(se, sp, p)
    odds = p / (1 - p)
    assert value["ppv"] / (1 - value["ppv"]) == pytest.approx(odds * value["lr_positive"], rel=1e-9)
    assert (1 - value["npv"]) / value["npv"] == pytest.approx(odds * value["lr_negative"], rel=1e-9)


@settings(deadline=None)
@given(rate, rate, rate, rate)
def test_more_disease_makes_a_call_truer_and_an_all_clear_less_so(se, sp, p, q):
    low, high = sorted((p, q))
    if high - low > 1e-6:
        rare, common = screening_value(se, sp, low), screening_value(se, sp, high)
        assert common["ppv"] > rare["ppv"]
        assert common["npv"] < rare["npv"]
        assert common["nns"] < rare["nns"]
        assert common["lr_positive"] == rare["lr_positive"]  # a property of the test alone


@settings(deadline=None)
@given(rate, rate)
def test_a_test_that_tosses_a_coin_leaves_the_prevalence_as_it_was(positive_rate, p):
    value = screening_value(positive_rate, 1 - positive_rate, p)
    assert value["ppv"] == pytest.approx(p, abs=1e-12)
    assert value["npv"] == pytest.approx(1 - p, abs=1e-12)


def test_limits_are_stated_values():
    perfect = screening_value(1.0, 1.0, 0.09)
    assert perfect["lr_positive"] == np.inf
    assert (perfect["ppv"], perfect["npv"], perfect["lr_negative"]) == (1.0, 1.0, 0.0)
    nobody_called = screening_value(0.0, 1.0, 0.09)
    assert np.isnan(nobody_called["ppv"])
    assert np.isnan(nobody_called["lr_positive"])
    assert nobody_called["nns"] == np.inf
    everybody_called = screening_value(1.0, 0.0, 0.09)
    assert np.isnan(everybody_called["npv"])
    assert everybody_called["ppv"] == pytest.approx(0.09)
    assert screening_value(0.5, 0.0, 0.09)["lr_negative"] == np.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.9, 0.9, 9), r"prevalence: 9 looks like a percentage; write 0\.09\."),
        ((0.9, 0.9, [0.1, 30.8]), r"prevalence: 30\.8 looks like a percentage; write 0\.308\."),
        ((99.5, 0.9, 0.1), r"sensitivity: 99\.5 looks like a percentage; write 0\.995\."),
        ((0.9, 0.9, 0.0), "prevalence: 0 is not between 0 and 1, both excluded"),
        ((0.9, 0.9, 1.0), "prevalence: 1 is not between 0 and 1"),
        ((0.9, 0.9, np.nan), "prevalence: nan"),
        ((0.9, -0.1, 0.1), "specificity: -0.1"),
        ((np.nan, 0.9, 0.1), "sensitivity: nan"),
        ((0.9, 0.9, "9 %"), "prevalence: '9 %' is not a number"),
    ],
)
def test_values_out_of_range_are_refused_with_the_remedy(arguments, message):
    with pytest.raises(UserError, match=message):
        screening_value(*arguments)


def test_shapes_broadcast_and_scalars_stay_scalar():
    assert isinstance(screening_value(0.9, 0.8, 0.1)["ppv"], float)
    grid = screening_value(np.array([[0.9], [0.95]]), 0.8, [0.1, 0.2, 0.3])
    assert {value.shape for value in grid.values()} == {(2, 3)}
    frame = pd.DataFrame(screening_value(0.9, 0.8, list(PREVALENCES.values())), index=list(PREVALENCES))
    assert frame.loc["Lynch syndrome", "nns"] == pytest.approx(1 / 0.36)


def test_resampled_rates_carry_their_uncertainty_into_predictive_value():
    resamples = bootstrap_counts(Counts(tp=334, fp=7, fn=2, tn=329), rng=np.random.default_rng(5))
    se, sp = (resamples.values[:, METRICS.index(name)] for name in ("sensitivity", "specificity"))
    ppv = screening_value_samples(se, sp, list(PREVALENCES.values()))["ppv"]
    assert ppv.shape == (10_000, 4)
    low, high = np.quantile(ppv, [0.025, 0.975], axis=0)
    point = screening_value(334 / 336, 329 / 336, list(PREVALENCES.values()))["ppv"]
    assert ((low < point) & (point < high)).all()


def test_spread_of_the_predictive_value_follows_the_delta_method():
    tp, fn, fp, tn = 900, 100, 200, 800
    resamples = bootstrap_counts(Counts(tp=tp, fp=fp, fn=fn, tn=tn), rng=np.random.default_rng(6))
    ppv = screening_value_samples(resamples.values[:, 1], resamples.values[:, 2], 0.09)["ppv"]
    variance_of_logit = fn / tp / (tp + fn) + tn / fp / (fp + tn)  # of log Se and of log(1 - Sp)
    assert np.std(np.log(ppv / (1 - ppv))) == pytest.approx(np.sqrt(variance_of_logit), rel=0.05)


def test_an_undefined_resample_stays_undefined():
    value = screening_value_samples([0.9, np.nan], [0.8, 0.8], 0.1)
    assert value["ppv"].shape == (2, 1)
    assert np.isfinite(value["ppv"][0, 0])
    assert np.isnan(value["ppv"][1, 0])
    with pytest.raises(UserError, match="shapes"):
        screening_value_samples([0.9, 0.9], [0.8], 0.1)
