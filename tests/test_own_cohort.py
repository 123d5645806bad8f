"""The smoke phantoms as files that somebody might own: notebooks 01 to 06 give the same tables from them."""

import json

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def exported(used_smoke, ecsupport):
    """The smoke phantoms as files, and notebooks 01 to 06 on these files in the workspace of the smoke run."""
    done = ecsupport("export", used_smoke / "own", "--profile", "smoke", ECSUPPORT_WORKSPACE=used_smoke)
    assert done.returncode == 0, done.stderr
    for item in ("table-1", "table-2", "table-5"):
        done = ecsupport("item", item, "--cohort", used_smoke / "own" / "manifest.csv", ECSUPPORT_WORKSPACE=used_smoke)
        assert done.returncode == 0, done.stderr
    return used_smoke / "figures" / "smoke-manifest"


@pytest.mark.parametrize("number", range(1, 6))
def test_files_give_the_same_tables_as_the_phantoms(used_smoke, exported, number):
    """A network is trained anew only where its images differ by a byte, so that equal tables mean equal bytes."""
    table = f"table_{number}.csv"
    assert (exported / table).read_bytes() == (used_smoke / "figures" / "smoke" / table).read_bytes()


def test_files_give_the_same_scores_and_with_them_tables_6_to_8(used_smoke, exported):
    ours, theirs = (pd.read_csv(f / "predictions.csv") for f in (used_smoke / "figures" / "smoke", exported))
    pd.testing.assert_frame_equal(ours.drop(columns="image"), theirs.drop(columns="image"))


def test_what_files_do_not_tell_is_not_assessable(used_smoke, exported):
    found = []
    for folder in (used_smoke / "figures" / "smoke", exported):
        record = json.loads((folder / "02_sg_cyclegan_training.json").read_text(encoding="utf-8"))
        found += [row for row in record["estimates"] if row["claim"] == "mafe_keeps_structure"]
    assert [row["assessable"] for row in found] == [True, False]
    assert "anatomy" in found[1]["note"]
    of_files, of_phantoms = (
        (used_smoke / "runs" / run / "02_sg_cyclegan_training.ipynb").read_text(encoding="utf-8")
        for run in ("smoke-manifest", "smoke")
    )
    assert "Phantom images" not in of_files
    assert "Phantom images" in of_phantoms
