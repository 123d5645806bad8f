"""The published numbers and claims: how a printed string becomes a value, and the two files that hold them.

Serves every table of the paper. A row keeps the string as it stands in print; its value must follow from it.
"""

import math
import re
from fractions import Fraction
from pathlib import Path

import pandas as pd

from ecsupport.core.errors import UserError, row_error

PAPER = Path(__file__).resolve().parents[2] / "data_manifests" / "paper"
RELATED = PAPER.with_name("related") / "claims.csv"  # of two neighbouring systems, never counted among the paper's

# fmt: off
NUMBER_COLUMNS = ["id", "where", "row", "column", "part", "printed", "value", "unit", "status", "line", "note"]
CLAIM_COLUMNS = ["id", "where", "claim", "estimand", "direction",
                 "margin", "smallest_effect", "unit", "published", "family", "rests_on", "notebook"]
PARTS = ("value", "mean", "sd", "low", "high")
UNITS = ("proportion", "ratio", "count", "distance", "setting", "operations", "parameters",
         "seconds", "bytes", "hertz", "pixels", "years", "days", "date")
DIRECTIONS = (">", "<", "=", "within", "descriptive")
TRAINING, BY_CONSTRUCTION = "training", "construction"
RESTS_ON = (TRAINING, BY_CONSTRUCTION, "published", "measured")
NOTEBOOKS = ("01_data_split", "02_sg_cyclegan_training", "03_fid_kid_evaluation", "04_downstream_utility",
             "05_lsnet_distillation", "06_ablations", "07_bootstrap_cis", "08_screening_metrics",
             "09_sonographer_comparison", "10_published_number_audit")
OF_RELATED = ("12_missing_clinical_data", "13_multitask_self_distillation")

# suffix -> (factor, units it may stand for)
_SUFFIXES = {
    "": (Fraction(1), tuple(u for u in UNITS if u != "date")),
    "%": (Fraction(1, 100), ("proportion",)),
    "K": (Fraction(10**3), ("count", "parameters")),
    "M": (Fraction(10**6), ("count", "parameters", "operations")),
    "G": (Fraction(10**9), ("operations", "bytes")),
    "GFLOPs": (Fraction(10**9), ("operations",)),
    "GHz": (Fraction(10**9), ("hertz",)),
    "s": (Fraction(1), ("seconds",)),
    "week": (Fraction(7), ("days",)),
}
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
          "ten": 10, "sixth": 6, "one-third": Fraction(1, 3), "two-thirds": Fraction(2, 3)}
_MONTHS = ("January", "February", "March", "April", "May", "June",
           "July", "August", "September", "October", "November", "December")
# fmt: on

_DIGITS = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<places>\d+))?(?:e(?P<power>[+-]?\d+))?"
_PRINTED = re.compile(
    rf"(?P<number>{_DIGITS}|{'|'.join(sorted(_WORDS, key=len, reverse=True))})"
    rf" ?(?P<suffix>{'|'.join(sorted(_SUFFIXES, key=len, reverse=True))})",
    re.ASCII,
)
_DATE = re.compile(rf"(?P<month>{'|'.join(_MONTHS)}) (?P<year>\d{{4}})", re.ASCII)


def _match(printed: str, unit: str | None = None) -> re.Match[str]:
    found = _DATE.fullmatch(printed)
    allowed = ("date",)
    if not found:
        found = _PRINTED.fullmatch(printed)
        allowed = _SUFFIXES[found["suffix"]][1] if found else ()
    if not found:
        raise UserError(f"'{printed}' is not a printed number. Write it as in print, e.g. 0.9866, 99.5% or 391.8K.")
    if unit is not None and unit not in allowed:
        raise UserError(f"'{printed}' cannot be read in the unit '{unit}'. Use one of: {', '.join(allowed)}.")
    return found


def parse_printed(text: str, unit: str | None = None) -> float:
    """Turn a printed number into its value: percent into a proportion, K, M and G into thousands and so on.

    A month such as `March 2018` becomes year x 100 + month. With `unit` (one of `UNITS`) the suffix must suit it.
    Raises UserError where the text cannot be read.
    """
    found = _match(text, unit)
    if found.re is _DATE:
        return float(100 * int(found["year"]) + _MONTHS.index(found["month"]) + 1)
    number = _WORDS.get(found["number"])
    exact = Fraction(found["number"].replace(",", "")) if number is None else number
    return float(exact * _SUFFIXES[found["suffix"]][0])


def decimals(printed: str) -> int:
    """Digits printed after the decimal point: 1 for `99.5%`, 0 for `7,951`, for words and for dates."""
    return len(_match(printed).groupdict().get("places") or "")


def half_unit(printed: str) -> float:
    """Half a unit in the last printed place, in the units of `parse_printed`: the rounding tolerance.

    0.00005 for `0.9866`, 0.0005 for `99.5%`, 50 for `391.8K`; 0 for a number in words or a date.
    """
    found = _match(printed)
    if found.re is _DATE or found["number"] in _WORDS:
        return 0.0
    last_place = Fraction(10) ** (int(found["power"] or 0) - decimals(printed))
    return float(last_place * _SUFFIXES[found["suffix"]][0] / 2)


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read a CSV as strings, with exactly `columns` and unique, non-empty ids."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False).fillna("")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Name the CSV file to read.") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read as CSV ({error}). Save it as UTF-8, quoting cells with commas."
        ) from None
    if list(frame.columns) != columns:
        remedy = f"The columns must be, in this order: {', '.join(columns)}."
        odd = sorted(set(columns) ^ set(frame.columns))
        problem = f"column missing or unknown: {', '.join(odd)}" if odd else "the columns are out of order"
        raise row_error(path, "header", problem, remedy)
    repeated = frame.index[frame["id"].duplicated() | (frame["id"] == "")]
    if len(repeated):
        row_id = frame["id"][repeated[0]]
        raise row_error(
            path, row_id or int(repeated[0]) + 1, "the id is empty or stands twice", "Give each row its own."
        )
    return frame


def _one_of(path: Path, row: pd.Series, **allowed: tuple[str, ...]) -> None:
    for column, words in allowed.items():
        if row[column] not in words:
            problem = f"{column} is '{row[column]}'"
            raise row_error(path, row["id"], problem, f"Use one of: {', '.join(words)}.")


def _float(path: Path, row: pd.Series, column: str) -> float:
    if not re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", row[column], re.ASCII):
        raise row_error(path, row["id"], f"{column} is '{row[column]}'", "Write a plain decimal number.")
    return float(row[column])


def load_numbers(path: str | Path | None = None) -> pd.DataFrame:
    """Every number the paper prints, one a row in order of print, indexed by id.

    Columns as `NUMBER_COLUMNS`; `value` is float64 (NaN where the print is lost), `line` Int64 (1-based).
    Raises UserError naming file and row where a value does not follow from its printed string.
    """
    path = PAPER / "numbers.csv" if path is None else Path(path)
    frame = _read(path, NUMBER_COLUMNS)
    for _, row in frame.iterrows():
        _one_of(path, row, part=PARTS, unit=UNITS, status=("printed", "missing"))
        if not re.fullmatch(r"[1-9]\d*", row["line"] or ("1" if row["status"] == "missing" else ""), re.ASCII):
            raise row_error(path, row["id"], f"line is '{row['line']}'", "Give the 1-based line of the paper's text.")
        if row["status"] == "missing":
            if row["printed"] or row["value"]:
                remedy = "Empty both cells or set status to printed."
                raise row_error(path, row["id"], "a missing number has a printed string or a value", remedy)
            continue
        try:
            expected = parse_printed(row["printed"], row["unit"])
        except UserError as error:
            raise row_error(path, row["id"], "printed string unreadable", str(error)) from None
        if _float(path, row, "value") != expected:
            problem = f"value {row['value']} is not what '{row['printed']}' says"
            raise row_error(path, row["id"], problem, f"Write {expected!r}, or mend the printed string.")
    frame["value"] = pd.to_numeric(frame["value"].where(frame["value"] != ""))
    frame["line"] = pd.to_numeric(frame["line"].where(frame["line"] != "")).astype("Int64")
    return frame.set_index("id", drop=False).rename_axis(None)


_EFFECT = re.compile(r"(?P<size>\d+(?:\.\d+)?)(?P<of_floor> floor)?", re.ASCII)


def smallest_effect(text: str, floor: float | None = None) -> float:
    """A smallest effect of interest in the claim's unit: `0.01`, or `0.5 floor`, that part of a measured distance.

    floor: distance of real images to real ones. NaN where the text is empty, or the floor unknown or not above 0.
    """
    found = _EFFECT.fullmatch(text)
    if not found:
        return math.nan
    scale = 1.0 if not found["of_floor"] else floor if floor is not None and floor > 0 else math.nan
    return float(found["size"]) * scale


def load_claims(path: str | Path | None = None, numbers: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every claim of the paper with estimand, direction and margin (float64, NaN if descriptive), indexed by id.

    `smallest_effect` stays as written, for `smallest_effect`; only a difference (margin 0) has one.

    `published` is empty or an id of `numbers` (default: `load_numbers()`). Raises UserError naming file and row.
    """
    path = PAPER / "claims.csv" if path is None else Path(path)
    frame = _read(path, CLAIM_COLUMNS)
    known = set((load_numbers() if numbers is None else numbers)["id"])
    for _, row in frame.iterrows():
        _one_of(path, row, direction=DIRECTIONS, unit=UNITS, rests_on=RESTS_ON, notebook=(*NOTEBOOKS, *OF_RELATED))
        for column in ("where", "claim", "estimand", "family"):
            if not row[column]:
                raise row_error(path, row["id"], f"{column} is empty", "Fill it before any result is looked at.")
        if row["direction"] == "descriptive" and row["margin"]:
            raise row_error(path, row["id"], "a descriptive claim has a margin", "Empty it or choose a direction.")
        if row["direction"] != "descriptive":
            _float(path, row, "margin")
        if row["smallest_effect"]:
            problem = f"smallest_effect is '{row['smallest_effect']}'"
            if not _EFFECT.fullmatch(row["smallest_effect"]):
                raise row_error(path, row["id"], problem, "Write 0.01, 0.5 floor, or nothing.")
            if row["direction"] not in (">", "<") or float(row["margin"]) != 0:
                raise row_error(path, row["id"], problem, "Only a difference with margin 0 has one.")
            if row["smallest_effect"].endswith("floor") != (row["unit"] == "distance"):
                raise row_error(path, row["id"], problem, "A distance is given in parts of the floor, nothing else.")
        if row["published"] and row["published"] not in known:
            problem = f"published is '{row['published']}'"
            raise row_error(path, row["id"], problem, "Use an id of numbers.csv or leave it empty.")
    frame["margin"] = pd.to_numeric(frame["margin"].where(frame["margin"] != ""))
    return frame.set_index("id", drop=False).rename_axis(None)


def table(numbers: pd.DataFrame, name: str) -> pd.DataFrame:
    """One table of the paper, e.g. `table_6`: rows as printed, columns (column, part); NaN where nothing is printed.

    Numbers of the table's heading or note have no `row` in numbers.csv and are left out.
    """
    cells = numbers[(numbers["where"] == name) & (numbers["row"] != "")]
    if cells.empty:
        have = sorted(w for w in numbers["where"].unique() if w.startswith("table_"))
        raise UserError(f"There is no '{name}' among the published numbers. Use one of: {', '.join(have)}.")
    columns = pd.MultiIndex.from_frame(cells[["column", "part"]].drop_duplicates())
    wide = cells.pivot(index="row", columns=["column", "part"], values="value")
    return wide.reindex(index=cells["row"].unique(), columns=columns)
