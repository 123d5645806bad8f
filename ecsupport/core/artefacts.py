"""Artefacts: folders that are whole or absent, and know what made them. `ensure(spec)` loads one or makes it."""

import contextlib
import copy
import hashlib
import json
import multiprocessing
import os
import platform
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from filelock import FileLock

from ecsupport.core import code, paths, progress
from ecsupport.core.errors import UserError

PROVENANCE = "provenance.json"
LIBRARIES = ("numpy", "scipy", "pillow", "torch", "torchvision")  # whose release may change a byte of what is made
ANEW = "Remove it and make the run again, which deposits it anew"
_withdrawn: dict[str, list[tuple]] = {}  # deposits that this process has verified, with the state of their files


@dataclass(frozen=True)
class Spec:
    """What an artefact is: the function that makes it and the arguments it is made from.

    `make(folder, **arguments)` writes files into `folder`; `arguments` must be JSON values. A `resumable` maker finds
    in `folder` the checkpoint that it left there when it was killed or failed, and removes it when it is done.
    Artefacts of one `group` are made in one go where that saves work: `make_together` takes a list of (folder,
    arguments) and yields each folder when it is whole; each is to the byte what `make` gives.
    """

    kind: str
    make: Callable[..., None]
    arguments: Mapping[str, Any]
    resumable: bool = False
    group: str = ""
    make_together: Callable[[Sequence[tuple[Path, Mapping[str, Any]]]], Iterator[Path]] | None = None

    def identity(self) -> dict[str, Any]:
        """What the key hashes: maker, arguments, the code behind the maker, library versions, processor family."""
        return {
            "kind": self.kind,
            "maker": f"{self.make.__module__}.{self.make.__qualname__}",
            "arguments": dict(self.arguments),
            "code": code.digest(self.make.__module__),
            "libraries": {name: version(name) for name in LIBRARIES},
            "machine": platform.machine(),
        }

    def key(self) -> str:
        """SHA-256 of the identity."""
        return sha256(json.dumps(self.identity(), sort_keys=True, allow_nan=False).encode())


def ensure(spec: Spec) -> Path:
    """Folder of the artefact: as it stands if whole and its own, else made now.

    A second process that wants the same artefact waits for the first; a maker that fails leaves nothing
    behind, one that is killed a temporary folder, which the next call for the same artefact removes, or goes on
    from if the spec is resumable.
    """
    return ensure_group([spec])[0]


def ensure_group(specs: Sequence[Spec]) -> list[Path]:
    """`ensure` artefacts of one group, those that are lacking in one go; what is whole before a fault stays."""
    places = [place(spec) for spec in specs]
    wanted = dict(zip(places, specs, strict=True))
    with contextlib.ExitStack() as stack:
        lacking, goals = {}, {}
        for folder, key in sorted(wanted):  # two processes lock in one order
            stack.enter_context(FileLock(folder.with_suffix(".lock")))  # which the system frees when its owner dies
            if not verified(folder, key):
                making = stack.enter_context(room(wanted[folder, key], folder))
                lacking[making], goals[making] = wanted[folder, key], (folder, key)
        for making in _make(lacking):
            folder, key = goals[making]
            files = {f.name: sha256(f) for f in sorted(making.iterdir())}
            record = {"key": key, **lacking[making].identity(), "files": files}
            (making / PROVENANCE).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
            making.rename(folder)
    return [folder for folder, _ in places]


def _make(lacking: Mapping[Path, Spec]) -> Iterator[Path]:
    if len(lacking) > 1:
        yield from next(iter(lacking.values())).make_together([(p, spec.arguments) for p, spec in lacking.items()])
    else:
        for making, spec in lacking.items():
            spec.make(making, **spec.arguments)
            yield making


@contextlib.contextmanager
def room(spec: Spec, folder: Path) -> Iterator[Path]:
    """A folder to make the artefact in that will stand at `folder`: empty, or what a killed resumable maker left."""
    if spec.resumable:
        shutil.rmtree(folder, ignore_errors=True)
        making = folder.with_suffix(".resumable")
        making.mkdir(exist_ok=True)
        for torn in making.glob(".*"):  # what a killed maker was writing
            torn.unlink()
        yield making
    else:
        with beside(folder) as making:
            yield making


@contextlib.contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """An empty folder to fill and to rename to `folder`, open to whom the umask says; removed if not renamed.

    Whoever calls it holds the lock of `folder`: what stands there is removed, and what killed makers left beside it.
    """
    for stale in [folder, *folder.parent.glob(f"{folder.name}.making-*")]:
        shutil.rmtree(stale, ignore_errors=True)
    making = folder.with_name(f"{folder.name}.making-{os.getpid()}")
    making.mkdir()
    try:
        yield making
    finally:
        shutil.rmtree(making, ignore_errors=True)


def place(spec: Spec) -> tuple[Path, str]:
    """Where the artefact stands or will stand, and its key."""
    key = spec.key()
    return paths.store() / spec.kind / key[:20], key


def ensure_all(specs: Sequence[Spec], workers: int = 1, about: str = "") -> list[Path]:
    """Folders of several artefacts, in their order, `workers` of them, or groups, made at a time; one bar for all.

    What is made does not depend on `workers`; where these are more than groups, groups are divided. The first error is
    raised; what was whole by then stays.
    """
    places = [place(spec) for spec in specs]
    groups: dict[str, list[Spec]] = {}
    for (folder, key), spec in dict(zip(places, specs, strict=True)).items():
        if not verified(folder, key):
            groups.setdefault(spec.group or key, []).append(spec)
    parts = workers // max(1, len(groups)) or 1
    units = [part for group in groups.values() for n in range(parts) if (part := group[n::parts])]
    units.sort(key=len, reverse=True)  # the longest first, lest one is left alone at the end
    if workers == 1 or len(units) < 2:  # starting workers takes longer than looking
        for unit in units:
            ensure_group(unit)
    else:
        with workers_of(workers, about) as pool:
            list(pool.map(ensure_group, units))
    return [folder for folder, _ in places]


METHOD = "forkserver" if sys.platform == "linux" else "spawn"
_starting = threading.Lock()


class Worker(multiprocessing.get_context(METHOD).Process):
    """A process that does not import the main module of its owner, so that this needs no guard: it works for us only.

    What it runs is a function of a module that it can import.
    """

    def start(self) -> None:
        """Start with an empty main module in the place of the owner's, which is told to the new process by name."""
        with _starting:
            main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


@contextlib.contextmanager
def workers_of(number: int, about: str, begin: Callable[..., None] | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of so many processes with one progress bar; each calls `begin(barrier)` first, of all of them.

    They are forked from one process that has imported the large libraries, seconds each, and nothing of ours: a module
    that was changed since is imported as it is now. Elsewhere than on Linux, where these libraries do not survive a
    fork, each starts afresh.
    """
    context = copy.copy(multiprocessing.get_context(METHOD))  # the original is everybody's
    context.Process = Worker
    if METHOD == "forkserver":
        context.set_forkserver_preload(["torch", "pandas"])
    with progress.shared(context, about) as counters:
        begun = (counters, dict(os.environ), begin, context.Barrier(number))
        with ProcessPoolExecutor(number, context, _begin, begun) as pool:
            yield pool


def _begin(counters: Any, environment: dict[str, str], begin: Callable[..., None] | None, barrier: Barrier) -> None:
    os.environ.clear()  # that of the forking process is as old as its first pool
    os.environ.update(environment)
    progress.join(counters)
    if begin:
        begin(barrier)


def deposit(**arrays: np.ndarray) -> str:
    """Keep arrays under the SHA-256 of their names, types, shapes and bytes, and return that name.

    What is trained on a deposit is thereby named by the very bytes it has seen, wherever these came from. One that was
    altered or truncated is written again.
    """
    name = _name_of(arrays)
    folder = paths.store() / "deposits" / name
    with FileLock(folder.with_suffix(".lock")):
        try:
            withdraw(name)
        except (FileNotFoundError, UserError):
            with beside(folder) as making:
                for key, array in arrays.items():
                    np.save(making / f"{key}.npy", array)
                making.rename(folder)
    return name


def withdraw(name: str) -> dict[str, np.ndarray]:
    """The arrays of a deposit, mapped read-only from disk, once its content is found to be what its name says.

    FileNotFoundError where there is none of that name; UserError where it was altered or truncated.
    """
    folder = paths.store() / "deposits" / name
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise FileNotFoundError(f"no deposit {name} in {paths.store()}")
    seen = [(str(f), (state := f.stat()).st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino) for f in files]
    try:
        arrays = {file.stem: np.load(file, mmap_mode="r") for file in files}
        if _withdrawn.get(name) != seen and _name_of(arrays) != name:  # hashed once a process, and when files change
            raise ValueError("other content")
    except (ValueError, EOFError) as error:
        raise UserError(f"{folder} is not what was deposited there: it was altered or truncated. {ANEW}") from error
    _withdrawn[name] = seen
    return arrays


def _name_of(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:20]


def verified(folder: Path, key: str) -> bool:
    """Whether `folder` holds a whole artefact of this key: its provenance matches and so does every file's hash."""
    try:
        record = json.loads((folder / PROVENANCE).read_text())
        return record["key"] == key and all(sha256(folder / n) == h for n, h in record["files"].items())
    except (OSError, ValueError, KeyError):
        return False


def sha256(content: bytes | Path) -> str:
    """Hex SHA-256 of bytes or of a file's content."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; on success it takes the place of `path` at once, on failure nothing changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    temporary.touch(exist_ok=False)  # unlike tempfile's, open to whom the umask says
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
