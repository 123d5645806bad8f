"""Acceptance of a feature extractor on known degradations, before Table 1 is measured with it.

Real ultrasound is spoilt step by step; a distance that does not grow with every step measures something else. Random
weights fail, and so does a network trained on both modalities without having to tell them apart. One trained on
ultrasound alone may pass: phantom MRI of eight sequences are unlike anything that it knows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from ecsupport.core.pixels import demand_grey

REVISION = 1  # ladders, rule of acceptance, matched histograms
LADDERS = {  # how strong each step is; the first is the mildest
    "blur": (0.75, 1.5, 3.0),  # standard deviation of a Gaussian, in 1/64 of the image's side
    "noise": (5.0, 10.0, 20.0, 40.0),  # standard deviation, in grey levels
    "contrast": (0.2, 0.4, 0.6),  # share lost, around the image's mean
    "brightness": (15.0, 30.0, 60.0),  # grey levels added
    "mri": (0.25, 0.5, 1.0),  # share of images replaced by raw MRI
    "matched_mri": (0.25, 0.5, 1.0),  # the same by MRI with the ultrasound's histogram
}
EXCEEDS = {"mri": 2, "matched_mri": 1}  # MRI throughout must be further away than this step of every other ladder


@dataclass(frozen=True)
class Acceptance:
    """Whether an extractor is accepted, why not, and the distances: columns ladder, strength (0 = floor), distance."""

    accepted: bool
    reasons: tuple[str, ...]
    distances: pd.DataFrame


def accept(
    measure: Callable[[np.ndarray], np.ndarray],
    distance: Callable[[np.ndarray, np.ndarray], float],
    reference: np.ndarray,
    probe: np.ndarray,
    mri: np.ndarray,
    rng: np.random.Generator,
) -> Acceptance:
    """Spoil `probe` along every ladder and measure its distance to `reference`.

    measure: images (N, S, S) uint8 to features (N, d);  distance: of two feature sets
    reference, probe: real ultrasound of different patients;  mri: at least as many images as probe
    Accepted where (1) every ladder rises strictly from its floor, the untouched probe, to its end, and (2) raw MRI
    is further away than the second, histogram-matched MRI than the first step of every other ladder. `reasons` names
    each failure. Take some hundred images a side: the ladders' first steps are close to the floor.
    Raises ValueError for fewer MRI than probe images, and what `distance` raises; UserError for other arrays.
    """
    for name, images in (("reference", reference), ("probe", probe), ("mri", mri)):
        demand_grey(images, name=name)
    target = measure(reference)
    floor = distance(target, measure(probe))
    rows, reasons = [], []
    for ladder, strengths in LADDERS.items():
        values = [floor]
        for strength in strengths:
            values.append(distance(target, measure(degrade(probe, ladder, strength, mri, reference, rng))))
        rows += zip([ladder] * len(values), (0.0, *strengths), values, strict=True)
        if not (np.diff(values) > 0).all():
            reasons.append(f"{ladder}: distances {', '.join(f'{value:.3g}' for value in values)} do not rise")
    table = pd.DataFrame(rows, columns=["ladder", "strength", "distance"])
    along = {name: steps["distance"].to_numpy() for name, steps in table.groupby("ladder")}
    for mixed, step in EXCEEDS.items():
        for spoilt in (name for name in LADDERS if name not in EXCEEDS):
            end, least = along[mixed][-1], along[spoilt][step]
            if not end > least:
                reasons.append(f"{mixed}: distance {end:.3g} is not above that of {spoilt}, step {step}, {least:.3g}")
    return Acceptance(not reasons, tuple(reasons), table)


def degrade(
    images: np.ndarray, ladder: str, strength: float, mri: np.ndarray, reference: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Images spoilt by one step of a ladder, (N, H, W) uint8; `mri` and `reference` serve the ladders of MRI only."""
    grey = images.astype(np.float64)
    if ladder in EXCEEDS:
        if len(mri) < len(images):
            raise ValueError(f"{len(mri)} MRI for {len(images)} ultrasound images; expected at least as many")
        number = round(strength * len(images))
        replaced, by = rng.permutation(len(images))[:number], rng.permutation(len(mri))[:number]
        spoilt = images.copy()
        spoilt[replaced] = (mri if ladder == "mri" else match_histogram(mri, reference))[by]
        return spoilt
    if ladder == "blur":
        sigma = strength * images.shape[1] / 64
        spoilt = ndimage.gaussian_filter(grey, (0, sigma, sigma))
    elif ladder == "noise":
        spoilt = grey + rng.normal(0, strength, images.shape)
    elif ladder == "contrast":
        mean = grey.mean(axis=(1, 2), keepdims=True)
        spoilt = mean + (1 - strength) * (grey - mean)
    else:
        spoilt = grey + strength
    return np.clip(np.rint(spoilt), 0, 255).astype(np.uint8)


def match_histogram(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Images whose pooled grey-level histogram is, as nearly as a monotone map can make it, that of `reference`.

    (N, H, W) and (M, H', W') uint8 to (N, H, W) uint8; one map for all images. A level in the middle of its own
    levels' ranks takes the reference's quantile of that rank.
    """
    count = np.bincount(images.ravel(), minlength=256)
    rank = (np.cumsum(count) - count / 2) / images.size
    levels = np.quantile(reference, rank, method="inverted_cdf")
    return levels.astype(np.uint8)[images]
