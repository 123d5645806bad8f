"""The one reader for tables that a person brings (manifests, readers' answers): strict, and all mistakes at once.

Cells are text without the blanks around them, and stay as they are written: 007 is not 7, and NA is a name.
"""

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ecsupport.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# columns of our own tables that hold names
WORDS = ("image", "patient_id", "centre", "modality", "sequence", "diagnosis", "split", "source", "hash", "reader")
ERRORS = {"#N/A", "#NV", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"}  # of spreadsheets
FORMULA = ("=", "+", "-", "@")  # signs with which a spreadsheet's formula begins
NUMBER = re.compile(r"[+-][\d.,]*(e[+-]?\d+)?", re.IGNORECASE)
NO_WIDTH = ("Cf", "Cc")  # Unicode's categories of signs that nobody sees
WIDEST = 60  # characters of a cell that a message shows
ALIKE = 0.8  # share of letters from which a column's name looks like a known one
SHOWN = 20  # mistakes that an error message lists
AS_CSV = "Save it as comma-separated UTF-8 (CSV)"


@dataclass(frozen=True)
class Mistake:
    """What is wrong and what to do about it; `row` counts from 1 below the header, 0 is the header, None all rows."""

    problem: str
    remedy: str
    row: int | None = 0
    column: str = ""


@dataclass
class Table:
    """Columns of text, the number of each row in the file, and what was found wrong so far.

    `ignored` are columns that nobody asked for and that were allowed, with their cells.
    """

    path: Path
    columns: dict[str, list[str]]
    numbers: list[int]
    mistakes: list[Mistake] = field(default_factory=list)
    ignored: dict[str, list[str]] = field(default_factory=dict)

    def add(self, problem: str, remedy: str, rows: Iterable[int | None] = (0,), column: str = "") -> None:
        """Note one mistake in each of the rows, which are numbers of the file."""
        self.mistakes += [Mistake(problem, remedy, row, column) for row in rows]

    def refuse(self, most: int | None = SHOWN) -> None:
        """UserError with the mistakes, a line each kind with its rows, in order of rows; nothing where there are none.

        most: how many lines, and how many runs of rows in each, are shown; None is all.
        """
        lines = self.report(most)
        if lines:
            hidden = len(lines) - len(lines[:most])
            more = [f"and {hidden} more kinds; make check COHORT=manifest.csv names all"] if hidden else []
            raise UserError("\n".join([*lines[:most], *more]))

    def report(self, most: int | None = None) -> list[str]:
        """All mistakes, a line each kind with `most` runs of its rows, in order of the first row."""
        kinds: dict[tuple[str, str, str], list[int | None]] = {}
        for mistake in self.mistakes:
            kinds.setdefault((mistake.column, mistake.problem, mistake.remedy), []).append(mistake.row)
        lines = []
        for (column, problem, remedy), rows in sorted(kinds.items(), key=lambda kind: _first(kind[1])):
            place = (str(self.path), _named(filter(None, rows), most), column)
            lines.append(f"{', '.join(filter(None, place))}: {problem}. {remedy}")
        return lines


def read(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    other_names: Mapping[str, str] | None = None,
    allow_extra: bool | None = None,
) -> Table:
    """Read a CSV file whose header names its columns, in any order; wholly blank rows are passed over.

    other_names: what people call a column, such as {"fold": "split"};  allow_extra: whether further columns are
    ignored, None where nobody can allow them. Mistakes are noted in the table: a column that is missing, that stands
    twice, that looks like an absent known one, or that is unknown, a line break in a cell, and a row with another
    number of cells than the header, which is left out. UserError where there is nothing to go on with: no file, not
    UTF-8, another separator, no header.
    """
    table, rows = Table(path, {}, []), _rows(path, _text(path))
    header = next(filter(any, rows), [])
    if header and header[0].lower().startswith("sep="):
        table.add(f"the first line is {shown(header[0])}, which only Excel understands", "Remove that line")
        header = next(rows, [])
    names = _named_columns(table, header, (*required, *optional), other_names or {}, allow_extra)
    for name in required:
        if name not in names:
            table.add(f"column {name!r} is missing", f"The header needs: {', '.join(required)}")
    cells: list[list[str]] = []
    for number, row in enumerate(rows, start=1):
        if not any(row):
            continue
        if len(row) != len(header):
            problem = f"{len(row)} cell{'s' * (len(row) > 1)} under a header of {len(header)}"
            table.add(problem, "Give a cell to every column; quote a cell that holds a comma", [number])
            continue
        for name, place in names.items():
            if not row[place].isprintable() and any(unicodedata.category(sign) == "Cc" for sign in row[place]):
                table.add("a line break or another control character within the cell", "Remove it", [number], name)
            if row[place].upper() in ERRORS:
                table.add(f"{row[place]} is a spreadsheet's error, not a value", "Write what is meant", [number], name)
            if is_formula(row[place]):
                problem = f"{shown(row[place])} would be run as a formula by a spreadsheet that opens our results"
                table.add(problem, "Let the cell begin with a letter or a digit", [number], name)
        table.numbers.append(number)
        cells.append(row)
    table.columns = {name: [row[place] for row in cells] for name, place in names.items()}
    table.ignored = {name: [row[header.index(name)] for row in cells] for name in table.ignored}
    return table


def reread(file: Path | io.BytesIO) -> "pd.DataFrame":
    """A table that we wrote: names as they were written, "NA" and 007 among them; of other columns, blank is NaN."""
    import pandas as pd  # noqa: PLC0415 - takes half a second, and the engine reads names only

    columns = pd.read_csv(file, nrows=0).columns
    if isinstance(file, io.BytesIO):
        file.seek(0)
    numbers = {column: [""] for column in columns if column not in WORDS}
    words = {column: str for column in columns if column in WORDS}
    return pd.read_csv(file, dtype=words, keep_default_na=False, na_values=numbers)


def other_spellings(table: Table, column: str) -> None:
    """Note every name in a column that is an earlier one in another spelling: the same person would count twice.

    Compared after Unicode's NFKC, without case, blanks around it, and a trailing ".0" as spreadsheets add it.
    """
    seen: dict[str, tuple[str, int]] = {}
    for row, name in zip(table.numbers, table.columns[column], strict=True):
        first, where = seen.setdefault(canonical(name), (name, row))
        if name != first:
            problem = f"{shown(name)} is {shown(first)} of row {where} in another spelling"
            table.add(problem, "Spell both alike, or tell them apart by more than that", [row], column)


def canonical(name: str) -> str:
    """A name without what a person does not see or mean: form of its letters, case, blanks, a trailing ".0".

    Signs without a width (Unicode's Cf, Cc) go, and every dash is a hyphen.
    """
    text = unicodedata.normalize("NFKC", name)
    if not text.isascii() or not text.isprintable():
        text = "".join(_plain(sign) for sign in text)
    return re.sub(r"(?<=\d)(\.0)+$", "", " ".join(unicodedata.normalize("NFKC", text.casefold()).split()))


def _plain(sign: str) -> str:
    kind = unicodedata.category(sign)
    return "-" if kind == "Pd" or sign == "\u2212" else " " if sign.isspace() else "" if kind in NO_WIDTH else sign


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet would calculate with a cell; a number with its sign, and a lone sign, are none."""
    return unicodedata.normalize("NFKC", cell[:1]) in FORMULA and not NUMBER.fullmatch(cell)


def shown(text: str) -> str:
    """A cell as a message shows it: quoted, of some length, without control characters."""
    return repr(text if len(text) <= WIDEST else f"{text[:WIDEST]}…")


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}). Name a CSV file") from None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is UTF-16 text. {AS_CSV}")
    if raw.startswith(b"PK\x03\x04") or b"\0" in raw:
        raise UserError(f"{path} is no text, perhaps a spreadsheet. {AS_CSV}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line} of the file: not UTF-8. {AS_CSV}") from None


def _rows(path: Path, text: str) -> Iterator[list[str]]:
    """Rows of clean cells."""
    lines, begun = csv.reader(io.StringIO(text, newline=""), strict=True), 1
    try:
        for row in lines:
            begun = lines.line_num + 1
            yield [_clean(cell) for cell in row]
    except csv.Error as error:
        raise UserError(f"{path}, row from line {begun} of the file on: {error}. Check the quotes there") from None


def _clean(cell: str) -> str:
    """The cell without blanks and signs of no width at its ends."""
    cell = cell.strip()
    while not cell.isprintable() and unicodedata.category(cell[0]) in NO_WIDTH:
        cell = cell[1:].strip()
    while not cell.isprintable() and unicodedata.category(cell[-1]) in NO_WIDTH:
        cell = cell[:-1].strip()
    return cell


def _named_columns(
    table: Table, header: list[str], known: Sequence[str], other_names: Mapping[str, str], allow_extra: bool | None
) -> dict[str, int]:
    """Place of every known column; notes what is wrong with the header."""
    if not any(header):
        raise UserError(f"{table.path}: the header is missing or blank. The first line names: {', '.join(known)}")
    letters = {_letters(name): name for name in known}
    meant = {**{_letters(name): of for name, of in other_names.items()}, **letters}
    if not any(_letters(name) in meant for name in header):
        sign = next((sign for sign in (";", "\t", "|") if sign in "".join(header)), None)
        if sign:
            raise UserError(f"{table.path}: columns are separated by {sign!r}. Save it with commas")
        first = ", ".join(map(shown, header[:4]))
        raise UserError(f"{table.path}: the first line is no header ({first}). It names: {', '.join(known)}")
    names: dict[str, int] = {name: place for place, name in reversed([*enumerate(header)]) if name in known}
    for place, name in enumerate(header):
        close = difflib.get_close_matches(_letters(name), meant, 1, ALIKE)
        likely = meant[close[0]] if close else None
        if not name:
            table.add(f"column {place + 1} has no name", "Name it, or remove it")
        elif names.get(name) == place:
            continue
        elif name in names or letters.get(_letters(name)) in names:
            table.add(f"column {letters[_letters(name)]!r} stands twice", f"Remove or rename column {place + 1}")
        elif name in header[:place]:
            table.add(f"column {shown(name)} stands twice", f"Remove or rename column {place + 1}")
        elif likely and likely not in names:
            table.add(f"column {shown(name)} looks like {likely!r}", f"Rename it to {likely}, or remove it")
            names[likely] = place  # what is wrong in it is told too
        elif allow_extra:
            table.ignored[name] = []
        else:
            remedy = "" if allow_extra is None else ", or allow further columns: ALLOW_EXTRA=1, or --allow-extra"
            table.add(f"column {shown(name)} is unknown", f"Remove it{remedy}")
    return names


def _letters(name: str) -> str:
    """A column's name without case, blanks and signs."""
    return re.sub(r"[\W_]+", "", canonical(name))


def _first(rows: Iterable[int | None]) -> tuple[bool, int]:
    """Order of a kind of mistake: by its first row, those of all rows last."""
    known = [row for row in rows if row is not None]
    return not known, min(known, default=0)


def _named(rows: Iterable[int], most: int | None) -> str:
    """Row numbers as a person reads them: `row 3`, `rows 1 to 4, 9`; empty where there are none."""
    numbers = sorted({int(row) for row in rows})
    runs = []
    for _, members in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in members]
        runs.append(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}")
    more = f" and {len(runs) - most:,} more places" if most and len(runs) > most else ""
    return f"row{'s' * (len(numbers) > 1)} {', '.join(runs[:most])}{more}" if runs else ""
