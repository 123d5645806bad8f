"""The tables and claims of notebook 13: what networks are worth by the share of labels that are used."""

from itertools import product

import pandas as pd

from ecsupport.core.profiles import Run
from ecsupport.evaluation.components import Estimate
from ecsupport.experiments.multitask import AUC, ERROR, MEAN, MEASURES, PREDOMINANT, Outcomes, lacking, tasks
from ecsupport.related.dense_attention import INVASION, PROPORTIONS
from ecsupport.related.self_distillation import ALONE, MULTITASK, ON_LABELLED, SELF, arms
from ecsupport.reporting import shown
from ecsupport.reporting.related_claims import book
from ecsupport.reporting.results import Results

ALL, QUARTER = 100, 25  # per cent of the labels that may be known
COLUMNS = ["network", "percent", "measure", "value", "low", "high", "scope", "patients"]
CLAIMS = {  # claim: measure, network and labels, what it is compared with
    "self_distillation_improves_invasion": (AUC, (SELF, ALL), (ALONE[INVASION], ALL)),
    "self_distillation_beats_multitask": (AUC, (SELF, ALL), (MULTITASK, ALL)),
    "self_distillation_improves_predominant": (PREDOMINANT, (SELF, ALL), (ALONE[PROPORTIONS], ALL)),
    "self_distillation_improves_proportions": (ERROR, (SELF, ALL), (ALONE[PROPORTIONS], ALL)),
    "second_task_helps_invasion": (AUC, (MULTITASK, ALL), (ALONE[INVASION], ALL)),
    "labelled_distillation_helps": (AUC, (ON_LABELLED, QUARTER), (MULTITASK, QUARTER)),
    "unlabelled_images_help": (AUC, (SELF, QUARTER), (ON_LABELLED, QUARTER)),
    "quarter_of_labels_suffices": (AUC, (SELF, QUARTER), (MULTITASK, ALL)),
}


def by_percent(outcomes: Outcomes) -> pd.DataFrame:
    """Every measure with its interval by network and share of labels, columns COLUMNS; NaN where it has none."""
    rows = []
    for measure, name, percent in product(MEASURES, (*arms(), MEAN), outcomes.run.profile.multitask.percents):
        if (name, percent, measure) in outcomes.found:
            of = outcomes.measured(name, percent, measure)
            rows.append(
                (name, percent, measure, of.value, of.low, of.high, of.scope, outcomes.patients(measure))
            )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def in_columns(table: pd.DataFrame) -> pd.DataFrame:
    """A row a measure and network, a column a share of labels; of `by_percent`."""
    wide = table.pivot(index=["measure", "network"], columns="percent", values="value")
    wide = wide.reindex(pd.MultiIndex.from_frame(table[["measure", "network"]].drop_duplicates()))
    digits = [4 if measure == ERROR else 3 for measure, _ in wide.index]
    rows = [[f"{value:.{n}f}" for value in row] for n, row in zip(digits, wide.to_numpy(), strict=True)]
    return pd.DataFrame(rows, wide.index, [f"{percent} % of labels" for percent in wide.columns])


def estimate(results: Results, outcomes: Outcomes) -> None:
    """Put the claims of this notebook into its results."""
    for claim, (measure, one, other) in CLAIMS.items():
        if not {(*one, measure), (*other, measure)} <= outcomes.found.keys():
            why = lacking(outcomes.run) or "one tissue is predominant in all images"
            results.estimate(claim, None, assessable=False, note=why)
            continue
        found = outcomes.measured(*one, measure, other, relative=measure == ERROR)
        notes = _no_better_than_the_mean(outcomes, measure, one, other)
        book(results, claim, found, outcomes.patients(measure), *notes)


def _no_better_than_the_mean(outcomes: Outcomes, measure: str, *networks: tuple[str, int]) -> list[str]:
    """Which of the networks tell shares not measurably better than their mean does."""
    return [
        f"{name} is not measurably better than the {MEAN}"
        for name, percent in networks
        if measure == ERROR and outcomes.measured(name, percent, measure, (MEAN, percent)).high > 0
    ]


def in_words(outcomes: Outcomes) -> str:
    """The finding in two sentences; of a profile that ranks nothing it says so."""
    run, few = outcomes.run, min(outcomes.run.profile.multitask.percents)
    plain = MULTITASK if PROPORTIONS in tasks(run) else ALONE[INVASION]
    most, least = (outcomes.measured(SELF, percent, AUC, (plain, percent)) for percent in (ALL, few))
    found = (
        f"Self-distillation changes the AUC of invasion by {_interval(most)} where all labels are used, and by "
        f"{_interval(least)} with {few} % of them, against {plain} without distillation."
    )
    brief = "" if run.profile.ranks else f" {run.profile.name} trains too briefly for these numbers to mean anything."
    alone = f" {lacking(run)} So invasion is learnt alone." if lacking(run) else ""
    return found + brief + alone


def _interval(of: Estimate) -> str:
    return shown.estimated(of.value, of.low, of.high, "+.3f").replace("-", "−")


def teachers(run: Run) -> pd.DataFrame:
    """A row a network: its tasks, how many teach it each task, and how much distillation counts."""
    every = arms(tasks(run))
    rows = {
        name: {
            "tasks": " and ".join(arm.tasks),
            "teachers of a task": sum(not other.taught and arm.tasks[0] in other.tasks for other in every.values())
            if arm.taught
            else 0,
            "weight on labelled images": arm.labelled,
            "on unlabelled": arm.unlabelled,
        }
        for name, arm in every.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trained")
