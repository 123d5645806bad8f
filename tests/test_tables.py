"""The strict reader: cells stay as they are written, and every mistake of a table is named with row and remedy."""

import io
import unicodedata

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsupport.core import code, paths, tables
from ecsupport.core.errors import UserError
from ecsupport.core.tables import canonical

GOOD = "name,place\nAda,north\nBea,south\n"


def read(tmp_path, text, allow_extra=False):
    file = tmp_path / "ward.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tables.read(file, ("name", "place"), ("split",), {"fold": "split", "site": "place"}, allow_extra)


def mistakes(tmp_path, text, **options):
    return [line.removeprefix(f"{tmp_path / 'ward.csv'}") for line in read(tmp_path, text, **options).report()]


def test_cells_are_text_as_it_is_written(tmp_path):
    table = read(tmp_path, "place,name,split\nNA,007,\nnull,7,1e3\n12.10,12.1,None\n")
    assert table.columns == {
        "name": ["007", "7", "12.1"],
        "place": ["NA", "null", "12.10"],
        "split": ["", "1e3", "None"],
    }
    assert table.numbers == [1, 2, 3] and table.mistakes == []


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),  # as Excel saves it
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        " name ,\u00a0place\t\n  Ada, north \nBea\u200b,\ufeffsouth\n",
        '"name","place"\n"Ada","north"\n"Bea","south"',
        "\n" + GOOD.replace("Bea", "\n,\n  , \nBea") + "\n,\n\n",  # wholly blank rows
    ],
)
def test_what_a_person_does_not_see_does_not_matter(tmp_path, text):
    table = read(tmp_path, text)
    assert table.columns == {"name": ["Ada", "Bea"], "place": ["north", "south"]}
    assert table.mistakes == []


@given(st.text(st.characters(codec="utf-8", exclude_characters='"\0'), max_size=6))
def test_a_name_is_read_as_it_is_seen(tmp_path_factory, name):
    """Whatever stands in a cell: what is read is a part of it, and names the same person."""
    file = tmp_path_factory.mktemp("any") / "any.csv"
    file.write_bytes(f'name,place\n"{name}",x\n'.encode())
    table = tables.read(file, ("name", "place"))
    (read_name,) = table.columns["name"]
    assert read_name in name and canonical(read_name) == canonical(name)
    control = any(unicodedata.category(sign) == "Cc" for sign in read_name)
    refused = control or read_name.upper() in tables.ERRORS or tables.is_formula(read_name)
    assert bool(table.mistakes) == refused


def test_rows_are_counted_as_an_editor_shows_them(tmp_path):
    table = read(tmp_path, 'name,place\nAda,north\n\n,\nBea,"so,uth"\nEve,west\n')
    assert table.numbers == [1, 4, 5]


LETTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Z"]) | st.sampled_from(" ,;'\"")


@given(st.lists(st.text(LETTERS, max_size=6).map(str.strip).filter(bool), min_size=1, max_size=20))
def test_any_names_survive_writing_and_reading(tmp_path_factory, names):
    file = tmp_path_factory.mktemp("any") / "any.csv"
    frame = pd.DataFrame({"name": names, "place": ["x"] * len(names)})
    frame.to_csv(file, index=False, lineterminator="\n")
    assert tables.read(file, ("name", "place")).columns["name"] == names


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name\nAda\n", ": column 'place' is missing. The header needs: name, place"),
        ("name,place,place\nAda,north,south\n", ": column 'place' stands twice. Remove or rename column 3"),
        ("name,place,Place\nAda,north,south\n", ": column 'place' stands twice. Remove or rename column 3"),
        ("Name,place\nAda,north\n", ": column 'Name' looks like 'name'. Rename it to name, or remove it"),
        ("name,place,folds\nA,n,1\n", ": column 'folds' looks like 'split'. Rename it to split, or remove it"),
        ("name,site\nAda,north\n", ": column 'site' looks like 'place'. Rename it to place, or remove it"),
        ("name,place,fold\nAda,north,1\n", ": column 'fold' looks like 'split'. Rename it to split, or remove it"),
        ("name,place,splits\nAda,north,1\n", ": column 'splits' looks like 'split'. Rename it to split, or remove it"),
        (
            "name,place,age\nAda,north,1\n",
            ": column 'age' is unknown. Remove it, or allow further columns",
        ),
        (
            "name,place,split,fold\nA,n,,1\n",
            ": column 'fold' is unknown. Remove it, or allow further columns",
        ),
        ("name,place,\nAda,north,\n", ": column 3 has no name. Name it, or remove it"),
        ("name,place,age,age\nA,n,1,1\n", ": column 'age' stands twice. Remove or rename column 4"),
        ("sep=,\n" + GOOD, ": the first line is 'sep=', which only Excel understands. Remove that line"),
        (
            GOOD + "Eve\n",
            ", row 3: 1 cell under a header of 2. Give a cell to every column; quote a cell that holds a comma",
        ),
        (
            GOOD + '"Eve\nEva",west\n',
            ", row 3, name: a line break or another control character within the cell. Remove it",
        ),
        (
            GOOD + "Eve,west,wing\n",
            ", row 3: 3 cells under a header of 2. Give a cell to every column; quote a cell that holds a comma",
        ),
    ],
)
def test_a_mistake_is_noted_with_its_remedy(tmp_path, text, line):
    assert any(found.startswith(line) for found in mistakes(tmp_path, text))


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#name?", "#NV"])
def test_what_a_spreadsheet_could_not_tell_is_no_name(tmp_path, error):
    found = mistakes(tmp_path, f"name,place\nAda,north\n{error},north\nNA,n/a\n")
    assert found == [f", row 2, name: {error} is a spreadsheet's error, not a value. Write what is meant"]


def test_where_nobody_can_allow_a_column_nothing_is_said_of_it(tmp_path):
    assert mistakes(tmp_path, "name,place,age\nAda,north,1\n", allow_extra=None) == [
        ": column 'age' is unknown. Remove it"
    ]


def test_a_column_that_looks_like_a_known_one_is_no_extra(tmp_path):
    assert mistakes(tmp_path, "name,place,age\nAda,north,1\n", allow_extra=True) == []
    assert read(tmp_path, "name,place,age\nAda,north,1\n", allow_extra=True).ignored == {"age": ["1"]}
    assert "looks like 'split'" in mistakes(tmp_path, "name,place,Split\nAda,north,x\n", allow_extra=True)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the header is missing or blank. The first line names: name, place"),
        (GOOD.replace(",", ";"), "columns are separated by ';'. Save it with commas"),
        (GOOD.replace(",", "\t"), r"columns are separated by '\\t'"),
        ("Ada,north\nBea,south\n", r"the first line is no header \('Ada', 'north'\). It names: name, place"),
        (GOOD.encode("utf-16"), "is UTF-16 text. Save it as comma-separated UTF-8"),
        ("name,place\nAda,north\nZoë,süd\n".encode("latin-1"), "line 3 of the file: not UTF-8"),
        (b"PK\x03\x04rest of a spreadsheet", "is no text, perhaps a spreadsheet"),
        (
            'name,place\nAda,"north\nBea,south\n',
            "row from line 2 of the file on: unexpected end of data",
        ),
        ('name,place\nAda,"north"west\n', "row from line 2 of the file on: .*expected after.*. Check the quotes there"),
    ],
)
def test_what_is_no_table_is_refused_at_once(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text)


def test_a_file_that_is_absent_or_a_folder(tmp_path):
    for name in ("absent.csv", ""):
        with pytest.raises(UserError, match="cannot be read"):
            tables.read(tmp_path / name, ("name",))


def test_all_mistakes_come_at_once_a_line_each_kind(tmp_path):
    text = "Name,place,age\nAda,north\nBea\nEve,west,1,2\nIda,east,3\nAda\n"
    assert mistakes(tmp_path, text) == [
        ": column 'Name' looks like 'name'. Rename it to name, or remove it",
        ": column 'age' is unknown. Remove it, or allow further columns: ALLOW_EXTRA=1, or --allow-extra",
        ", row 1: 2 cells under a header of 3. Give a cell to every column; quote a cell that holds a comma",
        ", rows 2, 5: 1 cell under a header of 3. Give a cell to every column; quote a cell that holds a comma",
        ", row 3: 4 cells under a header of 3. Give a cell to every column; quote a cell that holds a comma",
    ]


def test_an_error_shows_the_first_and_check_shows_all(tmp_path):
    table = read(tmp_path, GOOD)
    table.refuse()  # nothing is wrong yet
    for row in range(1, 100, 2):
        table.add("odd", "Make it even", [row])
    with pytest.raises(UserError) as few:
        table.refuse(3)
    assert str(few.value).endswith(", rows 1, 3, 5 and 47 more places: odd. Make it even")
    with pytest.raises(UserError) as every:
        table.refuse(None)
    assert "97, 99: odd" in str(every.value)
    for row in range(1, 30):
        table.add(f"problem {row}", "Mend it", [row])
    with pytest.raises(UserError) as many:
        table.refuse()
    assert str(many.value).splitlines()[-1] == "and 10 more kinds; make check COHORT=manifest.csv names all"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("P1", "p1"),
        ("P1", "Ｐ１"),  # full width
        ("12", "12.0"),
        ("Zoë", "Zoe\u0308"),  # composed, decomposed
        ("P 1", "P\u00a0 1"),
        *(("P1", f"P{sign}1") for sign in "\u200b\u200e\u202c\u00ad\ufeff"),  # signs that nobody sees
        *(("P-1", f"P{dash}1") for dash in "\u2010\u2011\u2013\u2212"),
        ("12.0", "12.0.0"),
        ("straße", "STRASSE"),
        ("ﬁ", "fi"),
    ],
)
def test_spellings_of_one_name(tmp_path, one, other):
    assert canonical(one) == canonical(other)
    table = read(tmp_path, f'name,place\n"{one}",x\nEve,x\n"{other}",x\n"{one}",x\n')
    tables.other_spellings(table, "name")
    (line,) = table.report()
    assert f", row 3, name: {other!r} is {one!r} of row 1 in another spelling" in line


@pytest.mark.parametrize(("one", "other"), [("12.1", "12.10"), ("007", "7"), ("1.00", "1"), ("P.0", "P"), ("a", "á")])
def test_names_that_differ_are_two(one, other):
    assert canonical(one) != canonical(other)


@given(st.text(max_size=8))
def test_a_canonical_name_is_its_own(name):
    assert canonical(canonical(name)) == canonical(name)


def test_our_own_tables_come_back_as_they_were_written():
    frame = pd.DataFrame({
        "image": ["1.png", "NA", "3"],
        "patient_id": ["007", "7", "12.10"],
        "split": ["", "test", "nan"],
        "depth": [0.5, None, 1.0],
        "kept": [True, False, True],
    })  # fmt: skip
    back = tables.reread(io.BytesIO(frame.to_csv(index=False).encode()))
    pd.testing.assert_frame_equal(back, frame.astype(dict.fromkeys(("image", "patient_id", "split"), "str")))


NUMBERS_ONLY = ("history.csv", "losses.csv", "digests.csv")  # no names of patients or images in them


def test_no_notebook_reads_names_as_numbers():
    """A table with names is read by `Results.read` or `reread`; pandas alone takes 007 for 7 and NA for nothing."""
    for notebook in paths.notebooks().glob("*.ipynb"):
        lines = code.source(notebook).splitlines()
        assert not [line for line in lines if "read_csv(" in line and not any(name in line for name in NUMBERS_ONLY)]
