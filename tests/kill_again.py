"""A run that is killed again and again until it is done: what it leaves, what it says, and what comes out in the end.

    python tests/kill_again.py [--kills 50] [--in-checkpoints 10] [--seed 1] [--target table-3]

Starts `make reproduce PROFILE=smoke` in an empty workspace and ends one of its processes with SIGKILL at a random
moment at which jobs or notebooks are at work: `make` itself, the process that holds Snakemake, one that makes jobs, one
that executes a notebook, its kernel. Some are killed while a checkpoint is half written. After each kill nothing may
run on, no traceback may be printed, and every job in the store has to be whole. Then the same command is given again.
In the end all tables and pictures have to be to the byte those of a run that nobody disturbed.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ecsupport.core import jobs
from ecsupport.core.artefacts import sha256
from ecsupport.core.seeds import generator

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("make", "snakemake", "job", "notebook", "kernel")
CHECKPOINT = "job that writes a checkpoint"
LONGEST = 3.0  # seconds of work before a process is killed
WORK = {"job", "notebook", "kernel"}
PATIENCE = 15.0  # seconds after which nothing may be left of a run that was killed
PARTS = (  # of a command line, and what its process does
    ("ipykernel_launcher", "kernel"),
    ("ecsupport execute", "notebook"),
    ("ecsupport unit", "job"),
    ("ecsupport", "snakemake"),
    ("make ", "make"),
)


class Run:
    """A smoke run in a workspace of its own, from `make` down."""

    def __init__(self, workspace: Path, target: str) -> None:
        self.workspace, self.target = workspace, target
        self.log = workspace.with_suffix(".log")

    def start(self, at_once: int = 2) -> subprocess.Popen:
        """`make` in a session of its own."""
        workspace = {"ECSUPPORT_WORKSPACE": str(self.workspace)}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        command = ["make", "-C", str(ROOT), self.target, "PROFILE=smoke", "TRAIN=1", f"JOBS={at_once}"]
        with self.log.open("w") as said:
            return subprocess.Popen(
                command, env=inherited | workspace, stdout=said, stderr=said, start_new_session=True
            )

    def living(self, session: int) -> dict[int, str]:
        """What each process of the run does, by its number; kernels have sessions of their own."""
        listed = subprocess.run(
            ["ps", "-wweo", "pid=,ppid=,sess=,stat=,args="], capture_output=True, text=True, check=True
        )
        rows = [line.split(None, 4) for line in listed.stdout.splitlines()]
        ours = {int(pid) for pid, _, sess, *_ in rows if int(sess) == session}
        found = {}
        for pid, parent, _, state, arguments in rows:
            if state[0] != "Z" and (int(pid) in ours or int(parent) in ours):
                found[int(pid)] = next((kind for part, kind in PARTS if part in arguments), "other")
        return found

    def writer(self) -> int | None:
        """A process that has a half-written checkpoint open, stopped in the midst of it."""
        store = self.workspace / "store"
        halves = [Path(at) / name for at, _, names in os.walk(store) for name in names if name.startswith(".last-")]
        for half in halves:
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):  # it ends or closes a file meanwhile
                    if half in [handle.readlink() for handle in (process / "fd").iterdir()]:
                        os.kill(int(process.name), signal.SIGSTOP)
                        if half.exists():
                            return int(process.name)
                        os.kill(int(process.name), signal.SIGCONT)
        return None

    def whole(self) -> int:
        """How many jobs stand in the store; AssertionError where one is not as it was made."""
        records = [file.parent for file in (self.workspace / "store").rglob("provenance.json")]
        made = [folder for folder in records if folder.suffix != ".making"]
        for folder in made:
            assert jobs.verified(folder, jobs.record(folder)["key"]), f"{folder} is not whole"
        return len(made)

    def results(self) -> dict[str, str]:
        """SHA-256 of every table and picture."""
        folder = self.workspace / "figures" / "smoke"
        return {file.name: sha256(file) for file in sorted(folder.iterdir()) if file.suffix in (".csv", ".png")}


def kill(run: Run, wanted: str, wait: float) -> tuple[str, int]:
    """Start the run and kill a process that does what is `wanted` after so many seconds of it; what was killed.

    Empty where the run was done before; and the exit status of `make`.
    """
    make = run.start(2 if wanted in ("make", "snakemake") else 1)  # others are waited for, where one was killed
    since, killed, seen = None, "", set()
    while make.poll() is None and not killed:
        if wanted == CHECKPOINT:
            victim = run.writer()
            time.sleep(0.002)
        else:
            living = run.living(make.pid)
            seen |= set(living)
            at_work = {wanted} if wanted in WORK else WORK
            since = since or (time.monotonic() if at_work & set(living.values()) else None)
            due = since is not None and time.monotonic() > since + wait
            victim = next((process for process, does in living.items() if due and does == wanted), None)
            time.sleep(0.02)
        if victim:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed = wanted
    status = make.wait()
    deadline = time.monotonic() + PATIENCE
    while left := "\n".join(filter(None, map(running, seen))):
        assert time.monotonic() < deadline, f"a {wanted} was killed, and these still run:\n{left}"
        time.sleep(0.1)
    return killed, status


def running(process: int) -> str:
    """State and command of a process that runs; empty where it has ended, though nobody asked for its status yet."""
    command = ["ps", "-wwo", "pid=,ppid=,stat=,etimes=,args=", "-p", str(process)]
    row = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return "" if " Z" in row[:30] else row


def messages(run: Run) -> list[str]:
    """What the run said beside its progress; AssertionError for a traceback."""
    text = run.log.read_text()
    assert "Traceback" not in text, text
    return [line for line in text.splitlines() if not re.match(r"\[\d|make: |smoke: | {6}|table-|figure-", line)]


def check(run: Run, killed: str, status: int) -> str:
    """What the run said in the end; AssertionError for a traceback, a success that is none, or silence."""
    text, lines = run.log.read_text(), messages(run)
    if killed in ("make", "snakemake"):
        return "(killed itself)"
    assert status != 0, f"a {killed} was killed and make ended with 0:\n{text}"
    assert len(lines) == 1, f"expected one message:\n{text}"
    return lines[0]


def main() -> int:
    """Kill, look, compare; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--in-checkpoints", type=int, default=10, help="of these (10)")
    parser.add_argument("--target", default="reproduce", help="of make, e.g. table-3 (reproduce)")
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    rng = generator("kill-again", o.seed)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        run, quiet = Run(Path(name) / "killed", o.target), Run(Path(name) / "quiet", o.target)
        kinds = [CHECKPOINT] * o.in_checkpoints
        kinds += [KINDS[n % len(KINDS)] for n in range(o.kills - o.in_checkpoints)]
        rng.shuffle(kinds)
        done: Counter[str] = Counter()
        # notebooks come last, so that what they do is killed last
        for wanted in sorted(kinds, key=lambda kind: kind in ("notebook", "kernel")):
            killed, status = kill(run, wanted, rng.uniform(0, LONGEST))
            if not killed:
                print(f"no {wanted} was left to kill", flush=True)
                break
            message = check(run, killed, status)
            done[killed] += 1
            print(f"{done.total():3} {killed}: {run.whole()} jobs are whole. {message}", flush=True)
        for one in (run, quiet):
            assert one.start().wait() == 0, one.log.read_text()
        assert run.results() == quiet.results(), "other results than of the run that nobody disturbed"
        print(f"{done.total()} of {o.kills} killed: {dict(done)}")
        print(f"{run.whole()} jobs are whole, {len(run.results())} tables and pictures equal")
    return 0 if done.total() == o.kills else 1


if __name__ == "__main__":
    sys.exit(main())
