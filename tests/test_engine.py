"""The engine: what is run again and what is not, what a failure looks like, and that a killed run goes on."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ecsupport import bench, engine, execution
from ecsupport.core import paths
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.reporting import index

NASTY = """it's "one" of $HOME #1 {x} {profile} 中文"""  # what YAML, shells, Snakemake and papermill would misread

INDEX = """
[[notebook]]
name = "01_first"
title = "The first"
needs = []
items = { "table-1" = "table_1.csv" }
minutes = { smoke = 0.1 }

[[notebook]]
name = "02_second"
title = "The second"
needs = ["01_first"]
items = { "figure-1" = "figure_1.png" }
minutes = { smoke = 0.1 }

[[notebook]]
name = "03_third"
title = "The third"
needs = ["02_second"]
items = { "table-2" = "table_2.csv" }
"""

# Each notebook leaves a trace of its execution and writes a table and its results file, as `Results` would.
FIRST = """
import hashlib, json, os, pathlib, time
from ecsupport.core.profiles import Run
figures = Run.open(profile, cohort).figures
figures.mkdir(parents=True, exist_ok=True)
with open(os.environ["TRACE"], "a") as trace:
    trace.write("NAME ")
pathlib.Path(os.environ["TRACE"] + ".pid").write_text(str(os.getpid()))
"""
LAST = """
(figures / "TABLE.csv").write_text("metric,published,computed\\nSensitivity,0.995,VALUE\\n")
digest = hashlib.sha256((figures / "TABLE.csv").read_bytes()).hexdigest()
key = f"figures/{figures.name}/TABLE.csv"
(figures / "NAME.json").write_text(json.dumps({"files": {key: {"sha256": digest}}, "estimates": [], "missing": {}}))
"""


# three jobs, each of which reads the one before, and many that read nothing; every process of a run begins with it
TOY = """
import os, sys, time, types
from pathlib import Path
from ecsupport.core.jobs import Job
from ecsupport.experiments import catalogue

def make(folder, job):
    with open(os.environ["TRACE"] + ".jobs", "a") as trace:
        trace.write(job.name + "\\n")
    taken = b"x" * int(os.environ.get("BYTES", 0)) if job.recipe.get("hold") else b""
    while job.recipe.get("hold") and Path(os.environ["TRACE"] + ".hold").exists():
        time.sleep(0.05)
    below = b"".join((one.folder / "it").read_bytes() for one in job.inputs.values())
    (folder / "it").write_bytes(below + job.name.encode())

def read(run):
    first = Job("pixels/toy", make, {}, minutes=0.1)
    second = Job("translator/toy", make, {"hold": True}, {"pixels": first}, minutes=0.1)
    third = Job("screening/toy", make, {}, {"translator": second}, minutes=0.1)
    return [third, *(Job(f"floor/toy-{number}", make, {}) for number in range(int(os.environ.get("MANY", 0))))]

toy = types.ModuleType("ecsupport.experiments.toy")
toy.read = read
sys.modules[toy.__name__] = toy
catalogue.READ["01_first"] = "toy.read"
"""


def sources(name, table, value=0.9, middle=""):
    fill = {"NAME": name, "TABLE": table, "VALUE": str(value)}
    cells = [FIRST, middle or "1", LAST]
    for word, text in fill.items():
        cells = [cell.replace(word, text) for cell in cells]
    return cells


class House:
    """A workspace and a folder of two tiny notebooks."""

    def __init__(self, folder, call, write, name=NASTY):
        self.notebooks = folder / f"notebooks of {name}"
        self.notebooks.mkdir()
        self.workspace = folder / f"workspace of {name}"
        self.trace = folder / "trace"
        self.further = {}
        self._call, self._write = call, write
        (self.notebooks / "index.toml").write_text(INDEX)
        self.write("01_first", "table_1")
        self.write("02_second", "figure_1")

    def write(self, name, table, **change):
        self._write(self.notebooks / f"{name}.ipynb", *sources(name, table, **change))

    @property
    def environment(self):
        return {
            "ECSUPPORT_NOTEBOOKS": str(self.notebooks),
            "ECSUPPORT_WORKSPACE": str(self.workspace),
            "TRACE": str(self.trace),
        } | self.further

    def give_jobs(self):
        """Let the first notebook lack jobs, of which one takes until nobody holds it."""
        place = self.trace.with_name("jobs")
        place.mkdir()
        (place / "sitecustomize.py").write_text(TOY)
        self.further = {"PYTHONPATH": str(place)}
        self.hold.touch()

    @property
    def hold(self):
        return Path(f"{self.trace}.hold")

    def call(self, *arguments):
        """Exit status, standard output, standard error, and the names of the notebooks that were executed."""
        self.trace.write_text("")
        done = self._call(*arguments, **self.environment)
        return done.returncode, done.stdout, done.stderr, self.trace.read_text().split()

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "ecsupport", *arguments],
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def house(tmp_path, ecsupport, write_notebook):
    return House(tmp_path, ecsupport, write_notebook)


def wait_for(condition, run=None, seconds=600.0):
    """Until the condition holds: what it gives. A run that ends before it does says why."""
    deadline = time.monotonic() + seconds
    while not (met := condition()):
        assert run is None or run.poll() is None, (run.returncode, *run.communicate())
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return met


def ps(*asked):
    """What ps prints of the processes, whole lines: alone it cuts them at the width of somebody's terminal."""
    return subprocess.run(["ps", "-ww", *asked], capture_output=True, text=True, check=False).stdout


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return ps("-o", "stat=", "-p", str(pid))[:1] not in ("", "Z")


def test_only_what_changed_is_run_again(house):
    status, out, err, ran = house.call("reproduce")
    assert (status, ran) == (0, ["01_first", "02_second"]), err
    assert "smoke: 2 notebooks to run, about 12 s" in err
    assert "[1/2] 01_first — The first (about 6 s)" in err
    assert "[2/2] 02_second" in err
    assert str(house.workspace / "runs" / "smoke") in out
    assert {file.name for file in (house.workspace / "runs/smoke").glob("*.ipynb")} == {
        "01_first.ipynb",
        "02_second.ipynb",
    }
    parameters = json.loads((house.workspace / "runs/smoke/01_first.ipynb").read_text())["cells"][1]
    assert "injected-parameters" in parameters["metadata"]["tags"]

    status, out, err, ran = house.call("item", "table-1")
    assert (status, ran) == (0, [])
    assert "nothing to do" in err
    assert out.split("\n")[0].split() == ["metric", "published", "computed"]
    assert "Sensitivity      0.995       0.9" in out

    old, stray = (house.workspace / "figures/smoke" / name for name in ("figure_0.csv", "mine.csv"))
    house.write("02_second", "figure_0")
    assert house.call("reproduce")[3] == ["02_second"]
    assert old.exists()
    stray.write_text("put there by a person")
    house.write("02_second", "figure_1", value=0.8)
    status, _, err, ran = house.call("reproduce")
    assert (status, ran) == (0, ["02_second"])
    assert "[1/1] 02_second" in err
    assert not old.exists()
    assert stray.exists()

    house.write("01_first", "table_1", value=0.7)
    status, out, _, ran = house.call("item", "figure-1")
    assert (status, ran) == (0, ["01_first", "02_second"])
    figure = house.workspace / "figures/smoke/figure_1.png"
    assert out == f"figure  {figure}\ndata    {figure.with_suffix('.csv')}\n"


def test_results_are_kept_as_reference_but_for_long_lists(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    monkeypatch.setattr(paths, "reference", lambda: tmp_path / "reference")
    run = Run.open("laptop")
    with pytest.raises(UserError, match="make table-1 PROFILE=laptop"):
        engine.keep(run)
    run.figures.mkdir(parents=True)
    (run.figures / "table_1.csv").write_text("model\n")
    (run.figures / "mine.csv").write_text("a person's")
    listed = {f"figures/laptop/{name}.csv": {} for name in ("table_1", "synthetic")}
    (run.figures / "01_data_split.json").write_text(json.dumps({"files": listed}))
    (run.figures / "synthetic.csv").write_bytes(b"x" * (engine.LARGEST + 1))
    (tmp_path / "reference" / "laptop").mkdir(parents=True)
    (tmp_path / "reference" / "laptop" / "table_0.csv").touch()  # of an earlier run
    archived = tmp_path / "reference" / "laptop" / "trained" / "screening" / "lsnet" / "42" / "history.csv"
    archived.parent.mkdir(parents=True)
    archived.write_text("days of training")
    assert engine.keep(run) == 0
    kept = {f.name for f in (tmp_path / "reference" / "laptop").iterdir()}
    assert kept == {"01_data_split.json", "table_1.csv", "trained"}
    assert archived.read_text() == "days of training"


def test_results_of_own_images_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    (tmp_path / "ward.csv").touch()
    with pytest.raises(UserError, match="own images"):
        engine.keep(Run.open("smoke", str(tmp_path / "ward.csv")))


def test_a_failed_notebook_is_kept_and_named(house):
    beside = "os.write(2, b'Traceback of a kernel that ends')"  # under pytest a kernel leaves this stream alone
    house.write("01_first", "table_1", middle=f"{beside}\nnumbers = [1]\nnumbers[3]")
    status, _, err, ran = house.call("reproduce")
    kept = house.workspace / "runs/smoke/failed/01_first.ipynb"
    assert (status, ran) == (1, ["01_first"])
    assert "01_first failed in cell [4]: IndexError: list index out of range" in err
    assert str(kept) in err
    assert "IndexError" in kept.read_text()
    assert "Traceback" not in err
    assert "a kernel that ends" in kept.with_suffix(".log").read_text()
    assert f"what its kernel said: {kept.with_suffix('.log')}" in err
    assert not (house.workspace / "runs/smoke/01_first.ipynb").exists()


def test_a_mistake_of_the_caller_is_one_line(house):
    mistake = "from ecsupport.core.errors import row_error\nraise row_error('m.csv', 3, 'two centres', 'Choose one.')"
    house.write("01_first", "table_1", middle=mistake)
    manifest = house.notebooks / f"ward: 7 {NASTY}.csv"
    manifest.write_text("patient_id\n1\n")
    status, out, err, _ = house.call("reproduce", "--cohort", manifest)
    assert (status, out) == (2, "")
    assert err.startswith(f"{manifest}: column 'image' is missing")  # before any notebook
    assert len(err.splitlines()) == 4  # the other missing columns too, one line each
    patients = [(f"p{number}.png", f"p{number}", number % 2) for number in range(40)]
    for grey, (name, _, _) in enumerate(patients):
        Image.new("L", (8, 8), grey).save(house.notebooks / name)
    rows = [f"{name},{patient},one,us,{label}" for name, patient, label in patients]
    manifest.write_text("\n".join(["image,patient_id,centre,modality,label", *rows]) + "\n")
    status, out, err, _ = house.call("reproduce", "--cohort", manifest)
    assert status == 2
    assert out == ""
    failed = house.workspace / "runs" / f"smoke-{manifest.stem}" / "failed" / "01_first.ipynb"
    assert f"cohort = {json.dumps(str(manifest))}" in "".join(
        "".join(cell["source"]) for cell in json.loads(failed.read_text())["cells"]
    )
    assert err.splitlines()[-1] == "m.csv, row 3: two centres. Choose one."
    assert "Traceback" not in err


def test_notebooks_run_side_by_side(house):
    """Each waits until the other has begun: one after the other, the first would wait in vain."""
    meet = """
for _ in range(6000):
    if {"02_second", "03_third"} <= set(open(os.environ["TRACE"]).read().split()): break
    time.sleep(0.1)
else:
    raise RuntimeError("alone")
"""
    changed = INDEX.replace('needs = ["02_second"]', 'needs = ["01_first"]\nminutes = { smoke = 0.1 }')
    (house.notebooks / "index.toml").write_text(changed)
    house.write("02_second", "figure_1", middle=meet)
    house.write("03_third", "table_2", middle=meet)
    status, _, err, ran = house.call("reproduce")
    assert (status, set(ran)) == (0, {"01_first", "02_second", "03_third"}), err
    assert len(err.splitlines()) == 7  # no line was written into another


def test_runs_of_two_profiles_go_side_by_side(house):
    """Each has a lock, a folder and a log of its own; jobs that both want are made once (test_jobs.py)."""
    index = house.notebooks / "index.toml"
    index.write_text(index.read_text().replace("{ smoke = 0.1 }", "{ smoke = 0.1, laptop = 0.1 }"))
    met = """
there = pathlib.Path(os.environ["TRACE"] + "." + profile)
there.touch()
while len(list(there.parent.glob(there.stem + ".[sl]*"))) < 2:  # each waits for the other
    time.sleep(0.05)
"""
    house.write("02_second", "figure_1", middle=met)
    both = [house.start("reproduce", "--profile", profile) for profile in ("smoke", "laptop")]
    for profile, run in zip(("smoke", "laptop"), both, strict=True):
        _, err = run.communicate(timeout=600)
        assert run.returncode == 0, err
        assert f"{profile}: 2 notebooks to run" in err
        assert (house.workspace / "figures" / profile / "02_second.json").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process mounts of its own")
def test_a_checkout_that_cannot_be_written_serves_a_workspace_elsewhere(house, tmp_path):
    """The whole disk with the checkout is mounted for reading, as on a cluster's shared software."""
    house.workspace.mkdir()
    script = f"""
        mount --bind {paths.ROOT} {paths.ROOT} && mount -o remount,ro,bind {paths.ROOT} || exit 99
        ! touch {paths.ROOT}/written 2>/dev/null || exit 98
        exec "$@"
    """
    call = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "ecsupport", "reproduce"]

    def start(**environment):
        return subprocess.run(call, env=os.environ | environment, capture_output=True, text=True, check=False)

    done = start(**house.environment)
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert house.trace.read_text().split() == ["01_first", "02_second"]

    done = start(**house.environment | {"ECSUPPORT_WORKSPACE": str(paths.ROOT)})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "read-only file system. Point ECSUPPORT_WORKSPACE to a folder that can be written" in done.stderr


@pytest.mark.parametrize("terminal", [False, True], ids=["no terminal", "terminal"])
def test_a_run_needs_no_terminal(house, terminal):
    """Neither one to read from nor one to write to; with one the same is done."""
    reading, writing = os.openpty() if terminal else (None, None)
    closed = 'exec "$@"' if terminal else 'exec "$@" <&-'
    run = subprocess.Popen(
        ["sh", "-c", closed, "sh", sys.executable, "-m", "ecsupport", "reproduce"],
        env=os.environ | house.environment,
        stdin=writing,
        stdout=writing or subprocess.PIPE,
        stderr=writing or subprocess.PIPE,
        start_new_session=True,
    )
    if terminal:
        os.close(writing)
        with contextlib.suppress(OSError):  # the last who wrote has ended
            while os.read(reading, 4096):
                pass
        os.close(reading)
    _, err = run.communicate(timeout=600)
    assert run.returncode == 0, err
    assert house.trace.read_text().split() == ["01_first", "02_second"]


def test_a_notebook_without_results_fails(house):
    house._write(house.notebooks / "01_first.ipynb", "print('SUCCESS over nothing')")
    status, _, err, _ = house.call("execute", "01_first")
    assert status == 1
    assert "01_first: wrote no results. Its last cell must call results.finish()" in err


def test_stopped_then_killed_then_finished(house):
    house.write(
        "02_second", "figure_1", middle="if not pathlib.Path(os.environ['TRACE'] + '.go').exists(): time.sleep(3600)"
    )
    reached = lambda: "02_second" in house.trace.read_text()  # noqa: E731
    house.trace.write_text("")

    run = house.start("reproduce")
    wait_for(reached, run)
    status, _, err, _ = house.call("reproduce")  # which leaves the trace empty
    assert status == 2
    assert err.count("\n") == 1
    assert "another process is working on smoke" in err
    os.killpg(run.pid, signal.SIGINT)  # Ctrl-C in a terminal reaches the whole group
    out, err = run.communicate(timeout=600)
    assert run.returncode == 130
    assert "Traceback" not in out + err
    assert err.splitlines()[-1] == "stopped; the next run goes on from the last checkpoint"
    assert "failed" not in err
    kernel = int(Path(f"{house.trace}.pid").read_text())
    wait_for(lambda: not alive(kernel))

    run = house.start("reproduce")
    wait_for(reached, run)
    run.kill()
    run.communicate(timeout=600)
    kernel = int(Path(f"{house.trace}.pid").read_text())
    wait_for(lambda: not alive(kernel))  # a dead owner leaves no notebook running

    Path(f"{house.trace}.go").touch()
    status, _, err, ran = house.call("reproduce")
    assert (status, ran) == (0, ["02_second"]), err


def kernel_of(run):
    """A kernel that a notebook of the run has started, however young; None where there is none."""
    rows = [line.split(None, 3) for line in ps("-eo", "pid=,ppid=,sess=,args=").splitlines()]
    ours = {pid for pid, _, session, *_ in rows if int(session) == run.pid}
    return next((int(pid) for pid, parent, _, *of in rows if parent in ours and "ipykernel_launcher" in str(of)), None)


def test_a_kernel_that_is_killed_while_it_starts_is_one_line_too(house):
    house.trace.write_text("")
    run = house.start("reproduce")
    os.kill(wait_for(lambda: kernel_of(run), run), signal.SIGKILL)
    _, err = run.communicate(timeout=600)
    assert run.returncode == 2, err
    assert err.splitlines()[-1].startswith("01_first: its process was ended from outside")
    assert house.trace.read_text() == "" and "Traceback" not in err and "failed" not in err
    assert house.call("reproduce")[3] == ["01_first", "02_second"]


def test_a_job_that_is_killed_is_one_line_and_the_next_run_makes_it(house):
    house.give_jobs()
    run = house.start("reproduce")
    begun = Path(f"{house.trace}.jobs")
    wait_for(lambda: begun.exists() and "translator" in begun.read_text(), run)
    rows = [line.split(None, 2) for line in ps("-eo", "pid=,sess=,args=").splitlines()]
    (unit,) = [int(pid) for pid, session, *of in rows if int(session) == run.pid and "ecsupport unit" in str(of)]
    os.kill(unit, signal.SIGKILL)
    _, err = run.communicate(timeout=600)
    assert run.returncode == 2, err
    assert err.splitlines()[-1].startswith("translators_1: its process was ended from outside")
    house.hold.unlink()
    status, _, err, ran = house.call("reproduce")
    assert (status, ran) == (0, ["01_first", "02_second"]), err
    assert begun.read_text().split() == ["pixels/toy", "translator/toy", "translator/toy", "screening/toy"]


@pytest.mark.parametrize("killed", ["kernel", "notebook"])
def test_what_is_killed_in_a_run_is_one_line_and_the_next_run_goes_on(house, killed):
    house.write(
        "02_second", "figure_1", middle="if not pathlib.Path(os.environ['TRACE'] + '.go').exists(): time.sleep(3600)"
    )
    house.trace.write_text("")
    run = house.start("reproduce")
    number = Path(f"{house.trace}.pid")  # of the kernel at work: that of the notebook before has ended
    wait_for(lambda: "02_second" in house.trace.read_text() and alive(int(number.read_text() or 0)), run)
    kernel = int(number.read_text())
    os.kill(kernel if killed == "kernel" else int(ps("-o", "ppid=", "-p", str(kernel))), signal.SIGKILL)
    out, err = run.communicate(timeout=600)
    assert run.returncode == 2, err
    assert "Traceback" not in out + err
    (line,) = err.split("02_second — The second")[1].splitlines()[1:]
    assert line.startswith("02_second: its process was ended from outside")
    wait_for(lambda: not alive(kernel))

    Path(f"{house.trace}.go").touch()
    status, _, err, ran = house.call("reproduce")
    assert (status, ran) == (0, ["02_second"]), err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("reproduce", "--profile", "huge"), "unknown profile 'huge'. Choose one of: laptop, paper, smoke"),
        (("reproduce", "--cohort", "none.csv"), "none.csv does not exist. Give COHORT the path of a CSV file"),
        (("reproduce", "--on", "moon"), "Choose one of: default, slurm, or a folder with such a file"),
        (("reproduce", "--on", "slurm"), "a cluster's jobs cannot be given"),
        (("item", "table-99"), "unknown item 'table-99'. Choose one of: figure-1, table-1, table-2"),
        (("item", "table-2"), "table-2 is not yet: 03_third (The third) is still to be written"),
        (("bench", "nothing"), "there is no group 'nothing' to measure"),
    ],
)
def test_an_unknown_name_is_one_message(house, arguments, message):
    status, out, err, ran = house.call(*arguments)
    assert (status, out, ran) == (2, "", [])
    assert message in err
    assert err.count("\n") == 1


# --- the index ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "The second"', 'titel = "The second"', "row 2: unknown key 'titel'"),
        ('title = "The second"\n', "", "row 2: missing key 'title'"),
        ('needs = ["01_first"]', 'needs = ["00_none"]', "row 2: need '00_none' is no notebook above"),
        ('"figure-1" = "figure_1.png"', '"table-1" = "table_1.csv"', "row 2: table-1 is made by 01_first already"),
        ('name = "02_second"', 'name = "01_first"', "row 2: 01_first stands twice"),
        ('"figure_1.png"', '"../figure_1.png"', "row 2: item figure-1 = '../figure_1.png' is unfit"),
        ("smoke = 0.1 }\n\n[[notebook]]\nname", 'smoke = "1" }\n\n[[notebook]]\nname', "minutes of smoke are '1'"),
        ("[[notebook]]", "[[notebook]", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_index_is_one_message(tmp_path, old, new, message):
    assert old in INDEX
    file = tmp_path / "index.toml"
    file.write_text(INDEX.replace(old, new))
    with pytest.raises(UserError, match=f"index.toml.*{message}"):
        index.read_index(file)


def test_needs_that_are_not_written_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_NOTEBOOKS", str(tmp_path))
    (tmp_path / "index.toml").write_text(INDEX.replace('"table_1.csv" }\nminutes = { smoke = 0.1 }', '"table_1.csv" }'))
    assert [(n.name, n.needs) for n in index.written_notebooks()] == [("02_second", ())]


def test_the_committed_index_ends_with_the_ledger_which_needs_everything():
    *others, ledger = index.written_notebooks()
    assert ledger.name == "99_claims_ledger"
    assert ledger.needs == tuple(notebook.name for notebook in others)


@pytest.mark.parametrize(
    ("minutes", "words"),
    [([0.3, 0.2], "about 30 s"), ([1, 3], "about 4 min"), ([150], "about 2.5 h"), ([1, None], ""), ([], "")],
)
def test_duration_in_words(minutes, words):
    assert index.duration(minutes) == words


# --- around the engine ----------------------------------------------------------------------------------------------


def test_a_lock_is_waited_for_as_long_as_a_dead_owners_children_take(house, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(house.workspace))
    monkeypatch.setattr(engine, "PATIENCE", 0.3)
    run = engine.Run.open()
    with FileLock(run.notebooks / ".lock"), pytest.raises(UserError, match="another process"), engine._owned(run):
        pass
    with engine._owned(run):
        pass


def test_aligned_puts_numbers_right_and_words_left():
    assert engine.aligned("metric,value\nSensitivity,0.9\nF1,12.25\n").splitlines() == [
        "metric       value",
        "-----------  -----",
        "Sensitivity    0.9",
        "F1           12.25",
    ]


def test_what_a_kernel_printed_in_pieces_is_committed_as_one():
    def stream(*text):
        return {"output_type": "stream", "name": "stdout", "text": list(text)}

    shown = {"output_type": "display_data", "data": {"text/plain": ["x"]}, "metadata": {}}
    outputs = [stream("a\n", "b"), stream("\n"), shown, stream("c")]
    cell = {"cell_type": "code", "id": "one", "metadata": {}, "source": [], "outputs": outputs}
    (clean,) = execution.cleaned({"cells": [cell]})["cells"]
    assert clean["outputs"] == [stream("a\n", "b\n"), shown, stream("c")]


def test_cleaned_keeps_outputs_and_drops_what_an_execution_adds():
    result = {"output_type": "execute_result", "execution_count": 9, "data": {"text/plain": "1"}, "metadata": {}}
    noise = {"output_type": "stream", "name": "stderr", "text": "12:00 warning"}

    def cell(source, *outputs, **more):
        metadata = {"papermill": {"duration": 1.0}, "execution": {"iopub.execute_input": "12:00"}, **more}
        return {
            "cell_type": "code", "source": source, "metadata": metadata, "execution_count": 9, "outputs": list(outputs)
        }  # fmt: skip

    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"papermill": {"start_time": "12:00"}, "language_info": {"name": "python", "version": "3.11"}},
        "cells": [
            {**cell("profile = 'smoke'", tags=["parameters"]), "id": "a"},
            {**cell("profile = 'paper'", tags=["injected-parameters"]), "id": "b"},
            {**cell("1", noise, result, tags=["nbval-check-output"]), "id": "a"},
            cell("2"),
        ],
    }
    clean = execution.cleaned(json.loads(json.dumps(notebook)))
    assert [c["source"] for c in clean["cells"]] == ["profile = 'smoke'", "1", "2"]
    assert [c["execution_count"] for c in clean["cells"]] == [1, 2, 3]
    assert clean["cells"][1]["outputs"] == [{**result, "execution_count": 2}]
    assert clean["cells"][1]["metadata"] == {"tags": ["nbval-check-output"]}
    assert len({c["id"] for c in clean["cells"]}) == 3
    assert "12:00" not in json.dumps(clean)
    assert clean == execution.cleaned(json.loads(json.dumps(clean)))


def test_bench_fails_when_a_bound_is_not_met(tmp_path, capsys):
    (tmp_path / "shared_by_benches.py").write_text("SPEED = 10.0\n")
    (tmp_path / "bench_toy.py").write_text(
        "from shared_by_benches import SPEED\n"
        "from ecsupport.bench import Measure, measure\n"
        "@measure('toy')\n"
        "def speed():\n"
        "    yield Measure('fast', SPEED, 'images/s', 5.0, at_least=True)\n"
        "    yield Measure('shown', 1.0, 's')\n"
    )
    assert bench.run("toy", tmp_path) == 0
    (tmp_path / "bench_slow.py").write_text(
        "from ecsupport.bench import Measure, measure\n"
        "@measure('slow')\n"
        "def speed():\n"
        "    yield Measure('slow', 3.0, 's', 2.0)\n"
        "    yield Measure('undefined', float('nan'), 's', 2.0)\n"
    )
    assert bench.run("", tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines if "fast" in line] == ["ok", "ok"]
    assert [line.split()[-1] for line in lines if "slow " in line or "undefined" in line] == ["FAIL", "FAIL"]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_the_interval_of_a_ratio_holds_its_true_median_and_twice_slower_is_not_faster(seed):
    noise = np.random.default_rng(seed).lognormal(0, 0.1, (2, 40))
    found = bench.Measure.ratio("slow over fast", 2 * noise[0], noise[1], 1.0)
    assert found.low < found.value < found.high
    assert found.low > 1.7
    assert not found.ok


def test_the_interval_of_a_median_covers_it_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(size=(4000, 40))
    found = [bench.Measure.ratio("", np.exp(row), np.ones(40)) for row in draws]
    assert 0.95 < np.mean([m.low <= 1 <= m.high for m in found]) < 0.975


def test_kept_measures_are_read_as_they_were(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "reference", lambda: tmp_path / "reference")
    (tmp_path / "bench_toy.py").write_text(
        "from ecsupport.bench import Measure, measure\n"
        "import numpy as np\n"
        "@measure('toy')\n"
        "def speed():\n"
        "    yield Measure.ratio('twice', np.full(40, 2.0), np.ones(40))\n"
        "    yield Measure('alone', 3.0, 's')\n"
    )
    assert bench.kept("toy") == {}
    assert bench.run("toy", tmp_path) == 0
    assert bench.kept("toy") == {}
    bench.run("toy", tmp_path, keep=True)
    twice, alone = bench.kept("toy").values()
    assert (twice.name, twice.value, twice.low, twice.high, twice.unit) == ("twice", 2, 2, 2, "times")
    assert (alone.value, alone.unit) == (3, "s")
    assert np.isnan(alone.low)
