"""The Fréchet distance of infinitely many images, extrapolated from few (Table 1, column FID; Results, on SG-CycleGAN).

With N images the expected distance exceeds that of infinitely many by about c / N, and c depends on the generator
(Chong and Forsyth, CVPR 2020, who call the limit FID infinity). Random parts of the images show the line in 1 / N, and
its intercept is the limit. Parts are taken of patients, since images of one patient add less than images of others.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ecsupport.evaluation.classification import same_rows
from ecsupport.evaluation.feature_sets import patient_strata
from ecsupport.evaluation.frechet import NotComputable, check_features, frechet_distance

SMALLEST_SHARE = 0.5  # of the patients: with fewer the line bends where patients have several images
LEAST_SIZES = 3  # a line through two sizes would always fit


@dataclass(frozen=True)
class Extrapolation:
    """value: the distance of infinitely many images, below 0 at times;  slope: distance = value + slope / images;

    points: what the line was fitted to, a frame of images (of the smaller set, on average), share (of the patients)
    and distance (mean over the draws), the largest size last
    """

    value: float
    slope: float
    points: pd.DataFrame


def frechet_infinity(
    real: np.ndarray,
    generated: np.ndarray,
    real_patients: ArrayLike,
    source_patients: ArrayLike,
    *,
    rng: np.random.Generator,
    sizes: int = 15,
    repeats: int = 20,
) -> Extrapolation:
    """Fréchet distance at about `sizes` numbers of images, both sets made smaller together, extrapolated to infinity.

    real: (n, d), of real_patients (n,);  generated: (m, d), from source images of source_patients (m,); a patient in
    both sets is one patient; independent images are patients of their own
    Each of `repeats` draws keeps the same share of the patients of either set, without replacement; the shares go from
    all to half, evenly in one over share. The line is fitted by least squares to the mean at each size.
    Simulated with a known distance (tests/test_feature_sets.py), nothing of the excess of independent images is left,
    and of that of a dozen patients with several images a part. The intercept scatters and has no interval of its own;
    that of `jackknife`, whose corrected value is about the same limit, serves for it.
    Raises NotComputable where a set has fewer images than 4 d, or too few patients for three sizes; UserError as
    `check_features` does or where rows and patients differ in number.
    """
    real, generated = check_features(real, generated)
    same_rows("real", real, "real_patients", real_patients)
    same_rows("generated", generated, "source_patients", source_patients)
    images, features = min(len(real), len(generated)), real.shape[1]
    if images < 4 * features:
        raise NotComputable(
            f"{images} images, {features} features", f"An extrapolation needs {4 * features} images in each set"
        )
    codes, strata = patient_strata([real_patients, source_patients])
    patients = min(map(len, strata))
    kept = np.unique(np.round(patients / np.linspace(1, 1 / SMALLEST_SHARE, sizes)).astype(int))
    if len(kept) < LEAST_SIZES:
        raise NotComputable(f"{patients} patients in a set", "A line needs three sizes, so more patients")
    rows = []
    for share in kept / patients:
        found = []
        for _ in range(repeats if share < 1 else 1):
            chosen = [rng.permutation(stratum)[: round(share * len(stratum))] for stratum in strata]
            of_real, of_generated = (np.isin(numbers, np.concatenate(chosen)) for numbers in codes)
            found.append(frechet_distance(real[of_real], generated[of_generated]))
        rows.append((share * images, share, np.mean(found)))
    points = pd.DataFrame(rows, columns=["images", "share", "distance"])
    slope, value = np.polyfit(1 / points["images"], points["distance"], 1)
    return Extrapolation(float(value), float(slope), points)
