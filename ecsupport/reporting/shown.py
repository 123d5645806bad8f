"""A table as a person reads it, in a notebook or in the report: where an interval is none, its cells say why.

Serves every table with an interval. The files keep numbers: an empty cell, or two limits that are equal.
"""

import math
from collections.abc import Hashable

import pandas as pd
from IPython import get_ipython

FEWEST = 5  # patients: the interval of fewer is hardly more than their range
BLANK = ("<td>NaN</td>", "<td></td>")


def why_none(low: float | None, high: float | None, patients: float = math.nan, expected: bool = False) -> str:
    """In words why two limits are no interval; empty where they are one, or are lacking where none is expected.

    patients: behind it, where known
    """
    lacking = pd.isna(low) or pd.isna(high)
    if 0 < patients < FEWEST and (lacking or low == high):
        return "one patient: no interval" if patients == 1 else f"{patients:.0f} patients: no interval"
    if lacking:
        return "no interval" if expected else ""
    return "nothing varies: no interval" if low == high else ""


def span(low: float, high: float, form: str) -> str:
    """An interval for a cell or a sentence, such as "-0.15 to 0.23"; in words where it is none."""
    return why_none(low, high, expected=True) or f"{low:{form}} to {high:{form}}"


def estimated(value: float, low: float, high: float, form: str) -> str:
    """An estimate with its interval, such as "0.04 (-0.15 to 0.23)"; in words what there is not."""
    return "undefined" if pd.isna(value) else f"{value:{form}} ({span(low, high, form)})"


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """The table with such words in place of the lower limit and nothing in that of the upper one; else as it is.

    A number that is infinite is called unbounded.
    Limits are columns `low` and `high`, or with one beginning `x_low` and `x_high`. Those without one are expected
    beside an estimate, or a number in the column `patients`. Cells may be text, as read from a file.
    """
    said = table
    for low, high in _limits(table):
        ends, known = [_numbers(table, column) for column in (low, high)], ()
        if low == "low":
            patients = _numbers(table, "patients")
            expected = (patients > 0) | _numbers(table, "estimate").notna() | _numbers(table, "roc_auc").notna()
            known = patients, expected
        words = pd.Series(map(why_none, *ends, *known), table.index, dtype=object)
        if (none := words != "").any():
            blank = {low: said[low].astype(object).mask(none, words), high: said[high].astype(object).mask(none, "")}
            said = said.assign(**blank)
    endless = said.isin([math.inf, -math.inf, "inf", "-inf"])
    return said.astype(object).mask(endless, "unbounded") if endless.any(axis=None) else said


def in_notebooks() -> None:
    """From here on, a notebook displays its tables so, with nothing in cells that hold no number."""
    if shell := get_ipython():
        formatters = shell.display_formatter.formatters
        formatters["text/html"].for_type(pd.DataFrame, lambda table: in_words(table)._repr_html_().replace(*BLANK))
        formatters["text/plain"].for_type(pd.DataFrame, lambda table, page, _: page.text(repr(in_words(table))))


def _numbers(table: pd.DataFrame, column: Hashable) -> pd.Series:
    return pd.to_numeric(table.get(column, pd.Series(math.nan, table.index)).replace("", None), errors="coerce")


def _limits(table: pd.DataFrame) -> list[tuple[Hashable, Hashable]]:
    pairs = [(name, f"{name[:-3]}high") for name in table if isinstance(name, str) and f"_{name}".endswith("_low")]
    return [pair for pair in pairs if table.columns.is_unique and pair[1] in table]
