"""The Makefile and workflow/environment.py: how an environment is built, kept while a job runs, refused and removed."""

import fcntl
import json
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from ecsupport.core.paths import ROOT

NASTY = """it's a "nasty" $HOME ${HOME} #1 {x} 中文"""
INSTALL = """
def install(folder):
    import time
    with (ROOT / "trace").open("a") as trace:
        trace.write("begun ")
    while (ROOT / "wait").exists():
        time.sleep(0.05)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{PACKAGES}\\n{ROOT}", encoding="utf-8")
    (site / "imported_late.py").touch()


"""


class Checkout:
    """A copy of what sets up the environment. Only its install step is another: the packages are those of the tests."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(ROOT / "workflow", folder / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "requirements.lock").write_text("numpy==1\n")
        self.script = folder / "workflow" / "environment.py"
        script, start = self.script.read_text(encoding="utf-8"), 'if __name__ == "__main__":'
        assert script.count(start) == 1
        install = INSTALL.replace("PACKAGES", repr(sysconfig.get_path("purelib")))
        self.script.write_text(script.replace(start, install + start), encoding="utf-8")
        taken = ("PYTHON", "PROFILE", "COHORT", "METHODS", "ALLOW_EXTRA", "GROUP", "KEEP", "TESTS", "VENV")
        taken = (*taken, "ECSUPPORT_WORKSPACE", "VIRTUAL_ENV")
        self.environment = {k: v for k, v in os.environ.items() if k not in taken and not k.startswith(("MAKE", "MFL"))}

    def make(self, *arguments, python=sys.executable, **environment):
        return subprocess.run(
            ["make", "--no-print-directory", *arguments, *([f"PYTHON={python}"] if python else [])],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, *arguments, python=None):
        """A process entered as the Makefile does, or of a Python that is named, as a person does."""
        return subprocess.Popen(
            [*([python] if python else [sys.executable, self.script]), *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def place(self):
        return Path(runpy.run_path(str(self.script))["place"]())

    @property
    def builds(self):
        trace = self.folder / "trace"
        return len(trace.read_text().split()) if trace.exists() else 0

    def everything(self):
        """Every path in the checkout with what it holds or leads to, sources left out."""
        return {
            path.relative_to(self.folder): path.readlink() if path.is_symlink() else path.is_dir() or path.read_bytes()
            for path in self.folder.rglob("*")
            if "workflow" not in path.parts
        }


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "checkout").mkdir()
    return Checkout(tmp_path / "checkout")


def wait_for(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.mark.parametrize(
    "kind",
    ["folder", "file", "link outside", "link to a folder without mark", "folder in its place", "link in its place"],
)
def test_what_is_not_ours_is_refused_by_name_and_kept(checkout, tmp_path, kind):
    link, place, foreign = checkout.folder / ".venv", checkout.place, tmp_path / "thesis"
    named = place if "place" in kind else link
    if kind == "file":
        named.write_text("mine")
    elif kind.startswith("folder"):
        foreign = named
    else:
        foreign = checkout.folder / ".venv-0123456789ab" if kind == "link to a folder without mark" else foreign
        named.symlink_to(foreign.name if foreign.parent == checkout.folder else foreign)
    foreign.mkdir()
    for name in ("pyvenv.cfg", "thesis.tex", ".complete"):
        (foreign / name).write_text("mine")
    before = checkout.everything()
    done = checkout.make(".venv")
    assert done.returncode == 2
    assert done.stderr.startswith(f"{named} is a ")
    assert "Move it elsewhere, or remove it yourself" in done.stderr
    assert len(done.stderr.splitlines()) == 2  # ours and that of make
    assert checkout.everything() == before
    assert {file.name for file in foreign.iterdir()} == {"pyvenv.cfg", "thesis.tex", ".complete"}


@pytest.mark.parametrize("gone", ["environment", "place is empty"])
def test_what_holds_nothing_stops_nobody(checkout, gone):
    """A link of ours to an environment that somebody removed; a folder in which a killed build had not begun."""
    if gone == "environment":
        (checkout.folder / ".venv").symlink_to(".venv-0123456789ab")
    else:
        checkout.place.mkdir()
    done = checkout.make(".venv")
    assert done.returncode == 0, done.stderr
    assert (checkout.folder / ".venv").readlink() == Path(checkout.place.name)


def test_nothing_names_another_place_for_the_environment(checkout, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("mine")
    for arguments, environment in ((), {"VENV": str(tmp_path / "work")}), ([f"VENV={tmp_path / 'work'}"], {}):
        done = checkout.make(".venv", *arguments, **environment)
        assert done.returncode == 0, done.stderr
    assert [file.name for file in (tmp_path / "work").iterdir()] == ["thesis.tex"]
    assert checkout.builds == 1


def test_a_new_lock_is_installed_beside_and_a_running_job_keeps_what_it_began_with(checkout):
    first = checkout.place
    code = "import sys; print(sys.executable, flush=True); input(); import imported_late; print(imported_late.__file__)"
    job = checkout.start("-c", code)
    assert job.stdout.readline() == f"{first / 'bin' / 'python'}\n"
    (checkout.folder / "pyproject.toml").write_text("changed")
    os.utime(checkout.folder / "requirements.lock")
    assert checkout.make(".venv").returncode == 0
    assert checkout.builds == 1  # neither another time nor pyproject.toml asks for a new one

    (checkout.folder / "requirements.lock").write_text("numpy==2\n")
    assert checkout.make(".venv").returncode == 0
    second = checkout.place
    assert (checkout.builds, first != second) == (2, True)
    assert (checkout.folder / ".venv").readlink() == Path(second.name)

    done = checkout.make("clean")
    assert done.returncode == 2
    assert done.stderr.startswith(f"a job runs in {first.name}. Nothing was removed.")
    assert second.is_dir()
    out, err = job.communicate("go on\n")
    assert out.startswith(str(first)), err

    done = checkout.make("clean")
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(checkout.folder.glob(".venv*"))


LATE = """
import json, multiprocessing, subprocess, sys
print(json.dumps([sys.prefix, sys.exec_prefix, sys.executable, *sys.path]), flush=True)
input()
where = "__import__('imported_late').__file__"
print(eval(where), flush=True)
for method in ("fork", "forkserver", "spawn"):
    with multiprocessing.get_context(method).Pool(1) as pool:
        print(pool.apply(eval, (where,)), flush=True)
subprocess.run([sys.executable, "-I", "-c", f"print({where})"], check=True)
"""


def test_a_process_started_through_the_link_keeps_its_environment(checkout):
    """So do its workers."""
    assert checkout.make(".venv").returncode == 0
    first, link = checkout.place, checkout.folder / ".venv"
    job = checkout.start("-c", LATE, python=link / "bin" / "python")
    prefix, exec_prefix, executable, *path = json.loads(job.stdout.readline())
    assert (prefix, exec_prefix, executable) == (str(first), str(first), str(first / "bin" / "python"))
    assert sum(part.startswith(str(first)) for part in path) == 1
    assert not [part for part in path if part.startswith(f"{link}/")]

    (checkout.folder / "requirements.lock").write_text("numpy==2\n")
    assert checkout.make(".venv").returncode == 0
    assert link.resolve() == checkout.place != first
    done = checkout.make("clean")
    assert done.returncode == 2
    assert done.stderr.startswith(f"a job runs in {first.name}. Nothing was removed.")
    out, err = job.communicate("go on\n")
    assert len(out.splitlines()) == 5, err
    assert all(line.startswith(str(first)) for line in out.splitlines())
    assert checkout.make("clean").returncode == 0
    assert not list(checkout.folder.glob(".venv*"))


@pytest.mark.parametrize("forbidden", [{}, {"PYTHONDONTWRITEBYTECODE": "1"}], ids=["allowed", "forbidden"])
def test_what_is_compiled_lies_in_the_environment_and_not_beside_sources(checkout, forbidden):
    """So a second start takes half the time of the first, also where a shell forbids bytecode."""
    assert checkout.make(".venv").returncode == 0
    (checkout.folder / "mine.py").write_text("print(__cached__)")
    done = subprocess.run(
        [checkout.folder / ".venv" / "bin" / "python", "-c", "import mine"],
        cwd=checkout.folder,
        env=checkout.environment | forbidden,
        capture_output=True,
        text=True,
        check=True,
    )
    compiled = Path(done.stdout.strip())
    assert compiled.is_relative_to(checkout.place / "bytecode") and compiled.is_file()
    assert not (checkout.folder / "__pycache__").exists()
    assert checkout.make("clean").returncode == 0
    assert not list(checkout.folder.glob(".venv*"))


@pytest.mark.parametrize("why", ["another holds it alone", "it has no marker", "no packages are wanted"])
def test_a_process_that_cannot_hold_its_environment_runs_all_the_same(checkout, why):
    assert checkout.make(".venv").returncode == 0
    marker = checkout.place / "made-by-workflow-environment"
    with marker.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if why == "it has no marker":
            marker.unlink()
        options = ["-S"] if why == "no packages are wanted" else []
        job = checkout.start(*options, "-c", "print('ran')", python=checkout.folder / ".venv" / "bin" / "python")
        assert job.communicate() == ("ran\n", "")
    assert job.returncode == 0


@pytest.mark.parametrize(("given", "on"), [("1", True), ("0", False), ("", False), ("yes", False)])
@pytest.mark.parametrize("switch", ["check ALLOW_EXTRA --allow-extra", "bench KEEP --keep"])
def test_a_switch_is_on_where_it_is_1(checkout, switch, given, on):
    target, name, option = switch.split()
    python = checkout.folder / "python3"
    python.write_text('#!/bin/sh\necho "$@"\n')  # says what the recipe calls
    python.chmod(0o755)
    for arguments, environment in ([f"{name}={given}"], {}), ([], {name: given}):
        done = checkout.make(target, *arguments, python=python, **environment)
        assert done.returncode == 0, done.stderr
        assert (option in done.stdout.split()) == on


def test_an_interrupted_build_is_begun_again(checkout):
    (checkout.folder / "wait").touch()
    build = checkout.start("--version")
    wait_for(lambda: checkout.builds)
    build.kill()
    build.communicate()
    (checkout.place / "lib").mkdir()
    (checkout.place / "lib" / "half").write_text("written")
    assert not (checkout.folder / ".venv").is_symlink()
    (checkout.folder / "wait").unlink()
    done = checkout.make(".venv")
    assert done.returncode == 0, done.stderr
    assert checkout.builds == 2
    assert not (checkout.place / "lib" / "half").exists()


def test_a_failed_build_is_one_message_and_begun_again(checkout):
    script, step = checkout.script.read_text(encoding="utf-8"), "    (site,) = "
    assert script.count(step) == 1
    failing = script.replace(step, f"    subprocess.run(['false'], check=True)\n{step}")
    checkout.script.write_text(failing, encoding="utf-8")
    done = checkout.make(".venv")
    assert done.returncode == 2
    assert "the environment could not be set up" in done.stderr
    assert "Traceback" not in done.stderr
    checkout.script.write_text(script, encoding="utf-8")
    assert checkout.make(".venv").returncode == 0
    assert checkout.builds == 2


def test_two_at_once_build_one_environment(checkout):
    (checkout.folder / "wait").touch()
    code = ("-c", "import sys; print(sys.executable)")
    jobs = [checkout.start(*code)]
    wait_for(lambda: checkout.builds)
    jobs.append(checkout.start(*code))
    assert jobs[1].stderr.readline() == f"Waiting for {checkout.place.name}, which another make sets up ...\n"
    (checkout.folder / "wait").unlink()
    assert {job.communicate()[0] for job in jobs} == {f"{checkout.place / 'bin' / 'python'}\n"}
    assert checkout.builds == 1


def test_clean_removes_what_was_generated_and_spares_what_is_not_ours(checkout, tmp_path):
    folder, disk = checkout.folder, tmp_path / "disk"
    names = ("store/trained", "figures/reference", "figures/smoke", "figures/smoke-ward", "figures/own", "runs/own")
    for path in (disk / "runs", *(folder / name for name in (*names, "runs/smoke", "runs/smoke-ward", "runs/laptop"))):
        path.mkdir(parents=True)
        (path / "file").touch()
    for name in ("smoke", "smoke-ward", "laptop"):
        (folder / "runs" / name / ".lock").touch()  # as ecsupport.engine does
    (folder / "runs" / "own" / "smoke").mkdir()
    (folder / "runs" / "thesis.tex").touch()
    (folder / "runs" / "paper").symlink_to(disk / "runs")
    (folder / "figures" / "laptop").symlink_to(disk / "runs")
    (folder / "figures" / "figure.svg").touch()
    (folder / "store" / "elsewhere").symlink_to(disk / "runs")
    (folder / "figures" / "smoke" / "elsewhere").symlink_to(disk / "runs")
    (folder / ".venv-mine" / "__pycache__").mkdir(parents=True)
    (folder / "workflow" / "__pycache__").mkdir(exist_ok=True)
    spared = (".venv-mine", "figures/figure.svg", "figures/laptop", "figures/own", "runs/own", "runs/paper")
    spared = (*spared, "runs/thesis.tex")
    kept = (*spared, "figures/reference", "requirements.lock", "Makefile")
    before = {path for path in checkout.everything() if str(path).startswith(kept)}
    assert checkout.make(".venv").returncode == 0
    (folder / "trace").unlink()
    done = checkout.make("clean")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [f"left alone: {name}, which is not of this project's making" for name in spared]
    assert set(checkout.everything()) == before | {Path("figures"), Path("runs")}
    assert (disk / "runs" / "file").is_file()
    assert not (folder / "workflow" / "__pycache__").exists()


def test_clean_follows_no_link_in_place_of_runs_or_figures(checkout, tmp_path):
    for name in ("runs", "figures"):
        (tmp_path / "disk" / name / "smoke").mkdir(parents=True)
        (checkout.folder / name).symlink_to(tmp_path / "disk" / name)
    (tmp_path / "disk" / "runs" / "smoke" / ".lock").touch()
    done = checkout.make("clean")
    assert done.returncode == 0
    spared = ("figures", "runs")
    assert done.stderr.splitlines() == [f"left alone: {name}, which is not of this project's making" for name in spared]
    assert len(list((tmp_path / "disk").glob("*/smoke"))) == 2


NOTEBOOK = """
import hashlib, json
from ecsupport.core.profiles import Run
figures = Run.open(profile, cohort).figures
figures.mkdir(parents=True, exist_ok=True)
text = "metric,computed\\nSensitivity,0.9\\n"
(figures / "table_1.csv").write_text(text)
files = {f"figures/{figures.name}/table_1.csv": {"sha256": hashlib.sha256(text.encode()).hexdigest()}}
(figures / "01_first.json").write_text(json.dumps({"files": files, "estimates": [], "missing": {}}))
"""
INDEX = '[[notebook]]\nname = "01_first"\ntitle = "First"\nneeds = []\nitems = { "table-1" = "table_1.csv" }\n'


def test_no_character_of_a_path_is_taken_for_syntax(tmp_path, write_notebook):
    """Of the checkout's, of the manifest's, on the command line or in the environment, and of the Python's."""
    folder = tmp_path / NASTY
    folder.mkdir()
    checkout = Checkout(folder)
    for name in ("ecsupport", "data_manifests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "index.toml").write_text(INDEX + "minutes = { smoke = 0.1 }\n")
    write_notebook(folder / "notebooks" / "01_first.ipynb", NOTEBOOK.strip())
    (folder / "tests").mkdir()
    (folder / "tests" / "test_few.py").write_text("def test_one():\n    pass\n\n\ndef test_two():\n    assert 0\n")
    python = folder / "python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)

    done = checkout.make("table-1", python=python)
    assert done.returncode == 0, done.stderr
    assert "Sensitivity       0.9" in done.stdout
    assert f"notebook  {folder / 'runs' / 'smoke' / '01_first.ipynb'}" in done.stdout

    manifest = folder / f"ward of {NASTY}.csv"
    manifest.write_text("patient_id\n1\n")
    for arguments, environment in ([f"COHORT={manifest}"], {}), ([], {"COHORT": str(manifest)}):
        done = checkout.make("table-1", *arguments, **environment)
        assert done.returncode == 2
        assert done.stderr.startswith(f"{manifest}: column 'image' is missing")

    done = checkout.make("test", "TESTS=tests/test_few.py -k 'one or three' -p no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    shutil.rmtree(folder / "notebooks")
    shutil.copy(ROOT / "workflow" / "environment.py", checkout.script)  # as it is, which has nothing more to install
    done = checkout.make("lint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert checkout.make("clean").returncode == 0
    assert not (folder / "runs").exists()
    assert not list(folder.glob(".venv*"))
    assert checkout.builds == 1


@pytest.mark.parametrize("version", ["3.9.6", "3.14.0"])
def test_an_unsupported_python_gets_one_message(checkout, tmp_path, version):
    python = tmp_path / "python3"
    real = version.split(".")[:2]
    python.write_text(  # an interpreter that says it is of that version
        f'#!{sys.executable}\nimport collections, sys\nif sys.argv[1] == "--version":\n    print("Python {version}")\n'
        f"else:\n    sys.version_info = ({', '.join(real)}, 0)\n    exec(sys.argv[2])\n"
    )
    python.chmod(0o755)
    done = checkout.make("reproduce", python=python)
    message = f"This project needs Python 3.11, 3.12 or 3.13; {python} is Python {version}."
    assert done.returncode == 2
    assert done.stdout.startswith(message)
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not list(checkout.folder.glob(".venv*"))
