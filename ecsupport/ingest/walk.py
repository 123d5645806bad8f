"""Every file below a folder, without following what leads out of it, and what kind of file each is by its content."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ecsupport.core.errors import UserError
from ecsupport.ingest.outcome import LeftOut

HEAD = 132  # bytes: the preamble of a DICOM file and its letters DICM
PICTURES = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"II*\0",
    b"MM\0*",
    b"BM",
    b"GIF8",
    b"RIFF",
    b"\0\0\0\x0cjP",
    b"\xff\x4f\xff\x51",
)
GROUPS = (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")  # with which DICOM without a preamble begins


@dataclass(frozen=True)
class Source:
    """A file: where it is, its path relative to the folder, its size in bytes and when it was changed, in ns."""

    file: Path
    name: str
    size: int
    changed: int


def files(folder: Path) -> Iterator[Source]:
    """All that is no folder, in the order of names; links to folders are not followed.

    UserError where the folder itself cannot be read.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise UserError("SOURCE is no folder that can be read. Name the folder with the images")
    yield from _below(folder, folder)


def _below(folder: Path, root: Path) -> Iterator[Source]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # such a folder is told as one entry that cannot be read
        yield Source(folder, os.path.relpath(folder, root), -1, 0)
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path), root)
        else:
            state = entry.stat(follow_symlinks=False)
            yield Source(Path(entry.path), os.path.relpath(entry.path, root), state.st_size, state.st_mtime_ns)


def kind(source: Source, root: Path) -> str:
    """`dicom` or `picture`. LeftOut where it is neither, is empty, cannot be read, or leads out of the folder."""
    try:
        real = source.file.resolve()
        if not real.is_relative_to(root.resolve()):
            raise LeftOut("a link that leads out of the folder")
        mode = real.stat().st_mode
        if not stat.S_ISREG(mode):
            raise LeftOut("a folder that cannot be read, or a link to one" if stat.S_ISDIR(mode) else "no regular file")
        with real.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise LeftOut(f"cannot be read ({error.strerror})") from None
    except RuntimeError:
        raise LeftOut("a link to itself") from None
    if not head:
        raise LeftOut("an empty file")
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(PICTURES):
        return "picture"
    if head.startswith(GROUPS):
        return "dicom"
    raise LeftOut("neither DICOM nor a picture")
