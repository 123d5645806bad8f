"""A person's own manifest: read strictly, every mistake named at once, in the table and in the pictures."""

import os
import re
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ecsupport.cohort import covariates, pictures, tissue_shares
from ecsupport.cohort.manifest import (
    COLUMNS,
    PLACES,
    POOL_SPLITS,
    REQUIRED,
    SPLITS,
    in_cohort,
    splits_of_patients,
)
from ecsupport.cohort.phantom import MODALITIES
from ecsupport.core import tables
from ecsupport.core.tables import Table

FLAGS = {"true": True, "false": False, "1": True, "0": False}
OTHER_NAMES = {  # what people call our columns, without case, blanks and signs
    **dict.fromkeys(("file", "filename", "filepath", "path", "picture", "img"), "image"),
    **dict.fromkeys(("patient", "pid", "subject", "subjectid", "case", "caseid", "id", "mrn"), "patient_id"),
    **dict.fromkeys(("center", "site", "hospital", "institution", "clinic"), "centre"),
    **dict.fromkeys(("fold", "set", "subset", "partition", "dataset"), "split"),
    **dict.fromkeys(("class", "target", "y", "outcome"), "label"),
    **dict.fromkeys(("mode", "type"), "modality"),
    **dict.fromkeys(("depth", "invasion"), "invasion_depth"),
}
GUESSES = {  # column -> what people write -> what is meant
    "split": {
        **dict.fromkeys(("val", "valid", "dev", "tune", "tuning"), "validation"),
        **dict.fromkeys(("training", "trn"), "train"),
        **dict.fromkeys(("testing", "tst", "holdout", "hold-out", "hold_out"), "test"),
        **dict.fromkeys(("none", "exclude", "excluded"), "unused"),
    },
    "modality": {
        **dict.fromkeys(("ultrasound", "sonography", "tvus", "tvs"), "us"),
        **dict.fromkeys(("mr", "mrt", "irm"), "mri"),
    },
    "label": {
        **dict.fromkeys(("true", "yes", "positive", "pos", "carcinoma", "cancer", "malignant"), "1"),
        **dict.fromkeys(("false", "no", "negative", "neg", "control", "normal"), "0"),
    },
    "visible": {**dict.fromkeys(("yes", "y"), "true"), **dict.fromkeys(("no", "n"), "false")},
}
GUESSES |= {name: GUESSES["visible"] for name, of in covariates.COVARIATES.items() if of.flag}
OPTIONAL = (
    *(column for column in COLUMNS if column not in (*REQUIRED, "source")),
    *covariates.NAMES,
    *tissue_shares.NAMES,
)
SPLIT_WORDS = {"split", "splits", "fold", "folds", "train", "partition", "subset", "holdout"}  # in a column's name


@dataclass(frozen=True)
class Checked:
    """A manifest that was looked through: its mistakes, its rows, what its pictures tell.

    Rows have `manifest.COLUMNS`, and those of `covariates.NAMES` and `tissue_shares.NAMES` that the manifest has.

    `rows` stand only where nothing is wrong, `facts` (see `pictures.facts`) only where the pictures were decoded.
    """

    table: Table
    rows: pd.DataFrame | None
    facts: pd.DataFrame | None


def read(path: Path) -> pd.DataFrame:
    """The rows of a person's manifest, in their order; missing optional columns are filled with what is not known.

    Columns as in `manifest.COLUMNS`; `hash` is the SHA-256 of each file. Every picture is decoded once. UserError with
    a line for every kind of mistake, see `check`.
    """
    checked = check(path, decode=True)
    checked.table.refuse()
    return checked.rows


def check(path: Path, *, decode: bool, allow_extra: bool = False) -> Checked:
    """Look through a manifest, and with `decode` through every picture that it names; mistakes are noted, not raised.

    UserError only where the file is no table (see `tables.read`).
    """
    table = tables.read(path, REQUIRED, OPTIONAL, OTHER_NAMES, allow_extra)
    _check_other_splits(table)
    if not table.numbers:
        table.add("no rows", "Write one row an image", [None])
    frame = pd.DataFrame(table.columns, index=pd.Index(table.numbers, name="row"), dtype="str")
    further = [name for name in (*covariates.NAMES, *tissue_shares.NAMES) if name in table.columns]
    frame = frame.reindex(columns=[*COLUMNS, *further], fill_value="").astype("str")
    _check_cells(table, frame)
    _check_shares(table, frame)
    _check_patients(table, frame)
    files = _check_files(table, frame)
    _check_classes(table, frame)
    facts = _check_pictures(table, frame, files) if decode and files.any() else None
    return Checked(table, None if table.mistakes else _typed(frame), facts)


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Cells as the types of `manifest.COLUMNS`, rows counted from 0."""
    seen = frame["visible"].str.lower().map(FLAGS)
    return frame.assign(
        label=pd.to_numeric(frame["label"]).astype(int),
        invasion_depth=pd.to_numeric(frame["invasion_depth"]),
        visible=seen.astype(bool) if seen.notna().all() else seen.astype(object).where(seen.notna(), pd.NA),
        source="file",
        **{name: covariates.read(frame[name]) for name in covariates.NAMES if name in frame},
        **{name: tissue_shares.read(frame[name]) for name in tissue_shares.NAMES if name in frame},
    ).reset_index(drop=True)


def _check_other_splits(table: Table) -> None:
    """Note a further column that seems to hold a split where the manifest has none: a new one would be drawn."""
    words = {*SPLITS[:3], *(word for word, meant in GUESSES["split"].items() if meant != "unused")}
    others = {*SPLITS, *POOL_SPLITS.values(), *GUESSES["split"]}
    for name, cells in table.ignored.items() if "split" not in table.columns else ():
        held = {cell.casefold() for cell in cells} - {""}
        named = {word.lower() for word in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name)}
        if named & SPLIT_WORDS or {"is", "test"} <= named or (held & words and held <= others):
            table.add(f"column {tables.shown(name)} looks like 'split'", "Rename it to split, or remove it")


def _check_cells(table: Table, frame: pd.DataFrame) -> None:
    """Empty cells of required columns, and cells that hold nothing known; an empty cell is one mistake."""
    for column in REQUIRED:
        if column in table.columns:
            table.add(f"empty {column}", "Fill the cell", frame.index[frame[column] == ""], column)
    number = {c: pd.to_numeric(frame[c], errors="coerce") for c in ("label", "invasion_depth")}
    flags = frame["visible"].str.lower().isin(FLAGS)
    any_split = f"Write one of: {', '.join((*SPLITS, *POOL_SPLITS.values()))}, or nothing"
    _refuse_unknown(table, frame["modality"], frame["modality"].isin(MODALITIES), "is no modality", "Write us or mri")
    _refuse_unknown(table, frame["label"], number["label"].isin([0, 1]), "is not 0 or 1",
                    "Write 1 for carcinoma, 0 for control")  # fmt: skip
    _refuse_unknown(table, frame["split"], frame["split"].isin([*PLACES, "unused"]), "is no split", any_split)
    _refuse_unknown(table, frame["visible"], flags, "is not true or false", "Write one of these, or nothing")
    _refuse_unknown(table, frame["invasion_depth"], number["invasion_depth"].between(0, 1),
                    "is no fraction of the wall", "Write 0 to 1 with a decimal point, or nothing")  # fmt: skip
    for name in frame.columns.intersection(list(covariates.NAMES)):
        of = covariates.COVARIATES[name]
        span = "true or false" if of.flag else f"{of.low:g} to {of.high:,g} ({of.unit}) with a decimal point"
        known = covariates.read(frame[name])
        _refuse_unknown(table, frame[name], known.notna(), f"is no {of.words}", f"Write {span}, or nothing")
        if known.isna().all() and len(frame) and (frame[name] == "").all():
            table.add("empty for everybody", "Fill the column, or remove it", [None], name)


def _check_shares(table: Table, frame: pd.DataFrame) -> None:
    """Tissues' shares of an image's view: all or none, each in [0, 1], which add up to 1."""
    names = [name for name in tissue_shares.NAMES if name in frame]
    if not names:
        return
    for name in names:
        known = tissue_shares.read(frame[name])
        _refuse_unknown(table, frame[name], known.notna(), "is no share of the view",
                        "Write 0 to 1 with a decimal point, or nothing")  # fmt: skip
    if lacking := [name for name in tissue_shares.NAMES if name not in names]:
        table.add(
            f"the column is absent, while {names[0]} is there", "Give all four shares, or none", [None], lacking[0]
        )
        return
    shares, empty = frame[names].apply(tissue_shares.read), frame[names] == ""
    some = empty.any(axis=1) & ~empty.all(axis=1)
    table.add("some shares of the view are empty", "Fill in all four, or none", frame.index[some], names[0])
    total = shares.sum(axis=1)
    for row in frame.index[shares.notna().all(axis=1) & ((total - 1).abs() > tissue_shares.ROUNDED)]:
        problem = f"the shares of the view add up to {total[row]:.3g}, not 1"
        table.add(problem, "Measure all four on one mask", [row], names[0])
    if empty.all(axis=None) and len(frame):
        table.add("empty for every image", "Fill the column, or remove it", [None], names[0])


def _refuse_unknown(table: Table, cells: pd.Series, known: pd.Series, problem: str, remedy: str) -> None:
    """Note each cell that is neither empty nor known, with what was probably meant."""
    column = str(cells.name)
    guesses: Mapping[str, str] = GUESSES.get(column, {})
    for value, rows in cells[~known & (cells != "")].groupby(cells).groups.items():
        small = str(value).casefold()
        guess = guesses.get(small) or (small if small in {*SPLITS, *POOL_SPLITS.values(), *MODALITIES} else None)
        table.add(f"{tables.shown(value)} {problem}", f"Write {guess}" if guess else remedy, rows, column)


def _check_patients(table: Table, frame: pd.DataFrame) -> None:
    """One woman, one spelling, one centre, one label and one split."""
    for column in ("patient_id", "centre"):
        if column in table.columns:
            tables.other_spellings(table, column)
        for name, rows in frame[frame[column] != ""].groupby(column).groups.items():
            if read := _misread(name):
                table.add(f"{tables.shown(name)} is {tables.shown(read)}, wrongly decoded", tables.AS_CSV, rows, column)
    rounded = frame["patient_id"].str.contains(r"\d(?:[.,]\d+)?[eE]\+\d\d")
    table.add("a rounded number: several patients may have become one", "Export the names as text, with all digits",
              frame.index[rounded], "patient_id")  # fmt: skip
    named = frame[(frame["patient_id"] != "") & ~rounded]
    label = pd.to_numeric(named["label"], errors="coerce")
    for column, values in (
        ("centre", named["centre"].where(named["centre"] != "").dropna()),
        ("label", label.where(label.isin([0, 1])).dropna()),
        *((name, covariates.read(named[name]).dropna()) for name in covariates.NAMES if name in named),
    ):
        by_patient = named["patient_id"].loc[values.index]
        other = values.ne(values.groupby(by_patient).transform("first"))
        where = pd.Series(values.index, values.index).groupby(by_patient).transform("first")
        remedy = f"If these are two women, name them apart; if one, give all her images one {column}"
        for row in values.index[other]:
            who, here, there = map(tables.shown, (by_patient[row], frame.at[row, column], frame.at[where[row], column]))
            table.add(f"patient {who} has {here} here and {there} in row {where[row]}", remedy, [row], column)
    for row, problem, remedy in splits_of_patients(frame):
        table.add(problem, remedy, [row], "split")


def _misread(name: str) -> str | None:
    """The name as it was meant, where it is UTF-8 that was read as if it were cp1252; else None."""
    try:
        return None if name.isascii() else name.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return None


def _check_files(table: Table, frame: pd.DataFrame) -> pd.Series:
    """Whether each row names a file; notes rows that do not, and files that are listed twice."""
    folder = table.path.parent
    states = [_state(folder / name) if name else None for name in frame["image"]]
    regular = [state is not None and stat.S_ISREG(state.st_mode) for state in states]
    found = pd.Series(regular, index=frame.index, dtype=bool)
    if "image" not in table.columns:
        return found
    listings: dict[Path, dict[str, str]] = {}
    for row, name in frame.loc[~found & (frame["image"] != ""), "image"].items():
        table.add(*_missing(folder, name, listings), [row], "image")
    first: dict[tuple[int, int], int] = {}
    for row, state, file in zip(frame.index, states, regular, strict=True):
        if file and (before := first.setdefault((state.st_dev, state.st_ino), row)) != row:
            one, two = (os.path.realpath(folder / frame.at[r, "image"]) for r in (before, row))
            if one == two:
                table.add(f"image listed twice, first in row {before}", "Remove one of the rows", [row], "image")
    return found


def _state(file: Path) -> os.stat_result | None:
    """What the system tells of a path, None where there is nothing or it is no path."""
    try:
        return file.stat()
    except (OSError, ValueError):
        return None


def _missing(folder: Path, name: str, listings: dict[Path, dict[str, str]]) -> tuple[str, str]:
    """Problem and remedy of a path that names no file; `listings` keeps what stands in the folders looked into."""
    slashed = name.replace("\\", "/")
    if re.match(r"[A-Za-z]:/|//", slashed):
        return "a path of another machine", "Give the path relative to the manifest"
    path = folder / slashed
    if state := _state(path):
        if slashed != name and stat.S_ISREG(state.st_mode):
            return "the path has back-slashes", "Write / for each of them"
        kind = "a folder" if stat.S_ISDIR(state.st_mode) else "no regular file"
        return f"{tables.shown(name)} is {kind}", "Write one row an image"
    if path.parent not in listings:
        try:
            there = sorted(file.name for file in path.parent.iterdir())
            listings[path.parent] = {_plain(Path(n).stem): n for n in there} | {_plain(n): n for n in there}
        except (OSError, ValueError):
            listings[path.parent] = {}
    listing = listings[path.parent]
    near = listing.get(_plain(path.name)) or listing.get(_plain(path.stem))
    if near == path.name:
        return f"{tables.shown(name)} is a link to nothing", "Mend the link, or remove the row"
    if near:
        return f"image file {tables.shown(name)} does not exist", f"Write {Path(slashed).with_name(near).as_posix()}"
    return "image file does not exist", "Give its path relative to the manifest"


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _check_pictures(table: Table, frame: pd.DataFrame, files: pd.Series) -> pd.DataFrame:
    """Decode every file; notes what cannot be taken, a wrong hash, and a picture that stands under two names.

    Fills the column `hash` of the frame; returns what the pictures tell (see `pictures.facts`).
    """
    shown, given = frame.loc[files, ["image"]], frame.loc[files, "hash"].str.lower()
    shown["hash"] = pictures.hashes([table.path.parent / name for name in shown["image"]])
    for row in shown.index[shown["hash"].str.len() != pictures.DIGITS]:  # why it cannot be read stands there
        table.add(f"the file cannot be read ({shown.at[row, 'hash']})", "Look after the file", [row], "image")
    shown = shown[shown["hash"].str.len() == pictures.DIGITS]
    frame.loc[shown.index, "hash"] = shown["hash"]
    given = given[shown.index]
    other = (given != "") & given.ne(shown["hash"])
    odd = other & (given.str.len() != pictures.DIGITS)
    table.add(f"no SHA-256, which has {pictures.DIGITS} digits", "Give that, or nothing", given.index[odd], "hash")
    other &= ~odd
    table.add("not the SHA-256 of the file", "Fetch the file again, or empty the cell", given.index[other], "hash")
    facts = pictures.facts(shown, table.path)
    for fault, rows in facts.groupby("fault").groups.items():
        if fault:
            table.add(f"cannot read the image ({fault})", pictures.EXPORT, rows, "image")
    _check_same_pictures(table, frame.loc[shown.index], facts["pixels"].dropna())
    return facts


def _check_same_pictures(table: Table, frame: pd.DataFrame, pixels: pd.Series) -> None:
    """Note a picture that stands under two patients, labels, splits or modalities, by its grey levels."""
    told = frame[["patient_id", "label", "split", "modality"]]
    told = told.assign(
        split=told["split"].where(told["split"].isin(PLACES), ""),
        label=pd.to_numeric(told["label"], errors="coerce").fillna(-1),  # 1 and 1.0 are one label
    )
    for _, rows in pixels[pixels.duplicated(keep=False)].groupby(pixels).groups.items():
        for row in rows[1:]:
            differs = [c for c in told if len({told.at[row, c], told.at[rows[0], c]} - {"", -1}) > 1]
            if differs:
                problem = f"the same picture as in row {rows[0]} under another {' and '.join(differs)}"
                table.add(problem, "Keep the row that is true", [row], "image")


def _check_classes(table: Table, frame: pd.DataFrame) -> None:
    """A class without ultrasound, or without covariates where the other has some; a split without a class."""
    settling = {"label", "modality", "split"}
    if not {"label", "modality"} <= set(table.columns) or not table.numbers:
        return
    if any(mistake.column in settling for mistake in table.mistakes):  # first things first
        return
    us = frame[frame["modality"].eq("us") & in_cohort(frame)]
    label = pd.to_numeric(us["label"], errors="coerce")
    for value in (0, 1):
        own = us[label == value]
        lacking = [name for name in SPLITS[:3] if name not in set(own["split"])] if us["split"].ne("").all() else []
        if own.empty:
            table.add(f"no ultrasound image with label {value}", "Both classes are needed", [None])
        for name in lacking if len(own) else ():
            table.add(f"no ultrasound image with label {value} in {name}", "Put a patient there", [None])
        for name in frame.columns.intersection([*covariates.NAMES, *tissue_shares.NAMES[:1]]) if len(own) else ():
            if (own[name] == "").all() and (us[name] != "").any():
                problem = f"no patient with label {value} has a value, so that an empty cell tells the label"
                table.add(problem, "Fill in both classes, or remove the column", [None], name)
