"""What was called ends with who called it, however that one ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

CALLED = """
import os, sys, time
from ecsupport.core import owner
{follow}
print(os.getpid(), flush=True)
time.sleep(120)
"""
MAKE = "owner.follow_make(lambda: {interrupted}, lambda: print('stopped', flush=True))"


def ends(pid, seconds=5.0):
    """Whether a process ends within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
        if state[:1] in ("", "Z"):
            return True
        time.sleep(0.05)
    return False


def under_make(folder, interrupted, before=""):
    """`make`, and the number of the process that it called; what the shell that starts it does `before`."""
    (folder / "called.py").write_text(CALLED.format(follow=MAKE.format(interrupted=interrupted)))
    (folder / "Makefile").write_text(f"all:\n\t@{sys.executable} called.py\n")
    command = ["sh", "-c", f"{before} exec make"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    make = subprocess.Popen(command, cwd=folder, env=outside, stdout=subprocess.PIPE, text=True, start_new_session=True)
    return make, int(make.stdout.readline())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what signals another process catches")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_nothing_runs_on_when_make_alone_is_stopped(tmp_path, number):
    make, called = under_make(tmp_path, interrupted=False)
    os.kill(make.pid, number)
    assert ends(called)
    make.wait(timeout=10)
    assert make.stdout.read() == "stopped\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what signals another process catches")
def test_who_was_interrupted_too_ends_by_himself(tmp_path):
    make, called = under_make(tmp_path, interrupted=True)
    os.kill(make.pid, signal.SIGINT)
    assert not ends(called, 1.5)
    os.kill(called, signal.SIGKILL)
    make.wait(timeout=10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what signals another process catches")
def test_a_make_in_the_background_of_a_script_is_not_taken_for_a_stopped_one(tmp_path):
    make, called = under_make(tmp_path, interrupted=False, before="trap '' INT;")
    assert not ends(called, 1.5)
    os.kill(make.pid, signal.SIGINT)
    assert not ends(called, 1.5)
    make.kill()
    assert ends(called)
    make.wait(timeout=10)


def test_a_process_ends_with_its_parent_and_never_begins_without(tmp_path):
    called = CALLED.format(follow="owner.follow()")
    calls = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {called!r}]); time.sleep(120)"
    parent = subprocess.Popen([sys.executable, "-c", calls], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    assert ends(child)
    parent.wait(timeout=10)
    gone = f"import os; os.environ['ECSUPPORT_OWNER'] = os.uname().nodename + ' {parent.pid}'"
    begun = [sys.executable, "-c", gone + called]
    assert subprocess.run(begun, capture_output=True, text=True, check=False, timeout=30).stdout == ""
