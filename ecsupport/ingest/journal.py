"""What became of each file, a line each, kept in the private folder: a run that was stopped goes on from there."""

import json
import os
from pathlib import Path
from typing import Any

from ecsupport.core.errors import UserError

JOURNAL = "journal.jsonl"
Entry = dict[str, Any]


class Journal:
    """Entries by the code of their file, or by that of a series for its window; the last line of each counts."""

    def __init__(self, private: Path) -> None:
        self.file = private / JOURNAL
        self.files: dict[str, Entry] = {}
        self.windows: dict[str, tuple[float, float]] = {}
        whole = 0
        if self.file.exists():
            with self.file.open("rb") as lines:
                for line in lines:
                    if not line.endswith(b"\n"):  # cut short by a kill; its file is taken again
                        break
                    whole += len(line)
                    try:
                        self._remember(json.loads(line))
                    except (ValueError, KeyError):
                        problem = f"{self.file}: a damaged line, {whole - len(line):,} bytes from the beginning"
                        raise UserError(f"{problem}. Remove it: its file is taken again") from None
        self._lines = self.file.open("ab")
        os.truncate(self.file, whole)

    def add(self, entry: Entry) -> None:
        """Remember an entry: of a file (with `file`), or of a series' window (with `series` and `limits`)."""
        self._lines.write(json.dumps(entry, ensure_ascii=True).encode("ascii") + b"\n")
        self._lines.flush()
        self._remember(entry)

    def close(self) -> None:
        """Write what the system holds back."""
        os.fsync(self._lines.fileno())
        self._lines.close()

    def taken(self) -> list[Entry]:
        """Entries of files that gave images, in the order of the images' names."""
        return sorted((one for one in self.files.values() if one["images"]), key=lambda one: one["images"][0]["image"])

    def _remember(self, entry: Entry) -> None:
        if "limits" in entry:
            self.windows[entry["series"]] = (entry["limits"][0], entry["limits"][1])
        else:
            self.files[entry["file"]] = entry
