"""How much better a design's own test sets make a classifier look than it is: optimism, its interval and its coverage.

Optimism is what is reported less what is true. Of each training s the reported value is the mean over test sets drawn
anew from her patients, o_s that value less the true one. Test sets of different seeds hold different patients, so that
the o_s vary as trainings and test sets do; what they share is the population on which the truth is measured. With S
trainings and P patients of the population the variance of the mean optimism is
    Var(o_s) / S  +  Var(psi_p) / P  -  what both do together and stands in either,
psi_p being the pseudo-values of the mean truth; each part has its own t (`components.spread`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ecsupport.evaluation import components
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.pseudo_values import pseudo_values

AUC, SENSITIVITY, SPECIFICITY = (METRICS.index(name) for name in ("roc_auc", "sensitivity", "specificity"))


@dataclass(frozen=True)
class Truth:
    """A measure in the population. value: (S,), of each training;  pseudo_values: (S, P), of each and every patient."""

    value: np.ndarray
    pseudo_values: np.ndarray

    @property
    def patients(self) -> components.Factor:
        """The variance of the mean truth that patients give."""
        number = self.pseudo_values.shape[1]
        return components.Factor(float(self.pseudo_values.mean(axis=0).var(ddof=1) / number), number - 1)

    @property
    def both(self) -> float:
        """Its variance that trainings and patients give together."""
        psi = self.pseudo_values
        seeds, patients = psi.shape
        if seeds < 2:
            return 0.0
        rest = psi - psi.mean(axis=0) - psi.mean(axis=1, keepdims=True) + psi.mean()
        return float((rest**2).sum() / ((seeds - 1) * (patients - 1) * seeds * patients))


def truth(label: np.ndarray, scores: np.ndarray, patient: np.ndarray, weigh: np.ndarray, threshold: float) -> Truth:
    """Of a weighted sum of the six metrics.

    label: (n,) 0 or 1;  scores: (S, n);  patient: (n,);  weigh: (6,) in the order of METRICS
    """
    psi, value = pseudo_values(label, scores, pd.factorize(patient)[0], threshold)
    used = weigh != 0
    return Truth(value[:, used] @ weigh[used], psi[..., used] @ weigh[used])


@dataclass(frozen=True)
class Optimism:
    """Reported and true values (S,) of S trainings, and the interval of the mean of their difference.

    truth: where the true values are measured in the population, which is then no more than a sample
    """

    reported: np.ndarray
    true: np.ndarray
    truth: Truth | None = None

    @property
    def estimate(self) -> float:
        """Mean of reported less true."""
        return float((self.reported - self.true).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %, low and high; NaN where there is one training."""
        number = len(self.reported)
        if number < 2:
            return np.nan, np.nan
        seeds = components.Factor(float((self.reported - self.true).var(ddof=1) / number), number - 1)
        if self.truth is None:
            return components.spread([], [seeds]).interval(self.estimate)
        return components.spread([self.truth.patients], [seeds], self.truth.both).interval(self.estimate)


def test_sets(
    label: np.ndarray, patient: np.ndarray, patients: int, images: int, number: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Places of test sets, drawn anew `number` times: `patients` of each class, each with her first `images` images.

    At most half of the patients that there are, so that test sets differ.
    """
    rows = pd.DataFrame({"label": label, "patient": patient})
    first = rows[rows.groupby("patient").cumcount() < images]
    places = [group.groupby("patient").groups for _, group in first.groupby("label")]
    for _ in range(number):
        drawn = []
        for of in places:
            who = rng.permutation(list(of))[: max(1, min(patients, len(of) // 2))]
            drawn += [of[one].to_numpy() for one in who]
        yield np.concatenate(drawn)


def best_epoch(areas: Callable[[np.ndarray], np.ndarray], chosen: np.ndarray, number: int) -> tuple[float, float]:
    """AUC of the epoch that is best on a test set: there, and on all other images.

    areas: gives the AUC of every epoch (K,) on the images of a mask (n,);  chosen: places of the test set's among n
    """
    inside = np.zeros(number, bool)
    inside[chosen] = True
    there = areas(inside)
    return float(there.max()), float(areas(~inside)[there.argmax()])


def best_threshold(label: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """The highest mean of sensitivity and specificity over all thresholds, and the first threshold that gives it."""
    order = np.argsort(-score, kind="stable")
    ordered, ill = score[order], label[order] == 1
    ends = np.append(ordered[1:] != ordered[:-1], True)  # a threshold lies between two scores that differ
    sensitivity = np.cumsum(ill)[ends] / ill.sum()
    specificity = 1 - np.cumsum(~ill)[ends] / (~ill).sum()
    balanced = (sensitivity + specificity) / 2
    place = int(balanced.argmax())
    return float(balanced[place]), float(ordered[ends][place])


def expected_best(ranks: np.ndarray, positives: int, rng: np.random.Generator, draws: int = 20_000) -> float:
    """Expected highest AUC of K scores of which none knows the class, by the theory of permutations.

    With patients of equally many images the AUC is linear in the patients' mean ranks r_k(p). Over all ways to call m
    of N patients positive it has the mean 1/2 and, with q images a patient, the covariance
        S_kl (N - m) / (N m) / ((N - m) q)^2,
    S_kl being that of r_k and r_l over patients. The AUCs are taken as normal.
    ranks: (K, N), mean rank among all images, of every patient, which tells q too;  positives: m
    """
    number = ranks.shape[1]
    images = (2 * ranks.mean() - 1) / number  # the mean rank of N q images is (N q + 1) / 2
    covariance = np.atleast_2d(np.cov(ranks)) * (number - positives) / (number * positives)
    covariance /= ((number - positives) * images) ** 2
    return float(rng.multivariate_normal(np.full(len(ranks), 0.5), covariance, draws, method="eigh").max(axis=1).mean())


def spread_of_runs(shared: np.ndarray, independent: np.ndarray) -> tuple[float, float, float]:
    """Ratio of the standard deviations of (n,) and (m,) values with its 95 % interval, by the F distribution."""
    ratio = shared.std(ddof=1) / independent.std(ddof=1)
    low, high = stats.f.ppf([0.025, 0.975], len(shared) - 1, len(independent) - 1) ** 0.5
    return float(ratio), float(ratio / high), float(ratio / low)


def of_images(successes: np.ndarray, trials: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of a rate with images resampled, whose resamples are binomial; low and high."""
    rate = successes / trials
    return tuple(stats.binom.ppf(share, trials, rate) / trials for share in ((1 - level) / 2, (1 + level) / 2))


def simulated_coverage(
    repetitions: int, rng: np.random.Generator, seeds: int = 5, tested: int = 84, population: int = 2000
) -> float:
    """How often the interval of a sound design's optimism covers zero: simulated scores, not networks.

    Positive patients' scores lie higher by an amount that differs between trainings; two images of a patient share half
    of their variance. A tenth of the population's patients is positive, a half of a test set's.
    """

    def scores(label: np.ndarray, higher: np.ndarray) -> np.ndarray:
        """Of every training and image, patients in rows of two: (S, 2 n)."""
        who, image = rng.normal(size=(len(label), 1)), rng.normal(size=(len(higher), len(label), 2))
        # what a patient is, all trainings see; what an image is, each sees in its own way
        both = (who + image) / np.sqrt(2) + higher[:, None, None] * label[None, :, None]
        return both.reshape(len(higher), -1)  # (S, n, 2) -> (S, 2 n)

    weigh = np.eye(len(METRICS))[AUC]
    of_population, of_test = np.arange(population) < population // 10, np.arange(2 * tested) < tested
    covered = 0
    for _ in range(repetitions):
        higher = rng.normal(2.0, 0.15, seeds)
        label, who = np.repeat(of_population, 2), np.repeat(np.arange(population), 2)
        true = truth(label.astype(int), scores(of_population, higher), who, weigh, 0.5)
        reported = []
        for one in higher:  # each training is tested on patients of its own
            label, who = np.repeat(of_test, 2), np.repeat(np.arange(2 * tested), 2)
            reported.append(truth(label.astype(int), scores(of_test, one[None]), who, weigh, 0.5).value[0])
        low, high = Optimism(np.array(reported), true.value, true).interval
        covered += low <= 0 <= high
    return covered / repetitions
