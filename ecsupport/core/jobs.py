"""Jobs: everything that is trained, rendered or measured once, by a readable name; what it makes is whole or absent.

A job's key is that of its recipe, of the data given to it and of its inputs' keys: known before anything runs, and the
same on every machine. What it made lies in `store/<name>/<key>`, or committed in `figures/reference/*/trained`, so that
what is stale is simply not there. A recipe carries the revision of its method, raised when the arithmetic changes.
"""

import contextlib
import io
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from threadpoolctl import threadpool_limits

from ecsupport.core import paths
from ecsupport.core.artefacts import PROVENANCE, read_record, sha256, write_record
from ecsupport.core.errors import UserError

LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch")  # noted in what a job made, and no part of its key
_seen: dict[Path, list[tuple]] = {}  # folders that this process has verified, with the state of their files
_altered: set[Path] = set()  # archived folders of which this process has said that they were altered


@dataclass(frozen=True, eq=False)
class Job:
    """What is made once and read by name.

    make: `make(folder, job)` writes files into an empty folder, or into one that holds the checkpoint of a killed run;
    it reads `job.recipe`, `job.given` and `job.inputs[...].folder`, and nothing else that could change what it makes
    recipe: plain JSON values;  given: tables and arrays by name, which the key knows by their content
    minutes, memory, disk: estimates, of one core and in GB;  device: where a network computes, no part of the key
    reads: files of an input, by its role, where it needs no others
    together: jobs of one such name save work when they are made side by side, by `make_together` of (folder, job)
    pairs, which yields each folder when it is whole; each is to the byte what `make` gives
    archived: the files that the archive keeps, all of them with `*`; readers of an archived job find no others
    """

    name: str
    make: Callable[[Path, "Job"], None]
    recipe: Mapping[str, Any]
    inputs: Mapping[str, "Job"] = field(default_factory=dict)
    given: Mapping[str, pd.DataFrame | np.ndarray] = field(default_factory=dict)
    minutes: float = 0.0
    memory: float = 1.0
    disk: float = 0.0
    device: str = "cpu"
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    together: str = ""
    make_together: Callable[[Sequence[tuple[Path, "Job"]]], Iterator[Path]] | None = None
    archived: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """SHA-256 over recipe, given data and the inputs' keys."""
        return sha256(json.dumps(self.identity, sort_keys=True, allow_nan=False).encode())

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the key hashes."""
        return {
            "recipe": dict(self.recipe),
            "given": {name: _digest(data) for name, data in self.given.items()},
            "inputs": {role: job.key for role, job in self.inputs.items()},
        }

    @property
    def place(self) -> Path:
        """Where in the store it lies once it is made."""
        return paths.store() / self.name / self.key[:20]

    @property
    def archives(self) -> list[Path]:
        """Where it lies in the archive as it was committed; an altered folder is said once and passed over."""
        if paths.FRESH in os.environ:
            return []
        found = []
        for folder in sorted(paths.reference().glob(f"*/trained/{self.name}/{self.key[:20]}")):
            if verified(folder, self.key):
                found.append(folder)
            elif folder not in _altered:
                _altered.add(folder)
                sys.stderr.write(f"{folder} was altered, so it is not used: git checkout -- '{folder}' restores it\n")
        return found

    def find(self, *files: str) -> Path | None:
        """The folder, in the store or in the archive, that holds these files, or all of them; None where none does."""
        if verified(self.place, self.key):
            return self.place
        for folder in self.archives:
            if not (left_out := record(folder).get("left_out")) or (files and not set(files) & set(left_out)):
                return folder
        return None

    @property
    def folder(self) -> Path:
        """The folder with all that it made; UserError where it is lacking."""
        return self._found(self.find())

    def file(self, name: str) -> Path:
        """One file of what it made, from the store or the archive; UserError where it is lacking."""
        return self._found(self.find(name)) / name

    def _found(self, folder: Path | None) -> Path:
        if folder is None:
            raise UserError(
                f"{self.name} is not made ({self.place} is absent). Make it: python -m ecsupport make {self.name}, "
                "with the profile and the manifest of this run"
            )
        return folder

    @property
    def state(self) -> str:
        """`made`, `archived` or `lacking`; an archived job may lack files that only other jobs read."""
        if verified(self.place, self.key):
            return "made"
        return "archived" if self.archives else "lacking"


def lacking(wanted: Iterable[Job], whole: bool = False) -> list[Job]:
    """The jobs that have to be made for `wanted`, each after its inputs.

    A wanted job that is archived is there for its readers; an input has to be there with the files that are read of it,
    and where `whole` is asked for a wanted one with all.
    """
    found: dict[Path, Job] = {}
    looked: set[tuple[Path, tuple[str, ...] | None]] = set()

    def look(job: Job, files: tuple[str, ...] | None) -> None:
        """files: without which it is lacking, () for all; None where an archived one is there whatever it holds."""
        if job.place in found or (job.place, files) in looked:
            return
        looked.add((job.place, files))
        if job.state == "lacking" if files is None else job.find(*files) is None:
            for role, one in job.inputs.items():
                look(one, job.reads.get(role, ()))
            found[job.place] = job

    for job in wanted:
        look(job, () if whole else None)
    return list(found.values())


def make(wanted: Iterable[Job], told: Callable[[list[Job]], None] = lambda _: None, whole: bool = False) -> None:
    """Make what is lacking (see there), inputs first, students of one teacher together; `told` hears what is begun.

    All on one thread, so that a result does not depend on a machine's cores. A second process that makes the same job
    waits for the first. A maker that fails leaves nothing behind but its checkpoint; a killed one goes on from it.
    """
    waiting = lacking(wanted, whole)
    while waiting:
        places = {job.place for job in waiting}
        ready = [job for job in waiting if not places & {one.place for one in job.inputs.values()}]
        first = ready[0]
        group = [job for job in ready if job is first or (first.together and job.together == first.together)]
        told(group)
        make_group(group)
        waiting = [job for job in waiting if job not in group]


def make_group(group: Sequence[Job]) -> None:
    """Make some jobs whose inputs are made, side by side where they save work so, in this process."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(threadpool_limits(1))
        rooms: dict[Path, Job] = {}
        for job in sorted(group, key=lambda job: job.place):  # two processes lock in one order
            job.place.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(job.place.with_suffix(".lock")))  # which the system frees when its owner dies
            if not verified(job.place, job.key):
                rooms[_room(job)] = job
        together = next(iter(rooms.values())).make_together if len(rooms) > 1 else _one_by_one
        for folder in together(list(rooms.items())):
            _finish(folder, rooms[folder])


def _one_by_one(wanted: Sequence[tuple[Path, Job]]) -> Iterator[Path]:
    for folder, job in wanted:
        job.make(folder, job)
        yield folder


def _room(job: Job) -> Path:
    """The folder in which a job is made: what a killed maker left there, without what it was just writing."""
    folder = job.place.with_suffix(".making")
    folder.mkdir(exist_ok=True)
    for torn in [*folder.rglob(".*"), folder / PROVENANCE]:
        if torn.is_file():
            torn.unlink()
    return folder


def _finish(folder: Path, job: Job) -> None:
    files = {str(f.relative_to(folder)): sha256(f) for f in sorted(folder.rglob("*")) if f.is_file()}
    made_with = {name: version(name) for name in LIBRARIES} | {"machine": platform.machine(), "device": job.device}
    note = {"name": job.name, "key": job.key, **job.identity, "made_with": made_with, "files": files}
    shutil.rmtree(job.place, ignore_errors=True)  # what stands there was not verified
    write_record(folder / PROVENANCE, note)
    folder.rename(job.place)


def record(folder: Path) -> dict[str, Any]:
    """What is known of a made job: name, key, recipe, given, inputs and the SHA-256 of its files."""
    return read_record(folder / PROVENANCE)


def device_of(folder: Path) -> str:
    """Where the networks of a made job computed."""
    return record(folder).get("made_with", {}).get("device", "cpu")


def verified(folder: Path, key: str) -> bool:
    """Whether `folder` holds what a job of this key made, each file as it was written; looked at once a process."""
    try:
        files = [folder / PROVENANCE, *(folder / name for name in record(folder)["files"])]
        state = [(f.name, (s := f.stat()).st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, key) for f in files]
        if _seen.get(folder) != state:
            found = record(folder)
            if found["key"] != key or any(sha256(folder / name) != known for name, known in found["files"].items()):
                return False
            _seen[folder] = state
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # of JSON too, where a byte made it another
        return False
    return True


def _digest(data: pd.DataFrame | np.ndarray) -> str:
    """SHA-256 of a table's canonical text, or of an array's type, shape and bytes."""
    if isinstance(data, pd.DataFrame):
        text = io.StringIO()
        data.to_csv(text, index=False, lineterminator="\n")
        return sha256(text.getvalue().encode())
    if data.dtype.hasobject:
        raise TypeError("an array of objects has no bytes of its own: give numbers or strings of a fixed length")
    return sha256(f"{data.dtype.str} {data.shape} {sha256(np.ascontiguousarray(data).data)}".encode())
