"""Optimism: its interval, redrawn test sets, what choosing on a test set gains, and trials that a reader adds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from ecsupport.core import profiles
from ecsupport.core.paths import MANIFESTS
from ecsupport.core.profiles import Run
from ecsupport.evaluation import optimism
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.optimism import Optimism
from ecsupport.experiments import catalogue, design_jobs, designs, trials
from ecsupport.experiments.outcomes import Outcomes
from ecsupport.reporting import design_tables
from ecsupport.screening.selection import area

AUC = np.eye(len(METRICS))[METRICS.index("roc_auc")]


def test_the_interval_of_a_sound_design_covers_zero_as_often_as_it_says():
    """400 simulated studies here; 2,000 in data_manifests/design/coverage.csv."""
    covered = optimism.simulated_coverage(400, np.random.default_rng(1))
    assert 0.92 <= covered <= 0.985
    kept = pd.read_csv(MANIFESTS / "design" / "coverage.csv")
    assert (kept["repetitions"] == 2000).all() and kept["held zero"].between(0.93, 0.97).all()


def test_an_optimistic_design_is_found_out():
    rng = np.random.default_rng(2)
    true = rng.normal(0.8, 0.01, 5)
    found = Optimism(true + 0.1 + rng.normal(0, 0.01, 5), true)
    low, high = found.interval
    assert low > 0.05 and low < found.estimate < high and abs(found.estimate - 0.1) < 0.02


def test_the_interval_widens_with_the_population_and_vanishes_for_one_training():
    reported, true = np.array([0.9, 0.91, 0.92]), np.array([0.8, 0.83, 0.81])
    label, patient = np.tile([0, 1], 20), np.repeat(np.arange(20), 2) // 1
    scores = np.random.default_rng(3).normal(size=(3, 40)) + label
    of = optimism.truth(label, scores, patient * 2 + label, AUC, 0.5)
    alone, both = Optimism(reported, true), Optimism(reported, true, of)
    assert both.interval[0] < alone.interval[0] and both.interval[1] > alone.interval[1]
    assert np.isnan(Optimism(reported[:1], true[:1]).interval).all()
    for row, value in zip(scores, of.value, strict=True):
        assert value == pytest.approx(area(row[label == 1], row[label == 0]))


@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_test_sets_hold_whole_patients_of_both_classes_and_no_more_images_than_asked(ill, well, each, images, seed):
    patient = np.repeat(np.arange(ill + well), each)
    label = (patient < ill).astype(int)
    for places in optimism.test_sets(label, patient, 3, images, 4, np.random.default_rng(seed)):
        assert len(np.unique(places)) == len(places)
        who, count = np.unique(patient[places], return_counts=True)
        assert set(count) == {min(images, each)}
        drawn = [int((who < ill).sum()), int((who >= ill).sum())]
        assert drawn == [max(1, min(3, ill // 2)), max(1, min(3, well // 2))]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=40))
def test_the_best_threshold_is_the_best_of_all(images):
    label, score = np.array(images, float).T
    if len(set(label)) < 2:
        return
    best, at = optimism.best_threshold(label, score)

    def balanced(threshold):
        called = score >= threshold
        return (called[label == 1].mean() + (~called)[label == 0].mean()) / 2

    assert best == pytest.approx(max(map(balanced, score)))
    assert balanced(at) == pytest.approx(best)


def test_the_best_epoch_is_read_there_and_judged_on_the_other_images():
    areas = np.array([0.6, 0.9, 0.7]), np.array([0.65, 0.5, 0.8])
    assert optimism.best_epoch(lambda of: areas[0] if of[0] else areas[1], np.arange(4), 10) == (0.9, 0.5)


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_how_far_chance_goes_is_what_permutations_show(alike):
    """Six scores, related by a common part: the formula against 4,000 ways to call patients positive."""
    rng = np.random.default_rng(4)
    number, images, positives = 30, 3, 12
    common = rng.normal(size=(1, number, images)) + rng.normal(size=(1, number, 1))
    scores = alike * common + (1 - alike) * rng.normal(size=(6, number, images))
    ranks = np.stack([rankdata(row) for row in scores]).reshape(scores.shape)  # (6, number, images)
    found = []
    for _ in range(4000):
        ill = rng.permutation(number) < positives
        found.append(max(area(row[ill].ravel(), row[~ill].ravel()) for row in scores))
    predicted = optimism.expected_best(ranks.mean(axis=2), positives, rng)
    assert predicted - 0.5 == pytest.approx(np.mean(found) - 0.5, abs=0.003)
    assert predicted > 0.505


def test_the_ratio_of_spreads_has_the_interval_of_f():
    rng, held = np.random.default_rng(5), 0
    for _ in range(500):
        ratio, low, high = optimism.spread_of_runs(0.5 * rng.normal(size=5), rng.normal(size=5))
        assert low < ratio < high
        held += low <= 0.5 <= high
    assert 0.92 <= held / 500 <= 0.98


def test_images_taken_as_independent_have_the_binomial_percentiles():
    low, high = optimism.of_images(np.array([50, 100]), np.array([100, 100]))
    assert (low[0], high[0]) == (0.40, 0.60)
    assert (low[1], high[1]) == (1.0, 1.0)  # all right: no interval over images can say more


class Made(Outcomes):
    """Outcomes of a design whose scores are made here: its test patients are those that were learnt by heart."""

    def each(self, design, of):
        rng = np.random.default_rng(6)
        label = np.repeat([1, 0], 300)
        return np.array([[of(label, rng.normal(size=600) + 3 * label) for _ in range(5)] for _ in self.seeds])

    def of_population(self, design, rule="auc"):
        rng = np.random.default_rng(7)
        return rng.normal(size=(len(self.seeds), len(self.people))) + 0.8 * self.carcinoma


def test_a_reader_adds_a_trial(monkeypatch):
    """A design of her own, and a trial that compares it: its jobs stand among the others, its row in the table."""

    def one_scanner(study: designs.Study) -> designs.Sets:
        own = study.centre == "centre_1"
        return study.split(study.carcinoma & own, ~study.carcinoma & own)

    own = trials.own_test_sets("one-scanner", "patients of one centre alone", "Where else was it tried?")
    monkeypatch.setitem(designs.DESIGNS, "one-scanner", one_scanner)
    monkeypatch.setattr(trials, "TRIALS", {"one scanner": own})
    run = Run(profiles.load("smoke"))
    names = {job.name for job in catalogue.of_notebook(run, "11_design_on_trial")}
    assert {f"design/one-scanner/{seed}" for seed in run.profile.design.seeds} <= names
    (row,) = trials.table(Made(run)).to_dict("records")
    assert row["trial"] == "one scanner" and row["words"] == "patients of one centre alone"
    assert row["reported"] > 0.95 and row["true"] < 0.85 and row["optimism"] > 0.1


def test_every_trial_was_expected_and_needs_designs_that_exist():
    expected = design_tables.expected()
    assert list(expected.index) == list(trials.TRIALS)
    assert set(expected) == {"higher", "lower", "none", "as predicted"}
    known = {*designs.DESIGNS, design_jobs.SHARED, design_jobs.INDEPENDENT}
    assert all(known.issuperset(trial.designs) for trial in trials.TRIALS.values())


@pytest.mark.parametrize(
    ("low", "high", "predicted", "said"),
    [(0.1, 0.2, np.nan, "higher"), (-0.2, -0.1, np.nan, "lower"), (-0.1, 0.1, np.nan, "none"),
     (np.nan, np.nan, np.nan, "undefined"), (-0.05, -0.05, np.nan, "undefined"),
     (0.1, 0.3, 0.2, "as predicted"), (0.1, 0.3, 0.4, "not as predicted")],
)  # fmt: skip
def test_what_was_found_is_where_the_interval_lies(low, high, predicted, said):
    assert design_tables.found(pd.Series({"low": low, "high": high, "predicted": predicted})) == said
