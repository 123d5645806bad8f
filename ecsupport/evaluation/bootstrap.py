"""Bootstrap of the six metrics (Table 6, Figure 5, Appendix B): by image as in the paper, or by patient.

What is drawn with replacement is the *unit*:
- "image": n images out of n, whatever their class. This is the paper's scheme; it takes images of one patient
  for independent, and its intervals are too narrow where they are not.
- "stratified": as many positive and as many negative images as there are, each within its class. Use it where
  the numbers per class were fixed by design.
- "patient": N patients out of N, each with all her images. Patients are not stratified by class, so the numbers of
  images, and of positives, vary between resamples.

A resample is kept as weights, how often each unit was drawn, and never as a copy of the data. Draws are taken in
a fixed order, resample after resample: the same generator gives the same bytes whatever the block size, and a
short run is the beginning of a longer one. A metric that is 0/0 in a resample is NaN there and is counted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from ecsupport.core.errors import UserError, row_error
from ecsupport.evaluation.classification import (
    METRICS,
    Counts,
    check_images,
    make_cells,
    metrics_from_counts,
    metrics_of_weights,
    same_rows,
)

UNITS = ("image", "stratified", "patient")
_BLOCK = 2**17  # draws held at once: a few MB, so that a block stays in the processor's cache


@dataclass(frozen=True)
class Resamples:
    """Metrics of every resample.

    values: (n_resamples, 6) in the order of METRICS, NaN where undefined (or, for a paired difference, a - b)
    estimate: (6,) the same on the test set itself;  unit: one of UNITS
    """

    values: np.ndarray
    estimate: np.ndarray
    unit: str


@dataclass(frozen=True)
class Units:
    """What is drawn: n_units units, numbered so that those of one stratum follow each other.

    of_image: (n,) the unit to which each image belongs;  strata: number of units in each stratum, sum n_units
    """

    of_image: np.ndarray
    strata: tuple[int, ...]


def make_units(y_true: np.ndarray, patient_id: ArrayLike | None, unit: str) -> Units:
    """The units of one scheme.

    y_true: (n,) 0 or 1;  patient_id: (n,) any hashable, needed for unit "patient" only
    Raises UserError for an unknown scheme, a missing patient_id, or fewer than two units in a stratum (resampling
    one unit yields itself for ever, an interval of width 0).
    """
    if unit == "image":
        units, what = Units(np.arange(len(y_true)), (len(y_true),)), "image"
    elif unit == "stratified":
        of_image = np.empty(len(y_true), dtype=np.int64)
        of_image[np.argsort(y_true, kind="stable")] = np.arange(len(y_true))  # negatives first
        units, what = Units(of_image, tuple(np.unique(y_true, return_counts=True)[1].tolist())), "image of a class"
    elif unit == "patient":
        if patient_id is None:
            raise UserError('patient_id: missing. Resampling by "patient" needs the patient of every image.')
        codes, patients = pd.factorize(pd.Series(patient_id))  # a Series, for in an array of strings NaN is a name
        if (codes < 0).any():
            row = int(np.argmax(codes < 0)) + 1
            raise row_error("patient_id", row, "is empty", "Name the patient of every image.")
        units, what = Units(codes, (len(patients),)), "patient"
    else:
        raise UserError(f"unit: {unit!r} is unknown. Choose one of {', '.join(UNITS)}.")
    if min(units.strata) < 2:
        raise UserError(f"unit {unit!r}: there is only one {what}. Resampling needs at least two.")
    return units


def resampled_metrics(
    y_true: ArrayLike,
    scores: Sequence[ArrayLike],
    patient_id: ArrayLike | None,
    *,
    unit: str,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    thresholds: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Metrics of several models on the same resamples of the same images: the basis of every comparison.

    y_true: (n,) 0 or 1;  scores: n_models arrays (n,);  patient_id: (n,) or None;  thresholds: one per model,
    default 0.5 each
    Returns values (n_resamples, n_models, 6) and estimates (n_models, 6), metrics in the order of METRICS.
    Raises UserError as `check_images` and `make_units` do, or for fewer than two resamples.
    """
    _check_spread(n_resamples)
    thresholds = [0.5] * len(scores) if thresholds is None else thresholds
    if not 1 <= len(scores) == len(thresholds):
        raise UserError(f"scores: {len(scores)} models and {len(thresholds)} thresholds. Give one threshold per model.")
    if patient_id is not None:
        same_rows("y_true", y_true, "patient_id", patient_id)
    checked = [check_images(y_true, score) for score in scores]
    units = make_units(checked[0][0], patient_id, unit)
    models = [
        make_cells(labels, score, threshold, units.of_image)
        for (labels, score), threshold in zip(checked, thresholds, strict=True)
    ]
    once = np.ones((1, sum(units.strata)), dtype=np.int64)
    estimates = np.stack([metrics_of_weights(cells, once)[0] for cells in models])
    values = np.empty((n_resamples, len(models), len(METRICS)))
    done = 0
    for weight in _weights(units, rng, n_resamples):
        for model, cells in enumerate(models):
            values[done : done + len(weight), model] = metrics_of_weights(cells, weight)
        done += len(weight)
    return values, estimates


def bootstrap(
    y_true: ArrayLike,
    score: ArrayLike,
    patient_id: ArrayLike | None,
    *,
    unit: str,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    threshold: float = 0.5,
) -> Resamples:
    """Resample one model's test set (one row of Table 6: unit "image", 10,000 resamples).

    y_true: (n,) 0 or 1;  score: (n,) finite;  patient_id: (n,), or None unless unit is "patient"
    A test set of one class is allowed: what it leaves undefined is NaN in every resample.
    Raises UserError as `resampled_metrics` does.
    """
    values, estimates = resampled_metrics(
        y_true, [score], patient_id, unit=unit, rng=rng, n_resamples=n_resamples, thresholds=[threshold]
    )
    return Resamples(values[:, 0], estimates[0], unit)


def bootstrap_counts(counts: Counts, *, rng: np.random.Generator, n_resamples: int = 10_000) -> Resamples:
    """Replay the image bootstrap of a published experiment from its 2 x 2 table alone (Table 6).

    Drawing n of n images is a multinomial draw over the four cells, so the five metrics of the table follow
    exactly the distribution that `bootstrap` with unit "image" samples. The ROC AUC is not determined: NaN.
    Raises UserError where the counts are not whole numbers of at least two images.
    """
    _check_spread(n_resamples)
    cells = np.array([counts.tp, counts.fp, counts.fn, counts.tn])
    if cells.shape != (4,) or cells.dtype.kind not in "iu" or cells.sum() < 2:
        raise UserError(f"counts: {cells.tolist()} are not four whole numbers of at least two images in all.")
    drawn = rng.multinomial(cells.sum(), cells / cells.sum(), size=n_resamples)  # (n_resamples, 4)
    table = np.vstack([cells, drawn])
    five = metrics_from_counts(Counts(*table.T))
    values = np.column_stack([*five.values(), np.full(len(table), np.nan)])  # (1 + n_resamples, 6)
    return Resamples(values[1:], values[0], "image")


def statistic_interval(
    statistic: Callable[[np.ndarray], float],
    patient_id: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> tuple[float, float, float, int]:
    """Any statistic of the images with its percentile interval, patients resampled: value, low, high, patients.

    statistic: takes the rows drawn, (m,) int, and gives a number, NaN where it is undefined (such resamples are left
    out; where there is no other the limits are NaN);  patient_id: (n,). For the six metrics of `METRICS` use
    `bootstrap`, which is much faster.
    """
    names, index = np.unique(np.asarray(patient_id), return_inverse=True)
    rows = [np.flatnonzero(index == number) for number in range(len(names))]
    drawn = [
        statistic(np.concatenate([rows[number] for number in rng.integers(len(names), size=len(names))]))
        for _ in range(n_resamples)
    ]
    defined = np.array(drawn)[~np.isnan(drawn)]
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) if len(defined) else (np.nan, np.nan)
    return float(statistic(np.arange(len(index)))), float(low), float(high), len(names)


def summary(resamples: Resamples, level: float = 0.95) -> pd.DataFrame:
    """Describe each metric over the resamples in which it is defined.

    Returns a frame indexed by METRICS: estimate (on the test set itself); mean, sd (as Table 6 prints them);
    low, high (percentile interval of the level); skewness (third standardised moment, NaN for a constant);
    n_undefined (resamples left out). NaN where fewer than two resamples are defined. Raises UserError for a level
    outside (0, 1).
    """
    if not 0 < level < 1:
        raise UserError(f"level: {level} is not between 0 and 1. Write 0.95 for 95 %.")
    rows = []
    for estimate, column in zip(resamples.estimate, resamples.values.T, strict=True):
        defined = column[~np.isnan(column)]
        row = {"estimate": estimate, "n_undefined": len(column) - len(defined)}
        if len(defined) >= 2:
            low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
            skewness = stats.skew(defined) if np.ptp(defined) > 0 else np.nan
            row |= {"mean": defined.mean(), "sd": defined.std(ddof=1), "low": low, "high": high, "skewness": skewness}
        rows.append(row)
    columns = ["estimate", "mean", "sd", "low", "high", "skewness", "n_undefined"]
    return pd.DataFrame(rows, index=pd.Index(METRICS, name="metric"), columns=columns)


def design_effect(by_patient: Resamples, by_image: Resamples) -> pd.Series:
    """Variance by patient over variance by image, per metric (Kish's design effect).

    1 where images of a patient are as good as independent, the number of images per patient where they are
    copies; n divided by it is the number of independent images that the test set is worth. NaN where the image
    bootstrap does not vary. With B resamples each, its relative standard error is about 2 / sqrt(B).
    Raises UserError where the two are not of unit "patient" and of an image unit.
    """
    if by_patient.unit != "patient" or by_image.unit == "patient":
        raise UserError(
            f"design_effect: got units {by_patient.unit!r} and {by_image.unit!r}. "
            'Give the resamples by "patient" first, then those by "image" or "stratified".'
        )
    patient, image = summary(by_patient)["sd"] ** 2, summary(by_image)["sd"] ** 2
    return (patient / image.where(image > 0)).rename("design_effect")


def _check_spread(n_resamples: int) -> None:
    if n_resamples < 2:
        raise UserError(f"n_resamples: {n_resamples} shows no spread. Give at least 2; the paper uses 10000.")


def _weights(units: Units, rng: np.random.Generator, n_resamples: int) -> Iterator[np.ndarray]:
    """Blocks (m, n_units) int64 of how often each unit was drawn in each resample, n_resamples rows in all."""
    n_units = sum(units.strata)
    size = np.repeat(units.strata, units.strata).astype(np.float64)  # (n_units,) of the stratum of each draw
    first = np.repeat(np.cumsum(units.strata) - units.strata, units.strata)
    rows = max(1, _BLOCK // n_units)
    for start in range(0, n_resamples, rows):
        m = min(rows, n_resamples - start)
        # uniform doubles, not integers: one call serves strata of any size and one double is one draw, in order
        drawn = (rng.random((m, n_units)) * size).astype(np.int64)  # floor; u < 1 keeps it below the size
        drawn += first + n_units * np.arange(m)[:, None]
        yield np.bincount(drawn.ravel(), minlength=m * n_units).reshape(m, n_units)
