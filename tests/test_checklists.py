"""The reporting checklists: complete as their sources count them, every reference leads somewhere, faults are named."""

import re

import pandas as pd
import pytest

from ecsupport.audit.checklists import (
    COLUMNS,
    STATUSES,
    SUBJECTS,
    for_own_images,
    load_checklists,
    parts,
    summary,
)
from ecsupport.core.errors import UserError
from ecsupport.core.paths import ROOT
from ecsupport.paper.published import PAPER, load_numbers

README = (PAPER / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Reporting checklists")[2].partition("\n## ")[0]
STATED = {  # checklist: (numbered items, rows), from the table in the README
    name: (int(items), int(rows))
    for name, items, rows in re.findall(r"^\| ([^|]+?) \| (\d+) \| (\d+) \|", SECTION, re.M)
}


@pytest.fixture(scope="module")
def numbers() -> pd.DataFrame:
    return load_numbers()


@pytest.fixture(scope="module")
def checklists(numbers: pd.DataFrame) -> pd.DataFrame:
    return load_checklists(numbers=numbers)


# --- what the file holds ---


def test_the_readme_and_the_file_name_the_same_checklists(checklists):
    assert set(STATED) == set(checklists["checklist"]) == {"STARD-AI", "CLAIM 2024", "TRIPOD+AI"}


@pytest.mark.parametrize("name", sorted(STATED))
def test_every_item_stands_once_and_in_order(checklists, name):
    items = checklists.loc[checklists["checklist"] == name, "item"]
    n_items, n_rows = STATED[name]
    assert len(items) == items.nunique() == n_rows
    split = [re.fullmatch(r"(\d+)([a-g]?)", item).groups() for item in items]
    assert list(dict.fromkeys(int(number) for number, _ in split)) == list(range(1, n_items + 1))
    letters = {}
    for number, letter in split:
        letters[number] = letters.get(number, "") + letter
    assert all("abcdefg".startswith(found) for found in letters.values())  # no sub-item is passed over


def test_every_reference_to_this_repository_is_a_file(checklists):
    paths = {part for cell in checklists["companion_evidence"] for part in parts(cell) if " " not in part}
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_every_status_that_is_not_met_is_explained(checklists):
    for subject in SUBJECTS:
        unmet = checklists.loc[checklists[subject] != "met", f"{subject}_evidence"]
        assert all(any(" " in part for part in parts(cell)) for cell in unmet)


def test_summary_counts_every_item_once_for_each_subject(checklists):
    counts = summary(checklists)
    assert list(counts.columns) == list(STATUSES)
    for name, (_, rows) in STATED.items():
        assert (counts.loc[name].sum(axis=1) == rows).all()
    claim = checklists[checklists["checklist"] == "CLAIM 2024"]
    assert counts.loc[("CLAIM 2024", "paper"), "met"] == (claim["paper"] == "met").sum() > 0


def test_summary_shows_a_status_that_nobody_has(checklists):
    met = checklists[(checklists["paper"] == "met") & (checklists["companion"] == "met")]
    assert (summary(met)[["not met", "not derivable"]] == 0).all(axis=None)


# --- faults ---

GOOD = ("STARD-AI", "1", "title", "Is it?", "met", "abstract; seen at its end", "not met", "no accuracy is given")


def write(path, **changes):
    """A file of one row, with some cells changed."""
    pd.DataFrame([{**dict(zip(COLUMNS, GOOD, strict=True)), **changes}]).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("paper", "partly", "paper is 'partly'.*Use one of: met, not met, not derivable"),
        ("companion", "Met", "companion is 'Met'"),
        ("question", " ", "question is empty"),
        ("companion_evidence", "", "companion_evidence is empty"),
        ("paper_evidence", "results/dat", "'results/dat' leads nowhere.*numbers.csv"),
        ("paper_evidence", "abstract;", "'' leads nowhere"),
        ("paper_evidence", "it is said somewhere", "paper is met, but paper_evidence has no reference"),
        ("companion_evidence", "notebooks/11_more.ipynb", "leads nowhere.*file of this repository"),
        ("companion_evidence", "../secret.txt", "leads nowhere"),
        ("companion_evidence", "notebooks", "leads nowhere"),
    ],
)
def test_a_fault_is_named_with_its_item_and_a_remedy(tmp_path, numbers, column, value, problem):
    good = write(tmp_path / "good.csv", paper_evidence="abstract; text.abstract.auc; title")
    assert len(load_checklists(good, numbers)) == 1
    with pytest.raises(UserError, match=rf"(?s)bad\.csv, row STARD-AI 1: .*{problem}"):
        load_checklists(write(tmp_path / "bad.csv", **{column: value}), numbers)


def test_an_item_stands_once(tmp_path, numbers):
    path = tmp_path / "twice.csv"
    pd.DataFrame([GOOD, GOOD], columns=COLUMNS).to_csv(path, index=False)
    with pytest.raises(UserError, match="row STARD-AI 1: the item stands twice"):
        load_checklists(path, numbers)


def test_other_columns_and_no_file(tmp_path, numbers):
    path = tmp_path / "columns.csv"
    pd.DataFrame([GOOD[:-1]], columns=COLUMNS[:-1]).to_csv(path, index=False)
    with pytest.raises(UserError, match="row header: .*companion_evidence"):
        load_checklists(path, numbers)
    with pytest.raises(UserError, match="does not exist"):
        load_checklists(tmp_path / "none.csv", numbers)


def test_of_own_images_nothing_is_said_that_rests_on_phantoms(checklists):
    own = for_own_images(checklists)
    assert not own["companion_evidence"].str.contains("phantoms?/|no people").any()
    rests = checklists["companion_evidence"].str.contains("phantom")
    assert 0 < rests.sum() < len(own) and set(own.loc[rests, "companion"]) == {"not derivable"}
    pd.testing.assert_frame_equal(own[~rests], checklists[~rests])
    pd.testing.assert_frame_equal(own.filter(like="paper"), checklists.filter(like="paper"))
