"""Outputs of a run: what was altered is made again, what is dated in the future refused, and the umask decides."""

import contextlib
import json
import os
import time

import numpy as np
import pytest
from test_engine import INDEX, House

from ecsupport import failures, outputs
from ecsupport.cohort import manifest
from ecsupport.cohort.export import export
from ecsupport.core import jobs, paths
from ecsupport.core.artefacts import sha256
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run

NAMES = ("01_first", "02_second")


@pytest.fixture
def house(tmp_path, ecsupport, write_notebook):
    return House(tmp_path, ecsupport, write_notebook)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run as it stands when it is finished, of a notebook that lists a page beside it and of one that needs it."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("ECSUPPORT_NOTEBOOKS", str(tmp_path / "notebooks"))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "index.toml").write_text(INDEX)
    run = Run.open()
    for folder in (run.figures, run.notebooks):
        folder.mkdir(parents=True)
    page = run.notebooks / "report.html"
    page.write_text("<p>0.9</p>")
    for name in NAMES:
        executed, results = outputs.of(run, name)
        executed.write_text('{"cells": []}')
        listed = {"runs/smoke/report.html": {"sha256": sha256(page)}} if name == "02_second" else {}
        results.write_text(json.dumps({"files": listed, "estimates": [{"claim": "c1", "value": 0.9}]}))
        outputs.seal(run, name)
    return run


def postdate(file, seconds):
    os.utime(file, (time.time() + seconds, time.time() + seconds))


def altered(file, old="0.9", new="0.8"):
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


DAMAGES = {
    "executed notebook altered": lambda run: altered(outputs.of(run, "02_second")[0], "[]", "[1]"),
    "executed notebook truncated": lambda run: os.truncate(outputs.of(run, "02_second")[0], 5),
    "executed notebook lost": lambda run: outputs.of(run, "02_second")[0].unlink(),
    "estimate altered": lambda run: altered(outputs.of(run, "02_second")[1]),
    "results truncated": lambda run: os.truncate(outputs.of(run, "02_second")[1], 5),
    "results lost": lambda run: outputs.of(run, "02_second")[1].unlink(),
    "page altered": lambda run: altered(run.notebooks / "report.html"),
    "page lost": lambda run: (run.notebooks / "report.html").unlink(),
    "record lost": lambda run: (run.notebooks / ".made" / "02_second.json").unlink(),
    "record of something else": lambda run: (run.notebooks / ".made" / "02_second.json").write_text("[]"),
    "dated in the future": lambda run: postdate(outputs.of(run, "02_second")[1], 3600),
}
ALTERED = {  # the files that are then no longer as they were left, by their ending
    "executed notebook altered": "ipynb",
    "executed notebook truncated": "ipynb",
    "estimate altered": "json",
    "results truncated": "json",
    "page altered": "html",
    "record lost": "ipynb json",
    "record of something else": "ipynb json",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=DAMAGES)
def test_damaged_outputs_are_set_aside_and_whole_ones_stay(run, damage):
    """What somebody altered is moved, never deleted; what is as it was left may go, and is made again."""
    assert outputs.set_aside(run) == {}
    DAMAGES[damage](run)
    files = [*outputs.of(run, "02_second"), run.notebooks / "report.html"]
    found = {file.name: file.read_bytes() for file in files if file.exists()}
    names = {file.name for file in files if f" {file.suffix[1:]} " in f" {ALTERED.get(damage, '')} "}
    moved = outputs.set_aside(run)
    assert {file: file.read_bytes() for file in moved["02_second"]} == {
        run.notebooks / "altered" / name: found[name] for name in names
    }
    assert list(moved) == ["02_second"]
    assert not any(file.exists() for file in outputs.of(run, "02_second"))
    assert all(file.is_file() for file in outputs.of(run, "01_first"))
    assert outputs.set_aside(run) == {}


def test_what_is_altered_twice_is_kept_twice(run):
    executed, _ = outputs.of(run, "02_second")
    before = executed.read_text()
    for note in ("first", "second", "third"):
        executed.write_text(note)
        outputs.set_aside(run)
        executed.write_text(before)
    kept = {file.name: file.read_text() for file in (run.notebooks / "altered").glob("*.ipynb")}
    assert kept == {"02_second.ipynb": "first", "02_second-2.ipynb": "second", "02_second-3.ipynb": "third"}


def test_only_what_a_notebook_once_made_and_none_makes_now_is_swept(run):
    """A person's file stays, and so does one that she altered."""

    def finish(name, *tables):
        for table in tables:
            (run.figures / table).write_text("made")
        listed = {f"figures/smoke/{table}": {"sha256": sha256(b"made")} for table in tables}
        outputs.of(run, name)[1].write_text(json.dumps({"files": listed}))
        outputs.of(run, name)[0].write_text("{}")
        outputs.seal(run, name)

    finish("00_gone", "gone.csv")
    finish("01_first", "now.csv", "once.csv", "edited.csv", "moved.csv")
    finish("01_first", "now.csv")
    finish("01_first", "now.csv")  # what was made before the last time counts too
    finish("02_second", "moved.csv")
    (run.figures / "edited.csv").write_text("made, with a note")
    (run.figures / "mine.csv").write_text("a person's")
    outputs.sweep(run)
    stay = {"01_first.json", "02_second.json", "now.csv", "moved.csv", "edited.csv", "mine.csv"}
    assert {file.name for file in run.figures.iterdir()} == stay
    assert outputs.of(run, "00_gone")[0].exists()
    assert outputs.set_aside(run) == {}


def test_altered_outputs_are_made_again_with_what_reads_them(house):
    """And a notebook dated in the future is refused before anything of them is removed."""
    executed, results = (house.workspace / folder / "smoke" for folder in ("runs", "figures"))
    assert house.call("reproduce")[0] == 0
    altered(executed / "02_second.ipynb", "02_second", "02_other")
    status, _, err, ran = house.call("reproduce")
    assert (status, ran) == (0, ["02_second"])
    kept = executed / "altered" / "02_second.ipynb"
    again = "02_second: not as it was when it was finished, so it runs again"
    assert err.startswith(f"{again}; what was altered is kept: {kept}\n")
    assert "02_other" in kept.read_text() and "02_other" not in (executed / "02_second.ipynb").read_text()
    altered(results / "01_first.json", '"estimates": []', '"estimates": [1]')
    assert house.call("item", "figure-1")[3] == ["01_first", "02_second"]
    assert '"estimates": []' in (results / "01_first.json").read_text()

    source = house.notebooks / "02_second.ipynb"
    postdate(source, 7200)
    before = {file: file.stat().st_mtime_ns for file in house.workspace.rglob("*")}
    status, out, err, ran = house.call("reproduce")
    assert (status, out, ran) == (2, "", [])
    assert err.startswith(f"{source} is dated about 2.0 h in the future")
    assert err.endswith(f"Set this machine's clock, or: touch '{source}'\n")
    assert err.count("\n") == 1
    assert {file: before.get(file) for file in house.workspace.rglob("*")} == before


@pytest.mark.parametrize("which", ["manifest", "module", "table"])
def test_inputs_dated_in_the_future_are_refused_with_the_worst_named(run, tmp_path, monkeypatch, which):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "MANIFESTS", tmp_path / "tables")
    files = {"manifest": "ward.csv", "module": "ecsupport/core/lower.py", "table": "tables/paper/claims.csv"}
    for name in files.values():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    own = Run.open("smoke", str(tmp_path / "ward.csv"))
    for name in files.values():
        postdate(tmp_path / name, 1)  # the clock of a file server
    outputs.refuse_future(own)
    postdate(tmp_path / files["table"], 60)
    late = tmp_path / files[which]
    postdate(late, 600)
    with pytest.raises(UserError) as refused:
        outputs.refuse_future(own)
    assert f"{late} is dated about 10 min in the future" in str(refused.value)
    assert ("(and 1 more)" in str(refused.value)) == (which != "table")


def test_a_clock_that_jumps_back_amidst_a_run_is_one_message_and_the_next_run_goes_on(house):
    """What was made before the jump is dated ahead, and what is made after it is older than what it was made from."""
    house.write(
        "02_second",
        "figure_1",
        middle="""
if not (jumped := pathlib.Path(os.environ["TRACE"] + ".jumped")).exists():
    jumped.touch()
    for file in (figures / "01_first.json", Run.open(profile).notebooks / "01_first.ipynb"):
        os.utime(file, (time.time() + 3600, time.time() + 3600))
""",
    )
    status, _, err, _ = house.call("reproduce")
    assert status == 2
    assert err.splitlines()[-1] == f"02_second: {failures.BACK}"
    assert "Snakemake" not in err and "failed" not in err
    status, _, err, ran = house.call("reproduce")
    assert (status, ran) == (0, ["01_first", "02_second"])
    assert err.startswith("01_first: not as it was when it was finished, so it runs again\n")
    assert house.call("reproduce")[3] == []


# --- the umask ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o077, 0o022], ids=["private", "usual"])
def test_everything_is_open_to_whom_the_umask_says(house, tmp_path, monkeypatch, mask):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(house.workspace))
    rows = manifest.phantoms(Run.open().profile.cohort).iloc[:3]
    with umask(mask):
        status, _, err, _ = house.call("reproduce")
        export(rows, tmp_path / "exported", 16)
        jobs.make([jobs.Job("labels", lambda folder, _: np.save(folder / "label.npy", np.arange(3)), {})])
    assert status == 0, err
    made = [*house.workspace.rglob("*"), tmp_path / "exported", *(tmp_path / "exported").rglob("*")]
    assert {"label.npy", jobs.PROVENANCE, "manifest.csv", "01_first.ipynb", "snakemake.log"} <= {f.name for f in made}
    odd = [str(f) for f in made if f.stat().st_mode & 0o777 != (0o777 if f.is_dir() else 0o666) & ~mask]
    assert odd == []
