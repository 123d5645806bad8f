"""Progress bars: seen by a person at work, silent in a notebook that is executed headlessly."""

import os
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

HEADLESS = "ECSUPPORT_HEADLESS"  # set by the engine: nobody is looking
Item = TypeVar("Item")


def bar(items: Iterable[Item], about: str, total: int | None = None, done: int = 0) -> Iterable[Item]:
    """Iterate with a bar named `about`; `done` steps were taken before."""
    if total is None:
        total = len(items) + done  # type: ignore[arg-type]
    return tqdm(items, about, total, initial=done, disable=HEADLESS in os.environ, leave=False)
