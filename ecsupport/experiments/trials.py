"""Trials of study designs: what each design reports beside what is true, one design choice at a time.

A trial is the designs whose classifiers it needs and a function from their outcomes to a row. To add one, put a design
into `designs.DESIGNS` where it needs another one, and a trial into TRIALS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ecsupport.cohort import population
from ecsupport.core.seeds import generator
from ecsupport.evaluation import optimism
from ecsupport.evaluation.optimism import Optimism
from ecsupport.evaluation.screening_value import screening_value
from ecsupport.experiments import design_jobs
from ecsupport.experiments.outcomes import Outcomes, Row, Who, measured
from ecsupport.screening.selection import THRESHOLD, area

FEW = {84: 4, 42: 8, 21: 16}  # patients of each class: images of each, 336 of each class in all
NOMINAL = 0.95


def compared(
    outcomes: Outcomes,
    design: str,
    measure: str = "AUC",
    positive: Who | None = None,
    report: Callable[[np.ndarray, np.ndarray], float] | None = None,
) -> Row:
    """A design's own test sets against the population. report: what is said of a test set, by default the measure."""
    single = outcomes.each(design, report or partial(measured, measure))
    true = outcomes.truth(design, measure, positive)
    return Row.of(measure, Optimism(single.mean(axis=1), true.value, true), single)


def invasive(outcomes: Outcomes) -> np.ndarray:
    """The endpoint that the paper names."""
    return outcomes.invasive


def by_formula(outcomes: Outcomes, design: str) -> Row:
    """The predictive value that a test set's sensitivity and specificity give at the population's prevalence."""
    prevalence = outcomes.carcinoma.mean()

    def ppv(label: np.ndarray, score: np.ndarray) -> float:
        rates = (measured(name, label, score) for name in ("sensitivity", "specificity"))
        return float(screening_value(*rates, np.array([prevalence]))["ppv"][0])

    return compared(outcomes, design, "predictive value", report=ppv)


def epoch_on_test(outcomes: Outcomes) -> Row:
    """The epoch whose AUC is highest on the test set, there and on the patients who are not in it."""
    found = []
    for seed in outcomes.seeds:
        rows, scores = outcomes.watched("sound", seed)
        label = rows["label"].to_numpy()

        def areas(of: np.ndarray, label: np.ndarray = label, scores: np.ndarray = scores) -> np.ndarray:
            return np.array([area(row[of & (label == 1)], row[of & (label == 0)]) for row in scores])

        found.append([optimism.best_epoch(areas, places, len(label)) for places in outcomes.drawn(rows, seed)])
    single = np.array(found)  # (S, REDRAWS, 2)
    return Row.of("AUC", Optimism(single[..., 0].mean(axis=1), single[..., 1].mean(axis=1)), single[..., 0])


def threshold_on_test(outcomes: Outcomes) -> Row:
    """The threshold with the highest balanced accuracy on the test set, there and in the population."""
    best = []
    for seed in outcomes.seeds:
        rows = outcomes.tested("sound", seed)
        label, score = rows["label"].to_numpy(), rows["score"].to_numpy()
        best.append([optimism.best_threshold(label[of], score[of]) for of in outcomes.drawn(rows, seed)])
    single = np.array(best)  # (S, REDRAWS, 2)
    true = []
    for scores, thresholds in zip(outcomes.of_population("sound"), single[..., 1], strict=True):
        ill, well = np.sort(scores[outcomes.carcinoma]), np.sort(scores[~outcomes.carcinoma])
        missed, passed = (np.searchsorted(of, thresholds) / len(of) for of in (ill, well))
        true.append(((1 - missed + passed) / 2).mean())
    common = outcomes.truth("sound", "balanced accuracy", threshold=float(np.median(single[..., 1])))
    found = Optimism(single[..., 0].mean(axis=1), np.array(true), common)
    return Row.of("balanced accuracy", found, single[..., 0])


def dual_rule(outcomes: Outcomes) -> Row:
    """What validation said of the epoch that the paper's rule chose on it, and what is true of that epoch."""
    chosen = []
    for seed in outcomes.seeds:
        history = pd.read_csv(outcomes.classifiers["sound", seed].file("history.csv"))
        chosen.append(history.loc[history["chosen"], ["sensitivity", "specificity"]].to_numpy().mean())
    true = outcomes.truth("sound", "balanced accuracy", rule="dual")
    return Row.of("balanced accuracy", Optimism(np.array(chosen), true.value, true))


def shared_checkpoint(outcomes: Outcomes) -> Row:
    """The spread of runs that go on from one network, in units of that of independent runs on the same images."""
    first = outcomes.truth("sound").value[:1]
    both = (np.append(first, outcomes.truth(name).value) for name in (design_jobs.SHARED, design_jobs.INDEPENDENT))
    ratio, low, high = optimism.spread_of_runs(*both)
    return Row("SD, relative", ratio, 1.0, ratio - 1, low - 1, high - 1)


def coverage(outcomes: Outcomes, patients: int) -> tuple[np.ndarray, int]:
    """How often the interval of the sensitivity, images taken as independent, holds the true one; (S,).

    And how many positive patients a test set has at least: not more than half of those that there are.
    """
    true = outcomes.truth("sound", "sensitivity").value
    found, fewest = [], patients
    for seed, value in zip(outcomes.seeds, true, strict=True):
        rows = outcomes.tested("sound", seed)
        fewest = min(fewest, rows.loc[rows["label"] == 1, "patient"].nunique() // 2)
        called, ill = rows["score"].to_numpy() >= THRESHOLD, rows["label"].to_numpy() == 1
        sets = [of[ill[of]] for of in outcomes.drawn(rows, seed, patients, FEW[patients])]
        trials = np.array([len(of) for of in sets])
        low, high = optimism.of_images(np.array([called[of].sum() for of in sets]), trials)
        found.append(((low <= value) & (value <= high)).mean())
    return np.array(found), fewest


def few_patients(outcomes: Outcomes) -> Row:
    """The coverage that an interval over images claims, and has where they are of the fewest patients of FEW."""
    true, _ = coverage(outcomes, min(FEW))
    return Row.of("coverage", Optimism(np.full(len(true), NOMINAL), true))


def shuffled_labels(outcomes: Outcomes) -> Row:
    """Labels shuffled, in what is learnt from and between the patients of test sets; then the best epoch is taken.

    The truth is one half by construction, and how far the best epoch lies above it is known (`optimism.expected_best`).
    """
    single, predicted = [], []
    for seed in outcomes.seeds:
        rows, scores = outcomes.watched("shuffled", seed)
        rng, found, theory = generator("trials", "shuffled", seed), [], []
        for places in outcomes.drawn(rows, seed):
            who, patient = np.unique(rows["patient"].to_numpy()[places], return_inverse=True)
            positive = rng.permutation(len(who)) < len(who) // 2
            ill, several = positive[patient], scores[:, places]
            found.append(max(area(row[ill], row[~ill]) for row in several))
            if not theory:
                ranks = np.stack([np.bincount(patient, rankdata(row)) / np.bincount(patient) for row in several])
                theory.append(optimism.expected_best(ranks, int(positive.sum()), rng))
        single.append(found)
        predicted += theory
    values = np.array(single)
    half = np.full(len(values), 0.5)
    return Row.of("AUC", Optimism(values.mean(axis=1), half), values, float(np.mean(predicted) - 0.5))


@dataclass(frozen=True)
class Trial:
    """What is done, what a reader of any such study should ask, and the function that compares; `designs` it needs."""

    words: str
    ask: str
    designs: tuple[str, ...]
    row: Callable[[Outcomes], Row]


def own_test_sets(design: str, words: str, ask: str, measure: str = "AUC", positive: Who | None = None) -> Trial:
    """A design's own test sets against the population."""
    return Trial(words, ask, (design,), partial(compared, design=design, measure=measure, positive=positive))


PATIENTS = "Were patients split, and does the paper say so?"
SPECTRUM = "Who are the controls, and would they be sent to this test?"
BOUND = "Does anything but the disease tell the classes apart: source, centre, scanner, year?"
CHOSEN = "What was chosen on the images that are reported?"
TRIALS: dict[str, Trial] = {
    "sound": own_test_sets("sound", "sound: by patient, the clinic's controls", PATIENTS),
    "endpoint": own_test_sets(
        "without-findings",
        "against normal uteri, reported as invasion",
        "Is the label the endpoint of the title?",
        positive=invasive,
    ),
    "spectrum": own_test_sets("without-findings", "controls without findings", SPECTRUM),
    "source": own_test_sets("synthetic", "synthetic positives, real negatives", BOUND),
    **{
        f"by image {number}": own_test_sets(f"by-image-{number}", f"split by image, {number} a patient", PATIENTS)
        for number in (4, 8, 16)
    },
    **{
        f"centre {percent} %": own_test_sets(f"centre-{percent}", f"{percent} % of a class from own centres", BOUND)
        for percent in (75, 90, 100)
    },
    "centre left out": own_test_sets("centre-left-out", "90 %, tested on a centre left out", BOUND),
    "balanced test set": own_test_sets(
        "sound",
        "read off a balanced test set",
        "At which prevalence does a predictive value hold?",
        "predictive value",
    ),
    "formula": Trial(
        "by formula, at the clinic's prevalence",
        "Whose sensitivity and specificity enter the formula?",
        ("sound",),
        partial(by_formula, design="sound"),
    ),
    "formula without findings": Trial(
        "by formula, from controls without findings",
        SPECTRUM,
        ("without-findings",),
        partial(by_formula, design="without-findings"),
    ),
    "epoch on test": Trial("epoch chosen on the test set", CHOSEN, ("sound",), epoch_on_test),
    "threshold on test": Trial("threshold chosen on the test set", CHOSEN, ("sound",), threshold_on_test),
    "dual rule": Trial("read where the dual rule chose", CHOSEN, ("sound",), dual_rule),
    "shared checkpoint": Trial(
        "runs that share a checkpoint",
        "From which step on do the runs differ?",
        ("sound", design_jobs.SHARED, design_jobs.INDEPENDENT),
        shared_checkpoint,
    ),
    "few patients": Trial(
        "many images of few patients",
        "How many patients stand behind an interval?",
        ("sound",),
        few_patients,
    ),
    "shuffled labels": Trial(
        "labels shuffled, epoch chosen on test", "What would chance report?", ("shuffled",), shuffled_labels
    ),
}


def table(outcomes: Outcomes) -> pd.DataFrame:
    """One row a trial whose classifiers there are, in the order of TRIALS: trial, words, and the columns of `Row`."""
    there = {name for name, _ in outcomes.classifiers}
    rows = {name: trial.row(outcomes) for name, trial in TRIALS.items() if there.issuperset(trial.designs)}
    return pd.DataFrame([{"trial": name, "words": TRIALS[name].words, **vars(row)} for name, row in rows.items()])


def waterfall(outcomes: Outcomes) -> pd.DataFrame:
    """From what the paper's design reports to what it names, one change a step; and what a network of its own attains.

    Columns step, auc, sensitivity, specificity: means over trainings.
    """
    design, named = "without-findings", {"positive": invasive}
    steps = {
        "its own test set": None,
        "fresh patients": {"among": lambda outcomes: outcomes.plain},
        "every finding of the clinic": {},
        "invasion instead of carcinoma": named,
        "trained on invasion": named,
    }
    rows = []
    for step, options in steps.items():
        row: dict[str, float | str] = {"step": step}
        for measure in ("AUC", "sensitivity", "specificity"):
            if options is None:
                values = outcomes.each(design, partial(measured, measure))
            else:
                values = outcomes.truth("invasion" if step.startswith("trained") else design, measure, **options).value
            row[measure.lower()] = float(values.mean())
        rows.append(row)
    return pd.DataFrame(rows)


def called(outcomes: Outcomes) -> pd.DataFrame:
    """Share of the population's images that are called positive, by finding (rows) and design (columns)."""
    finding = outcomes.people["finding"]
    shares = {
        name: pd.Series((outcomes.of_population(name) >= THRESHOLD).mean(axis=0)).groupby(finding.to_numpy()).mean()
        for name in ("without-findings", "sound", "invasion")
    }
    return pd.DataFrame(shares).loc[list(population.MIX)].rename_axis("finding").reset_index()
