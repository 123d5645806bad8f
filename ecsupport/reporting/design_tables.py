"""The tables of notebook 11: what each design reports beside what is true."""

import pandas as pd

from ecsupport.core.paths import MANIFESTS
from ecsupport.core.profiles import Run
from ecsupport.experiments import trials
from ecsupport.experiments.outcomes import Outcomes
from ecsupport.experiments.trials import FEW, NOMINAL, TRIALS
from ecsupport.reporting import shown

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
