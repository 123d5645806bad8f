"""Findings as lines of a table: each with its size, the cell that shows it, and its limits (FINDINGS.md).

A sentence is written in `audit_findings`, `code_findings` or `training_findings`; every number in it is read from
committed tables. Claims come from the ledger with their verdict.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ecsupport.reporting import evidence
from ecsupport.reporting.evidence import interval, link, number
from ecsupport.reporting.ledger import NOT_ASSESSABLE, NOT_TESTED, NOT_YET, UNDECIDED, VERDICTS

CLAIMS_STAND = {  # notebook: the heading below which its claims are booked
    "01": "The claims", "02": "Figure 2: what the shared extractor sees", "03": "How sure?", "04": "The claims",
    "05": "The claims", "06": "The claims", "07": "Are they narrow? Are they minimally skewed?", "08": "The claims",
    "09": "Junior and senior", "10": "The claims",
}  # fmt: skip
CLAIM_STANDS = {
    "anatomy_kept_better_than_cyclegan": "Is the anatomy kept?",
    "invasion_kept_in_translation": "Is the anatomy kept?",
    "synthetic_images_diverse": "Diverse, and not copied?",
}
UNITS = {"seconds": "s", "operations": "operations", "bytes": "bytes"}  # of the ledger; others need no word
COSTS = ("05", "06")  # notebooks whose claims without training are about code
HEAD = ["| Finding | Estimate (95 % interval) | Where | Limits |", "|---|---|---|---|"]


@dataclass(frozen=True)
class Finding:
    """One line: what was found, its size, a link to the cell that shows it, and what it does not say.

    claims: ids of the ledger's claims that it tells, which are then not told again.
    """

    text: str
    estimate: str
    where: str
    limits: str = ""
    claims: tuple[str, ...] = ()

    def line(self) -> str:
        """As a row of a Markdown table."""
        cells = (self.text, self.estimate, self.where, self.limits)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def of_notebooks(ledger: pd.DataFrame, notebooks: Sequence[str]) -> pd.Series:
    """Which rows of a ledger these notebooks book, by their two digits."""
    return ledger["notebook"].str[:2].isin(notebooks)


def page(found: Iterable[Finding], ledger: pd.DataFrame) -> str:
    """Findings, then the claims that none of them tells, by verdict and in the paper's order."""
    found = list(found)
    told = {claim for finding in found for claim in finding.claims}
    unknown = told - set(evidence.ledger()["id"])
    if unknown:
        raise ValueError(f"{unknown.pop()} is no claim of the ledger")
    rest = ledger[~ledger["id"].isin(told)]
    rest = rest.sort_values("verdict", key=lambda v: v.map(VERDICTS.index), kind="stable")
    lines = [finding.line() for finding in [*found, *map(of_claim, rest.to_dict("records"))]]
    return "\n".join([*HEAD, *lines])


def of_claim(row: dict[str, Any]) -> Finding:
    """A row of the ledger as a finding: its verdict, this run's interval, and what could have been detected."""
    number_of = str(row["notebook"])[:2]
    heading = CLAIM_STANDS.get(row["id"], CLAIMS_STAND[number_of])
    size = interval(row["computed"], row["low"], row["high"], UNITS.get(row["unit"], ""))
    margin = f"{row['margin']:g}".replace("-", "−")
    if size and pd.notna(row["margin"]):
        size += f"; claimed {row['direction']} {margin}"
    limits = [row["note"]] if isinstance(row["note"], str) else []
    if row["verdict"] == UNDECIDED and pd.notna(row["detectable"]):
        limits.insert(0, f"could have detected {number(row['detectable'])} from {margin}")
        if pd.notna(row["p_holm"]):
            limits.insert(1, f"p = {number(row['p_holm'], 2)} after Holm's correction in its family")
    if row["verdict"] in (NOT_ASSESSABLE, NOT_TESTED, NOT_YET):
        size = ""
    return Finding(f"**{row['verdict']}** *{row['claim']}*", size, link(number_of, heading), "; ".join(limits))
