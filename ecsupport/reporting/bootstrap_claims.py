"""The claims of Table 6, put into the ledger from its printed numbers, their replay and the simulated coverage."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from ecsupport.evaluation.bootstrap import Resamples
from ecsupport.evaluation.classification import METRICS
from ecsupport.reporting.bootstrap_tables import OF_CLASS
from ecsupport.reporting.results import Results

IMAGES = 2 * OF_CLASS  # of the published test set
RUNS = 3
COVERS = {
    "accuracy": "interval_covers_accuracy",
    "sensitivity": "interval_covers_sensitivity",
    "roc_auc": "interval_covers_auc",
}


def narrow(results: Results, width: float) -> None:
    """The claim that the intervals are narrow; width: of the widest printed one."""
    note = "widest interval printed in Table 6"
    results.estimate("bootstrap_intervals_narrow", width, exact=True, n=IMAGES, note=note)


def minimal_skewness(results: Results, skewness: pd.DataFrame, n_resamples: int) -> None:
    """The claim that the distributions are minimally skewed; skewness: index experiment, columns METRICS."""
    note = f"replayed from the published counts, {n_resamples:,} resamples; five metrics, AUC not determined"
    results.estimate("bootstrap_minimal_skewness", skewness.abs().max().max(), exact=True, n=IMAGES, note=note)


def stable_across_runs(results: Results, published: pd.DataFrame) -> None:
    """The claim that the experiments agree, from the largest SD printed over them; published: of `load_numbers`."""
    cells = published[(published["where"] == "table_6") & published["row"].str.startswith("Overall")]
    spread = cells.loc[cells["part"] == "sd", "value"].max()
    squares = RUNS * spread**2  # the printed SD divides by 3 (notebook 10)
    low, high = np.sqrt(squares / stats.chi2.ppf([0.975, 0.025], RUNS - 1))
    note = "largest SD over the three published experiments, with n - 1, and its chi-square interval"
    sd = np.sqrt(RUNS / (RUNS - 1)) * spread
    results.estimate("lsnet_stable_across_runs", sd, low, high, n=RUNS, note=note)


def balanced(results: Results, printed: pd.DataFrame, replay: Mapping[str, Resamples]) -> None:
    """The claim that sensitivity and specificity are balanced: their difference, mean over the experiments.

    printed: of `bootstrap_tables.printed_table_6`;  replay: of `bootstrap_counts`, by experiment
    """
    means = printed["mean"].unstack("metric")
    value = (means["sensitivity"] - means["specificity"]).mean()
    first, second = METRICS.index("sensitivity"), METRICS.index("specificity")
    gaps = np.concatenate([of.values[:, first] - of.values[:, second] for of in replay.values()])
    note = "replayed from the published counts; images as independent, experiments pooled"
    results.estimate("lsnet_balanced", value, *np.quantile(gaps, [0.025, 0.975]), n=IMAGES, note=note)


def coverage(results: Results, covered: pd.DataFrame, correlation: float) -> None:
    """Why nothing can be said of the claims that intervals hold the truth; both of `simulated_coverage.coverage`."""
    why = "depends on how alike images of a patient are, which is not published"
    where = f"simulated with an intraclass correlation of {correlation:.2f}"
    for metric, claim in COVERS.items():
        image, patient = (covered.loc[kind, metric] for kind in ("image, percentile", "patient, BCa"))
        seen = f"{where} the image-level interval covers {image:.3f}, the patient-level one {patient:.3f}"
        results.estimate(claim, None, assessable=False, note=f"{why}: {seen}")
