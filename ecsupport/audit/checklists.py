"""The reporting checklists (STARD-AI, CLAIM 2024, TRIPOD+AI), filled for the whole paper and for this companion.

`data_manifests/paper/checklists.csv` has one item a row, in our words; the README beside it names the sources. An
evidence cell holds parts separated by semicolons. A part without a blank is a reference and must exist:

    paper_evidence      a section (a `where` of numbers.csv, or one of `UNNUMBERED`) or an id of numbers.csv
    companion_evidence  a path in this repository

any other part is a reason in words. An item that is met has at least one reference.
"""

from pathlib import Path

import pandas as pd

from ecsupport.core.errors import UserError, row_error
from ecsupport.core.paths import ROOT
from ecsupport.paper.published import PAPER, load_numbers

# fmt: off
COLUMNS = ["checklist", "item", "topic", "question", "paper", "paper_evidence", "companion", "companion_evidence"]
STATUSES = ("met", "not met", "not derivable")
SUBJECTS = ("paper", "companion")
YOURS = "yours to answer: it depends on your images, not on the phantoms"
UNNUMBERED = ("title", "data-availability", "code-availability", "acknowledgments",  # sections that print no number
              "contributors", "declaration-of-interests")
# fmt: on


def parts(evidence: str) -> list[str]:
    """The parts of an evidence cell, without the blanks around them."""
    return [part.strip() for part in evidence.split(";")]


def load_checklists(path: str | Path | None = None, numbers: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every item of every checklist in order, columns as `COLUMNS`, all strings, numbered from 0.

    `numbers` default to `load_numbers()`. Raises UserError naming file and row for an unreadable file, other columns,
    an empty cell, an unknown status, an item that stands twice, a reference that leads nowhere, and an item called
    met without a reference.
    """
    path = PAPER / "checklists.csv" if path is None else Path(path)
    frame = _read(path)
    numbers = load_numbers() if numbers is None else numbers
    known = {*numbers["id"], *numbers["where"], *UNNUMBERED}
    seen = set()
    for _, row in frame.iterrows():
        name = f"{row['checklist']} {row['item']}".strip()
        for column in COLUMNS:
            if not row[column].strip():
                raise row_error(path, name, f"{column} is empty", "Fill it; where there is no evidence, say why.")
        if name in seen:
            raise row_error(path, name, "the item stands twice", "Keep one of the two.")
        seen.add(name)
        for subject in SUBJECTS:
            _check_subject(path, name, row, subject, known)
    return frame


def for_own_images(checklists: pd.DataFrame) -> pd.DataFrame:
    """The items for a run on a person's own images: what rests on the phantoms is hers to answer."""
    rests = checklists["companion_evidence"].str.contains("phantom")
    return checklists.assign(
        companion=checklists["companion"].mask(rests, "not derivable"),
        companion_evidence=checklists["companion_evidence"].mask(rests, YOURS),
    )


def summary(checklists: pd.DataFrame) -> pd.DataFrame:
    """Number of items by status: rows (checklist, subject) in order of the file, one int64 column a status."""
    counts = {
        (checklist, subject): items[subject].value_counts().reindex(list(STATUSES), fill_value=0)
        for checklist, items in checklists.groupby("checklist", sort=False)
        for subject in SUBJECTS
    }
    return pd.DataFrame(counts).T.rename_axis(["checklist", "subject"]).rename_axis(columns=None)


def _read(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False).fillna("")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Name the CSV file to read.") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as CSV ({error}). Save it as UTF-8, quoting commas.") from None
    if list(frame.columns) != COLUMNS:
        problem = f"the columns are {', '.join(frame.columns)}"
        raise row_error(path, "header", problem, f"They must be, in this order: {', '.join(COLUMNS)}.")
    return frame


def _check_subject(path: Path, name: str, row: pd.Series, subject: str, known: set[str]) -> None:
    """Refuse a status or a reference that is none; `known`: sections and ids that paper_evidence may name."""
    if row[subject] not in STATUSES:
        raise row_error(path, name, f"{subject} is '{row[subject]}'", f"Use one of: {', '.join(STATUSES)}.")
    column = f"{subject}_evidence"
    found = 0
    for part in parts(row[column]):
        if (part in known) if subject == "paper" else _is_file(part):
            found += 1
        elif not part or " " not in part:
            remedy = (
                "Name a section or an id of numbers.csv" if subject == "paper" else "Name a file of this repository"
            )
            raise row_error(path, name, f"{column} '{part}' leads nowhere", f"{remedy}, or give a reason in words.")
    if row[subject] == "met" and not found:
        raise row_error(path, name, f"{subject} is met, but {column} has no reference", "Say where it can be seen.")


def _is_file(part: str) -> bool:
    target = (ROOT / part).resolve()
    return bool(part) and target.is_relative_to(ROOT) and target.is_file()
