"""The graph of lacking jobs: every job in one unit, units wait for what they read, and nothing long starts unasked."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsupport import engine, execution, failures, outputs
from ecsupport.core import jobs, paths
from ecsupport.core.errors import UserError
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run, load
from ecsupport.experiments import catalogue, graph
from ecsupport.reporting.index import written_notebooks


def nothing(folder, job):
    (folder / "made.txt").write_text(job.name)


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))


KINDS = ("pixels", "translator", "translations", "screening", "scores", "measured")


@st.composite
def lacking(draw):
    """Random jobs, each reading some of those before whose kind is not a later one, some of them of one teacher."""
    found = []
    for number in range(draw(st.integers(1, 25))):
        kind = draw(st.sampled_from(KINDS))
        before = [job for job in found if KINDS.index(job.name.split("/")[0]) <= KINDS.index(kind)]
        read = draw(st.lists(st.sampled_from(before), max_size=3, unique=True)) if before else []
        teacher = draw(st.sampled_from(["", "", "one", "other"])) if kind == "screening" else ""
        inputs = {str(place): job for place, job in enumerate(read)}
        minutes = draw(st.sampled_from([0.0, 0.0, 1.0, 17.5, 40.0]))
        found.append(Job(f"{kind}/{number}", nothing, {}, inputs, minutes=minutes, together=teacher))
    return found


@given(lacking(), st.integers(1, 4))
def test_units_hold_every_job_once_and_wait_for_what_theirs_read(wanted, workers):
    units = graph.units(wanted, workers)
    assert sorted(job.name for unit in units for job in unit.jobs) == sorted(job.name for job in wanted)
    assert all(unit.jobs for unit in units)
    unit_of = {job.name: unit.name for unit in units for job in unit.jobs}
    done = set()
    for unit in units:  # in an order in which they can be made
        assert set(unit.needs) <= done
        read = {unit_of[one.name] for job in unit.jobs for one in job.inputs.values()}
        assert set(unit.needs) == read - {unit.name}
        done.add(unit.name)
    for teacher in ("one", "other"):
        assert len({unit_of[job.name] for job in wanted if job.together == teacher}) <= 1
    for stage, _ in graph.STAGES:
        assert sum(unit.name.startswith(stage) for unit in units) <= max(
            workers, 1 + sum(job.minutes for job in wanted) / graph.ENOUGH
        )


def test_a_job_that_reads_a_later_stage_is_refused():
    late = Job("scores/late", nothing, {})
    with pytest.raises(ValueError, match="reads scores/late, which is made in a later stage"):
        graph.units([late, Job("pixels/early", nothing, {}, {"late": late})], 1)


def test_small_jobs_share_processes_and_long_ones_do_not():
    short = [Job(f"translator/{number}", nothing, {}, minutes=0.3) for number in range(10)]
    long = [Job(f"translator/{number}", nothing, {}, minutes=15) for number in range(10)]
    assert len(graph.units(short, 2)) == 2
    assert len(graph.units(long, 2)) == 8


def test_what_is_drawn_says_what_each_notebook_waits_for_and_what_a_stage_asks_for():
    """The largest job of a stage decides, which is one rule."""
    small = Job("translator/small", nothing, {}, minutes=1, memory=0.5)
    large = Job("translator/large", nothing, {}, minutes=50, memory=3.2, device="cuda")
    score = Job("scores/one", nothing, {}, {"translator": large}, minutes=1)
    jobs.make([small])
    wanted = {"03": [small, large], "05": [score], "07": [small], "10": []}
    drawn = graph.drawn(wanted, ["03", "05", "07"], 2)
    json.dumps(drawn, allow_nan=False)
    assert drawn["stages"]["translators"]["units"]["translators_1"]["jobs"] == ["translator/large"]
    assert {name: of["units"] for name, of in drawn["notebooks"].items()} == {
        "03": ["translators_1"], "05": ["networks_1"], "07": [], "10": []
    }  # fmt: skip
    asked = {name: [stage[of] for of in ("memory", "minutes", "gpu")] for name, stage in drawn["stages"].items()}
    assert asked == {"translators": [3200, 50 * graph.SPARE, 1], "networks": [1000, graph.LEAST, 0]}
    assert graph.drawn(wanted, [], 2)["stages"] == {}


@pytest.mark.parametrize("name", ["smoke", "laptop", "paper"])
def test_all_jobs_of_a_profile_can_be_ordered(name):
    """With the patients of `smoke`, whose keys take less time."""
    every = catalogue.by_name(Run(replace(load(name), cohort=load("smoke").cohort)))
    assert any("/at-" in name for name in every) == (name == "paper")  # translations at the size of screening
    units = graph.units(jobs.lacking(every.values()), 2)
    assert {job.name for unit in units for job in unit.jobs} == every.keys()


def test_the_paper_s_sizes_fit_a_machine_of_16_gb_and_a_disk_of_60():
    """By the estimates of its jobs, which tests/slow/test_paper.py holds against what a step takes."""
    every = catalogue.by_name(Run(load("paper"))).values()
    assert max(job.memory for job in every) <= 16
    assert sum(job.disk for job in every) <= 60


def test_what_takes_long_is_named_and_not_trained_unasked(monkeypatch, capsys):
    long = [Job(f"screening/lsnet/{seed}", nothing, {"seed": seed}, minutes=11) for seed in range(30)]
    monkeypatch.setattr(catalogue, "of_notebook", lambda run, name: long if name == "05" else [])
    run = Run.open("smoke")
    run.notebooks.mkdir(parents=True)
    assert engine._may_begin(run, ["07"], 2, asked=False)
    assert capsys.readouterr().err == ""
    assert not engine._may_begin(run, ["05", "07"], 2, asked=False)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "smoke: 30 jobs to make, about 2.8 h with 2 at a time"
    assert said[1] == "  screening/lsnet/0  about 11 min"
    assert "and 10 more: python -m ecsupport jobs --profile smoke" in said[-2]
    assert "TRAIN=1" in said[-1]
    assert engine._may_begin(run, ["05"], 2, asked=True)
    for job in long[1:]:
        jobs.make([job])
    assert not engine._may_begin(run, ["05"], 2, asked=False)  # eleven minutes are left
    jobs.make(long)
    assert engine._may_begin(run, ["05"], 2, asked=False)


def test_more_at_a_time_than_there_are_cores_makes_nothing_shorter(monkeypatch):
    chain = [Job("translator/one", nothing, {}, minutes=4)]
    chain.append(Job("screening/one", nothing, {}, {"translations": chain[0]}, minutes=4))
    wide = [Job(f"screening/{number}", nothing, {"number": number}, minutes=4) for number in range(8)]
    run = Run.open("smoke")
    run.notebooks.mkdir(parents=True)
    monkeypatch.setattr(engine.os, "cpu_count", lambda: 2)
    for of in (chain, wide):
        monkeypatch.setattr(catalogue, "of_notebook", lambda run, name, of=of: of)
        assert not engine._may_begin(run, ["05"], 64, asked=False)
    monkeypatch.setattr(catalogue, "of_notebook", lambda run, name: chain[:1])
    assert engine._may_begin(run, ["05"], 1, asked=False)


def test_where_the_archive_is_passed_over_notebooks_that_it_served_run_again(monkeypatch):
    """Snakemake takes them for up to date: what they read has the same key."""
    job = Job("screening/lsnet/42", nothing, {}, minutes=1)
    monkeypatch.setattr(catalogue, "of_notebook", lambda run, name: [job] if name.startswith("04") else [])
    run = Run.open("smoke")
    names = outputs.with_needs([notebook.name for notebook in written_notebooks()])

    def stale():
        return [one.name[:2] for one in engine._stale(run, lambda *_: (0, "rule\tplan\n"), [], names)]

    assert stale() == []
    monkeypatch.setenv(paths.FRESH, "1")
    assert stale() == ["04", "99"]
    jobs.make([job])
    assert stale() == []


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (UserError("ward.csv, row 3: no picture. Export it"), 2, "ward.csv, row 3: no picture. Export it"),
        (OSError(28, "No space left on device", "/nowhere/x"), 2, "no space left in /nowhere. Free space"),
        (ZeroDivisionError("division by zero"), 1, "a job failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_job_that_fails_is_told_by_the_run_and_what_was_made_stays(monkeypatch, capsys, error, status, words):
    def broken(folder, job):
        raise error

    first = Job("pixels/first", nothing, {}, minutes=1)
    second = Job("screening/second", broken, {}, {"pixels": first}, minutes=1)
    monkeypatch.setattr(catalogue, "find", lambda run, names: [second])
    run = Run.open("smoke")
    run.notebooks.mkdir(parents=True)
    monkeypatch.setenv(execution.AHEAD, f"2 2 1 {0}")
    assert execution.make_unit(run, "networks_1", ["screening/second"]) == status
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in said] == ["[1/2] pixels/first", "[2/2] screening/second"]
    assert (first.state, second.state) == ("made", "lacking")
    (run.notebooks / "snakemake.log").touch()
    assert failures.explain(run, []) == status
    said = capsys.readouterr().err.splitlines()
    assert said[0] == words
    assert (len(said) == 1) == (status == 2)
    if status == 1:
        kept = run.notebooks / "failed" / "networks_1.txt"
        assert str(kept) in said[1] and "Traceback" in kept.read_text()


def test_time_left_follows_how_fast_the_jobs_before_were(monkeypatch, capsys, tmp_path):
    run = Run.open("smoke")
    run.notebooks.mkdir(parents=True)
    monkeypatch.setattr(execution.time, "time", lambda: 1200.0)  # twenty minutes after the run began
    monkeypatch.setenv(execution.AHEAD, "4 40 1 0")
    (run.notebooks / execution.BEGUN).write_text("10\n")
    execution._tell(run, "screening/lsnet/42", 10.0)
    assert capsys.readouterr().err == "[2/4] screening/lsnet/42 (about 60 min left)\n"  # half as fast as was thought
    assert np.loadtxt(run.notebooks / execution.BEGUN).tolist() == [10, 10]


def test_the_default_profile_is_that_of_the_evidence_and_smoke_for_own_images(tmp_path, monkeypatch):
    (tmp_path / "ward.csv").touch()
    for default in ("smoke", "laptop"):
        monkeypatch.setattr("ecsupport.core.profiles.DEFAULT", default)
        assert Run.open().profile.name == default
        assert Run.open("", str(tmp_path / "ward.csv")).profile.name == "smoke"
        assert Run.open("paper").profile.name == "paper"
