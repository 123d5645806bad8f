"""The hospital's table of diagnoses: any common separator, encoding or Excel, joined with the images by patient.

What is wrong is told by row and column, never with what a cell holds. Of its columns only those named here are taken.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecsupport.cohort.manifest import POOL_SPLITS, SPLITS
from ecsupport.cohort.own_manifest import GUESSES, OTHER_NAMES
from ecsupport.core.errors import UserError
from ecsupport.core.tables import SHOWN, canonical

REQUIRED = ("patient_id", "label")
KNOWN = (*REQUIRED, "centre", "split", "invasion_depth")
SEPARATORS = ",;\t|"
FURTHER_NAMES = {"患者编号": "patient_id", "病人编号": "patient_id", "住院号": "patient_id", "标签": "label",
                 "patientenid": "patient_id", "pat id": "patient_id"}  # fmt: skip
LARGEST = 2**28  # bytes of a spreadsheet when it is unpacked
AS_CSV = "Save it as .xlsx, or as CSV in UTF-8"


@dataclass(frozen=True)
class Diagnosis:
    """What the table says of one patient; `row` counts from 1 below the header."""

    row: int
    label: int
    centre: str = ""
    split: str = ""
    invasion_depth: float | None = None


def read(file: Path) -> dict[str, Diagnosis]:
    """Diagnoses by patient, as `tables.canonical` spells her id. UserError names every row that is not understood."""
    rows = _spreadsheet(file) if _content(file)[:4] == b"PK\x03\x04" else _separated(file)
    names, found, faults = next(rows), {}, []
    for number, row in enumerate(rows, start=1):
        cells = {name: row[place].strip() for name, place in names.items() if place < len(row)}
        if not any(cells.values()):
            continue
        try:
            one = _diagnosis(number, cells)
            who = canonical(cells["patient_id"])
            if who in found and _told(found[who]) != _told(one):
                raise ValueError(f"another diagnosis, centre or split than row {found[who].row} for the same patient")
            found.setdefault(who, one)
        except ValueError as fault:
            faults.append(f"the table of diagnoses, row {number}: {fault}")
    if faults:
        more = [f"and {len(faults) - SHOWN} more rows"] if len(faults) > SHOWN else []
        raise UserError("\n".join([*faults[:SHOWN], *more]))
    return found


def _told(one: Diagnosis) -> tuple:
    return one.label, one.centre, one.split, one.invasion_depth


def _diagnosis(number: int, cells: dict[str, str]) -> Diagnosis:
    if not cells.get("patient_id"):
        raise ValueError("no patient. Fill the cell")
    if re.fullmatch(r"\d(?:[.,]\d+)?[eE]\+\d+", cells["patient_id"]):
        raise ValueError("a rounded number as patient. Export ids as text, with all digits")
    label = cells.get("label", "").casefold()
    label = re.sub(r"[.,]0+$", "", GUESSES["label"].get(label, label))
    if label not in ("0", "1"):
        raise ValueError("no label. Write 1 for carcinoma, 0 for control")
    split = cells.get("split", "").casefold()
    split = GUESSES["split"].get(split, split)
    if split and split not in (*SPLITS, *POOL_SPLITS.values()):
        raise ValueError(f"an unknown split. Write one of: {', '.join((*SPLITS, *POOL_SPLITS.values()))}, or nothing")
    depth = cells.get("invasion_depth", "").replace(",", ".")
    try:
        fraction = float(depth) if depth else None
    except ValueError:
        fraction = -1.0
    if fraction is not None and not 0 <= fraction <= 1:
        raise ValueError("an invasion depth that is no fraction of the wall. Write 0 to 1, or nothing")
    return Diagnosis(number, int(label), cells.get("centre", ""), split, fraction)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"the table of diagnoses cannot be read ({error.strerror}). Name a CSV or Excel file") from None


def _separated(file: Path) -> Iterator[Any]:
    """First the places of the known columns, then every row below the header."""
    text = _text(_content(file))
    first = re.match(r"\ufeff?sep=(.)\r?\n", text)
    text = text[first.end() :] if first else text
    for separator in SEPARATORS:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        try:
            header = next((row for row in lines if any(row)), [])
            names = _places(header)
            if set(REQUIRED) <= names.keys():
                yield names
                yield from lines
                return
        except csv.Error:
            raise UserError(f"the table of diagnoses: its quotes are not closed. {AS_CSV}") from None
    raise UserError(f"the table of diagnoses has no columns {' and '.join(REQUIRED)}. Name them so in its first line")


def _text(raw: bytes) -> str:
    """Decoded: UTF-8 or UTF-16 by its mark, UTF-8, else GB18030 or cp1252 by how bytes above 127 follow each other."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    if raw.startswith(b"\xd0\xcf\x11\xe0") or b"\0" in raw:
        raise UserError(f"the table of diagnoses is no text (an old Excel file?). {AS_CSV}")
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", raw)]
    alone = sum(length == 1 for length in runs)
    for encoding in ("utf-8-sig", "cp1252" if 2 * alone > len(runs) else "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError(f"the table of diagnoses is neither UTF-8, GB18030 nor cp1252. {AS_CSV}")


def _spreadsheet(file: Path) -> Iterator[Any]:
    """As `_separated`, of the first sheet whose header is known."""
    import openpyxl  # noqa: PLC0415 - a third of a second, and few tables are Excel's

    try:
        with zipfile.ZipFile(file) as packed:
            if sum(part.file_size for part in packed.infolist()) > LARGEST:
                raise UserError(f"the table of diagnoses unpacks to more than {LARGEST // 2**20} MiB. {AS_CSV}")
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        sheets = [([[_cell(cell) for cell in row] for row in sheet.iter_rows()]) for sheet in book.worksheets]
        book.close()
    except UserError:
        raise
    except Exception as error:  # a broken file may raise anything
        raise UserError(f"the table of diagnoses cannot be read ({type(error).__name__}). {AS_CSV}") from None
    for rows in sheets:
        start = next((place for place, row in enumerate(rows) if any(row)), None)
        if start is not None and set(REQUIRED) <= (names := _places(rows[start])).keys():
            yield names
            yield from rows[start + 1 :]
            return
    raise UserError(f"the table of diagnoses has no columns {' and '.join(REQUIRED)}. Name them so in its first line")


def _cell(cell: Any) -> str:
    """A cell as it is seen: with the zeros that its number format gives, whole numbers without a point."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and re.fullmatch(r"0+", cell.number_format or ""):
        return str(value).zfill(len(cell.number_format))
    return str(value)


def _places(header: Sequence[str]) -> dict[str, int]:
    """Place of every known column, by its name or what people call it; UserError where one stands twice."""
    found: dict[str, int] = {}
    for place, cell in enumerate(header):
        plain = canonical(cell).strip()
        letters = re.sub(r"[\W_]+", "", plain)
        own = {re.sub("_", "", name): name for name in KNOWN}
        name = own.get(letters) or OTHER_NAMES.get(letters) or FURTHER_NAMES.get(plain) or FURTHER_NAMES.get(letters)
        if name in found and name in KNOWN:
            raise UserError(
                f"the table of diagnoses: columns {found[name] + 1} and {place + 1} are both {name}. Keep one"
            )
        if name in KNOWN:
            found[name] = place
    return found
