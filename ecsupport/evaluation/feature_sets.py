"""What sets of image features say beyond one distance: its floor, its uncertainty, diversity (Table 1).

Uncertainty is by jackknife over patients, not by bootstrap: a resample with copies has less spread than the images
it stands for, which moves a Fréchet distance, and pairs of copies at distance 0, which move a kernel distance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.spatial.distance import cdist

from ecsupport.evaluation.classification import same_rows
from ecsupport.evaluation.frechet import NotComputable, check_features
from ecsupport.evaluation.proportions import check_level, number_patients

Distance = Callable[[np.ndarray, np.ndarray], float]
_BLOCK = 512  # rows of a distance matrix held at once


@dataclass(frozen=True)
class Estimate:
    """A number, the same corrected for its bias, standard error and interval of the latter, number of patients.

    The bias is that of few images; it can be larger than the standard error, so `value` may lie outside low..high.
    """

    value: float
    corrected: float
    standard_error: float
    low: float
    high: float
    n_patients: int


def jackknife(
    statistic: Callable[..., float],
    patient_ids: Sequence[ArrayLike],
    *,
    rng: np.random.Generator,
    groups: int = 50,
    level: float = 0.95,
) -> Estimate:
    """A statistic of several sets of images, with the interval of a delete-group jackknife over patients.

    statistic: takes one boolean mask of the images to use for every set, (n_k,), and returns a number
    patient_ids: one array (n_k,) for every set; a patient in two sets is one patient
    Patients fall into strata by the sets in which they have images (those with ultrasound, those with MRI), and each
    stratum of g patients into min(g, groups) random groups of nearly equal size; `rng` does nothing where every
    patient is a group. One group at a time is left out of all sets, which gives T_j where all give T. A stratum adds
        (g - 1) (mean T_j - T) to the bias and (g - 1) / g sum_j (T_j - mean T_j)^2 to the variance
    (Shao and Tu, The Jackknife and Bootstrap, 1995), the latter with g - 1 degrees of freedom; the strata's sum has
    those of Satterthwaite, and the interval is the corrected value -/+ t standard errors. Without the correction a
    difference of Fréchet distances is off by c / N, with another c for either generator.
    Limit: with a dozen patients the standard error is itself uncertain; simulated intervals of nominal 0.95 covered
    0.96 for a difference of Fréchet distances, 0.89 to 0.91 for one of kernel distances.
    Where nothing varies (standard error 0) low and high are NaN.
    Raises NotComputable where a stratum has one patient, or as the statistic does without a group; UserError for an
    empty patient_id or a level outside (0, 1).
    """
    check_level(level)
    of_image, n_patients = number_patients(np.concatenate([np.asarray(ids, dtype=object) for ids in patient_ids]))
    codes = np.split(of_image, np.cumsum([len(ids) for ids in patient_ids])[:-1])
    present = np.array([np.isin(np.arange(n_patients), numbers) for numbers in codes])  # (sets, patients)
    value = float(statistic(*(np.ones(len(numbers), dtype=bool) for numbers in codes)))
    variances, freedom, bias = [], [], 0.0
    for pattern in np.unique(present, axis=1).T:
        patients = np.flatnonzero((present == pattern[:, None]).all(axis=0))
        if len(patients) < 2:
            raise NotComputable("1 patient in a set", "An interval over patients needs two or more of each kind")
        g = min(len(patients), groups)
        left_out = [
            statistic(*(~np.isin(numbers, group) for numbers in codes))
            for group in np.array_split(rng.permutation(patients), g)
        ]
        bias += (g - 1) * (float(np.mean(left_out)) - value)
        variances.append((g - 1) * np.var(left_out))
        freedom.append(g - 1)
    corrected, error = value - bias, float(np.sqrt(np.sum(variances)))
    if error == 0:
        return Estimate(value, corrected, 0.0, np.nan, np.nan, n_patients)
    degrees = error**4 / np.sum(np.square(variances) / freedom)
    reach = float(stats.t.ppf((1 + level) / 2, degrees)) * error
    return Estimate(value, corrected, error, corrected - reach, corrected + reach, n_patients)


def jackknife_difference(
    distance: Distance,
    real: np.ndarray,
    generated_a: np.ndarray,
    generated_b: np.ndarray,
    real_patients: ArrayLike,
    source_patients: ArrayLike,
    *,
    rng: np.random.Generator,
    groups: int = 50,
    level: float = 0.95,
) -> Estimate:
    """distance(real, a) - distance(real, b): below 0 where generator a comes closer to the real images.

    real: (n, d), of real_patients (n,);  generated_a, generated_b: (m, d), row i of each made from the same source
    image, of source_patients (m,)
    A patient is left out with her real images and with her translations by both generators. Raises as `jackknife`
    and `distance` do, UserError where rows and patients differ in number.
    """
    real, generated_a, generated_b = check_features(real, generated_a, generated_b)
    same_rows("real", real, "real_patients", real_patients)
    for name, generated in (("generated_a", generated_a), ("generated_b", generated_b)):
        same_rows(name, generated, "source_patients", source_patients)

    def difference(real_kept: np.ndarray, source_kept: np.ndarray) -> float:
        kept = real[real_kept]
        return distance(kept, generated_a[source_kept]) - distance(kept, generated_b[source_kept])

    return jackknife(difference, [real_patients, source_patients], rng=rng, groups=groups, level=level)


def split_half_floor(
    distance: Distance, real: np.ndarray, patient_ids: ArrayLike, *, rng: np.random.Generator, repeats: int = 20
) -> float:
    """Distance of real images to real images: between two random halves of the patients, mean over `repeats`.

    real: (n, d), patient_ids: (n,)
    It is taken with half the images, so for a biased distance it is higher than a floor of all of them would be.
    Raises NotComputable for fewer than two patients, or as `distance` does.
    """
    (real,) = check_features(real)
    same_rows("real", real, "patient_ids", patient_ids)
    codes, n_patients = number_patients(patient_ids)
    if n_patients < 2:
        raise NotComputable("1 patient", "Halves need two or more")
    values = []
    for _ in range(repeats):
        first = np.isin(codes, rng.permutation(n_patients)[: n_patients // 2])
        values.append(distance(real[first], real[~first]))
    return float(np.mean(values))


def mean_pairwise_distance(features: np.ndarray, patient_ids: ArrayLike) -> float:
    """Diversity: mean Euclidean distance over all pairs of images of different patients, in feature units.

    features: (n, d), patient_ids: (n,). Its expectation does not depend on n.
    Raises NotComputable for fewer than two patients, UserError as `check_features` does.
    """
    (features,) = check_features(features)
    same_rows("features", features, "patient_ids", patient_ids)
    codes, n_patients = number_patients(patient_ids)
    if n_patients < 2:
        raise NotComputable("1 patient", "Pairs need two or more")
    total, pairs = 0.0, 0
    for start in range(0, len(features), _BLOCK):
        block = slice(start, start + _BLOCK)
        others = codes[block, None] != codes[None]  # (block, n)
        total += float(cdist(features[block], features)[others].sum())
        pairs += int(others.sum())
    return total / pairs
