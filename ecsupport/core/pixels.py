"""The one guard of pixel arrays: grey levels of 8 bits in squares, or a refusal that says what came instead."""

from typing import Any

import numpy as np

from ecsupport.core.errors import UserError

STACK = "Give one NumPy array, e.g. np.stack(pictures) of pictures of one size."


def demand_grey(images: Any, side: int | None = None, name: str = "images") -> np.ndarray:
    """The images as they are, where they are (N, S, S) uint8 with N from 0 and S from 1, or S = `side`.

    UserError for anything else, with `name`, what it is, and the remedy: no guess at another scale or order of axes is
    safe.
    """
    wanted = "(N, S, S)" if side is None else f"(N, {side}, {side})"
    if not isinstance(images, np.ndarray):
        found, remedies = f"a {type(images).__name__}", [STACK]
    else:
        found, remedies = f"{images.dtype.name} of shape {images.shape}", _remedies(images, side)
    if remedies:
        raise UserError(
            f"{name}: {found}, expected uint8 of shape {wanted}, grey levels 0 to 255. {' '.join(remedies)}"
        )
    return images


def _remedies(images: np.ndarray, side: int | None) -> list[str]:
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
