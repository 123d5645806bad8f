"""A grid of trainings, several at once, each of which adds rows to a table; what the table has is not trained again."""

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from ecsupport.core import profiles
from ecsupport.core.artefacts import replacing

Row = dict[str, Any]


def options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line, with the options that every pilot has."""
    parser.add_argument("--steps", nargs="+", type=int, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[9001, 9002])
    parser.add_argument("--device", choices=profiles.DEVICES, default="cpu")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="in how many processes (1)")
    return parser.parse_args()


def fill(
    table: Path,
    keys: Sequence[str],
    wanted: Sequence[tuple],
    train: Callable[..., list[Row]],
    at_once: int,
    *given: Any,
) -> pd.DataFrame:
    """Add the rows of `train(*given, *one)` for each of the `wanted`, values of `keys`, and return the table."""
    made = pd.read_csv(table) if table.is_file() else pd.DataFrame(columns=list(keys))
    there = set(made[list(keys)].itertuples(index=False, name=None))
    with ProcessPoolExecutor(at_once, get_context("spawn")) as pool:
        running = [pool.submit(train, *given, *one) for one in wanted if one not in there]
        for done in as_completed(running):
            rows = pd.DataFrame(done.result())
            print(rows.to_string(header=False, index=False), flush=True)
            made = pd.concat([made, rows], ignore_index=True) if len(made) else rows
            write(table, made)
    return made


def write(table: Path, rows: pd.DataFrame) -> None:
    """Write a table at once."""
    with replacing(table) as path:
        rows.to_csv(path, index=False, lineterminator="\n")
