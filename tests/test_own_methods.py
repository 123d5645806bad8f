"""A method of one's own: the README's example is trained, stands in two tables and keeps what every method must."""

import csv
import re
import subprocess
import sys

import pytest

from ecsupport.core import own_methods, paths, profiles
from ecsupport.core.profiles import Run
from ecsupport.experiments import catalogue

EXAMPLE = re.search(
    r"^## Your own method.*?```python\n(.*?)```", (paths.ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
)[1]
TABLES = """
from ecsupport.core import jobs
from ecsupport.core.profiles import Run
from ecsupport.evaluation.runs import metric_runs
from ecsupport.experiments import distances, networks, tested
from ecsupport.reporting import distance_tables, screening_tables

run = Run.open("smoke")
trained = {which: job for which, job in networks.table_3(run).items() if which[0] in screening_tables.others()}
jobs.make([*distances.translated_features(run).values(), *(networks.scores(run, job) for job in trained.values())])
table_1, _ = distance_tables.table_1(distance_tables.read_sets(run))
print(table_1.set_index("images").loc[["CycleGAN", "without_identity"], ["seeds", "frechet"]].to_csv(header=False))
test = tested.opened(run, trained, screening_tables.others())
runs = metric_runs(test.truth, test.scores)
print(runs[runs["metric"] == "roc_auc"].groupby("arm").size().to_csv(header=False))
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Write a file of methods and name it; returns its path."""

    def write(text, name="mine.py"):
        file = tmp_path / name
        file.write_text(text)
        monkeypatch.setenv(own_methods.VARIABLE, str(file))
        return file

    return write


def names(run):
    return {job.name for job in catalogue.by_name(run).values()}


def test_the_example_is_twenty_lines_and_each_of_its_methods_has_jobs(mine):
    lines = [line for line in EXAMPLE.splitlines() if line.strip()]
    assert len(lines) <= 20
    run = Run(profiles.load("smoke"))
    before = names(run)
    mine(EXAMPLE)
    own = Run.open("smoke")
    assert own.name == "smoke+mine"
    added = names(own) - before
    for what in ("translator/without_identity/42", "features/without_identity/42", "screening/tiny/42"):
        assert what in added
    assert all("tiny" in name or "without_identity" in name for name in added)  # Table 2 has the paper's alone


def test_a_file_may_hold_dataclasses(mine):
    """Whose types Python looks for in the modules that it knows by name."""
    begin = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    mine(f"{begin}@dataclass\nclass Size:\n    side: int\nNETWORKS = {{'mine': Size}}\n")
    assert own_methods.methods().networks["mine"](3).side == 3


def test_a_changed_file_is_another_method_and_leaves_all_others_as_they_were(mine):
    mine(EXAMPLE)
    before = catalogue.by_name(Run.open("smoke"))
    mine(EXAMPLE + "# with another thought\n")
    after = catalogue.by_name(Run.open("smoke"))
    changed = {name for name, job in after.items() if job.key != before[name].key}
    assert {"translator/without_identity/42", "screening/tiny/42"} <= changed
    assert all("tiny" in name or "without_identity" in name for name in changed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = 1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("x = (\n", "line 1: SyntaxError"),
        ("import no_such_library\n", "line 1: ModuleNotFoundError"),
        ("x = 1\n", "names no method. Define TRANSLATORS or NETWORKS"),
        ("NETWORKS = [print]\n", "NETWORKS is list. Make it a dictionary by name"),
        ("NETWORKS = {'../up': print}\n", "NETWORKS has the name '../up'. Use small letters"),
        ("NETWORKS = {'mine': 3}\n", r"NETWORKS\['mine'\] is int. Give a class or a function"),
        ("NETWORKS = {'lsnet': print}\n", "NETWORKS has 'lsnet', which the companion has"),
        ("NETWORKS = {'mine': print}\nRATES = {'mine': -1}\n", r"RATES\['mine'\] is -1. Give a rate above 0"),
        ("NETWORKS = {'mine': print}\nRATES = {'other': 1}\n", r"RATES\['other'\] is 1. Give a rate above 0"),
        ("TRANSLATORS = {'mine': print}\n", "the translator 'mine' is no subclass of Translator"),
        ("TRANSLATORS = {'unit': print}\n", "TRANSLATORS has 'unit', which the companion has"),
        (
            "from ecsupport.translation.interface import Translator\nclass M(Translator): pass\nTRANSLATORS = {'m': M}",
            "the translator 'm' has no WEIGHTS",
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_message(mine, ecsupport, text, message):
    file = mine(text)
    done = ecsupport("jobs", "--profile", "smoke", "--methods", file)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert re.search(f"{re.escape(str(file))}.*{message}", done.stderr), done.stderr


def test_a_file_that_is_not_there_is_one_message(tmp_path, ecsupport):
    for file, message in ((tmp_path / "none.py", "does not exist"), (tmp_path, "is no file")):
        done = ecsupport("jobs", "--methods", file)
        assert (done.returncode, done.stderr) == (2, f"{file} {message}. Give METHODS a Python file\n")


def test_the_example_keeps_what_every_method_must(mine):
    """The same tests as of the companion's own, as `make test METHODS=...` asks them."""
    mine(EXAMPLE)
    files = [f"tests/test_{name}.py" for name in ("translators", "translation_training", "networks", "replay")]
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "--no-header", *files]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    asked = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert asked > 20


def test_the_example_is_trained_and_stands_in_both_tables(mine, used_smoke, monkeypatch):
    """On the jobs of the smoke run: only what is one's own is made."""
    mine(EXAMPLE)
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(used_smoke))
    done = subprocess.run([sys.executable, "-c", TABLES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {name: numbers for name, *numbers in filter(None, csv.reader(done.stdout.splitlines()))}
    seeds, distance = rows["without_identity"]
    assert int(seeds) == 1 and float(distance) > 0
    assert rows["tiny"] == ["3"]
