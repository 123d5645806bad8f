"""Smooth random fields from a few plane waves: tissue inhomogeneity and coil bias, at any resolution alike."""

import numpy as np


def waves(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, *, count: int, longest: float, shortest: float
) -> np.ndarray:
    """Sum of `count` plane waves of unit variance. x, y: (H, W); wavelengths in their unit. Returns (H, W)."""
    lengths = shortest * (longest / shortest) ** rng.random(count)
    angles, phases = rng.uniform(0, 2 * np.pi, (2, count))
    field = np.zeros_like(x)
    for length, angle, phase in zip(lengths, angles, phases, strict=True):
        k = 2 * np.pi / length
        field += np.cos(x * x.dtype.type(k * np.cos(angle)) + y * x.dtype.type(k * np.sin(angle)) + x.dtype.type(phase))
    return field * x.dtype.type(np.sqrt(2 / count))
