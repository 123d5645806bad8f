"""Pixel arrays: grey levels of 8 bits in squares, or a refusal that says what came instead; sets as rows of arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecsupport.core.errors import UserError

STACK = "Give one NumPy array, e.g. np.stack(pictures) of pictures of one size."


def demand_grey(images: Any, side: int | None = None, name: str = "images") -> np.ndarray:
    """The images as they are, where they are (N, S, S) uint8 with N from 0 and S from 1, or S = `side`; also `Rows`.

    UserError for anything else, with `name`, what it is, and the remedy: no guess at another scale or order of axes is
    safe.
    """
    wanted = "(N, S, S)" if side is None else f"(N, {side}, {side})"
    if not isinstance(images, np.ndarray | Rows):
        found, remedies = f"a {type(images).__name__}", [STACK]
    else:
        found, remedies = f"{images.dtype.name} of shape {images.shape}", _remedies(images, side)
    if remedies:
        raise UserError(
            f"{name}: {found}, expected uint8 of shape {wanted}, grey levels 0 to 255. {' '.join(remedies)}"
        )
    return images


def _remedies(images: "np.ndarray | Rows", side: int | None) -> list[str]:
    """What to do about each fault of an array; empty where it has none."""
    found = []
    if images.ndim == 2:
        found.append("One picture is images[None].")
    elif images.ndim == 4:
        found.append("Turn colour into grey and drop the axis of channels.")
    elif images.ndim != 3:
        found.append(STACK)
    elif images.shape[1] != images.shape[2] or not images.shape[1]:
        found.append("Crop, pad or resize every picture to a square.")
    elif side not in (None, images.shape[1]):
        found.append(f"Load or resize them at {side} x {side} pixels.")
    if images.dtype not in (np.uint8, object):
        found.append("Scale them to 0 to 255, then np.rint(...).astype(np.uint8).")
    return found


class Rows:
    """Images as rows of arrays that stand on disk: (N, S, S) uint8 of which no pixel is read before it is asked for."""

    dtype, ndim = np.dtype(np.uint8), 3

    def __init__(self, *parts: tuple[np.ndarray, Sequence[int]]) -> None:
        """Arrays (M, S, S) uint8, each with the rows of it that follow one another here. UserError for other arrays.

        ValueError for a mask, which would be read as rows 0 and 1.
        """
        if any(np.asarray(rows).dtype == bool for _, rows in parts):
            raise ValueError("rows are given as a mask, expected their numbers, e.g. np.flatnonzero(mask)")
        side = demand_grey(parts[0][0]).shape[-1]
        self.arrays = [demand_grey(array, side) for array, _ in parts]
        self.rows = np.concatenate([np.asarray(rows, np.int64) for _, rows in parts])
        self.of = np.repeat(np.arange(len(parts)), [len(rows) for _, rows in parts])
        self.shape = (len(self.rows), side, side)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: Any) -> np.ndarray:
        """The images at these places (int, one or many, or a mask), in this order, in memory."""
        of, rows = self.of[places], self.rows[places]
        found = np.empty((*of.shape, *self.shape[1:]), np.uint8)
        for number, array in enumerate(self.arrays):
            found[of == number] = array[rows[of == number]]
        return found

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        return self[:]
