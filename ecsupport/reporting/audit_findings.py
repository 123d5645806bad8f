"""What the printed numbers say of each other: from the audit, replayed tables and the ledger."""

import re

import pandas as pd

from ecsupport.reporting import evidence
from ecsupport.reporting.evidence import link, number
from ecsupport.reporting.findings import COSTS, Finding, of_notebooks, page


def published() -> str:
    """Block of FINDINGS.md: what the printed numbers say of each other."""
    ledger = evidence.ledger()
    measured = (ledger["rests_on"] == "measured") & ~of_notebooks(ledger, COSTS)
    return page(found(), ledger[measured | (ledger["rests_on"] == "published")])


def found() -> list[Finding]:
    """What the audit, the replay and the simulation of intervals found."""
    return [
        _audit_in_all(), _table_2(), _table_3(), _table_4(), _table_5(), _table_6(), _table_7(), _table_8(),
        _coverage(),
    ]  # fmt: skip


def _audited(rule: str, table: str) -> pd.DataFrame:
    """Rows of the audit of one rule and table; ValueError where there are none, so that no finding tells of nothing."""
    audit = evidence.table("audit")
    rows = audit[(audit["rule"] == rule) & (audit["table"] == table)]
    if rows.empty:
        raise ValueError(f"the audit has no row of the rule {rule} in {table}")
    return rows


def _named(rows: pd.DataFrame, by: str = "column") -> int:
    """How many networks, translators or versions the rows name; of a column only what is before ` mean` or ` sd`."""
    return rows[by].str.replace(r" (mean|sd)$", "", regex=True).nunique()


def _sizes(witness: str) -> list[str]:
    return re.findall(r"\d+ \+ \d+", witness)


def audit_counts() -> dict[str, int]:
    """Number of verdicts of the audit: consistent, inconsistent, not decidable."""
    return evidence.table("audit_by_table").drop(columns="table").sum().astype(int).to_dict()


def _audit_in_all() -> Finding:
    counts = audit_counts()
    return Finding(
        f"Of {sum(counts.values()):,} checks of printed numbers most agree",
        ", ".join(f"{n:,} {name}" for name, n in counts.items()),
        link("10", "The eight tables at a glance"),
        "a contradiction does not say which number is wrong, nor why; Table 1 is lost in the text at hand",
        ("published_counts_add_up",),
    )


def _table_3() -> Finding:
    rows = _audited("runs_at_n", "table_3")
    agree = rows[(rows["verdict"] == "consistent") & rows["witness"].str.startswith("one set of runs")]
    return Finding(
        f"Every row of Table 3 is exactly one set of counts on {stated_sizes()} images",
        f"{_named(agree)} of {_named(rows)} networks",
        link("10", "Tables 3 to 5: the lightweight networks"),
        "whole counts are compared, not the trained networks",
    )


def stated_sizes() -> str:
    """The stated numbers of positive and negative test images, e.g. `336 + 336`."""
    return _sizes(_audited("runs_at_n", "table_2")["witness"].iloc[0])[0]


def table_2_sizes() -> str:
    """The smallest numbers of images that all columns of Table 2 fit, e.g. `96 + 96`."""
    return _sizes(_audited("shared_n", "table_2")["witness"].iloc[0].split(":")[1])[0]


def _table_2() -> Finding:
    rows = _audited("runs_at_n", "table_2")
    failed = rows[rows["verdict"] == "inconsistent"]
    return Finding(
        f"Table 2 fits no counts on the stated {stated_sizes()} images, but one set of runs on {table_2_sizes()}",
        f"{_named(failed)} of {_named(rows)} translators",
        link("10", "Table 2: three runs on how many images?"),
        "multiples of that size fit too",
    )


def _table_4() -> Finding:
    rows = _audited("runs_at_n", "table_4")
    failed = rows[rows["verdict"] == "inconsistent"]
    sizes = _sizes(_audited("shared_n", "table_4")["witness"].iloc[0].split(":")[1])[0]
    return Finding(
        f"The ablated rows of Table 4 fit {sizes} images, not {stated_sizes()}",
        f"{_named(failed, 'row')} of {_named(rows, 'row')} rows",
        link("10", "Tables 3 to 5: the lightweight networks"),
        "the full model's row fits the stated images",
    )


def _table_5() -> Finding:
    rows = _audited("runs_at_any_n", "table_5")
    failed = rows[rows["verdict"] == "inconsistent"]
    return Finding(
        f"The column of full attention in Table 5 fits no counts at any size up to {stated_sizes()}",
        f"{_named(failed)} of {_named(rows)} columns",
        link("10", "Tables 3 to 5: the lightweight networks"),
        "equal and unequal numbers of positives and negatives were searched",
    )


def _table_6() -> Finding:
    replayed = evidence.table("table_6_replayed")
    rows = _audited("one_run_at_n", "table_6")
    missed = set()
    for counts, of in rows["witness"].str.extract(r"TP/TN (\d+)/\d+ of (\d+)/\d+").dropna().astype(int).to_numpy():
        missed.add(of - counts)
    skewness = evidence.ledger().set_index("id").loc["bootstrap_minimal_skewness"]
    return Finding(
        f"Table 6 follows from {4 * replayed['experiment'].nunique()} integers. Sensitivities are "
        f"skewed, as {' or '.join(map(str, sorted(missed)))} missed images make inevitable",
        f"{int(replayed['agrees'].sum())} of {len(replayed)} replayed cells agree; "
        f"skewness up to {number(skewness['computed'])}",
        link("07", "From the published table back to counts"),
        "the AUC does not follow from counts",
        ("bootstrap_minimal_skewness",),
    )


def _table_7() -> Finding:
    rows = _audited("screening_table", "table_7")
    off = int((rows["verdict"] == "inconsistent").sum())
    named = evidence.ledger().set_index("id").loc["table_7_follows_from_stated_performance"]
    return Finding(
        "Table 7 follows from its formulas with the rates of Table 3, but for last digits. The rates that the text "
        "names beside it do not give it",
        f"{off} of {len(rows)} cells off with the rates of Table 3, {int(named['computed'])} with those named",
        link("10", "Table 7 and the text around it"),
        "how the rates were meant is not known",
        ("table_7_follows_from_stated_performance",),
    )


def _table_8() -> Finding:
    sizes = {}
    for metric in ("Sensitivity", "Specificity"):
        rows = _audited("interval_shared_n", "table_8")
        witness = rows.loc[rows["column"].str.startswith(metric), "witness"].iloc[0]
        shared = re.sub(r"\(.*?\)", "", witness.split(", by ")[1].split(", searched")[0])
        sizes[metric] = [int(found) for found in re.findall(r"\d+", shared)]
    return Finding(
        "Table 8's values and group rows agree, but the readers' intervals imply other test images than stated",
        f"{min(sizes['Sensitivity'])} to {max(sizes['Sensitivity'])} positive and at least "
        f"{min(sizes['Specificity']):,} negative images, stated {stated_sizes()}",
        link("10", "Table 8: how many cases did the readers see?"),
        "three usual kinds of interval were tried; another kind may imply other sizes",
        ("table_8_group_rows_follow_from_readers",),
    )


COVERAGE = ("interval_covers_accuracy", "interval_covers_sensitivity", "interval_covers_auc")


def covered() -> pd.Series:
    """Coverage of the interval that resamples images, by metric."""
    return evidence.table("coverage").set_index("interval").loc["image, percentile"]


def _coverage() -> Finding:
    note = evidence.ledger().set_index("id").loc[COVERAGE[0], "note"]
    alike = re.search(r"intraclass correlation of ([\d.]+)", note)[1]
    return Finding(
        "The printed intervals resample images. Where images of a patient resemble each other, they are too narrow",
        f"simulated coverage {number(covered().min())} to {number(covered().max())}, nominal 0.95",
        link("07", "Does the interval cover?"),
        f"simulated with an intraclass correlation of {alike}, an assumption: the real one is not published",
        COVERAGE,
    )
