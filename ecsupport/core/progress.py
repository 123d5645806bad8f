"""Progress bars: seen by a person at work, silent in a notebook that is executed headlessly."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from tqdm import tqdm

HEADLESS = "ECSUPPORT_HEADLESS"  # set by the engine: nobody is looking
POLL = 0.5  # seconds
Item = TypeVar("Item")
_counters: Any = None  # in a worker process: steps done and steps known of, over all workers


def bar(items: Iterable[Item], about: str, total: int | None = None, done: int = 0) -> Iterable[Item]:
    """Iterate with a bar named `about`; `done` steps were taken before. In a worker, adds to the bar of its owner."""
    if total is None:
        total = len(items) + done  # type: ignore[arg-type]
    if _counters is None:
        return tqdm(items, about, total, initial=done, disable=HEADLESS in os.environ, leave=False)
    return _counted(items, total, done)


def _counted(items: Iterable[Item], total: int, done: int) -> Iterator[Item]:
    with _counters.get_lock():
        _counters[0] += done
        _counters[1] += total
    for item in items:
        yield item
        with _counters.get_lock():
            _counters[0] += 1


@contextlib.contextmanager
def shared(context: BaseContext, about: str) -> Iterator[Any]:
    """Counters for `join` in the workers, and a bar in this process that follows them."""
    counters, ended = context.Array("q", 2), threading.Event()

    def follow() -> None:
        with tqdm(desc=about, total=0, disable=HEADLESS in os.environ, leave=False) as shown:
            while not ended.wait(POLL):
                shown.total = counters[1]
                shown.n = counters[0]
                shown.refresh()

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield counters
    finally:
        ended.set()
        follower.join()


def join(counters: Any) -> None:
    """Make this worker process report to the bar of the process that started it, and end when that one is killed."""
    global _counters  # noqa: PLW0603 - one value a worker process, set once
    _counters = counters
    threading.Thread(target=_end_with_owner, daemon=True).start()


def _end_with_owner() -> None:
    if owner := multiprocessing.parent_process():
        owner.join()
        os._exit(1)
