"""What sets of image features say beyond one distance: its uncertainty, its floor, diversity, copies (Table 1).

Uncertainty is by jackknife over patients, not by bootstrap: a resample with copies has less spread than the images
it stands for, which moves a Fréchet distance, and pairs of copies at distance 0, which move a kernel distance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.spatial.distance import cdist

from ecsupport.core.errors import UserError
from ecsupport.evaluation.classification import same_rows
from ecsupport.evaluation.components import MINIMUM_SEEDS, SCOPES, Factor, spread
from ecsupport.evaluation.frechet import NotComputable, check_features
from ecsupport.evaluation.proportions import check_level, number_patients

Distance = Callable[[np.ndarray, np.ndarray], float]
_BLOCK = 512  # rows of a distance matrix held at once


@dataclass(frozen=True)
class Estimate:
    """A number, the same corrected for its bias, standard error and interval of the latter, number of patients.

    The bias is that of few images; it can be larger than the standard error, so `value` may lie outside low..high.
    scope: one of components.SCOPES, what the interval speaks about;  n_seeds: trainings averaged over;
    degrees: of freedom of its t
    """

    value: float
    corrected: float
    standard_error: float
    low: float
    high: float
    n_patients: int
    scope: str
    n_seeds: int
    degrees: float

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p-value of the corrected value against `null`, by the interval's t; NaN where nothing varies."""
        if not self.standard_error > 0:
            return np.nan
        return float(2 * stats.t.sf(abs(self.corrected - null) / self.standard_error, self.degrees))


def jackknife(
    statistic: Callable[..., ArrayLike],
    patient_ids: Sequence[ArrayLike],
    *,
    rng: np.random.Generator,
    groups: int = 50,
    level: float = 0.95,
) -> Estimate:
    """A statistic of several sets of images, with the interval of a delete-group jackknife over patients, and seeds.

    statistic: takes one boolean mask of the images to use for every set, (n_k,), and returns a number, or one for
    every training seed, (S,), whose mean T is estimated
    patient_ids: one array (n_k,) for every set; a patient in two sets is one patient
    Patients fall into strata (see `patient_strata`), and each stratum of g patients into min(g, groups) random groups
    of nearly equal size; `rng` does nothing where every patient is a group. One group at a time is left out of all
    sets, which gives T_j where all give T. A stratum adds
        (g - 1) (mean T_j - T) to the bias and (g - 1) / g sum_j (T_j - mean T_j)^2 to the variance
    (Shao and Tu, The Jackknife and Bootstrap, 1995), the latter with g - 1 degrees of freedom. From MINIMUM_SEEDS
    seeds on they are a factor of their own, by the analysis of variance of `components`; with fewer the interval is
    over patients alone and the scope says so. The interval is the corrected value -/+ t standard errors. Without the
    correction a difference of Fréchet distances is off by c / N, with another c for either generator.
    Limits: with a dozen patients the standard error is itself uncertain; simulated intervals of nominal 0.95 covered
    0.96 for a difference of Fréchet distances, 0.89 to 0.91 for one of kernel distances, with seeds held fixed.
    Where nothing varies (standard error 0) low and high are NaN.
    Raises NotComputable where a stratum has one patient, or as the statistic does without a group; UserError for an
    empty patient_id or a level outside (0, 1).
    """
    check_level(level)
    codes, strata = patient_strata(patient_ids)
    values = np.atleast_1d(statistic(*(np.ones(len(numbers), dtype=bool) for numbers in codes)))
    value, n_seeds = float(values.mean()), len(values)
    of_patients, of_seeds, both, bias = [], [], 0.0, 0.0
    with_seeds = n_seeds >= MINIMUM_SEEDS
    for patients in strata:
        if len(patients) < 2:
            raise NotComputable("1 patient in a set", "An interval over patients needs two or more of each kind")
        g = min(len(patients), groups)
        left_out = np.array(
            [
                np.atleast_1d(statistic(*(~np.isin(numbers, group) for numbers in codes)))
                for group in np.array_split(rng.permutation(patients), g)
            ]
        )  # (g, S)
        of_group = left_out.mean(axis=1)
        bias += (g - 1) * (float(of_group.mean()) - value)
        of_patients.append(Factor(float((g - 1) * of_group.var()), g - 1))
        if with_seeds:
            rest = left_out - of_group[:, None] - left_out.mean(axis=0) + of_group.mean()
            both += float((g - 1) / g * (rest**2).sum() / (n_seeds * (n_seeds - 1)))
    if with_seeds:
        of_seeds = [Factor(float(values.var(ddof=1) / n_seeds), n_seeds - 1)]
    found, corrected, low, high = spread(of_patients, of_seeds, both), value - bias, np.nan, np.nan
    if found.standard_error > 0:
        low, high = found.interval(corrected, level)
    n_patients, scope = sum(map(len, strata)), SCOPES[0 if with_seeds else 1]
    return Estimate(value, corrected, found.standard_error, low, high, n_patients, scope, n_seeds, found.degrees)


def patient_strata(patient_ids: Sequence[ArrayLike]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Patients of several sets of images, by the sets in which they have images: those with ultrasound, with MRI, both.

    patient_ids: one array (n_k,) for every set
    Returns the patient's number of every image, (n_k,) for every set, and the numbers of each stratum. UserError for
    an empty patient_id.
    """
    of_image, n_patients = number_patients(np.concatenate([np.asarray(ids, dtype=object) for ids in patient_ids]))
    codes = np.split(of_image, np.cumsum([len(ids) for ids in patient_ids])[:-1])
    present = np.array([np.isin(np.arange(n_patients), numbers) for numbers in codes])  # (sets, patients)
    patterns = np.unique(present, axis=1).T
    return codes, [np.flatnonzero((present == pattern[:, None]).all(axis=0)) for pattern in patterns]


def jackknife_difference(
    distance: Distance,
    real: np.ndarray,
    generated_a: Sequence[np.ndarray],
    generated_b: Sequence[np.ndarray],
    real_patients: ArrayLike,
    source_patients: ArrayLike,
    *,
    rng: np.random.Generator,
    groups: int = 50,
    level: float = 0.95,
) -> Estimate:
    """distance(real, a) - distance(real, b), averaged over seeds: below 0 where generator a comes closer to real.

    real: (n, d), of real_patients (n,);  generated_a, generated_b: (m, d) for every training seed, the i-th of both
    from the same seed, row i of all made from the same source image, of source_patients (m,)
    A patient is left out with her real images and with all translations of hers.
    Simulated with seeds of known luck (tests/test_feature_sets.py), intervals of five seeds cover the mean over all
    seeds about as often as they say; intervals over patients alone far less often where seeds differ much.
    Raises as `jackknife` and `distance` do, UserError where rows and patients or the seeds of a and b differ in number.
    """
    real, *generated = check_features(real, *generated_a, *generated_b)
    if len(generated_a) != len(generated_b) or not len(generated_a):
        raise UserError(
            f"generated_a has {len(generated_a)} training seeds and generated_b {len(generated_b)}. "
            "Give both for the same seeds, one or more"
        )
    same_rows("real", real, "real_patients", real_patients)
    for features in generated:
        same_rows("generated", features, "source_patients", source_patients)

    def differences(real_kept: np.ndarray, source_kept: np.ndarray) -> np.ndarray:
        found = [distance(real[real_kept], features[source_kept]) for features in generated]
        return np.subtract(*np.split(np.array(found), 2))

    return jackknife(differences, [real_patients, source_patients], rng=rng, groups=groups, level=level)


@dataclass(frozen=True)
class Floor:
    """Distance of real images to real images: mean and range over draws, number of images of a draw."""

    mean: float
    low: float
    high: float
    n_images: int


def real_floor(
    distance: Distance,
    real: np.ndarray,
    others: np.ndarray,
    real_patients: ArrayLike,
    other_patients: ArrayLike,
    n_images: int,
    *,
    rng: np.random.Generator,
    draws: int = 20,
) -> Floor:
    """Distance of real images to as many real images of other patients as there are translations: the best there is.

    real: (n, d), those that translations are compared with;  others: (m, d), of other patients
    n_images: of a draw, the number of translations, since a Fréchet distance falls with it. A draw takes the patients
    in random order with all their images, the last one with as many as are still wanted.
    Limit: draws of nearly all images are nearly the same, and their range then tells nothing.
    Raises NotComputable where others are fewer than n_images, or as `distance` does; UserError as `check_features`
    does, where rows and patients differ in number, or for a patient in both sets.
    """
    real, others = check_features(real, others)
    same_rows("real", real, "real_patients", real_patients)
    same_rows("others", others, "other_patients", other_patients)
    codes, strata = patient_strata([real_patients, other_patients])
    if np.isin(codes[1], codes[0]).any():
        shared = np.asarray(other_patients)[np.isin(codes[1], codes[0])][0]
        raise UserError(f"patient {shared} is in both sets. Draw the floor from other patients")
    if len(others) < n_images:
        raise NotComputable(f"{len(others)} images for a floor of {n_images}", "Give more images of other patients")
    found = []
    for _ in range(draws):
        rank = rng.permutation(sum(map(len, strata)))  # (patients,)
        first = np.argsort(rank[codes[1]], kind="stable")[:n_images]
        found.append(distance(real, others[first]))
    return Floor(float(np.mean(found)), float(min(found)), float(max(found)), n_images)


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


@dataclass(frozen=True)
class Memorisation:
    """How near generated images lie to the training images, against real images of other patients.

    ratio: median distance to the nearest training image, generated over real; low, high: its interval over patients
    nearer: share of the generated images that lie nearer to a training image than any of the real images does
    expected: that share where generated images are as new as the real ones, 1 / (number of real images + 1)
    """

    ratio: float
    low: float
    high: float
    nearer: float
    expected: float


def nearest_distances(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Euclidean distance of each image to its nearest training image, (n,), in feature units.

    features: (n, d), training: (m, d). Raises UserError as `check_features` does, ValueError without training images.
    """
    features, training = check_features(features, training)
    blocks = [features[start : start + _BLOCK] for start in range(0, len(features), _BLOCK)]
    return np.concatenate([np.empty(0), *(cdist(block, training).min(axis=1) for block in blocks)])


def memorisation(
    generated: np.ndarray,
    real: np.ndarray,
    training: np.ndarray,
    source_patients: ArrayLike,
    real_patients: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Memorisation:
    """Whether a generator repeats the images it was trained on: a ratio far below 1, many images nearer than expected.

    generated: (n, d), from source images of source_patients (n,);  real: (m, d), of real_patients (m,) of whom no image
    is among training, (k, d): the real images of the generator's target modality
    The interval is the percentile interval of a bootstrap over the patients of both sets; copies in a resample do no
    harm here, since each image is compared with the training images alone. A median far above 1 is no merit: noise
    is far from every image.
    Raises NotComputable where the real images' median is 0 or a set has one patient; UserError as `check_features`
    does, where rows and patients differ in number, or for a level outside (0, 1).
    """
    check_level(level)
    medians, nearest = [], []
    for name, features, ids in (("generated", generated, source_patients), ("real", real, real_patients)):
        same_rows(name, features, "patients", ids)
        distances = nearest_distances(features, training)
        codes, n_patients = number_patients(ids)
        if n_patients < 2:
            raise NotComputable("1 patient in a set", "An interval over patients needs two or more in each")
        drawn = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_resamples)  # (resamples, P)
        medians.append(np.array([np.median(np.repeat(distances, times[codes])) for times in drawn]))
        nearest.append(distances)
    of_generated, of_real = nearest
    if not np.median(of_real) > 0:
        raise NotComputable("real images at distance 0 of training images", "Leave training images out of the real")
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.quantile(medians[0] / medians[1], [(1 - level) / 2, (1 + level) / 2])
    ratio = float(np.median(of_generated) / np.median(of_real))
    nearer = float(np.mean(of_generated < of_real.min()))
    return Memorisation(ratio, float(low), float(high), nearer, 1 / (len(of_real) + 1))
