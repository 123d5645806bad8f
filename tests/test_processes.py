"""Jobs in several processes: the same results, longest chains first, and a failure that stops only what needs it."""

import os
import signal
import time
from multiprocessing import active_children
from pathlib import Path

import pytest

from ecsupport.core import jobs, processes
from ecsupport.core.errors import UserError
from ecsupport.core.jobs import Job


def write(folder: Path, job: Job) -> None:
    """The name of the job, after what its inputs wrote."""
    read = [(one.folder / "text").read_text() for one in job.inputs.values()]
    (folder / "text").write_text("".join([*read, job.name]))


def fail(folder: Path, job: Job) -> None:
    """Refuse."""
    raise UserError(f"{job.name} cannot be made. Mend it")


def die(folder: Path, job: Job) -> None:
    """End as a process does that the system kills."""
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(folder: Path, job: Job) -> None:
    """Take longer than anybody waits."""
    time.sleep(120)


def side_by_side(wanted):
    """Students of one teacher, each of whom writes how many there were."""
    for folder, job in wanted:
        (folder / "text").write_text(f"{job.name} {len(wanted)}")
        yield folder


def job(name: str, *inputs: Job, minutes: float = 1.0, make=write, **others) -> Job:
    return Job(name, make, {}, {one.name: one for one in inputs}, minutes=minutes, **others)


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """A store of its own."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))


def test_a_chain_is_made_in_its_order_and_with_the_same_bytes():
    first = job("a")
    last = job("d", job("b", first), job("c", first))
    begun = []
    processes.make([last], 2, lambda group: begun.extend(one.name for one in group))
    assert (last.folder / "text").read_text() == "abacd"
    assert begun[0] == "a" and begun[-1] == "d" and sorted(begun) == ["a", "b", "c", "d"]


def test_what_holds_up_most_goes_first():
    short, long = job("short", minutes=2.0), job("long", minutes=1.0)
    late = job("late", long, minutes=5.0)
    waiting = [short, long, late]
    urgent = processes.urgency(waiting)
    assert [urgent[one.place] for one in waiting] == [2.0, 6.0, 5.0]
    begun = []
    processes.make(waiting, 1, lambda group: begun.append(group[0].name))
    assert begun == ["long", "late", "short"]


def test_a_failure_stops_only_what_needs_it():
    broken = job("broken", make=fail, minutes=9.0)
    needs, other = job("needs", job("between", broken)), job("other")
    with pytest.raises(UserError, match="broken cannot be made"):
        processes.make([needs, other], 2)
    assert (other.state, broken.state, needs.state) == ("made", "lacking", "lacking")


def test_a_process_that_the_system_ends_is_said_with_a_remedy():
    with pytest.raises(UserError, match=r"while it made killed.*Make fewer at once"):
        processes.make([job("killed", make=die)], 2)


def test_who_is_stopped_does_not_wait_for_what_is_being_made():
    def told(group):
        if group[0].name == "second":
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        processes.make([job("first", make=sleep, minutes=9.0), job("second", make=sleep)], 2, told)
    assert time.monotonic() - began < 60
    assert not active_children()


def test_some_students_of_a_teacher_are_made_side_by_side():
    students = [job(f"s{n}", together="teacher", make_together=side_by_side) for n in range(processes.STUDENTS + 2)]
    processes.make(students, 2)
    found = [(one.folder / "text").read_text().split()[1] for one in students[: processes.STUDENTS]]
    assert found == [str(processes.STUDENTS)] * processes.STUDENTS
    assert (students[-1].folder / "text").read_text().split()[1] == "2"


def test_what_is_made_is_not_made_again():
    one = job("one")
    jobs.make([one])
    begun = []
    processes.make([one], 2, begun.append)
    assert begun == []
