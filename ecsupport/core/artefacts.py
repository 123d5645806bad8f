"""Artefacts: folders that are whole or absent, and know what made them. `ensure(spec)` loads one or makes it."""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecsupport.core import code, paths

PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Spec:
    """What an artefact is: the function that makes it and the arguments it is made from.

    `make(folder, **arguments)` writes files into `folder`; `arguments` must be JSON values.
    """

    kind: str
    make: Callable[..., None]
    arguments: Mapping[str, Any]

    def identity(self) -> dict[str, Any]:
        """What the key hashes: maker, arguments, the code behind the maker, NumPy version and processor family."""
        return {
            "kind": self.kind,
            "maker": f"{self.make.__module__}.{self.make.__qualname__}",
            "arguments": dict(self.arguments),
            "code": code.digest(self.make.__module__),
            "numpy": np.__version__,
            "machine": platform.machine(),
        }

    def key(self) -> str:
        """SHA-256 of the identity."""
        return sha256(json.dumps(self.identity(), sort_keys=True, allow_nan=False).encode())


def ensure(spec: Spec) -> Path:
    """Folder of the artefact: as it stands if whole and its own, else made now.

    A second process that wants the same artefact waits for the first; a maker that fails leaves nothing
    behind, one that is killed a temporary folder, which the next call for the same artefact removes.
    """
    key = spec.key()
    folder = paths.store() / spec.kind / key[:20]
    with locked(folder.with_suffix(".lock")):
        if not verified(folder, key):
            for stale in [folder, *folder.parent.glob(f"{folder.name}.making-*")]:
                shutil.rmtree(stale, ignore_errors=True)
            making = Path(tempfile.mkdtemp(prefix=f"{folder.name}.making-", dir=folder.parent))
            try:
                spec.make(making, **spec.arguments)
                files = {f.name: sha256(f) for f in sorted(making.iterdir())}
                record = {"key": key, **spec.identity(), "files": files}
                (making / PROVENANCE).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
                making.rename(folder)
            finally:
                shutil.rmtree(making, ignore_errors=True)
    return folder


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
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold an advisory lock on `path`; the system frees it when its owner dies. BlockingIOError if not waiting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; on success it takes the place of `path` at once, on failure nothing changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
