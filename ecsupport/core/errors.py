"""The one error a person may see: what is wrong, where, and the remedy."""

from pathlib import Path


class UserError(Exception):
    """A mistake in a file, a name or a value that the caller can mend; printed without traceback, exit status 2."""


def row_error(path: str | Path, row: int | str, problem: str, remedy: str) -> UserError:
    """Name the file, the row (1-based, header excluded, or an id) and what to do about it."""
    return UserError(f"{path}, row {row}: {problem}. {remedy}")
