"""Simulated readers whose truth is known: Roe-Metz scores, and calls at the operating points of Table 8.

They stand in for people: the first test the analysis of `mrmc`, the second let the comparison of Table 8 be run on
any test set. Neither says how a sonographer would have read an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, stats

from ecsupport.core.errors import UserError
from ecsupport.evaluation import mrmc
from ecsupport.evaluation.classification import check_images, same_rows


@dataclass(frozen=True)
class RoeMetz:
    """Parameters of the model of Roe and Metz (Acad Radiol 1997;4:298-303), as variances of its random effects.

    Modality i, reader j, case k, truth s (0 or 1) give the score
        X_ijks = s separation_i + R_js + (tau R)_ijs + C_ks + (tau C)_iks + (R C)_jks + E_ijks
    with independent normal effects of mean 0. One reading's variance over cases is 1: what case, case_modality and
    case_reader leave of it is that of E. Reader effects are drawn anew for each truth, so that readers differ in
    skill and not in threshold only.

    separation: one per modality, in standard deviations of a reading over cases
    reader, reader_modality: variances of R and tau R;  case, case_modality, case_reader: of C, tau C and R C
    """

    separation: tuple[float, ...]
    reader: float = 0.0
    reader_modality: float = 0.0
    case: float = 0.0
    case_modality: float = 0.0
    case_reader: float = 0.0

    def __post_init__(self) -> None:
        of_cases = (self.case, self.case_modality, self.case_reader)
        if not self.separation or not np.isfinite(self.separation).all():
            raise UserError(f"separation: {self.separation}. Give one finite number per modality.")
        if min(self.reader, self.reader_modality, *of_cases) < 0 or sum(of_cases) > 1 + 1e-12:
            raise UserError("RoeMetz: variances must not be negative, and those of cases sum to at most 1.")

    @property
    def auc(self) -> np.ndarray:
        """True ROC AUC of each modality, over readers and cases, [n_modalities].

        Phi(separation / sqrt(2 (1 + reader + reader_modality))): two readings of one reader, one of each truth, differ
        by a normal variable of mean `separation` and twice the variance of a reading.
        """
        return stats.norm.cdf(np.array(self.separation) / np.sqrt(2 * (1 + self.reader + self.reader_modality)))


def simulate_roe_metz(
    model: RoeMetz, n_positive: int, n_negative: int, n_readers: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One study: y_true (n_cases,), positives first, and scores [n_cases, n_readers, n_modalities], unbounded.

    Raises UserError for a number below 1.
    """
    if min(n_positive, n_negative, n_readers) < 1:
        raise UserError("simulate_roe_metz: give at least one positive, one negative and one reader.")
    t, r = len(model.separation), n_readers
    noise = max(1 - model.case - model.case_modality - model.case_reader, 0.0)
    scores = []
    for n, shift in ((n_positive, np.array(model.separation)), (n_negative, np.zeros(t))):
        effects = (
            (model.reader, (1, r, 1)),
            (model.reader_modality, (1, r, t)),
            (model.case, (n, 1, 1)),
            (model.case_modality, (n, 1, t)),
            (model.case_reader, (n, r, 1)),
            (noise, (n, r, t)),
        )
        scores.append(shift + sum(np.sqrt(variance) * rng.normal(size=shape) for variance, shape in effects))
    return np.repeat([1, 0], [n_positive, n_negative]), np.concatenate(scores)


def rejection_rates(
    model: RoeMetz, n_positive: int, n_negative: int, n_readers: int, *, n_studies: int, rng: np.random.Generator
) -> np.ndarray:
    """Share of simulated studies that call the modalities different at 5 %: random readers, then fixed, (2,)."""
    p = []
    for _ in range(n_studies):
        study = simulate_roe_metz(model, n_positive, n_negative, n_readers, rng)
        p.append(mrmc.obuchowski_rockette(*study).tests["p"])
    return (np.array(p) < 0.05).mean(axis=0)


def call_probability(
    y_true: ArrayLike,
    latent: ArrayLike,
    sensitivity: Sequence[float],
    specificity: Sequence[float],
    image_share: float = 0.4,
) -> np.ndarray:
    """Each reader's probability of calling each image positive: her operating point, spread over easy and hard images.

    y_true: (n_images,) 0 or 1;  latent: (n_images,) finite, how much the image looks like invasion, any scale
    sensitivity, specificity: (n_readers,) in [0, 1];  image_share: a in [0, 1), share of a reader's variance over the
    images of one class that the latent explains
    Within each class the latent is turned into normal scores z_k (by rank, ties alike). Reader j calls image k with
        p_kj = Phi((sqrt(a) z_k - c_j) / sqrt(1 - a)),
    c_j such that the mean of p_kj over the class is exactly her sensitivity, or 1 - specificity.
    Returns [n_images, n_readers]. Raises UserError for a value out of range or as `check_images` does.
    """
    labels, values = check_images(y_true, latent)
    if not 0 <= image_share < 1:
        raise UserError(f"image_share: {image_share} is not in [0, 1).")
    called = 1 - np.asarray(specificity, dtype=np.float64), np.asarray(sensitivity, dtype=np.float64)
    rates = np.stack(called) if called[0].shape == called[1].shape else np.empty(0)  # (2, n_readers)
    if rates.ndim != 2 or not ((rates >= 0) & (rates <= 1)).all():
        raise UserError("sensitivity, specificity: give one proportion in [0, 1] per reader in each.")
    probability = np.empty((len(labels), rates.shape[1]))
    for truth in (0, 1):
        of_class = np.flatnonzero(labels == truth)
        if not len(of_class):
            continue
        z = stats.norm.ppf((stats.rankdata(values[of_class]) - 0.5) / len(of_class))
        for j, rate in enumerate(rates[truth]):
            probability[of_class, j] = _spread(z, rate, image_share)
    return probability


def simulate_sonographers(
    y_true: ArrayLike,
    latent: ArrayLike,
    patient_id: ArrayLike,
    sensitivity: Sequence[float],
    specificity: Sequence[float],
    *,
    rng: np.random.Generator,
    image_share: float = 0.4,
    patient_share: float = 0.2,
) -> np.ndarray:
    """Calls of readers whose expected sensitivity and specificity on these images are the published ones.

    Arguments as `call_probability`; patient_id: (n_images,) any hashable; patient_share: b, share of a reader's
    variance that comes from the patient and is the same for all readers and all her images. With u of the patient
    and e of the reading drawn as standard normals, reader j calls image k where
        sqrt(a) z_k + sqrt(b) u + sqrt(1 - a - b) e > c_j.
    So readers agree on what is hard (both shares), images of a patient resemble each other (b, and a as far as the
    latent does), and over u and e each call has the probability p_kj of `call_probability`.
    Returns int64 0 or 1, [n_images, n_readers]. Raises UserError as `call_probability`, or for a + b > 1.
    """
    if not (patient_share >= 0 and image_share + patient_share <= 1):
        raise UserError("patient_share: must not be negative, and image_share + patient_share at most 1.")
    same_rows("y_true", y_true, "patient_id", patient_id)
    probability = call_probability(y_true, latent, sensitivity, specificity, image_share)
    patient, names = pd.factorize(pd.Series(patient_id), use_na_sentinel=False)
    u = rng.normal(size=len(names))[patient, None]
    e = rng.normal(size=probability.shape)
    left = 1 - image_share  # variance that the latent does not explain
    noise = np.sqrt(patient_share / left) * u + np.sqrt((left - patient_share) / left) * e  # standard normal
    return (stats.norm.ppf(probability) + noise > 0).astype(np.int64)


def _spread(z: np.ndarray, rate: float, share: float) -> np.ndarray:
    """Probabilities Phi((sqrt(share) z - c) / sqrt(1 - share)) whose mean over z (n,) is the rate."""
    if rate in (0, 1) or share == 0:
        return np.full(len(z), float(rate))
    slope, scale = np.sqrt(share), np.sqrt(1 - share)

    def miss(c: float) -> float:
        return stats.norm.cdf((slope * z - c) / scale).mean() - rate

    reach = slope * np.abs(z).max() + scale * abs(stats.norm.ppf(rate)) + 1  # beyond it every p is on one side
    return stats.norm.cdf((slope * z - optimize.brentq(miss, -reach, reach, xtol=1e-14)) / scale)
