"""A run on Slurm: a cluster of one node is started for each test (tests/slurm_cluster.py)."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import slurm_cluster
from test_engine import House

from ecsupport import clusters
from ecsupport.core import paths
from ecsupport.core.artefacts import sha256

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

    def change(self, old, new):
        """Another word in the profile of the cluster."""
        profile = self.quick / "config.yaml"
        text = profile.read_text()
        assert old in text
        profile.write_text(text.replace(old, new))

    def add(self, line):
        with (self.quick / "config.yaml").open("a") as profile:
            profile.write(f"{line}\n")

    def script(self, text, timeout=3600, **more):
        """Run a shell script on a cluster, in which `run` reproduces on it."""
        run = f'run() {{ "{sys.executable}" -m ecsupport reproduce --on "{self.quick}" "$@"; }}\n'
        environment = os.environ | self.environment | more
        command = [sys.executable, slurm_cluster.__file__, "bash", "-c", run + textwrap.dedent(text)]
        told = {"capture_output": True, "text": True, "timeout": timeout}
        return subprocess.run(command, env=environment, cwd=self.quick.parent, check=False, **told)

    def said(self, done):
        """The one line that a run and its next said beside their progress."""
        progress = ("[", "smoke: ", "      ")
        found = [line for line in done.stderr.splitlines() if not line.startswith(progress)]
        assert len(found) == 1, done.stderr
        return found[0]

    def made(self):
        """What the jobs made, by their names."""
        store = self.workspace / "store"
        return {str(file.relative_to(store)): file.read_bytes() for file in store.rglob("it")}


@pytest.fixture
def cluster(tmp_path, ecsupport, write_notebook):
    return Cluster(tmp_path, ecsupport, write_notebook)


# a shell's `await PATTERN`: until a job whose name fits is being made
AWAIT = """
await() { until grep -qs "$1" "$TRACE.jobs"; do sleep 0.2; done; }
"""
# the node on which a job is being made is down, until the job's process has ended
LOSE = f"""{AWAIT}
(await translator
node=$(sinfo -h -o %N)
scontrol update NodeName=$node State=DOWN Reason=lost
while pgrep -f "ecsupport uni[t] translators"; do sleep 0.2; done
rm "$TRACE.hold"
scontrol update NodeName=$node State=RESUME 2>/dev/null) &  # or it is back already
"""
# after a run that has failed with a message: the next one, with the profile changed by $CHANGE
NEXT = '[ $? = 2 ] || exit 98; sed -i -e "$CHANGE" quick/config.yaml; rm -f "$TRACE.hold"; run || exit 97'


def test_a_job_that_is_cancelled_is_one_message_and_the_next_run_ends_in_the_bytes_of_a_local_one(cluster):
    done = cluster.script(f"{AWAIT} (await translator; scancel $(squeue -h -t R -o %i)) & run; {NEXT}")
    assert done.returncode == 0, done.stderr
    assert cluster.said(done) == "translators_1: was cancelled. Call again: what is whole stays"
    made = Path(f"{cluster.trace}.jobs").read_text().split()
    assert made == ["pixels/toy", "translator/toy", "translator/toy", "screening/toy"]
    on_slurm = cluster.made()

    cluster.workspace = cluster.workspace.with_name("local")
    status, _, err, ran = cluster.call("reproduce")
    assert (status, ran) == (0, ["01_first", "02_second"]), err
    assert cluster.made() == on_slurm and len(on_slurm) == 3


def test_a_node_that_is_lost_and_comes_back_costs_the_job_that_it_made(cluster):
    done = cluster.script(LOSE + "run")
    assert done.returncode == 0, done.stderr
    made = Path(f"{cluster.trace}.jobs").read_text().split()
    assert made == ["pixels/toy", "translator/toy", "translator/toy", "screening/toy"]


def test_where_jobs_are_not_queued_again_a_lost_node_is_one_message_and_the_next_run_goes_on(cluster):
    done = cluster.script(f"{LOSE} run; {NEXT}", SBATCH_NO_REQUEUE="1")
    assert done.returncode == 0, done.stderr
    assert cluster.said(done) == "translators_1: lost its node. Call again: what is whole stays"


def test_what_a_cluster_refuses_is_one_message(cluster):
    cluster.hold.unlink()
    cluster.add("  slurm_partition: nowhere")
    done = cluster.script("run")
    assert done.returncode == 2
    why = "invalid partition specified: nowhere"
    assert cluster.said(done) == f"images: Slurm took no job: {why}. Change that in the config.yaml of your cluster"


def test_a_cluster_without_accounts_is_one_message_where_they_are_asked_for(cluster):
    cluster.change("slurm-status-command: squeue", "slurm-status-command: sacct")
    done = cluster.script("run")
    assert done.returncode == 2
    line = cluster.said(done)
    assert line.startswith("this cluster keeps no accounts that tell how jobs ended (")
    assert line.endswith(f"Add slurm-no-account: true and slurm-status-command: squeue to {cluster.quick}/config.yaml")


def test_a_job_that_takes_longer_than_it_asked_for_is_told_with_its_remedy(cluster):
    """The remedy's own form, by which the job is given a minute here; Slurm looks every half a minute."""
    cluster.add("set-resources: [translators:runtime=1]")
    done = cluster.script(f"run; {NEXT}", CHANGE="s/runtime=1]/runtime=20]/")
    assert done.returncode == 0, done.stderr
    assert cluster.said(done) == f"translators_1: {clusters.ENDS['TIMEOUT'].format('translators')}"


def test_a_job_that_needs_more_memory_than_it_asked_for_is_told_with_its_remedy(cluster):
    """Ended by the kernel where it counts memory here, else by Slurm: of a job of several steps both say FAILED."""
    cluster.add("set-resources: [translators:mem_mb=1000]")
    more = {"BYTES": str(3 * 2**29), "CHANGE": "s/mem_mb=1000]/mem_mb=3000]/"}
    done = cluster.script(f"run; {NEXT}", **more)
    assert done.returncode == 0, done.stderr
    assert cluster.said(done) == f"translators_1: {clusters.ENDS['OUT_OF_MEMORY'].format('translators')}"


def test_a_process_that_is_killed_on_its_node_is_told_with_its_remedy(cluster):
    """As the kernel does where the node has no memory left."""
    done = cluster.script(f'{AWAIT} (await translator; pkill -KILL -f "ecsupport uni[t] translators") & run; {NEXT}')
    assert done.returncode == 0, done.stderr
    assert cluster.said(done) == f"translators_1: {clusters.KILLED.format('translators')}"


@pytest.mark.parametrize("at_once", [100, 2])
def test_hundreds_of_tiny_jobs_are_a_few_submissions(cluster, at_once):
    """They share units, however many of which Slurm is given at once."""
    cluster.change("jobs: 100 ", f"jobs: {at_once} ")
    cluster.hold.unlink()
    done = cluster.script("run --jobs 6 && squeue -h -r -t all -o %T", MANY="300")
    assert done.returncode == 0, done.stderr
    assert len(cluster.made()) == 303, done.stderr
    assert len(set(Path(f"{cluster.trace}.jobs").read_text().split())) == 303
    assert done.stdout.split().count("COMPLETED") == 1 + 6 + 1 + 2  # units of three stages, and two notebooks


def test_the_profile_smoke_gives_the_bytes_of_a_local_run(cluster, smoke):
    """Tables, pictures and all that its jobs made."""
    notebooks = {"ECSUPPORT_NOTEBOOKS": str(paths.ROOT / "notebooks"), "PYTHONPATH": ""}
    done = cluster.script("run --profile smoke --fresh --jobs 2", timeout=7200, **notebooks)
    assert done.returncode == 0, done.stderr
    here, there = (results(workspace) for workspace in (smoke, cluster.workspace))
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []


def results(workspace):
    """SHA-256 by path of tables, pictures and files of jobs."""
    files = [file for file in (workspace / "figures" / "smoke").iterdir() if file.suffix in (".csv", ".png")]
    files += [file for file in (workspace / "store").rglob("*") if file.is_file() and file.suffix != ".lock"]
    return {str(file.relative_to(workspace)): sha256(file) for file in files}
