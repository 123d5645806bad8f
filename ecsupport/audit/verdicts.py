"""What the audit has found, looked up: verdicts at a glance, witnesses, and how often a rule disagrees.

audited, everywhere: of `rules.audit`, columns AUDIT_COLUMNS;  numbers: of `load_numbers`.
"""

from collections.abc import Sequence

import pandas as pd

from ecsupport.audit.arithmetic import CONSISTENT, INCONSISTENT, UNDECIDED
from ecsupport.audit.rules import worst

STATED = ("runs_at_n", "interval_at_n", "reader_auc_interval")  # rules that use the stated number of images
NOT_STATED = "not on the stated images"
AT_A_GLANCE = (CONSISTENT, NOT_STATED, INCONSISTENT, UNDECIDED)
TABLES = tuple(f"table_{number}" for number in range(1, 9))


def witness(audited: pd.DataFrame, row_id: str, rule: str) -> str:
    """The witness of one check of one number."""
    return audited[(audited["id"] == row_id) & (audited["rule"] == rule)]["witness"].iloc[0]


def with_witness(audited: pd.DataFrame, chosen: pd.Series, index: Sequence[str] = ("row", "column")) -> pd.DataFrame:
    """Chosen rows of the audit: columns printed, verdict and the whole witness."""
    return audited[chosen].set_index(list(index))[["printed", "verdict", "witness"]]


def disagreeing(audited: pd.DataFrame, rule: str, table: str = "", part: str = "") -> int:
    """Number of printed numbers that a rule calls inconsistent, of a table and a part where these are named.

    ValueError where the rule judges none.
    """
    chosen = audited["rule"].eq(rule) & audited["table"].str.startswith(table) & audited["column"].str.endswith(part)
    if not chosen.any():
        raise ValueError(f"{rule} judges no number of {table or 'any table'} {part}".strip())
    return int((chosen & audited["verdict"].eq(INCONSISTENT)).sum())


def of_tables(numbers: pd.DataFrame, audited: pd.DataFrame) -> pd.DataFrame:
    """Every number in a row of Tables 1 to 8 with one verdict: columns where, row, column, part, verdict.

    The verdict is one of AT_A_GLANCE: NOT_STATED where only checks on the stated number of images disagree.
    """
    overall = worst(audited)
    verdicts = overall.where(overall != INCONSISTENT, NOT_STATED)
    wrong = audited["verdict"].eq(INCONSISTENT) & ~audited["rule"].isin(STATED)
    verdicts[audited.loc[wrong, "id"].unique()] = INCONSISTENT
    cells = pd.concat([numbers[(numbers["where"] == name) & (numbers["row"] != "")] for name in TABLES])
    return cells[["where", "row", "column", "part"]].assign(verdict=verdicts[cells["id"]])
