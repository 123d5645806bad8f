"""Files that are whole or absent: what is known by its SHA-256, and what takes another's place at once."""

import contextlib
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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


def write_record(file: Path, record: Mapping[str, Any]) -> None:
    """Write plain JSON values with a digest of themselves."""
    with replacing(file) as path:
        text = json.dumps({**record, "digest": _digest(record)}, indent=1, sort_keys=True)
        path.write_text(f"{text}\n", encoding="utf-8")


def read_record(file: Path) -> dict[str, Any]:
    """What `write_record` wrote; ValueError where a value is another one, OSError where the file cannot be read."""
    record = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or record.pop("digest", None) != _digest(record):
        raise ValueError(f"{file} was altered")
    return record


def _digest(record: Mapping[str, Any]) -> str:
    return sha256(json.dumps(record, sort_keys=True).encode())
