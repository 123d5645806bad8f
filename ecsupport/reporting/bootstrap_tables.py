"""The tables of notebook 07: Table 6 as printed, replayed from counts and computed anew, and intervals beside it."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd

from ecsupport.evaluation.auc import auc_interval, hanley_mcneil
from ecsupport.evaluation.bootstrap import Resamples, summary
from ecsupport.evaluation.classification import METRICS, Counts
from ecsupport.evaluation.proportions import proportion_interval
from ecsupport.evaluation.runs import LABELS
from ecsupport.paper.published import half_unit

OF_CLASS = 336  # published test images of each class
ENDS = ["low", "high"]
PARTS = ["mean", "sd", *ENDS]
FIVE = METRICS[:-1]  # what counts determine: all but the AUC


def printed_table_6(published: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The three experiments of Table 6 as printed, and half a unit in the last place of each cell.

    published: of `load_numbers`. Both frames: index experiment, metric; columns mean, sd, low, high.
    """
    cells = published[(published["where"] == "table_6") & published["row"].str.startswith("Exp")]
    names = {label: metric for metric, label in LABELS.items()}
    cells = cells.assign(
        experiment=cells["row"], metric=cells["column"].map(names), half_unit=cells["printed"].map(half_unit)
    )
    values, half_units = (
        cells.pivot(index=["experiment", "metric"], columns="part", values=of)[PARTS].rename_axis(columns=None)
        for of in ("value", "half_unit")
    )
    return values, half_units


def counts(recovered: Mapping[str, Counts]) -> pd.DataFrame:
    """The whole counts behind Table 6: index experiment; columns TP, FN, TN, FP, errors."""
    lines = [{"TP": c.tp, "FN": c.fn, "TN": c.tn, "FP": c.fp, "errors": c.fn + c.fp} for c in recovered.values()]
    return pd.DataFrame(lines, index=pd.Index(recovered, name="experiment"))


def replayed(replay: Mapping[str, Resamples], printed: pd.DataFrame, half_units: pd.DataFrame) -> pd.DataFrame:
    """Printed cells beside their replay: columns experiment, metric, part, published, replayed, agrees.

    replay: of `bootstrap_counts`, by experiment;  printed, half_units: of `printed_table_6`. A cell agrees within
    rounding and three standard errors of the resampling, the end of an interval within one image more.
    """
    rows = []
    for experiment, resamples in replay.items():
        table, n = summary(resamples), len(resamples.values)
        for metric, part in product(FIVE, PARTS):
            sd, ours, value = table.loc[metric, "sd"], table.loc[metric, part], printed.loc[(experiment, metric), part]
            error = {"mean": sd / np.sqrt(n), "sd": sd / np.sqrt(2 * n)}.get(part, 3 * sd / np.sqrt(n))
            tolerance = half_units.loc[(experiment, metric), part] + 3 * error + (1 / OF_CLASS) * (part in ENDS)
            rows.append((experiment, metric, part, value, ours, bool(abs(ours - value) <= tolerance)))
    return pd.DataFrame(rows, columns=["experiment", "metric", "part", "published", "replayed", "agrees"])


def exact_proportions(recovered: Mapping[str, Counts], printed: pd.DataFrame) -> pd.DataFrame:
    """Printed intervals of sensitivity and specificity beside Wilson's and Clopper and Pearson's from the counts.

    printed: of `printed_table_6`. Columns experiment, metric, and low and high of printed, wilson, clopper_pearson.
    """
    lines = []
    for experiment, c in recovered.items():
        for metric, count in (("sensitivity", c.tp), ("specificity", c.tn)):
            line = {"experiment": experiment, "metric": metric}
            line |= printed.loc[(experiment, metric), ENDS].add_prefix("printed_").to_dict()
            for method in ("wilson", "clopper-pearson"):
                found, name = proportion_interval(count, OF_CLASS, method=method), method.replace("-", "_")
                line |= {f"{name}_low": round(float(found.low), 4), f"{name}_high": round(float(found.high), 4)}
            lines.append(line)
    return pd.DataFrame(lines)


def table_6(resampled: Mapping[tuple[int, str], Resamples], printed: pd.DataFrame) -> pd.DataFrame:
    """Computed beside published: a row for each experiment, unit of resampling and metric.

    resampled: of `bootstrap`, by number of the experiment and unit;  printed: of `printed_table_6`. Columns experiment,
    unit, those of `summary`, and published_mean, published_sd, published_low, published_high.
    """
    parts = [
        summary(resamples).reset_index().assign(experiment=f"Exp #{number}", unit=unit)
        for (number, unit), resamples in resampled.items()
    ]
    columns = ["experiment", "unit", "metric", "estimate", *PARTS, "skewness", "n_undefined"]
    return pd.concat(parts)[columns].merge(printed.add_prefix("published_").reset_index(), how="left")


def stacked(tables: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Tables indexed by metric, one for each number of an experiment, as one: metric, their columns, experiment."""
    named = [
        of.rename_axis("metric").reset_index().assign(experiment=f"Exp #{number}") for number, of in tables.items()
    ]
    return pd.concat(named, ignore_index=True)


def area_formulas(truth: np.ndarray, scores: Sequence[np.ndarray], patients: np.ndarray) -> pd.DataFrame:
    """Intervals of each run's AUC without resampling, and Hanley and McNeil's standard error.

    truth, patients: (n,);  scores: one (n,) a run. Columns experiment, auc, delong_low, delong_high, obuchowski_low,
    obuchowski_high, hanley_mcneil_se.
    """
    lines, positives = [], int(truth.sum())
    for number, score in enumerate(scores, start=1):
        alone, clustered = auc_interval(truth, score), auc_interval(truth, score, patients)
        line = {"experiment": f"Exp #{number}", "auc": alone.auc}
        line |= {"delong_low": alone.low, "delong_high": alone.high}
        line |= {"obuchowski_low": clustered.low, "obuchowski_high": clustered.high}
        lines.append(line | {"hanley_mcneil_se": hanley_mcneil(alone.auc, positives, len(truth) - positives)})
    return pd.DataFrame(lines)
