"""Frames of a cine: sampled evenly, near-duplicates dropped by a perceptual hash."""

import numpy as np

from ecsupport.cohort import pictures

FRAMES = 8  # kept of a cine at most
NEAR = 32  # bits of 256 in which near-duplicates differ at most


def sample(frames: int, every: int = 0, most: int = FRAMES) -> list[int]:
    """Indices of the frames that are looked at: every n-th, or, with `every` 0, at most `most` evenly spread."""
    if every:
        return list(range(0, frames, every))
    return sorted({int(index) for index in np.rint(np.linspace(0, frames - 1, min(frames, most)))})


class Distinct:
    """Remembers the pictures of one file and tells which are near-duplicates of an earlier one."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []

    def is_new(self, picture: np.ndarray) -> bool:
        """Whether a picture (H, W) uint8 differs from all that were new before, in more than NEAR bits."""
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(pictures.fingerprint(picture)), np.uint8))  # (256,)
        if any((bits != other).sum() <= NEAR for other in self.kept):
            return False
        self.kept.append(bits)
        return True
