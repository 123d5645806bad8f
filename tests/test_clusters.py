"""What Slurm says of jobs, in our words; tests/slow/test_slurm.py has it say so."""

import os

import pytest

from ecsupport import clusters, failures
from ecsupport.core import paths
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run

PROFILE = (paths.ROOT / "workflow" / "profiles" / "slurm" / "config.yaml").read_text()
FURTHER = "For further error details see the cluster/cloud log and the log files of the involved rule(s)."
UNIT = """
Error in rule networks:
    message: SLURM-job '7' failed, SLURM status is: '{}'. Detailed failure reason unavailable.{}
    jobid: 3
    input: units/images_1
    output: units/networks_2
"""
NOTEBOOK = """
Error in rule notebook_05_lsnet:
    message: SLURM-job '7' failed due to a node failure, SLURM status is: '{}'. Failed nodes will be excluded.{}
    jobid: 4
    output: /one folder/05_lsnet.ipynb, /one folder/05_lsnet.json
"""
NOT_TAKEN = """
Error in rule {}:
    message: SLURM sbatch failed. The error message was 'sbatch: error: {}'.
    sbatch call:
        sbatch --parsable
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    opened = Run.open("smoke")
    (opened.notebooks / "slurm_logs" / "rule_networks" / "2").mkdir(parents=True)
    return opened


def told(run, capsys, log, of_node=""):
    """Exit status and lines of a run whose Snakemake and whose node said so."""
    (run.notebooks / "snakemake.log").write_text(log)
    (run.notebooks / "slurm_logs" / "rule_networks" / "2" / "7.log").write_text(of_node)
    return failures.explain(run, ["05_lsnet"]), capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("log", [UNIT, NOTEBOOK])
@pytest.mark.parametrize("state", clusters.ENDS)
def test_a_state_of_slurm_is_one_line_with_the_name_and_what_to_do(run, capsys, log, state):
    name, rule = ("networks_2", "networks") if log == UNIT else ("05_lsnet", "notebook_05_lsnet")
    status, lines = told(run, capsys, log.format(state, FURTHER))
    assert (status, lines) == (2, [f"{name}: {clusters.ENDS[state].format(rule)}"])
    assert "Call again" in lines[0] or f"set-resources: [{rule}:" in lines[0]


@pytest.mark.parametrize(
    ("of_node", "words"),
    [
        ("error: Detected 1 oom-kill event(s) in StepId=7.0.", clusters.ENDS["OUT_OF_MEMORY"]),
        ("error: Detected 1 oom_kill event in StepId=7.0.", clusters.ENDS["OUT_OF_MEMORY"]),
        ("srun: error: node1: task 0: Out Of Memory", clusters.ENDS["OUT_OF_MEMORY"]),
        ("error: StepId=7.0 exceeded memory limit (2 > 1), being killed", clusters.ENDS["OUT_OF_MEMORY"]),
        ("Command 'set -euo pipefail; exec python' died with <Signals.SIGKILL: 9>.", clusters.KILLED),
    ],
)
def test_why_a_job_failed_of_which_slurm_says_no_more_stands_in_its_log(run, capsys, of_node, words):
    assert told(run, capsys, UNIT.format("FAILED", FURTHER), of_node) == (
        2,
        [f"networks_2: {words.format('networks')}"],
    )


def test_a_job_that_failed_without_a_word_is_named_with_its_log(run, capsys):
    status, lines = told(run, capsys, UNIT.format("FAILED", FURTHER), "python: command not found")
    file = run.notebooks / "slurm_logs" / "rule_networks" / "2" / "7.log"
    assert (status, lines) == (1, ["networks_2 failed on its node", f"      what was said there: {file}"])


def test_a_job_that_has_said_itself_why_it_failed_is_told_in_its_words(run, capsys):
    (run.notebooks / "failed").mkdir()
    (run.notebooks / "failed" / "networks_2.txt").write_text("ward.csv, row 3: no picture. Export it")
    status, lines = told(run, capsys, UNIT.format("FAILED", FURTHER), "returned non-zero exit status 2")
    assert (status, lines) == (2, ["ward.csv, row 3: no picture. Export it"])


@pytest.mark.parametrize("more", ["", "\nsbatch: error: Batch job submission failed: Invalid partition name specified"])
def test_what_slurm_does_not_take_is_one_line_a_reason(run, capsys, more):
    why = "invalid partition specified: nowhere"
    log = NOT_TAKEN.format("images", why + more) + NOT_TAKEN.format("networks", why + more)
    status, lines = told(run, capsys, log + NOT_TAKEN.format("networks", why + more))
    words = "Change that in the config.yaml of your cluster"
    assert (status, lines) == (2, [f"images, networks: Slurm took no job: {why}. {words}"])


def test_a_submission_that_could_not_be_tried_is_one_line_too(run, capsys):
    why = "The given account appears to be invalid"
    log = f"Error in rule images:\n    message: Job submission failed with exception: {why}{FURTHER}\n    jobid: 4\n"
    words = "Change that in the config.yaml of your cluster"
    assert told(run, capsys, log) == (2, [f"images: Slurm took no job: {why}. {words}"])


def commands(folder, monkeypatch, **scripts):
    """A machine that has these commands and no others."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_a_machine_without_slurm_is_one_message(tmp_path, monkeypatch):
    config = tmp_path / "config.yaml"
    config.write_text(PROFILE)
    commands(tmp_path, monkeypatch)
    with pytest.raises(UserError, match=f"{config} is for Slurm, of which this machine has no sbatch. Call from one"):
        clusters.check(config)
    commands(tmp_path, monkeypatch, sbatch="")
    clusters.check(config)
    config.write_text(PROFILE.replace("executor: slurm", "executor: lsf"))
    monkeypatch.setenv("PATH", os.devnull)
    clusters.check(config)


def test_arrays_are_refused(tmp_path, monkeypatch):
    config = tmp_path / "config.yaml"
    config.write_text(f"{PROFILE}slurm-array-jobs: all\n")
    commands(tmp_path, monkeypatch, sbatch="")
    with pytest.raises(UserError, match=f"{config}: with slurm-array-jobs units are lost or wait for ever. Remove"):
        clusters.check(config)


def test_a_cluster_without_accounts_is_one_message_where_they_are_asked_for(tmp_path, monkeypatch):
    """Else a run would wait for ever: how its jobs ended is never told."""
    config = tmp_path / "config.yaml"
    config.write_text(PROFILE.replace("slurm-status-command: squeue\n", ""))
    commands(tmp_path, monkeypatch, sbatch="")
    with pytest.raises(UserError, match=r"\(there is no sacct\). Add "):
        clusters.check(config)
    commands(tmp_path, monkeypatch, sacct="echo Slurm accounting storage is disabled >&2; exit 1")
    with pytest.raises(UserError, match=r"\(Slurm accounting storage is disabled\). Add .*squeue to .*config.yaml"):
        clusters.check(config)
    commands(tmp_path, monkeypatch, sacct="echo 1")
    clusters.check(config)
