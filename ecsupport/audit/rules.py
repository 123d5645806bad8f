"""The audit of every published number: rules as data, applied to numbers as data, with a witness for each verdict.

Serves notebook 10 and every table of the paper. `data_manifests/paper/rules.csv` has one check a row:

    id        name of the check
    rule      name of a function in `arithmetic`, `counts`, `intervals` or `screening`
    cells     the rows of numbers.csv that it judges: ids, separated by blanks, `*` for any characters
    against   the rows that it holds them against, written alike; may be empty
    options   the rule's parameters: `n_positive=336 n_negative=336`, `tolerance=0.02`
    note      context for the reader, added to the witness

The tolerance is half a unit of the last printed digit of every string involved, unless an option says otherwise.
A verdict is one of consistent, inconsistent, not decidable. "Inconsistent" says that the numbers named cannot all be
right as printed, under the stated assumption; not which of them, nor why.
"""

import inspect
from collections.abc import Callable
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path

import pandas as pd

from ecsupport.audit import arithmetic, counts, intervals, screening
from ecsupport.audit.arithmetic import Finding
from ecsupport.core.errors import UserError, row_error
from ecsupport.paper.published import PAPER

RULE_COLUMNS = ["id", "rule", "cells", "against", "options", "note"]
AUDIT_COLUMNS = ["id", "table", "row", "column", "printed", "rule", "verdict", "witness"]
RULES_FILE = PAPER / "rules.csv"


def rule_functions() -> dict[str, Callable[..., list[Finding]]]:
    """Every rule by name: the public functions of the four rule modules that take `cells` and `against`."""
    found = {}
    for module in (arithmetic, counts, intervals, screening):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            parameters = list(inspect.signature(function).parameters)
            if function.__module__ == module.__name__ and parameters[:2] == ["cells", "against"]:
                found[name] = function
    return found


def load_rules(path: str | Path | None = None) -> pd.DataFrame:
    """The checks, one a row, columns RULE_COLUMNS, all text.

    Raises UserError naming file and row for a missing column, a repeated id, an unknown rule or a parameter that the
    rule does not take or lacks.
    """
    path = RULES_FILE if path is None else Path(path)
    try:
        rules = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Name the CSV file of checks.") from None
    if list(rules.columns) != RULE_COLUMNS:
        raise row_error(path, "header", "columns are missing or unknown", f"Write: {', '.join(RULE_COLUMNS)}.")
    functions = rule_functions()
    for _, check in rules.iterrows():
        if not check["id"] or (rules["id"] == check["id"]).sum() > 1:
            raise row_error(path, check["id"] or "without id", "the id is empty or stands twice", "Name each check.")
        if check["rule"] not in functions:
            remedy = f"Use one of: {', '.join(sorted(functions))}."
            raise row_error(path, check["id"], f"there is no rule '{check['rule']}'", remedy)
        takes = list(inspect.signature(functions[check["rule"]]).parameters)[2:]
        if sorted(_options(path, check)) != sorted(takes):
            remedy = f"The rule takes: {', '.join(takes) or 'none'}."
            raise row_error(path, check["id"], f"the options are '{check['options']}'", remedy)
    return rules


def audit(numbers: pd.DataFrame, rules: pd.DataFrame) -> pd.DataFrame:
    """Apply every check to the published numbers.

    numbers: as `published.load_numbers` returns them;  rules: as `load_rules` does
    Returns one row a check and number, columns AUDIT_COLUMNS, in the order of the numbers, then of the checks.
    Deterministic. Raises UserError where a pattern selects nothing, a rule is given numbers that it cannot use, a
    number that is missing in print is given to a rule that needs it, or a number is judged by no check.
    """
    functions = rule_functions()
    found = []
    for place, check in enumerate(rules.itertuples(index=False)):
        cells = _select(numbers, check.cells, check.id)
        against = _select(numbers, check.against, check.id) if check.against else numbers.iloc[:0]
        lost = pd.concat([cells, against])["status"] == "missing"
        if lost.any() and check.rule != "missing":
            raise row_error(
                RULES_FILE.name, check.id, f"{lost.index[lost][0]} is missing in print", "Use the rule `missing`."
            )
        findings = functions[check.rule](cells, against, **_options(RULES_FILE.name, check._asdict()))
        note = f" [{check.note}]" if check.note else ""
        found += [(f.id, place, check.rule, f.verdict, f.witness + note) for f in findings]
    judged = pd.DataFrame(found, columns=["id", "place", "rule", "verdict", "witness"])
    unjudged = [i for i in numbers["id"] if i not in set(judged["id"])]
    if unjudged:
        raise UserError(f"{RULES_FILE.name}: no check judges {unjudged[0]} ({len(unjudged)} in all). Add a row for it.")
    order = {row_id: place for place, row_id in enumerate(numbers["id"])}
    judged = judged.assign(number=judged["id"].map(order)).sort_values(["number", "place"], kind="stable")
    of = numbers.loc[judged["id"]].reset_index(drop=True)
    part = of["part"].where(of["part"] != "value", "")
    result = judged.reset_index(drop=True).assign(
        table=of["where"], row=of["row"], column=(of["column"] + " " + part).str.strip(), printed=of["printed"]
    )
    return result[AUDIT_COLUMNS]


def worst(audited: pd.DataFrame) -> pd.Series:
    """One verdict a number, indexed by id: inconsistent if any check says so, else consistent if any does."""
    rank = audited["verdict"].map({"inconsistent": 0, "consistent": 1, "not decidable": 2})
    return audited.assign(rank=rank).sort_values("rank", kind="stable").groupby("id", sort=False)["verdict"].first()


def _select(numbers: pd.DataFrame, patterns: str, check: str) -> pd.DataFrame:
    """The rows that the patterns name, pattern after pattern, each in order of print."""
    found: list[str] = []
    for pattern in patterns.split():
        ids = [i for i in numbers["id"] if fnmatchcase(i, pattern)] if "*" in pattern else [pattern]
        if not ids or ids[0] not in numbers.index:
            raise row_error(RULES_FILE.name, check, f"'{pattern}' selects no number", "Use ids of numbers.csv.")
        found += [i for i in ids if i not in found]
    if not found:
        raise row_error(RULES_FILE.name, check, "cells is empty", "Name the numbers that the check judges.")
    return numbers.loc[found]


def _options(path: str | Path, check: "pd.Series | dict[str, str]") -> dict[str, Fraction | str]:
    options: dict[str, Fraction | str] = {}
    for word in check["options"].split():
        name, equals, value = word.partition("=")
        if not equals or not value:
            raise row_error(path, check["id"], f"'{word}' is no option", "Write name=value, e.g. n_positive=336.")
        try:
            options[name] = Fraction(value)
        except ValueError:
            options[name] = value
    return options
