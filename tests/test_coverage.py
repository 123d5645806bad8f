"""Every number of a text is matched to its row or to a stated reason; what is neither is shown."""

import os

import pandas as pd
import pytest

from ecsupport.audit import coverage
from ecsupport.audit.coverage import MATCHED, NOT_FOUND, UNEXPLAINED, cover, tokens
from ecsupport.core.errors import UserError


def rows(*printed, line=1):
    frame = pd.DataFrame({"printed": printed})
    return frame.assign(id=[f"row.{i}" for i in range(len(frame))], status="printed", line=line)


def words(text):
    return [token.text for token in tokens(text)]


def reasons(text, *printed):
    return cover(text, rows(*printed))["reason"].tolist()


def test_numbers_are_taken_as_a_reader_takes_them():
    assert words("over 1,234 hens laid 5.5% of 2e-4 in 8:1:1") == ["1,234", "5.5", "2e-4", "8", "1", "1"]
    assert words("0.81230.0042 and 0.5 (0.12-0.34)") == ["0.8123", "0.0042", "0.5", "0.12", "0.34"]
    assert words("64064 geese on 480480 pixels") == ["64064", "480", "480"]
    assert words("two-thirds of Three tens, none often, one-third") == ["two-thirds", "Three", "one-third"]
    assert tokens("a\nbb 7") == [(2, 4, "7")]


def test_a_row_takes_one_number_and_reads_as_printed():
    found = cover("7 of 7 pigs, 95% or 95", rows("7", "95"))
    assert found["id"].tolist() == ["row.0", "", "", "row.1"]  # 95 is not 95%
    assert found["reason"].tolist() == [MATCHED, UNEXPLAINED, UNEXPLAINED, MATCHED]
    assert reasons("in May 1999, or 3.5GHz and one week", "May 1999", "3.5GHz", "one week") == [MATCHED] * 3
    assert reasons("0.81230.0042", "0.8123", "0.0042") == [MATCHED] * 2


def test_a_row_must_stand_on_its_own_line():
    found = cover("no number\n42", rows("42"))
    assert found["reason"].tolist() == [UNEXPLAINED, NOT_FOUND]
    assert cover("no number\n42", rows("42", line=2))["reason"].tolist() == [MATCHED]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("as shown [3, 14]", "citation"),
        ("- [3] (1999) On hens 4 (2), pp. 5-9.", "reference list"),
        ("| (4) |", "equation number"),
        ("see Figure 2 and Tables 3-4 (Section 1.2)", "figure, table or section number"),
        ("(Grant No. AB12, 345)", "grant"),
        ("| Exp #2 |", "label of an experiment or reader"),
        ("1) hens and 2) geese", "list marker"),
        ("MobileNet-V2 and T2-weighted", "name"),
        ("First, the two major hens", "word that orders or counts what is being said"),
    ],
)
def test_each_reason_has_its_own_shape(text, reason):
    found = reasons(text)
    assert found and set(found) - {UNEXPLAINED} == {reason}


def test_an_invented_result_is_not_explained_away():
    for text in (
        "accuracy was 0.91",
        "three hens",
        "F1-score 0.88",
        "#7 hens",
        "in 2019 there were 40%",
        "a Table of 9",
    ):
        assert UNEXPLAINED in reasons(text)


def test_a_reason_does_not_swallow_what_stands_beside_it():
    assert reasons("Table 2 lists 12 hens [5]", "12") == ["figure, table or section number", MATCHED, "citation"]


def test_command_counts_and_fails(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("A hen laid 17 eggs [2].\n")
    assert coverage.main([str(text)]) == 1
    out = capsys.readouterr().out
    assert "line 1, column 12: 17 unexplained" in out and "1 unexplained" in out and "1  citation" in out
    assert coverage.main([str(tmp_path / "none.txt")]) == 2
    assert coverage.main([]) == 2
    with pytest.raises(UserError, match=r"none\.txt"):
        coverage.coverage(tmp_path / "none.txt")


@pytest.mark.skipif("ECSUPPORT_PAPER_TEXT" not in os.environ, reason="the paper's text is not in the repository")
def test_the_paper_has_no_unexplained_number(capsys):
    found = coverage.coverage(os.environ["ECSUPPORT_PAPER_TEXT"])
    assert not found["reason"].isin([UNEXPLAINED, NOT_FOUND]).any()
    assert found.loc[found["id"] != "", "id"].is_unique
    assert coverage.main([os.environ["ECSUPPORT_PAPER_TEXT"]]) == 0
