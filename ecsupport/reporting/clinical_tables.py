"""The tables and claims of notebook 12: AUC against the share of clinical data that is missing."""

import pandas as pd

from ecsupport.cohort.covariates import COVARIATES
from ecsupport.core.profiles import Run
from ecsupport.experiments.clinical import CONDITIONS, LOGISTIC, Outcomes, Patients, at, known
from ecsupport.related.bidirectional import BOTH, DROPOUT, IMAGES, MEAN, NONE, ONE_WAY, SHUFFLED, ZERO
from ecsupport.related.missingness import BY_AGE, KINDS, MECHANISMS
from ecsupport.reporting.related_claims import book
from ecsupport.reporting.results import Results

COLUMNS = ["reading", "kind", "mechanism", "rate", "auc", "low", "high", "scope"]
CLAIMS = {  # claim: what is read at which rate, and what it is compared with
    "missing_80_costs_little": ((BOTH, 0.8), (BOTH, 0.0)),
    "clinical_data_help": ((BOTH, 0.0), (IMAGES, 0.0)),
    "bidirectional_beats_zero_fill": ((BOTH, 0.8), (ZERO, 0.8)),
    "bidirectional_beats_mean_fill": ((BOTH, 0.8), (MEAN, 0.8)),
    "bidirectional_beats_modality_dropout": ((BOTH, 0.8), (DROPOUT, 0.8)),
    "distillation_helps_where_data_are_missing": ((BOTH, 0.8), (NONE, 0.8)),
    "single_learns_from_multi": ((ONE_WAY, 1.0), (NONE, 1.0)),
    "multi_learns_from_single": ((BOTH, 0.0), (ONE_WAY, 0.0)),
    "single_beats_images_alone": ((BOTH, 1.0), (IMAGES, 1.0)),
    "shuffled_covariates_gain_nothing": ((SHUFFLED, 0.0), (IMAGES, 0.0)),
}
NOTES = {"missing_80_costs_little": "holds too where clinical data do not help: see clinical_data_help"}


def lacking(run: Run) -> str:
    """What notebook 12 lacks of a manifest, in a sentence; empty where there is something to go on with."""
    if known(run):
        return ""
    return f"The manifest holds no clinical data, of which this notebook asks. It reads: {', '.join(COVARIATES)}."


def by_rate(outcomes: Outcomes) -> pd.DataFrame:
    """AUC with its interval by reading and condition, columns COLUMNS; rates 0 and 1 stand under each heading.

    Nothing is missing by age where nobody's age is known.
    """
    rows = []
    if known(outcomes.run):
        for reading in outcomes.areas:
            found = {condition: outcomes.area(reading, condition) for condition in CONDITIONS}
            for kind in KINDS:
                for mechanism in outcomes.mechanisms:
                    for rate in sorted({condition.rate for condition in CONDITIONS}):
                        of = found[at(rate, kind, mechanism)]
                        rows.append((reading, kind, mechanism, rate, of.value, of.low, of.high, of.scope))
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("rate", "auc", "low", "high"), float))


def at_a_glance(table: pd.DataFrame) -> pd.DataFrame:
    """AUC where records are missing at random, a row a reading, a column a rate; of `by_rate`."""
    rows = table[(table["kind"] == KINDS[0]) & (table["mechanism"] == MECHANISMS[0])]
    wide = rows.pivot(index="reading", columns="rate", values="auc").reindex(rows["reading"].unique())
    return wide.rename(columns=lambda rate: f"{rate:.0%} missing").rename_axis(columns=None).round(3)


def estimate(results: Results, outcomes: Outcomes) -> None:
    """Put the claims of this notebook into its results."""
    missing = "the manifest holds no clinical data" if lacking(outcomes.run) else outcomes.telling
    for claim, (one, other) in CLAIMS.items():
        if missing:
            results.estimate(claim, None, assessable=False, note=missing)
            continue
        found = outcomes.area(one[0], at(one[1]), (other[0], at(other[1])))
        book(results, claim, found, len(outcomes.tested.label), *filter(None, [NOTES.get(claim)]))


def in_words(table: pd.DataFrame, run: Run) -> str:
    """The finding in two sentences, of `by_rate`; of a profile that ranks nothing it says so.

    A manifest's own gaps come before the rates: what is missing is missing further.
    """
    if table.empty:
        return lacking(run)
    rows = table[(table["kind"] == KINDS[0]) & (table["mechanism"] == MECHANISMS[0])]
    auc = rows.set_index(["reading", "rate"])["auc"]
    missing = "further missing" if run.cohort else "missing"  # a manifest has gaps of its own
    first = (
        f"With nothing {missing} bidirectional distillation reaches an AUC of {auc[BOTH, 0.0]:.3f}, with 80 % of the "
        f"records {missing} {auc[BOTH, 0.8]:.3f}. Images alone reach {auc[IMAGES, 0.0]:.3f}, covariates alone "
        f"{auc[LOGISTIC, 0.0]:.3f}."
    )
    brief = "" if run.profile.ranks else f" {run.profile.name} trains too briefly for these numbers to mean anything."
    without = "" if BY_AGE in set(table["mechanism"]) else " Nobody's age is known, so nothing goes missing by age."
    return first + without + brief


def known_of(learnt: Patients, tested: Patients) -> pd.DataFrame:
    """Unit, valid range and share of patients of whom each covariate is known, a row a covariate."""
    rows = {
        name: {
            "covariate": of.words,
            "unit": of.unit,
            "taken as valid": f"{of.low:g} to {of.high:,g}",
            "known in training": f"{learnt.table[name].notna().mean():.0%}",
            "known of those who decide": f"{tested.table[name].notna().mean():.0%}",
        }
        for name, of in COVARIATES.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("column of a manifest")
