"""A run on Slurm: a cluster of one node is started for each test (tests/slurm_cluster.py)."""

import os
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest
import slurm_cluster
from test_engine import House

from ecsupport import failures
from ecsupport.core import paths

pytestmark = pytest.mark.skipif(bool(slurm_cluster.why_not()), reason=slurm_cluster.why_not())

PROFILE = (paths.ROOT / "workflow" / "profiles" / "slurm" / "config.yaml").read_text()


class Cluster(House):
    """The house, with three jobs, on a cluster of its own."""

    def __init__(self, folder, call, write):
        super().__init__(folder, call, write, "one 中文")
        self.give_jobs()
        (folder / "quick").mkdir()
        (folder / "quick" / "config.yaml").write_text(PROFILE.replace(": 10\n", ": 2\n"))
        self.quick = folder / "quick"

    def script(self, text, **more):
        """Run a shell script on a cluster, in which `run` reproduces on it."""
        run = f'run() {{ "{sys.executable}" -m ecsupport reproduce --on "{self.quick}" "$@"; }}\n'
        environment = os.environ | self.environment | more
        command = [sys.executable, slurm_cluster.__file__, "bash", "-c", run + textwrap.dedent(text)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)

    def made(self):
        """What the jobs made, by their names."""
        store = self.workspace / "store"
        return {str(file.relative_to(store)): file.read_bytes() for file in store.rglob("it")}


@pytest.fixture
def cluster(tmp_path, ecsupport, write_notebook):
    return Cluster(tmp_path, ecsupport, write_notebook)


def lines(done):
    """What a run said beside its progress."""
    return [line for line in done.stderr.splitlines() if not line.startswith(("[", "smoke: ", "      "))]


# a shell's `await PATTERN`: until a job whose name fits is being made
AWAIT = """
await() { until grep -qs "$1" "$TRACE.jobs"; do sleep 0.2; done; }
"""


def test_a_job_that_is_cancelled_is_one_message_and_the_next_run_ends_in_the_bytes_of_a_local_one(cluster):
    hold = cluster.hold
    script = f"""
        {AWAIT}
        (await translator; scancel $(squeue -h -t R -o %i); rm "{hold}") &
        run
        [ $? = 2 ] || exit 98
        run || exit 97
    """
    done = cluster.script(script)
    assert done.returncode == 0, done.stderr
    said = [line for line in lines(done) if line.strip()]
    assert said == ["translators_1: was cancelled. Call again: what is whole stays"] + [
        line for line in said if line.startswith(("notebooks", "figures", "report"))
    ]
    made = Path(f"{cluster.trace}.jobs").read_text().split()
    assert made == ["pixels/toy", "translator/toy", "translator/toy", "screening/toy"]
    on_slurm = cluster.made()

    cluster.workspace = cluster.workspace.with_name("local")
    status, _, err, ran = cluster.call("reproduce")
    assert (status, ran) == (0, ["01_first", "02_second"]), err
    assert cluster.made() == on_slurm and len(on_slurm) == 3


def test_a_node_that_is_lost_and_comes_back_costs_the_job_that_it_made(cluster):
    hold = cluster.hold
    script = f"""
        {AWAIT}
        node=$(sinfo -h -o %n)
        (await translator; scontrol update NodeName=$node State=DOWN Reason=lost; rm "{hold}"; sleep 3
         scontrol update NodeName=$node State=RESUME) &
        run
    """
    done = cluster.script(script)
    assert done.returncode == 0, done.stderr
    made = Path(f"{cluster.trace}.jobs").read_text().split()
    assert made == ["pixels/toy", "translator/toy", "translator/toy", "screening/toy"]


def test_what_a_cluster_refuses_is_one_message(cluster):
    cluster.hold.unlink()
    with (cluster.quick / "config.yaml").open("a") as profile:
        profile.write("  slurm_partition: nowhere\n")
    done = cluster.script("run")
    assert done.returncode == 2
    (line,) = lines(done)
    assert line == (
        "Slurm took no job: invalid partition specified: nowhere. Change that in the config.yaml of your cluster"
    )


def test_a_job_that_takes_longer_than_it_asked_for_is_told_with_its_remedy(cluster):
    """The remedy's own form, by which the job is given a minute here; Slurm looks every half a minute."""
    with (cluster.quick / "config.yaml").open("a") as profile:
        profile.write("set-resources: [translators:runtime=1]\n")
    done = cluster.script("run")
    assert done.returncode == 2
    assert lines(done) == [f"translators_1: {failures.OF_CLUSTERS['TIMEOUT'].format('translators')}"]


def test_hundreds_of_tiny_jobs_are_a_few_submissions(cluster):
    """They share units, and the units of a stage are one array."""
    cluster.hold.unlink()
    done = cluster.script("run --jobs 6 && squeue -h -r -t all -o %F", MANY="300")
    assert done.returncode == 0, done.stderr
    assert len(cluster.made()) == 303, done.stderr
    tasks = Counter(line for line in done.stdout.split() if line.isdigit())
    assert sorted(tasks.values()) == [1, 1, 1, 1, 6]  # three stages, one of them with many jobs, and two notebooks
