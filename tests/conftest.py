"""What all tests share: an own workspace, one smoke run, the command line as a function, and the order of the files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from ecsupport.core import own_methods, progress
from ecsupport.core.errors import UserError

settings.register_profile("own", deadline=None)  # how long an example takes decides nothing
settings.register_profile("ci", deadline=None, derandomize=True)  # a reader's machine looks for new ones, CI does not
settings.load_profile("ci" if os.environ.get("CI") else "own")

torch.set_num_threads(1)  # tests run side by side; two threads each on two cores take many times as long

NO_CASE = SimpleNamespace(params={})  # of a test without cases
PARALLEL = "PYTEST_XDIST_WORKER" in os.environ
MAKES_THE_SMOKE_RUN, USE_IT = (
    "test_fresh_run.py",
    (
        "test_flipped.py",
        "test_notebooks.py",
        "test_own_cohort.py",
        "test_own_methods.py",
    ),
)


def pytest_configure():
    """A mistake in a file of one's own methods is said before any test is read."""
    try:
        own_methods.methods()
    except UserError as error:
        pytest.exit(str(error), 2)


def pytest_collection_modifyitems(config, items):
    """The smoke run comes last; where processes share the tests, first, what uses it last: little is waited.

    With methods of one's own (`make test METHODS=file`) only the tests that are asked of each method, about these.
    """
    if own := {*own_methods.methods().translators, *own_methods.methods().networks}:
        kept = [item for item in items if own & {*map(str, getattr(item, "callspec", NO_CASE).params.values())}]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    def place(item):
        name = item.path.name
        return (name in USE_IT) - (name == MAKES_THE_SMOKE_RUN) if PARALLEL else name in (MAKES_THE_SMOKE_RUN, *USE_IT)

    items.sort(key=place)


def pytest_runtest_setup(item):
    """All wait for the smoke run in the end: what runs beside it, in another test process, yields."""
    if PARALLEL and item.path.name != MAKES_THE_SMOKE_RUN:
        os.setpriority(os.PRIO_PROCESS, 0, 5)


@pytest.fixture(scope="session", autouse=True)
def workspace(tmp_path_factory):
    """Artefacts made by tests go to a folder of their own, never to the repository's."""
    folder = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECSUPPORT_WORKSPACE", str(folder))
        patch.delenv("ECSUPPORT_NOTEBOOKS", raising=False)
        patch.setenv("MPLBACKEND", "agg")
        patch.setenv(progress.HEADLESS, "1")
        yield folder


@pytest.fixture(autouse=True)
def look(workspace):
    """The look of pictures that a test sets is no other test's."""
    import matplotlib as mpl  # noqa: PLC0415 - after the workspace has named its backend

    with mpl.rc_context():
        yield


@pytest.fixture(scope="session")
def ecsupport():
    """`python -m ecsupport` as a function: `ecsupport("item", "table-7", ECSUPPORT_WORKSPACE=...)`."""

    def call(*arguments, cwd=None, **environment):
        return subprocess.run(
            [sys.executable, "-m", "ecsupport", *map(str, arguments)],
            env=os.environ | {key: str(value) for key, value in environment.items()},
            cwd=cwd or Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=7200,
        )

    return call


class GUARD:
    """What stops a notebook that trains or renders: every IPython with this folder begins with it."""

    words = "a notebook only reads what jobs made"
    startup = f"""
import torch
from ecsupport.cohort import phantom
from ecsupport.core import jobs

def refuse(*arguments, **options):
    raise AssertionError("{words}")

torch.optim.Optimizer.step = refuse
for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
    kind.step = refuse
phantom.render = phantom.truth = jobs.make_group = refuse
"""

    @classmethod
    def install(cls, folder):
        """Write it into a folder of IPython's own and return that."""
        place = folder / "ipython" / "profile_default" / "startup"
        place.mkdir(parents=True)
        (place / "guard.py").write_text(cls.startup)
        return folder / "ipython"


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, ecsupport):
    """A workspace with a smoke run from nothing, made once by the command behind `make reproduce`, under the guard."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if PARALLEL else base
    folder, outcome = base / "smoke", base / "smoke.txt"
    with FileLock(base / "smoke.lock"):  # the other test processes wait for the one that runs it
        if not outcome.is_file():
            guard = GUARD.install(tmp_path_factory.mktemp("guard"))
            done = ecsupport("reproduce", "--profile", "smoke", "--fresh", ECSUPPORT_WORKSPACE=folder, IPYTHONDIR=guard)
            outcome.write_text("whole" if done.returncode == 0 else done.stderr)
    assert outcome.read_text() == "whole", outcome.read_text()
    return folder


@pytest.fixture(scope="module")
def used_smoke(smoke, tmp_path_factory):
    """The smoke run for tests that execute notebooks in it: linked, so that no other test sees what they write."""
    folder = tmp_path_factory.mktemp("used") / "smoke"
    shutil.copytree(smoke, folder, copy_function=os.link)  # a file is replaced, never written into
    return folder


@pytest.fixture(scope="session")
def write_notebook():
    """Write a notebook with its `parameters` cell before the given code cells."""

    def write(file, *sources, tags=None):
        sources = ('profile = "smoke"\ncohort = ""', *sources)
        cells = [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {"tags": ["parameters"] if number == 0 else (tags or {}).get(number, [])},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for number, source in enumerate(sources)
        ]
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
        file.write_text(json.dumps(content))

    return write
