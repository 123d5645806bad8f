"""The claims of Table 8, put into the ledger from its ten published points."""

import numpy as np
import pandas as pd

from ecsupport.core.seeds import generator
from ecsupport.evaluation.reader_groups import sd_interval
from ecsupport.evaluation.readers import TABLE_8
from ecsupport.reporting.reader_tables import Printed
from ecsupport.reporting.results import Results

NOT_PUBLISHED = (
    "the readers' answers are not published, so images and patients cannot be resampled, "
    "and no person has read these images"
)


def seniors_better(results: Results, gap: pd.DataFrame, n: int) -> None:
    """The claim that seniors read better on every measure: the smallest difference.

    gap: seniors less juniors, of `reader_groups.mean_difference`;  n: readers in all
    """
    smallest = gap["difference"].idxmin()
    value, low, high = gap.loc[smallest, ["difference", "low", "high"]]
    note = f"ten published points, Welch; the smallest of the three differences, {smallest}"
    results.estimate("senior_beats_junior", value, low, high, n=n, note=note)


def juniors_vary_more(results: Results, junior: pd.Series, senior: pd.Series) -> None:
    """The claim that juniors differ more among themselves: difference of two SDs; a value each, (n_readers,)."""
    (sd_junior, *around_junior), (sd_senior, *around_senior) = sd_interval(junior), sd_interval(senior)
    points = "difference of two SDs of five published points each"
    results.estimate(
        "junior_vary_more_than_senior", sd_junior - sd_senior,
        around_junior[0] - around_senior[1], around_junior[1] - around_senior[0], n=len(junior) + len(senior),
        note=f"{points}, from their chi-square intervals (conservative); the F interval above agrees",
    )  # fmt: skip


def runs_more_uniform(results: Results, lsnet: pd.Series, readers: pd.Series) -> None:
    """The claim that LSNet varies less than sonographers do: the AUCs of its runs, and of the readers."""
    sds = f"SDs of {lsnet.std():.4f} over three published runs and {readers.std():.4f} over ten readers"
    why = f"{sds}: three runs of one network on one training set are not a sample that compares with people"
    results.estimate("lsnet_more_uniform_than_sonographers", None, assessable=False, note=why)


def lsnet_better(results: Results, numbers: pd.DataFrame, printed: Printed, n: int) -> None:
    """The claims that LSNet beats the mean sonographer in each metric; numbers: of `load_numbers`;  n: resamples."""
    matrix = printed.points.to_numpy()  # [reader, metric]
    drawn = generator("table 8", "readers").choice(matrix, size=(n, len(matrix)))  # [n, reader, metric]
    for i, metric in enumerate(TABLE_8):
        of_model = numbers.loc[f"text.results.sonographers.lsnet_{metric}.mean", "value"]
        low, high = of_model - np.quantile(drawn[..., i].mean(axis=1), [0.975, 0.025])
        gap = f"{of_model - matrix[:, i].mean():.3f} ({low:.3f} to {high:.3f}, readers resampled)"
        why = f"the printed values differ by {gap}; {NOT_PUBLISHED}"
        claim = f"lsnet_beats_mean_sonographer_{metric.removeprefix('roc_')}"
        results.estimate(claim, None, assessable=False, note=why)
