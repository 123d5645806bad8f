"""Jobs: known by what they are made from, made once, whole or absent, looked for in the store and in the archive."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ecsupport.core import jobs, paths
from ecsupport.core.artefacts import write_record
from ecsupport.core.errors import UserError
from ecsupport.core.jobs import Job

made = []


def write(folder, job):
    """What every test job does: it notes its name and writes its recipe and what its inputs wrote."""
    made.append(job.name)
    below = [json.loads((one.folder / "it.json").read_text()) for one in job.inputs.values()]
    (folder / "it.json").write_text(json.dumps([job.recipe, below]))
    (folder / "heavy.bin").write_bytes(b"\0" * 100)


def job(name="a", recipe=None, make=write, **others):
    return Job(f"{name}/1", make, {"steps": 3} if recipe is None else recipe, **others)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "w"))
    monkeypatch.setenv("ECSUPPORT_NOTEBOOKS", str(tmp_path / "notebooks"))
    made.clear()


def archive(one, *left_out):
    """Move what a job made from the store into the archive, without some of its files."""
    folder = paths.reference() / "laptop" / "trained" / one.name / one.key[:20]
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(one.place, folder)
    note = jobs.record(folder)
    for name in left_out:
        (folder / name).unlink()
        del note["files"][name]
    write_record(folder / jobs.PROVENANCE, note | {"left_out": list(left_out)})
    return folder


def test_a_key_is_that_of_recipe_inputs_and_given_data_alone():
    table, rows = pd.DataFrame({"image": ["a", "b"]}), np.arange(3)
    given = {"rows": rows, "table": table}
    one = job(given=given, inputs={"pixels": job("p")})
    copies = {name: data.copy() for name, data in given.items()}
    same = job("b", make=lambda *_: None, given=copies, minutes=9, device="cuda", inputs={"pixels": job("q")})
    assert one.key == same.key
    others = [
        replace(one, recipe={"steps": 4}),
        replace(one, inputs={}),
        replace(one, inputs={"other role": job("p")}),
        replace(one, inputs={"pixels": job("p", {"steps": 4})}),
        replace(one, given=given | {"rows": rows + 1}),
        replace(one, given=given | {"rows": rows.astype(np.int32)}),
        replace(one, given=given | {"table": table.assign(image=["a", "c"])}),
    ]
    assert len({one.key, *(other.key for other in others)}) == 8


def test_what_is_lacking_is_made_once_and_inputs_first():
    below = job("below", {"steps": 1})
    both = [job("left", {"steps": 2}, inputs={"b": below}), job("right", {"steps": 3}, inputs={"b": below})]
    assert [one.name for one in jobs.lacking(both)] == ["below/1", "left/1", "right/1"]
    jobs.make(both)
    jobs.make(both)
    assert made == ["below/1", "left/1", "right/1"]
    assert [one.state for one in [below, *both]] == ["made"] * 3
    assert job("below", {"steps": 5}).state == "lacking"  # what is stale is simply not there
    assert jobs.record(both[0].folder)["inputs"] == {"b": below.key}


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "heavy.bin").write_bytes(b"\1" + b"\0" * 99),  # one byte, and as long as before
        lambda folder: (folder / "heavy.bin").unlink(),
        lambda folder: (folder / jobs.PROVENANCE).write_text("{"),
    ],
    ids=["a byte", "a file", "the provenance"],
)
def test_damage_in_the_store_is_noticed_and_the_job_made_again(damage):
    one = job()
    jobs.make([one])
    damage(one.folder)
    assert one.state == "lacking"
    jobs.make([one])
    assert made == ["a/1", "a/1"]
    assert one.file("heavy.bin").read_bytes() == b"\0" * 100


def test_the_archive_serves_what_it_holds(monkeypatch):
    one = job()
    jobs.make([one])
    folder = archive(one, "heavy.bin")
    assert (one.state, jobs.lacking([one])) == ("archived", [])
    assert one.file("it.json") == folder / "it.json"
    with pytest.raises(UserError, match="python -m ecsupport make a/1"):
        one.file("heavy.bin")
    above = job("above", inputs={"a": one})
    assert jobs.lacking([above]) == [one, above]  # a job needs its inputs whole
    with monkeypatch.context() as patch:
        patch.setenv(paths.FRESH, "1")
        assert one.state == "lacking"
    jobs.make([one])  # is there for its readers
    assert made == ["a/1"]
    jobs.make([one], whole=True)  # as the message says
    assert one.file("heavy.bin").read_bytes() == b"\0" * 100


def read_heavy(folder, job):
    """What a job does that reads one file of its input, wherever that lies."""
    (folder / "size").write_text(str(job.inputs["a"].file("heavy.bin").stat().st_size))


def test_a_job_that_says_what_it_reads_is_made_from_what_the_archive_kept():
    """Of an input that is archived without other files nothing is made anew; what it reads and is left out, is."""
    one = job()
    jobs.make([one])
    archive(one, "it.json")
    above = job("above", make=read_heavy, inputs={"a": one}, reads={"a": ("heavy.bin",)})
    assert jobs.lacking([above]) == [above]
    jobs.make([above])
    assert made == ["a/1"] and above.file("size").read_text() == "100"
    other = job("other", make=read_heavy, inputs={"a": one}, reads={"a": ("heavy.bin", "it.json")})
    assert jobs.lacking([other]) == [one, other]


def test_a_whole_archived_job_is_an_input_like_any_other():
    one = job()
    jobs.make([one])
    archive(one)
    above = job("above", inputs={"a": one})
    jobs.make([above])
    assert made == ["a/1", "above/1"]


def test_an_altered_archive_is_passed_over_with_one_line(capfd):
    one = job()
    jobs.make([one])
    folder = archive(one)
    (folder / "heavy.bin").write_bytes(b"\1" * 100)
    assert one.find() is None
    said = capfd.readouterr().err
    assert said == f"{folder} was altered, so it is not used: git checkout -- '{folder}' restores it\n"
    assert one.state == "lacking"


def test_a_maker_that_fails_leaves_its_checkpoint_and_nothing_that_counts(monkeypatch):
    def train(folder, job):
        checkpoint = folder / "last.pt"
        if not checkpoint.is_file():
            checkpoint.write_text("half way")
            (folder / ".torn").write_text("")
            raise OSError(errno.ENOSPC, "No space left on device")
        assert not (folder / ".torn").exists()
        checkpoint.unlink()
        (folder / "weights").write_text("whole")

    one = job(make=train)
    with pytest.raises(OSError, match="No space left"):
        jobs.make([one])
    assert one.state == "lacking"
    jobs.make([one])
    assert {file.name for file in one.folder.iterdir()} == {"weights", jobs.PROVENANCE}
    assert {file.name for file in one.place.parent.iterdir()} == {one.place.name, f"{one.place.name}.lock"}


PROGRAM = textwrap.dedent("""
    import os, signal, sys, time
    from pathlib import Path
    from ecsupport.core import jobs, paths

    def train(folder, job):
        with open(sys.argv[2], "a") as log:
            log.write("begun\\n")
        checkpoint = folder / "last"
        if sys.argv[1] == "kill" and not checkpoint.exists():
            checkpoint.write_text("7")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.5)
        (folder / "it").write_text(checkpoint.read_text() if checkpoint.exists() else "0")
        checkpoint.unlink(missing_ok=True)

    jobs.make([jobs.Job("a/1", train, {})])
""")


def test_a_killed_process_is_gone_on_from(tmp_path):
    call = [sys.executable, "-c", PROGRAM, "kill", str(tmp_path / "log")]
    assert subprocess.run(call, env=os.environ, check=False).returncode == -signal.SIGKILL
    one = Job("a/1", write, {})
    assert one.state == "lacking"
    assert subprocess.run(call, env=os.environ, check=False).returncode == 0
    assert one.file("it").read_text() == "7"


def test_two_processes_make_a_job_once(tmp_path):
    call = [sys.executable, "-c", PROGRAM, "go", str(tmp_path / "log")]
    both = [subprocess.Popen(call, env=os.environ) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "begun\n"


def test_jobs_of_one_group_are_made_in_one_go_and_each_is_finished_when_it_is_whole():
    def side_by_side(wanted):
        for folder, one in wanted:
            if one.recipe["number"] == 2:
                raise RuntimeError("loss is not finite")
            write(folder, one)
            yield folder

    group = [
        job(f"s{number}", {"number": number}, together="teacher", make_together=side_by_side) for number in range(3)
    ]
    told = []
    with pytest.raises(RuntimeError, match="not finite"):
        jobs.make(group, lambda names: told.append([one.name for one in names]))
    assert told == [["s0/1", "s1/1", "s2/1"]]
    assert [one.state for one in group] == ["made", "made", "lacking"]


def test_a_group_is_made_in_one_go_but_for_what_stands_and_each_once():
    def side_by_side(wanted):
        for folder, one in wanted:
            write(folder, one)
            yield folder

    first, *others = (
        job(f"s{number}", {"number": number}, together="teacher", make_together=side_by_side) for number in range(3)
    )
    jobs.make([first])
    told = []
    jobs.make([*others, first, *others], told.append)
    assert [[one.name for one in group] for group in told] == [["s1/1", "s2/1"]]
    assert made == ["s0/1", "s1/1", "s2/1"]


def test_two_who_want_overlapping_groups_do_not_wait_for_each_other_for_ever():
    def slowly(wanted):
        for folder, one in wanted:
            time.sleep(0.05)
            write(folder, one)
            yield folder

    groups = [
        [job(f"s{number}", {"number": number}, together="teacher", make_together=slowly) for number in order]
        for order in ((1, 2, 3), (4, 3, 2, 1))
    ]
    both = [threading.Thread(target=jobs.make, args=[group], daemon=True) for group in groups]
    for one in both:
        one.start()
    for one in both:
        one.join(600)
        assert not one.is_alive()
    assert sorted(made) == [f"s{number}/1" for number in (1, 2, 3, 4)]


def test_a_recipe_of_other_than_json_values_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        job(recipe={"rate": float("nan")}).key  # noqa: B018
    with pytest.raises(TypeError, match="not JSON serializable"):
        job(recipe={"rows": np.zeros(2)}).key  # noqa: B018


def test_a_full_disk_in_the_last_step_leaves_a_job_that_can_be_made(monkeypatch):
    def full(folder, job):
        write(folder, job)
        (folder / jobs.PROVENANCE).write_text('{"na')  # as a process leaves it that is killed in its last step
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        jobs.make([job(make=full)])
    assert job().state == "lacking"
    jobs.make([job()])
    assert job().state == "made"


def test_what_a_maker_returns_is_nothing_to_us():
    one = job(make=lambda folder, _: (folder / "it").write_text("it"))
    jobs.make([one])
    assert one.state == "made"


def test_two_recipes_of_one_name_are_two_jobs():
    both = [job(recipe={"steps": steps}) for steps in (1, 2)]
    jobs.make(both)
    assert [one.state for one in both] == ["made", "made"]


def test_who_makes_anew_what_was_altered_in_the_archive_is_told_once(capfd):
    one = job()
    jobs.make([one])
    folder = archive(one)
    (folder / "heavy.bin").write_bytes(b"\1" * 100)
    jobs.make([one])
    assert capfd.readouterr().err.count(f"{folder} was altered") == 1
    assert made == ["a/1", "a/1"]


def test_an_array_of_objects_is_refused():
    with pytest.raises(TypeError, match="array of objects"):
        job(given={"names": np.array(["a", 1], object)}).key  # noqa: B018
