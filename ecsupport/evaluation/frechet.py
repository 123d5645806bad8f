"""Fréchet distance between two sets of image features (Table 1, column FID; Results, on SG-CycleGAN).

Both sets are described by mean and covariance as if they were Gaussian (Heusel et al., NeurIPS 2017). Limits:
- with N images the expected distance exceeds that of infinitely many by about c / N, and c depends on the generator:
  compare equal numbers of images only, show the floor that as many real images of other patients give, or extrapolate;
- with no more images than features a covariance is singular, and the distance says more about that than about the
  images: it is refused.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg

from ecsupport.core.errors import UserError


class NotComputable(UserError):
    """These sets do not carry this number. `cell` says so in a table: "not computable (34 images, 64 features)"."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"not computable ({reason}). {remedy}")
        self.cell = f"not computable ({reason})"


def value_or_reason(measure: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What `measure` returns, or the table cell of the `NotComputable` that it raises."""
    try:
        return measure(*arguments, **named)
    except NotComputable as reason:
        return reason.cell


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """Fréchet distance of the Gaussians with the moments of two feature sets, 0 or more, in squared feature units.

    real: (n, d), generated: (m, d), finite
    |mu_r - mu_g|^2 + tr(S_r) + tr(S_g) - 2 tr((S_r S_g)^(1/2)), whose last trace is the sum of the square roots of the
    eigenvalues of S_r^(1/2) S_g S_r^(1/2): symmetric, so that no complex number appears and no root needs to converge.
    Raises NotComputable unless n > d and m > d, UserError as `check_features` does.
    """
    real, generated = check_features(real, generated)
    images, features = min(len(real), len(generated)), real.shape[1]
    if images <= features:
        raise NotComputable(
            f"{images} images, {features} features", f"Give more than {features} images, or use an extractor of fewer"
        )
    return frechet_of_moments(*moments(real), *moments(generated))


def frechet_of_moments(
    mean_r: np.ndarray, covariance_r: np.ndarray, mean_g: np.ndarray, covariance_g: np.ndarray
) -> float:
    """The same from moments: means (d,) and symmetric positive semidefinite covariances (d, d)."""
    values, vectors = linalg.eigh(covariance_r)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    product = root @ covariance_g @ root
    shared = np.sqrt(np.clip(linalg.eigvalsh((product + product.T) / 2), 0, None)).sum()
    distance = np.sum((mean_r - mean_g) ** 2) + np.trace(covariance_r) + np.trace(covariance_g) - 2 * shared
    return float(max(distance, 0.0))  # below 0 by rounding only


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d), divisor n - 1, of features (n, d)."""
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def check_features(*sets: np.ndarray) -> list[np.ndarray]:
    """The sets as float64, (n, d) each; UserError unless all have two axes, the same d of 1 or more, and no NaN."""
    checked = [np.asarray(features, dtype=np.float64) for features in sets]
    widths = {features.shape[1] if features.ndim == 2 else None for features in checked}
    if len(widths) > 1 or not widths.pop():
        shapes = " and ".join(str(features.shape) for features in checked)
        raise UserError(f"features: shapes {shapes}. Give (images, features), with the same features in each set")
    for number, features in enumerate(checked, start=1):
        if not np.isfinite(features).all():
            row = int(np.argmin(np.isfinite(features).all(axis=1))) + 1
            raise UserError(f"features: set {number}, image {row} has a NaN or infinite feature. Look at that image")
    return checked
