"""Readers and their answers (Table 8): a person's CSV, each reader's intervals, group means, reader against model.

An answer is a call, 0 or 1, or a score in [0, 1] that calls positive from 0.5 on. A reader who only calls has one
operating point, and the area under the line through it is ROC AUC = (sensitivity + specificity) / 2; this is what
Table 8 prints for a sonographer, whereas a model's ROC AUC is the area under the curve of all its thresholds.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ecsupport.core import tables
from ecsupport.core.errors import UserError, row_error
from ecsupport.evaluation.bootstrap import Resamples, resampled_metrics, summary
from ecsupport.evaluation.classification import METRICS, count_calls, same_rows
from ecsupport.evaluation.proportions import proportion_interval

TABLE_8 = ("sensitivity", "specificity", "roc_auc")
ANSWER_COLUMNS = ("reader", "image", "answer")
IN_RANGE = "Write 1 for positive and 0 for negative, or a score from 0 to 1 that calls positive from 0.5 on"
MEAN = "mean of readers"  # the last row of `against_model`
_COLUMNS = [METRICS.index(metric) for metric in TABLE_8]


def read_answers(path: str | Path, cases: Sequence[str]) -> pd.DataFrame:
    """A reader study's answers from a CSV with the columns reader, image and answer, in any order of rows.

    cases: the names of all images to be read, each once
    Returns float64 [n_cases, n_readers] in [0, 1], indexed by image in the order of `cases`, columns in the order in
    which readers first appear. Raises one UserError naming file and rows for all that is wrong: as `core.tables.read`,
    an empty cell, a reader in two spellings, an image that is not among the cases, a second answer of a reader to an
    image, an answer that is no number in [0, 1], and a reader who has not answered every case.
    """
    known = set(cases)
    if len(known) < len(cases):
        raise UserError("cases: an image stands twice. Name every image once.")
    table = tables.read(Path(path), ANSWER_COLUMNS)
    table.refuse(None)
    tables.other_spellings(table, "reader")
    answers: dict[str, dict[str, tuple[float, int]]] = {}
    for row, *cells in zip(table.numbers, *(table.columns[column] for column in ANSWER_COLUMNS), strict=True):
        reader, image, answer = cells
        for column, cell in (("reader", reader), ("image", image)):
            if not cell:
                table.add(f"{column} is empty", "Fill the cell or remove the row", [row], column)
        if image and image not in known:
            remedy = f"Use the image names of the test set, such as {cases[0]!r}" if len(cases) else "There are none"
            table.add(f"image {image!r} is not among the cases", remedy, [row], "image")
        given = answers.setdefault(reader, {})
        if reader and image in given:
            problem = f"reader {reader!r} has answered image {image!r} before, in row {given[image][1]}"
            table.add(problem, "Keep one answer per reader and image", [row], "image")
        value = _answer(answer)
        if math.isnan(value):
            table.add(f"answer is {answer!r}", IN_RANGE, [row], "answer")
        given[image] = (value, row)
    if not answers:
        table.add("missing: there are no answers", "Give one row per reader and image", [1])
    for reader, given in answers.items():
        absent = [case for case in cases if case not in given]
        if reader and absent:
            last = max(row for _, row in given.values())
            problem = f"missing: after it reader {reader!r} has no answer to image {absent[0]!r}"
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            table.add(problem + more, f"Add the rows '{reader},<image>,<0 or 1>'", [last])
    table.refuse(None)
    columns = {reader: [given[case][0] for case in cases] for reader, given in answers.items()}
    return pd.DataFrame(columns, index=pd.Index(cases, name="image"), dtype=np.float64)


def reader_intervals(
    y_true: ArrayLike,
    answers: pd.DataFrame | ArrayLike,
    patient_id: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Each reader's sensitivity, specificity and ROC AUC with three intervals (the upper rows of Table 8).

    y_true: (n_cases,) 0 or 1;  answers: [n_cases, n_readers], see `answer_matrix`;  patient_id: (n_cases,)
    Returns one row per reader and metric: reader, metric, estimate, n (images of the metric), wilson_low, wilson_high
    (Wilson, JASA 1927; NaN for the ROC AUC, which is no proportion), image_low, image_high, patient_low, patient_high
    (percentile bootstrap by image and by patient, all readers on the same resamples), n_undefined (patient resamples
    in which the metric is 0/0). Wilson and the image bootstrap take images for independent; the interval by patient
    does not and is the primary one. Raises UserError as `answer_matrix` and `resampled_metrics` do.
    """
    matrix, names = answer_matrix(y_true, answers)
    columns = list(matrix.T)
    spread = {}
    for unit in ("image", "patient"):
        values, estimates = resampled_metrics(
            y_true, columns, patient_id, unit=unit, rng=rng, n_resamples=n_resamples
        )  # (n_resamples, n_readers, 6), (n_readers, 6)
        spread[unit] = [summary(Resamples(values[:, j], estimate, unit), level) for j, estimate in enumerate(estimates)]
    rows = []
    for j, (name, column) in enumerate(zip(names, columns, strict=True)):
        counts = count_calls(y_true, column)
        share = {
            "sensitivity": (counts.tp, counts.tp + counts.fn),
            "specificity": (counts.tn, counts.tn + counts.fp),
            "roc_auc": (math.nan, counts.tp + counts.fn + counts.tn + counts.fp),
        }
        for metric in TABLE_8:
            image, patient = (spread[unit][j].loc[metric] for unit in ("image", "patient"))
            wilson = (math.nan, math.nan)
            if metric != "roc_auc" and share[metric][1]:
                interval = proportion_interval(*share[metric], level=level)
                wilson = (interval.low, interval.high)
            ends = [*wilson, image["low"], image["high"], patient["low"], patient["high"]]
            rows.append([name, metric, image["estimate"], share[metric][1], *ends, int(patient["n_undefined"])])
    ends = [f"{kind}_{end}" for kind in ("wilson", "image", "patient") for end in ("low", "high")]
    return pd.DataFrame(rows, columns=["reader", "metric", "estimate", "n", *ends, "n_undefined"])


def group_summary(values: pd.DataFrame, group: Sequence[str]) -> pd.DataFrame:
    """Mean and standard deviation over readers, per group and overall (the lower rows of Table 8).

    values: [n_readers, n_metrics], one row per reader;  group: (n_readers,) such as "Junior" or "Senior"
    Returns a frame indexed by group (in order of appearance, then "Overall") and metric: mean, sd (ddof 1, NaN for a
    single reader), n_readers. Raises UserError where the two differ in length.
    """
    same_rows("values", values, "group", group)
    labels = np.asarray(group)
    members = {name: labels == name for name in dict.fromkeys(labels.tolist())} | {
        "Overall": np.full(len(labels), True)
    }
    rows = [
        (name, metric, column[of].mean(), column[of].std(ddof=1), int(of.sum()))
        for name, of in members.items()
        for metric, column in values.items()
    ]
    return pd.DataFrame(rows, columns=["group", "metric", "mean", "sd", "n_readers"]).set_index(["group", "metric"])


def against_model(
    y_true: ArrayLike,
    answers: pd.DataFrame | ArrayLike,
    score: ArrayLike,
    patient_id: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    level: float = 0.95,
    threshold: float = 0.5,
) -> pd.DataFrame:
    """Model less reader on the same images, patients resampled: each reader, and the mean over readers.

    y_true, patient_id: (n_cases,);  answers: [n_cases, n_readers];  score, threshold: the model's, (n_cases,)
    Returns one row per reader (the last is `MEAN`) and metric: reader, metric, difference, low, high (percentile),
    p (two-sided: twice the smaller share of resamples on either side of 0, plus one in each count). The rows of
    single readers speak of these readers; in the row of the mean as many readers are drawn with replacement as
    there are, beside the patients, so that it speaks of readers like these. Undefined resamples are left out.
    Raises UserError as `answer_matrix` and `resampled_metrics` do.
    """
    matrix, names = answer_matrix(y_true, answers)
    values, estimates = resampled_metrics(
        y_true,
        [*matrix.T, score],
        patient_id,
        unit="patient",
        rng=rng,
        n_resamples=n_resamples,
        thresholds=[0.5] * len(names) + [threshold],
    )
    values, estimates = values[..., _COLUMNS], estimates[..., _COLUMNS]
    difference = values[:, -1:] - values[:, :-1]  # (n_resamples, n_readers, 3)
    drawn = rng.integers(len(names), size=difference.shape[:2])  # (n_resamples, n_readers)
    mean = np.take_along_axis(difference, drawn[:, :, None], axis=1).mean(axis=1)  # (n_resamples, 3)
    rows = []
    for j, name in enumerate([*names, MEAN]):
        sampled = mean if j == len(names) else difference[:, j]
        value = estimates[-1] - (estimates[:-1].mean(axis=0) if j == len(names) else estimates[j])
        for i, metric in enumerate(TABLE_8):
            defined = sampled[~np.isnan(sampled[:, i]), i]
            low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) if len(defined) else (math.nan,) * 2
            rows.append([name, metric, value[i], low, high, two_sided_p(defined)])
    return pd.DataFrame(rows, columns=["reader", "metric", "difference", "low", "high", "p"])


def two_sided_p(resampled: np.ndarray) -> float:
    """Twice the smaller share of resamples on either side of 0, one added to each count; at most 1."""
    smaller = min((resampled <= 0).sum(), (resampled >= 0).sum())
    return float(min(1.0, 2 * (1 + smaller) / (1 + len(resampled))))


def answer_matrix(y_true: ArrayLike, answers: pd.DataFrame | ArrayLike) -> tuple[np.ndarray, list[str]]:
    """The answers as float64 [n_cases, n_readers], and the readers' names (a frame's columns, else 1, 2, ...).

    Raises UserError for another shape, another number of cases than labels, no reader, or, naming reader and row, an
    answer that is no number in [0, 1].
    """
    names = [str(name) for name in answers] if isinstance(answers, pd.DataFrame) else None
    matrix = np.asarray(answers)
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise UserError(f"answers: has shape {matrix.shape}. Give one column per reader, [n_cases, n_readers].")
    same_rows("y_true", y_true, "answers", answers)
    try:
        matrix = matrix.astype(np.float64)
    except (TypeError, ValueError):
        raise UserError("answers: hold something that is no number. Give 0 or 1, or a score from 0 to 1.") from None
    names = names or [str(number) for number in range(1, matrix.shape[1] + 1)]
    bad = np.argwhere(~((matrix >= 0) & (matrix <= 1)))
    if len(bad):
        row, reader = bad[0]
        problem = f"the value is {matrix[row, reader]}"
        raise row_error(
            f"answers of reader '{names[reader]}'", row + 1, problem, "Give 0 or 1, or a score from 0 to 1."
        )
    return matrix, names


def _answer(text: str) -> float:
    """The answer as a number in [0, 1], NaN where it is none."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if 0 <= value <= 1 else math.nan
