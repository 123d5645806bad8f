"""Kernel distance between two sets of image features (Table 1, column KID; Results, on SG-CycleGAN).

The unbiased estimate of the squared maximum mean discrepancy with a cubic kernel (Binkowski et al., ICLR 2018). It is
right on average however few the images, if they are independent, and so often negative where the sets are alike; pairs
of images of one patient, who resembles herself, raise it.
The "±" that usually goes with it is the spread over overlapping subsets of the same images: neither a standard error
nor a spread over training seeds. For intervals see `feature_sets.jackknife`.
"""

from dataclasses import dataclass

import numpy as np

from ecsupport.evaluation.frechet import NotComputable, check_features


@dataclass(frozen=True)
class OverSubsets:
    """Kernel distance over random subsets: its mean and standard deviation (divisor: number of subsets)."""

    mean: float
    sd: float


def kernel_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """Unbiased squared MMD of two feature sets with the kernel k(a, b) = (a.b / d + 1)^3; may be negative.

    real: (n, d), generated: (m, d), finite
    mean of k over the pairs of different images within either set, less twice its mean over the pairs between them.
    Raises NotComputable unless n and m are 2 or more, UserError as `check_features` does.
    """
    real, generated = check_features(real, generated)
    if (images := min(len(real), len(generated))) < 2:
        raise NotComputable(f"{images} images", "Give two or more in each set")
    return _within(real) + _within(generated) - 2 * float(_kernel(real, generated).mean())


def kernel_distance_over_subsets(
    real: np.ndarray, generated: np.ndarray, *, rng: np.random.Generator, subsets: int = 100, size: int = 1000
) -> OverSubsets:
    """The form in which KID is usually printed: mean and SD over `subsets` draws of `size` images of each set.

    real: (n, d), generated: (m, d), finite; each draw is without replacement
    Raises NotComputable unless both sets have `size` images, UserError as `check_features` does, ValueError for a
    size below 2 or no subset.
    """
    if size < 2 or subsets < 1:
        raise ValueError(f"{subsets} subsets of {size} images; expected 1 or more of 2 or more")
    real, generated = check_features(real, generated)
    if (images := min(len(real), len(generated))) < size:
        raise NotComputable(f"{images} images, subsets of {size}", f"Use subsets of {images} or fewer, and say so")
    values = [
        kernel_distance(*(features[rng.choice(len(features), size, replace=False)] for features in (real, generated)))
        for _ in range(subsets)
    ]
    return OverSubsets(float(np.mean(values)), float(np.std(values)))


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _within(features: np.ndarray) -> float:
    kernel, n = _kernel(features, features), len(features)
    return float(kernel.sum() - np.trace(kernel)) / (n * (n - 1))
