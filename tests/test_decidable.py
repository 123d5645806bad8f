"""What a small test set can decide: shares that theory gives, other intervals, and draws as they are asked for."""

import time

import numpy as np
import pytest
from scipy import stats

from ecsupport.core.errors import UserError
from ecsupport.core.seeds import generator
from ecsupport.evaluation import decidable as module
from ecsupport.evaluation.auc import auc_difference
from ecsupport.evaluation.decidable import Size, decidable


def simulated(rng, patients=2000, images=4, runs=1, gap=0.0):
    """Scores of two models, normal with variance 1 between patients and 1 between images; `gap` favours the first."""
    truth = np.repeat(np.arange(patients) % 2, images)
    whose = np.repeat(np.arange(patients), images)

    def score(shift):
        noise = rng.normal(size=patients)[whose] + rng.normal(size=len(truth))
        return stats.norm.cdf(noise + truth * shift - shift / 2)

    return truth, {"a": [score(2 + gap) for _ in range(runs)], "b": [score(2) for _ in range(runs)]}, whose


def test_a_difference_of_known_size_is_decided_as_often_as_its_power_says():
    """Power of a z test with the standard error of all patients, scaled to a draw of fewer."""
    rng = generator("power")
    truth, scores, whose = simulated(rng, gap=0.5)
    table = decidable(truth, scores, whose, Size(100, 100, 400), rng=rng, draws=400).set_index("metric")
    for metric in module.METRICS:
        line = table.loc[metric]
        error = (line["high"] - line["low"]) / 2 / stats.norm.ppf(0.975) * np.sqrt(10)  # of 100 patients, not of 1,000
        power = stats.norm.sf(stats.norm.ppf(0.975) - line["estimate"] / error)
        assert 0.2 < power < 0.95
        assert abs(line["decided"] - power) < 4 * np.sqrt(power * (1 - power) / 400) + 0.03  # the error varies by draw
        assert line["wrong"] <= 0.01


def test_equal_models_are_told_apart_in_one_draw_of_twenty():
    decided, wrong = [], []
    for number in range(8):
        rng = generator("equal", number)
        truth, scores, whose = simulated(rng, patients=1200)
        table = decidable(truth, scores, whose, Size(60, 60, 240), rng=rng, draws=100)
        decided.append(table["decided"].mean())
        wrong.append(table["wrong"].mean())
    assert 0.02 < np.mean(decided) < 0.10
    assert 0 < np.mean(wrong) < np.mean(decided)  # their sign is luck


def test_the_interval_of_all_patients_is_that_of_two_correlated_aucs():
    rng = generator("whole")
    truth, scores, whose = simulated(rng, patients=200, gap=0.2)
    line = decidable(truth, scores, whose, Size(20, 20, 80), rng=rng, draws=2).iloc[0]
    one = auc_difference(truth, scores["a"][0], scores["b"][0], whose)
    np.testing.assert_allclose([line["estimate"], line["low"], line["high"]], [one.difference, one.low, one.high])


def test_the_interval_of_a_sensitivity_agrees_with_resampled_patients():
    rng = generator("resampled")
    truth, scores, whose = simulated(rng, patients=400, gap=0.4)
    table = decidable(truth, scores, whose, Size(20, 20, 80), rng=rng, draws=2).set_index("metric")
    found = table.loc["sensitivity"]
    gains = np.subtract(*(np.asarray(scores[name][0]) >= 0.5 for name in "ab"), dtype=float)[truth == 1]
    by_patient = gains.reshape(-1, 4).mean(axis=1)  # (patients * 4,) -> (patients, 4)
    means = by_patient[rng.integers(len(by_patient), size=(4000, len(by_patient)))].mean(axis=1)
    assert found["estimate"] == pytest.approx(gains.mean())
    np.testing.assert_allclose((found["high"] - found["low"]) / 2, 1.96 * means.std(), rtol=0.05)


def test_runs_are_averaged_and_a_draw_holds_what_was_asked_for():
    rng = generator("runs")
    truth, scores, whose = simulated(rng, patients=200, runs=3, gap=0.3)
    table = decidable(truth, scores | {"c": scores["b"]}, whose, Size(30, 80, 120), rng=rng, draws=20)
    assert table[["metric", "less"]].to_numpy().tolist() == [[m, o] for m in module.METRICS for o in "bc"]
    mean = np.mean([np.mean(np.asarray(s)[truth == 1] >= 0.5) for s in scores["a"]])
    less = np.mean([np.mean(np.asarray(s)[truth == 1] >= 0.5) for s in scores["b"]])
    assert table["estimate"].iloc[2] == pytest.approx(mean - less)
    assert (table["positive_images"] == 120).all() and (table["negative_images"] == 120).all()
    one, other = (table[table["less"] == name].drop(columns=["metric", "less"]) for name in "bc")
    np.testing.assert_allclose(one, other, atol=1e-12)
    few = decidable(truth, scores, whose, Size(20, 80, 120), rng=rng, draws=3)
    assert (few["positive_images"] == 80).all()  # all that twenty patients have


def test_a_model_against_itself_decides_nothing():
    rng = generator("same")
    truth, scores, whose = simulated(rng, patients=100)
    table = decidable(truth, {"a": scores["a"], "b": scores["a"]}, whose, Size(10, 10, 40), rng=rng, draws=20)
    assert (table[["estimate", "decided", "wrong"]] == 0).all(axis=None)


def test_more_patients_than_there_are_cannot_be_drawn():
    truth, scores, whose = simulated(generator("few"), patients=20)
    with pytest.raises(UserError, match="11 patients with label 1: there are 10"):
        decidable(truth, scores, whose, Size(11, 5, 40), rng=generator("few"))


def test_four_networks_of_five_trainings_take_seconds():
    rng = generator("time")
    truth, scores, whose = simulated(rng, runs=5)
    scores |= {"c": scores["b"], "d": scores["b"]}
    began = time.process_time()
    decidable(truth, scores, whose, Size(65, 730, 336), rng=rng)
    assert time.process_time() - began < 20
