"""The smoke phantoms as files that somebody might own: notebooks 01 to 06 give the same tables from them."""

import json

import pandas as pd
import pytest


@pytest.fixture(scope="session")
def exported(smoke, ecsupport):
    """The smoke phantoms as files, and notebooks 01 to 06 on these files in the workspace of the smoke run."""
    done = ecsupport("export", smoke / "own", "--profile", "smoke", ECSUPPORT_WORKSPACE=smoke)
    assert done.returncode == 0, done.stderr
    for item in ("table-1", "table-2", "table-5"):
        done = ecsupport("item", item, "--cohort", smoke / "own" / "manifest.csv", ECSUPPORT_WORKSPACE=smoke)
        assert done.returncode == 0, done.stderr
    return smoke / "figures" / "smoke-manifest"


@pytest.mark.parametrize("number", range(1, 6))
def test_files_give_the_same_tables_as_the_phantoms(smoke, exported, number):
    """A network is trained anew only where its images differ by a byte, so that equal tables mean equal bytes."""
    table = f"table_{number}.csv"
    assert (exported / table).read_bytes() == (smoke / "figures" / "smoke" / table).read_bytes()


def test_files_give_the_same_scores_and_with_them_tables_6_to_8(smoke, exported):
    ours, theirs = (pd.read_csv(f / "predictions.csv") for f in (smoke / "figures" / "smoke", exported))
    pd.testing.assert_frame_equal(ours.drop(columns="image"), theirs.drop(columns="image"))


def test_what_files_do_not_tell_is_not_assessable(smoke, exported):
    found = []
    for folder in (smoke / "figures" / "smoke", exported):
        record = json.loads((folder / "02_sg_cyclegan_training.json").read_text(encoding="utf-8"))
        found += [row for row in record["estimates"] if row["claim"] == "mafe_keeps_structure"]
    assert [row["assessable"] for row in found] == [True, False]
    assert "anatomy" in found[1]["note"]
    text = (smoke / "runs" / "smoke-manifest" / "02_sg_cyclegan_training.ipynb").read_text(encoding="utf-8")
    assert "Phantom images" not in text
    assert "Phantom images" in (smoke / "runs" / "smoke" / "02_sg_cyclegan_training.ipynb").read_text(encoding="utf-8")
