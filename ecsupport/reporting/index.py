"""The index of notebooks: which published figure or table each makes, from what, and how long it takes.

Serves every figure and table of the paper; read by the engine, the ledger, the report and the README.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ecsupport.core import paths
from ecsupport.core.errors import UserError, row_error

KEYS = {"name": str, "title": str, "needs": list, "items": dict, "minutes": dict}
REQUIRED = ("name", "title", "needs", "items")


@dataclass(frozen=True)
class Notebook:
    """One notebook. `items` maps a published figure or table to its file; `minutes` are measured, by profile."""

    name: str
    title: str
    needs: tuple[str, ...]
    items: Mapping[str, str]
    minutes: Mapping[str, float]

    @property
    def written(self) -> bool:
        """Whether the notebook exists: a notebook without measured minutes is not written yet."""
        return bool(self.minutes)

    @property
    def file(self) -> Path:
        """The notebook's own file."""
        return paths.notebooks() / f"{self.name}.ipynb"


def read_index(file: Path | None = None) -> tuple[Notebook, ...]:
    """All notebooks in reading order, from `index.toml`.

    UserError for an unknown or missing key, a need that does not stand above, an item or a name that stands twice.
    """
    file = file or paths.notebooks() / "index.toml"
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file} does not exist. Point ECSUPPORT_NOTEBOOKS to the folder that holds it") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file}: not valid TOML ({error}). Mend that line") from None
    if list(content) != ["notebook"]:
        raise UserError(f"{file}: holds {', '.join(content) or 'nothing'}. It consists of [[notebook]] entries only")
    found: dict[str, Notebook] = {}
    items: dict[str, str] = {}
    for row, entry in enumerate(content["notebook"], start=1):
        notebook = _notebook(file, row, entry)
        if notebook.name in found:
            raise row_error(file, row, f"{notebook.name} stands twice", "Give each notebook its own name.")
        for need in notebook.needs:
            if need not in found:
                raise row_error(file, row, f"need {need!r} is no notebook above this one", "Correct it or reorder.")
        for item in notebook.items:
            if item in items:
                raise row_error(file, row, f"{item} is made by {items[item]} already", "Let one notebook make it.")
            items[item] = notebook.name
        found[notebook.name] = notebook
    return tuple(found.values())


def _notebook(file: Path, row: int, entry: dict[str, Any]) -> Notebook:
    unknown = sorted(set(entry) - set(KEYS))
    missing = [key for key in REQUIRED if key not in entry]
    if unknown or missing:
        problem = f"unknown key {unknown[0]!r}" if unknown else f"missing key {missing[0]!r}"
        raise row_error(file, row, problem, f"Keys are: {', '.join(KEYS)}.")
    for key, value in entry.items():
        if not isinstance(value, KEYS[key]):
            raise row_error(file, row, f"{key} = {value!r} is no {KEYS[key].__name__}", "Write it as the others are.")
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", entry["name"]):
        raise row_error(file, row, f"name {entry['name']!r} is unfit", "Use the form 07_bootstrap_cis.")
    for item, name in entry["items"].items():
        if not re.fullmatch(r"(figure|table)-\w+|audit", item) or not re.fullmatch(r"\w+\.(png|csv)", str(name)):
            raise row_error(file, row, f"item {item} = {name!r} is unfit", 'Use the form "table-7" = "table_7.csv".')
    for profile, minutes in entry.get("minutes", {}).items():
        if isinstance(minutes, bool) or not isinstance(minutes, int | float) or minutes < 0:
            raise row_error(file, row, f"minutes of {profile} are {minutes!r}", "Give the measured number.")
    return Notebook(
        entry["name"],
        entry["title"],
        tuple(entry["needs"]),
        dict(entry["items"]),
        dict(entry.get("minutes", {})),
    )


def written_notebooks() -> tuple[Notebook, ...]:
    """The notebooks that can be run, in reading order; needs on notebooks that are not written yet are left out."""
    index = read_index()
    names = {notebook.name for notebook in index if notebook.written}
    return tuple(replace(n, needs=tuple(need for need in n.needs if need in names)) for n in index if n.written)


def find_notebook(name: str) -> Notebook:
    """The written notebook of that name; UserError where there is none."""
    found = {notebook.name: notebook for notebook in written_notebooks()}
    if name not in found:
        raise UserError(f"{name} is no written notebook of index.toml. Choose one of: {', '.join(found)}")
    return found[name]


def find_item(item: str) -> Notebook:
    """The notebook that makes a published figure or table, e.g. `table-7`; UserError where it is unknown."""
    index = read_index()
    for notebook in index:
        if item in notebook.items:
            return notebook
    known = sorted((i for notebook in index for i in notebook.items), key=natural)
    raise UserError(f"unknown item {item!r}. Choose one of: {', '.join(known)}")


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key under which table-10 follows table-9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def duration(minutes: Iterable[float | None]) -> str:
    """Sum of minutes in words, e.g. `about 20 s` or `about 1.5 h`; empty where a part has not been measured."""
    parts = list(minutes)
    if not parts or None in parts:
        return ""
    seconds = 60 * sum(part for part in parts if part is not None)
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 6000 else f"about {seconds / 3600:.1f} h"
