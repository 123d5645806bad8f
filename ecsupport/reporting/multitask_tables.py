"""The tables and claims of notebook 13: what networks are worth by the share of patients with labels."""

from itertools import product

import pandas as pd

from ecsupport.core.profiles import Run
from ecsupport.experiments.multitask import AUC, ERROR, MEASURES, PREDOMINANT, Outcomes, tasks
from ecsupport.related.dense_attention import INVASION, PROPORTIONS, TASKS
from ecsupport.related.self_distillation import ALONE, MULTITASK, ON_LABELLED, SELF, arms
from ecsupport.reporting.results import Results

ALL, QUARTER = 100, 25  # per cent of patients with labels
COLUMNS = ["network", "percent", "measure", "value", "low", "high", "scope"]
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


def lacking(run: Run) -> str:
    """What notebook 13 lacks of a manifest, in a sentence; empty where it lacks nothing."""
    if tasks(run) == TASKS:
        return ""
    return "The manifest holds no proportions of tissues, so invasion is learnt alone."


def by_percent(outcomes: Outcomes) -> pd.DataFrame:
    """Every measure with its interval by network and share of labels, columns COLUMNS."""
    rows, found = [], outcomes.found
    for measure, name, percent in product(MEASURES, arms(), outcomes.run.profile.multitask.percents):
        if (name, percent, measure) in found:
            of = outcomes.measured(name, percent, measure)
            rows.append((name, percent, measure, of.estimate, of.low, of.high, of.scope))
    return pd.DataFrame(rows, columns=COLUMNS)


def at_a_glance(table: pd.DataFrame) -> pd.DataFrame:
    """A row a measure and network, a column a share of labels; of `by_percent`."""
    wide = table.pivot(index=["measure", "network"], columns="percent", values="value")
    wide = wide.reindex(pd.MultiIndex.from_frame(table[["measure", "network"]].drop_duplicates()))
    digits = [4 if measure == ERROR else 3 for measure, _ in wide.index]
    rows = [[f"{value:.{n}f}" for value in row] for n, row in zip(digits, wide.to_numpy(), strict=True)]
    return pd.DataFrame(rows, wide.index, [f"{percent} % of labels" for percent in wide.columns])


def estimate(results: Results, outcomes: Outcomes) -> None:
    """Put the claims of this notebook into its results."""
    patients = outcomes.patients
    for claim, (measure, one, other) in CLAIMS.items():
        if not {(*one, measure), (*other, measure)} <= outcomes.found.keys():
            results.estimate(claim, None, assessable=False, note="the manifest holds no proportions of tissues")
            continue
        found = outcomes.measured(*one, measure, other, relative=measure == ERROR)
        results.estimate(
            claim, found.estimate, found.low, found.high, degrees=found.spread.degrees, trained=True, n=patients,
            note=f"{found.scope}; {patients:,} patients",
        )  # fmt: skip


def in_words(table: pd.DataFrame, run: Run) -> str:
    """The finding in two sentences, of `by_percent`; of a profile that ranks nothing it says so."""
    auc = table[table["measure"] == AUC].set_index(["network", "percent"])["value"]
    plain, few = (MULTITASK if PROPORTIONS in tasks(run) else ALONE[INVASION]), min(table["percent"])
    found = (
        f"With all labels self-distillation reaches an AUC of {auc[SELF, ALL]:.3f} for invasion, and the network "
        f"without it ({plain}) {auc[plain, ALL]:.3f}. With labels of {few} % of the patients they reach "
        f"{auc[SELF, few]:.3f} and {auc[plain, few]:.3f}."
    )
    brief = "" if run.profile.ranks else f" {run.profile.name} trains too briefly for these numbers to mean anything."
    return " ".join(filter(None, [found + brief, lacking(run)]))
