"""Kernel distance between two sets of image features (Table 1, column KID; Results, on SG-CycleGAN).

The unbiased estimate of the squared maximum mean discrepancy with a cubic kernel (Binkowski et al., ICLR 2018). It is
right on average however few the images, if they are independent, and so often negative where the sets are alike; pairs
of images of one patient, who resembles herself, raise it. An image is never paired with itself, nor with a copy.
The "±" that usually goes with it is the spread over overlapping subsets of the same images: neither a standard error
nor a spread over training seeds. For intervals see `feature_sets.jackknife`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ecsupport.core.errors import UserError
from ecsupport.evaluation.classification import same_rows
from ecsupport.evaluation.frechet import NotComputable, check_features

_BLOCK = 512  # rows of a kernel matrix held at once


@dataclass(frozen=True)
class OverSubsets:
    """Kernel distance over random subsets: its mean and standard deviation (divisor: number of subsets)."""

    mean: float
    sd: float


def kernel_distance(
    real: np.ndarray, generated: np.ndarray, image_ids: tuple[ArrayLike, ArrayLike] | None = None
) -> float:
    """Unbiased squared MMD of two feature sets with the kernel k(a, b) = (a.b / d + 1)^3; may be negative.

    real: (n, d), generated: (m, d), finite
    image_ids: (n,) and (m,), any hashable, the image of every row: rows of one name, within a set or between the two,
    are copies of one image, changed or not, and their pairs are not counted; where None, every row is an image
    mean of k over the pairs of different images within either set, less twice its mean over the pairs between them.
    Raises NotComputable where there is no such pair, or without image_ids where rows are equal; UserError as
    `check_features` does, or where rows and image_ids differ in number.
    """
    real, generated = check_features(real, generated)
    ids_r, ids_g = _numbered(real, generated, image_ids)
    return (
        _mean_kernel(real, real, ids_r, ids_r)
        + _mean_kernel(generated, generated, ids_g, ids_g)
        - 2 * _mean_kernel(real, generated, ids_r, ids_g)
    )


def kernel_distance_over_subsets(
    real: np.ndarray,
    generated: np.ndarray,
    image_ids: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    rng: np.random.Generator,
    subsets: int = 100,
    size: int = 1000,
) -> OverSubsets:
    """The form in which KID is usually printed: mean and SD over `subsets` draws of `size` images of each set.

    real: (n, d), generated: (m, d), finite, image_ids: as in `kernel_distance`; each draw is without replacement
    Raises NotComputable unless both sets have `size` images, and as `kernel_distance` does; UserError as
    `check_features` does, ValueError for a size below 2 or no subset.
    """
    if size < 2 or subsets < 1:
        raise ValueError(f"{subsets} subsets of {size} images; expected 1 or more of 2 or more")
    real, generated = check_features(real, generated)
    if (images := min(len(real), len(generated))) < size:
        raise NotComputable(f"{images} images, subsets of {size}", f"Use subsets of {images} or fewer, and say so")
    ids_r, ids_g = _numbered(real, generated, image_ids)
    values = []
    for _ in range(subsets):
        of_real, of_generated = (rng.choice(len(features), size, replace=False) for features in (real, generated))
        ids = ids_r[of_real], ids_g[of_generated]
        values.append(kernel_distance(real[of_real], generated[of_generated], ids))
    return OverSubsets(float(np.mean(values)), float(np.std(values)))


def _numbered(
    real: np.ndarray, generated: np.ndarray, image_ids: tuple[ArrayLike, ArrayLike] | None
) -> tuple[np.ndarray, np.ndarray]:
    """The image of every row as a whole number, equal for copies alone: (n,) and (m,)."""
    if image_ids is None:
        rows = np.concatenate([real, generated])
        _, firsts, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
        if (counts > 1).any():
            first = firsts[counts > 1].min()
            second = np.flatnonzero((rows == rows[first]).all(axis=1))[1]
            where = [
                f"{row + 1} of the real" if row < len(real) else f"{row - len(real) + 1} of the generated"
                for row in (first, second)
            ]
            raise NotComputable(
                f"images {where[0]} and {where[1]} have equal features",
                "Name the image of every row in image_ids, so that copies are known from images that look alike",
            )
        codes = np.arange(len(rows))
    else:
        for name, features, ids in zip(("real", "generated"), (real, generated), image_ids, strict=True):
            same_rows(name, features, f"image_ids of {name}", ids)
        codes, _ = pd.factorize(np.concatenate([np.asarray(ids, dtype=object) for ids in image_ids]))
        if (codes < 0).any():
            raise UserError(f"image_ids: entry {int(np.argmax(codes < 0)) + 1} is empty. Name the image of every row")
    return codes[: len(real)], codes[len(real) :]


def _mean_kernel(a: np.ndarray, b: np.ndarray, ids_a: np.ndarray, ids_b: np.ndarray) -> float:
    """Mean of k over the pairs of a row of a and a row of b that are different images."""
    total, pairs = 0.0, 0
    for start in range(0, len(a), _BLOCK):
        block = slice(start, start + _BLOCK)
        different = ids_a[block, None] != ids_b[None]  # (block, len(b))
        base = a[block] @ b.T / a.shape[1] + 1
        total += float((base * base * base).sum(where=different))  # a power is slower
        pairs += int(different.sum())
    if not pairs:
        raise NotComputable("no pair of different images", "Give two or more different images in each set")
    return total / pairs
