"""The tables of notebook 11: what each design reports beside what is true, and LSNet's rank at other difficulties."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from ecsupport.cohort.recipe import Recipe
from ecsupport.core.paths import MANIFESTS
from ecsupport.core.profiles import Run
from ecsupport.evaluation.hierarchical import difference_table
from ecsupport.experiments import trials
from ecsupport.experiments.difficulty import NETWORKS
from ecsupport.experiments.outcomes import Outcomes
from ecsupport.experiments.tested import Tested
from ecsupport.experiments.trials import FEW, NOMINAL, TRIALS
from ecsupport.paper.published import load_claims, smallest_effect
from ecsupport.reporting import ledger, shown
from ecsupport.reporting.ablation_tables import difference
from ecsupport.screening.selection import area

EXPECTED, COVERAGE = (MANIFESTS / "design" / name for name in ("expected.csv", "coverage.csv"))


def expected() -> pd.Series:
    """What each trial was expected to show before its networks were trained: higher, lower, none or as predicted."""
    return pd.read_csv(EXPECTED, index_col="trial")["expected"]


def found(row: pd.Series) -> str:
    """Where the interval of a trial's optimism lies: higher, lower, none, or as predicted where theory predicts it.

    Undefined where there is no interval, or nothing varies, which is no certainty.
    """
    if pd.isna(row["low"]) or row["low"] == row["high"]:
        return "undefined"
    if not pd.isna(row["predicted"]):
        return "as predicted" if row["low"] <= row["predicted"] <= row["high"] else "not as predicted"
    return "higher" if row["low"] > 0 else "lower" if row["high"] < 0 else "none"


def with_expected(table: pd.DataFrame) -> pd.DataFrame:
    """`trials.table` with the columns expected, found, and ask, what a reader of any such study should ask."""
    return table.assign(
        expected=table["trial"].map(expected()),
        found=table.apply(found, axis=1),
        ask=[TRIALS[name].ask for name in table["trial"]],
    )


def for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """The same in the order of its optimism, as a page shows it."""
    rows = table.sort_values("optimism", ascending=False)
    return pd.DataFrame({
        "design": rows["words"],
        "measure": rows["measure"],
        "reported": rows["reported"].map(_number),
        "true": rows["true"].map(_number),
        "optimism (95 % interval)": [
            shown.estimated(row.optimism, row.low, row.high, "+.3f").replace("-", "−") for row in rows.itertuples()
        ],
        "expected": rows["expected"],
        "found": rows["found"],
    })  # fmt: skip


def _number(value: float) -> str:
    return "undefined" if pd.isna(value) else f"{value:.3f}"


def in_words(table: pd.DataFrame, run: Run) -> str:
    """The finding in two sentences; of a profile that ranks nothing it says so."""
    certain = table[table["found"] == "higher"].sort_values("optimism", ascending=False)
    agree = int((table["found"] == table["expected"]).sum())
    first = f"{len(certain)} of {len(table)} designs report more than is true, beyond their intervals"
    if len(certain):
        most = certain.iloc[0]
        first += f"; most of all: {most['words']} ({most['measure']} {most['reported']:.2f}, truly {most['true']:.2f})"
    second = f"{agree} of {len(table)} came out as was expected before anything was trained."
    brief = "" if run.profile.ranks else f" {run.profile.name} trains too briefly for these numbers to mean anything."
    return f"{first}. {second}{brief}"


def simulated() -> pd.DataFrame:
    """How often the interval of a sound design's optimism held zero, from data_manifests/design/coverage.py."""
    return pd.read_csv(COVERAGE)


def coverage(outcomes: Outcomes) -> pd.DataFrame:
    """How often intervals over images hold the truth, by the number of patients behind them."""
    rows = []
    for patients, images in FEW.items():
        held, fewest = trials.coverage(outcomes, patients)
        ends = {"lowest training": held.min(), "highest training": held.max()}
        rows.append({"patients": fewest, "images of each": images, "claimed": NOMINAL, "true": held.mean(), **ends})
    return pd.DataFrame(rows)


def difficulties(tested: Mapping[str, Tested], run: Run) -> pd.DataFrame:
    """LSNet's AUC less each other network's by difficulty, with what the interval says to "LSNet is better".

    tested: of `difficulty.opened`. Columns difficulty, against, lsnet, other, estimate, low, high, scope, verdict (of
    `ledger.verdict`, without Holm's adjustment: these are no claims of the paper). A profile that ranks nothing tests
    nothing.
    """
    matters = smallest_effect(load_claims()["smallest_effect"]["lsnet_beats_efficientnet_auc"])
    rows = []
    for which, of in tested.items():
        ill = of.truth == 1
        areas = {name: np.mean([area(one[ill], one[~ill]) for one in scores]) for name, scores in of.scores.items()}
        for other in list(NETWORKS)[1:]:
            line = difference_table(difference(of, "LSNet", other)).loc["roc_auc"]
            ends = line[["estimate", "low", "high"]].tolist()
            said = ledger.verdict(">", 0.0, *ends, smallest_effect=matters) if run.profile.ranks else ledger.NOT_TESTED
            rows.append((which, other, areas["LSNet"], areas[other], *ends, line["scope"], said))
    names = ["difficulty", "against", "lsnet", "other", "estimate", "low", "high", "scope", "verdict"]
    return pd.DataFrame(rows, columns=names)


def changed(dials: Mapping[str, Recipe]) -> pd.DataFrame:
    """The dials that differ between difficulties, one row a dial; of `difficulty.dials`."""
    table = pd.DataFrame({which: asdict(recipe) for which, recipe in dials.items()}).drop("version")
    differ = table[table.astype(str).nunique(axis=1) > 1]
    return differ.map(lambda value: " to ".join(map(str, value)) if isinstance(value, tuple) else str(value))


def survives(table: pd.DataFrame, run: Run) -> str:
    """In a sentence, whether what is said of LSNet against each other network is the same at every difficulty."""
    if not run.profile.ranks:
        return f"{run.profile.name} trains too briefly for a difference to mean anything."
    parts = []
    for other, rows in table.groupby("against", sort=False):
        said = rows.set_index("difficulty")["verdict"]
        same = said.iloc[0] if said.nunique() == 1 else "; ".join(f"{one} ({which})" for which, one in said.items())
        parts.append(f"against {other}: {same}{' at every difficulty' if said.nunique() == 1 else ''}")
    return f"That LSNet's AUC is higher, {', '.join(parts)}."
