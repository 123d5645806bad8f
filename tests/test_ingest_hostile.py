"""Every hostile file has the outcome that is right; none stops the others, none is followed out of the folder."""

import csv
import re

import hostile_files

from ecsupport.ingest import running


def test_each_hostile_file_is_told_by_name(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    outcomes = hostile_files.write(source, tmp_path / "beside")
    assert len(outcomes) >= 60
    running.ingest(running.Options(source, out, jobs=0), lambda _: None)
    with (tmp_path / "out-private" / "log.csv").open(newline="") as lines:
        found = {row["path"].lstrip("'"): row for row in csv.DictReader(lines)}
    assert found.keys() == outcomes.keys()
    wrong = {
        name: found[name]["why"]
        for name, words in outcomes.items()
        if not (re.search(words, found[name]["why"]) if words else found[name]["why"] == "")
    }
    assert wrong == {}
    assert all((row["outcome"] == "taken") == (row["why"] == "") for row in found.values())

    for file in [*out.glob("*.csv"), *(tmp_path / "out-private").glob("*.csv")]:
        with file.open(newline="") as lines:  # opened in a spreadsheet, no cell computes
            assert not [cell for row in csv.reader(lines) for cell in row if re.match(r"[=+@\t\r]|-\D", cell)]
