"""Failures of the machine in our words: a full disk, a folder that cannot be written, a HOME that is none."""

import contextlib
import errno
import json
import os
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from test_engine import House

from ecsupport import __main__ as command
from ecsupport import engine, failures
from ecsupport.cohort import manifest
from ecsupport.cohort.export import export
from ecsupport.core import paths, training
from ecsupport.core.profiles import Run

NO_SPACE = "no space left in {}"
ROOM = 20_000  # bytes to which a file may grow, in place of a full disk


@pytest.fixture
def house(tmp_path, ecsupport, write_notebook):
    return House(tmp_path, ecsupport, write_notebook)


@contextlib.contextmanager
def full_disk():
    """What is written within, and by the programs that are started, breaks off after ROOM bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with tempfile.TemporaryDirectory() as first, pytest.MonkeyPatch.context() as patch:
        (Path(first) / "sitecustomize.py").write_text("import sys\nsys.dont_write_bytecode = True")
        patch.setenv("PYTHONPATH", first)  # else Python takes what it has cut itself for whole bytecode, ever after
        patch.setattr(sys, "dont_write_bytecode", True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def little_room():
    with full_disk():
        yield


def text_of(function, *arguments):
    with pytest.raises((OSError, RuntimeError)) as caught:
        function(*arguments)
    return f"{caught.type.__name__}: {caught.value}"


WRITERS = {
    "text": lambda folder: (folder / "a.txt").write_text("x" * 10 * ROOM),
    "array": lambda folder: np.save(folder / "a.npy", np.zeros(ROOM)),
    "checkpoint": lambda folder: training.save(folder / "a.pt", {}, {"a": torch.zeros(ROOM)}),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_writing_to_a_full_disk_is_known_by_what_each_library_says(tmp_path, monkeypatch, little_room, write):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    words = failures.in_words(text_of(write, tmp_path))
    assert words.startswith(NO_SPACE.format(tmp_path))
    assert words.endswith("point ECSUPPORT_WORKSPACE to another disk")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            str(OSError(errno.ENOSPC, "No space left on device", "/w/store/a")),
            "no space left in /w/store. Free space, or",
        ),
        (str(OSError(errno.EDQUOT, "Disk quota exceeded", "/w/store/a")), "no space left in /w/store. Free space, or"),
        (str(OSError(errno.ENOSPC, "No space", "/w/a", None, "/w/it's/b")), "no space left in /w/it's. Free space, or"),
        (str(OSError(errno.ENOSPC, "No space", "/usb/a")), "no space left in /usb. Free space"),
        ("RuntimeError: PytorchStreamWriter failed writing file data/3: file write failed", "no space left in /w (or"),
        (str(PermissionError(errno.EACCES, "Permission denied", "/w/runs")), "/w/runs: permission denied. Point ECS"),
        (str(PermissionError(errno.EACCES, "Permission denied", "/")), "/: permission denied. Point ECSUPPORT_WORKSP"),
        (str(OSError(errno.EROFS, "Read-only file system", "/w/store")), "/w/store: read-only file system. Point ECS"),
        (
            str(PermissionError(errno.EACCES, "Permission denied", "/h/m.csv")),
            "/h/m.csv: permission denied. Change its",
        ),
        (str(PermissionError(errno.EPERM, "Operation not permitted")), None),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/w/a'", None),
        ("ValueError: 3 requested and none found", None),
        ("RuntimeError: PytorchStreamReader failed finding central directory", None),
    ],
)
def test_what_the_machine_says_and_what_we_say(monkeypatch, text, words):
    monkeypatch.setattr(paths, "workspace", lambda: paths.Path("/w"))
    found = failures.in_words(text)
    assert found is None if words is None else found.startswith(words)
    assert not found or "\n" not in found


def test_a_full_disk_where_images_are_exported_to_names_that_folder(tmp_path):
    rows = manifest.phantoms(Run.open().profile.cohort).iloc[:1]
    with full_disk():
        words = failures.in_words(text_of(export, rows, tmp_path / "ward" / "cohort", 256))
    assert words == f"no space left in {tmp_path / 'ward'}. Free space"
    assert list((tmp_path / "ward").iterdir()) == []


def test_a_full_disk_stops_the_command_with_one_line(tmp_path, monkeypatch, capsys, little_room):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "work"))
    monkeypatch.setattr(engine, "reproduce", lambda *_, **__: WRITERS["array"](tmp_path))
    assert command.main(["reproduce"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(NO_SPACE.format(tmp_path / "work"))
    assert said.count("\n") == 1
    monkeypatch.setattr(engine, "reproduce", lambda *_, **__: {}["a mistake of ours"])
    with pytest.raises(KeyError):
        command.main(["reproduce"])


def test_a_full_disk_in_a_cell_or_beneath_papermill_is_one_line_and_the_next_run_goes_on(house, little_room):
    words = NO_SPACE.format(house.workspace)
    fill = f"(figures / 'table_1.csv').write_text('x' * {10 * ROOM})"
    for middle in (fill, f"print('x' * {10 * ROOM})"):  # the second: a notebook that cannot be written
        house.write("01_first", "table_1", middle=middle)
        status, out, err, ran = house.call("reproduce")
        assert (status, out, ran) == (2, "", ["01_first"])
        assert err.splitlines()[-1].startswith(words)
        assert len(err.splitlines()) == 3  # what is to run, which runs, why it stopped
    house.write("01_first", "table_1")
    status, _, err, ran = house.call("reproduce")
    assert (status, ran) == (0, ["01_first", "02_second"]), err


def test_a_disk_that_is_full_when_a_run_fails_is_the_reason(tmp_path, monkeypatch, capsys):
    """Even where nothing could be kept that says so."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    run = Run.open()
    (run.notebooks / "failed").mkdir(parents=True)
    (run.notebooks / "failed" / "01_first.ipynb").write_text('{"cells": [{"cell_ty')
    (run.notebooks / "snakemake.log").write_text("one\ntwo\n")
    assert failures.explain(run, ["01_first"]) == 1
    assert "01_first failed\n" in capsys.readouterr().err
    with full_disk():
        assert failures.explain(run, ["01_first"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(NO_SPACE.format(tmp_path))


def test_a_workspace_that_is_no_folder_is_one_line(tmp_path, ecsupport):
    (tmp_path / "file").touch()
    done = ecsupport("reproduce", ECSUPPORT_WORKSPACE=tmp_path / "file")
    assert (done.returncode, done.stdout) == (2, "")
    assert "not a directory. Point ECSUPPORT_WORKSPACE to a folder that can be written" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_home_that_cannot_be_written_is_replaced_within_the_run(house, tmp_path, monkeypatch):
    (tmp_path / "no folder").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "no folder"))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    house.write("01_first", "table_1", middle="import matplotlib\nprint(matplotlib.get_cachedir())")
    status, _, err, ran = house.call("reproduce")
    assert (status, ran) == (0, ["01_first", "02_second"]), err
    assert len(err.splitlines()) == 5  # no tool has complained
    home = house.workspace / "runs" / "smoke" / ".home"
    cells = json.loads((home.parent / "01_first.ipynb").read_text())["cells"]
    assert any(str(home) in "".join(output.get("text", "")) for cell in cells for output in cell["outputs"])


def test_a_home_that_can_be_written_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "work"))
    monkeypatch.setenv("HOME", str(tmp_path))
    engine._find_home(Run.open())
    assert os.environ["HOME"] == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
