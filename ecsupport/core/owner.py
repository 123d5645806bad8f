"""Processes that end with their owner, so that a run that is killed leaves nothing running."""

import os
import platform
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

EVERY = 0.3  # seconds
KILLED = 1  # exit status
OWNER = "ECSUPPORT_OWNER"


def announce() -> None:
    """Let processes that this one calls know whose they are."""
    os.environ[OWNER] = f"{platform.node()} {os.getpid()}"


def follow() -> None:
    """From now on end soon after the parent has ended; at once where who announced himself on this machine has."""
    node, _, owner = os.environ.get(OWNER, "").rpartition(" ")
    if node == platform.node() and not _alive(int(owner)):
        os._exit(KILLED)
    _watch(lambda parent: os.getppid() != parent, lambda: None)


def follow_make(interrupted: Callable[[], bool], then: Callable[[], object]) -> None:
    """Where `make` is the parent, end soon after it has ended or was told to stop; `then` is called before.

    A terminal sends Ctrl-C to all processes: who was `interrupted` too ends by himself. But who stops `make` alone
    waits for what it called. On Linux alone, which tells that a process no longer catches a signal: so does `make` from
    the first one on. In the background of a script it never catches any, and stays deaf to Ctrl-C.
    """
    parent = os.getppid()
    hears = _catches_interrupts(parent)

    def left(parent: int) -> bool:
        return os.getppid() != parent or (hears and not _catches_interrupts(parent) and not interrupted())

    if "MAKELEVEL" in os.environ and _told(parent, "comm") in ("make", "gmake"):
        _watch(left, then)


def _watch(left: Callable[[int], bool], then: Callable[[], object]) -> None:
    parent = os.getppid()

    def watch() -> None:
        while True:
            time.sleep(EVERY)
            if left(parent) and (time.sleep(EVERY) or left(parent)):  # twice: one's own signal may be under way
                then()
                os._exit(KILLED)

    threading.Thread(target=watch, daemon=True).start()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _catches_interrupts(process: int) -> bool:
    caught = next((line for line in _told(process, "status").splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (signal.SIGINT - 1) & 1)


def _told(process: int, what: str) -> str:
    """What Linux tells of a process; empty where it has ended, or on other systems."""
    try:
        return (Path("/proc") / str(process) / what).read_text().strip()
    except OSError:
        return ""
