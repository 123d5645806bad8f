"""Files that are whole or absent: what is known by its SHA-256, and what takes another's place at once."""

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

PROVENANCE = "provenance.json"


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
