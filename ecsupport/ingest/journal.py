"""What became of each file, a line each, kept in the private folder: a run that was stopped goes on from there."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ecsupport.core.errors import UserError

JOURNAL = "journal.jsonl"
Entry = dict[str, Any]


class Journal:
    """Entries by the code of their file, or by that of a series for its window; the last line of each counts.

    Entries stay on the disk until they are asked for: memory holds where each begins.
    """

    def __init__(self, private: Path) -> None:
        self.file = private / JOURNAL
        self.windows: dict[str, tuple[float, float]] = {}
        self._begins: dict[str, int] = {}
        whole = 0
        if self.file.exists():
            with self.file.open("rb") as lines:
                for line in lines:
                    if not line.endswith(b"\n"):  # cut short by a kill; its file is taken again
                        break
                    try:
                        self._remember(json.loads(line), whole)
                    except (ValueError, KeyError):
                        problem = f"{self.file}: a damaged line, {whole:,} bytes from the beginning"
                        raise UserError(f"{problem}. Remove it: its file is taken again") from None
                    whole += len(line)
        self._lines = self.file.open("ab")
        os.truncate(self.file, whole)
        self._end, self._read = whole, self.file.open("rb")

    def __len__(self) -> int:
        return len(self._begins)

    def add(self, entry: Entry) -> None:
        """Remember an entry: of a file (with `file`), or of a series' window (with `series` and `limits`)."""
        line = json.dumps(entry, ensure_ascii=True).encode("ascii") + b"\n"
        self._lines.write(line)
        self._lines.flush()
        self._remember(entry, self._end)
        self._end += len(line)

    def close(self) -> None:
        """Write what the system holds back."""
        os.fsync(self._lines.fileno())
        self._lines.close()
        self._read.close()

    def get(self, code: str) -> Entry | None:
        """The entry of a file."""
        return self._at(self._begins[code]) if code in self._begins else None

    def entries(self, order: Callable[[Entry], Any] | None = None, taken: bool = False) -> Iterator[Entry]:
        """Entries of all files, or of those that gave images; as they were noted, or by what `order` gives."""
        begins = list(self._begins.values())
        if order is not None:
            keys = ((begin, self._at(begin)) for begin in begins)
            begins = [
                begin for _, begin in sorted((order(of), begin) for begin, of in keys if of["images"] or not taken)
            ]
        for begin in begins:
            entry = self._at(begin)
            if entry["images"] or not taken:
                yield entry

    def _at(self, begin: int) -> Entry:
        self._read.seek(begin)
        return json.loads(self._read.readline())

    def _remember(self, entry: Entry, begin: int) -> None:
        if "limits" in entry:
            self.windows[entry["series"]] = (entry["limits"][0], entry["limits"][1])
        else:
            self._begins[entry["file"]] = begin


def by_image(entry: Entry) -> str:
    """The order of the images' names, of entries that gave some."""
    return entry["images"][0]["image"]
