"""The tables of notebook 09: Table 8 as printed, recomputed and simulated, and readers against the model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from ecsupport.evaluation import mrmc
from ecsupport.evaluation.readers import TABLE_8, group_summary
from ecsupport.paper.published import half_unit

METRICS = dict(zip(TABLE_8, ("Sensitivity", "Specificity", "ROC AUC"), strict=True))  # as the paper names them
SHOWN = [
    *("reader", "metric", "published", "published_low", "published_high", "simulated"),
    *("image_low", "image_high", "patient_low", "patient_high"),
]
Comparisons = Mapping[str, tuple[mrmc.Figure, np.ndarray]]  # name -> figure of merit, the model's score (n_images,)


@dataclass(frozen=True)
class Printed:
    """Table 8 as printed.

    points, low, high: [n_readers, metrics of TABLE_8], indexed by reader: the values and their 95 % intervals
    group: (n_readers,) "Junior" or "Senior"
    cells: rows of `load_numbers` of this table, indexed by row, column and part
    """

    points: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    group: list[str]
    cells: pd.DataFrame

    def of_group(self, name: str) -> pd.DataFrame:
        """The points of the readers of one group."""
        return self.points[[group == name for group in self.group]]

    @property
    def area(self) -> pd.Series:
        """(sensitivity + specificity) / 2 of each reader."""
        return (self.points["sensitivity"] + self.points["specificity"]) / 2


def as_printed(numbers: pd.DataFrame) -> Printed:
    """Table 8 as printed; numbers: of `load_numbers`."""
    cells = numbers[numbers["where"] == "table_8"].set_index(["row", "column", "part"])
    value = cells["value"].to_dict()
    readers = [row for row in cells.index.unique("row") if "#" in row]
    points, low, high = (
        pd.DataFrame({m: [value[reader, METRICS[m], part] for reader in readers] for m in TABLE_8}, index=readers)
        for part in ("value", "low", "high")
    )
    return Printed(points, low, high, [reader.split()[0] for reader in readers], cells)


def lsnet_runs(numbers: pd.DataFrame) -> pd.DataFrame:
    """LSNet's three published runs, the experiments of Table 6: columns TABLE_8, one row a run."""
    chosen = (numbers["where"] == "table_6") & numbers["row"].str.startswith("Exp") & (numbers["part"] == "mean")
    wide = numbers[chosen].pivot(index="row", columns="column", values="value")
    return wide[list(METRICS.values())].set_axis(TABLE_8, axis=1)


def group_rows(printed: Printed) -> pd.DataFrame:
    """Printed group rows beside those of the ten readers: do they agree within what rounding can do?

    Columns reader (the group), metric, part (mean or sd), published, computed, agrees.
    """
    unit = {key: half_unit(text) for key, text in printed.cells["printed"].items()}
    lines = []
    for (group, metric), ours in group_summary(printed.points, printed.group).iterrows():
        rounding = max(unit[reader, METRICS[metric], "value"] for reader in printed.points.index)
        widest = {"mean": rounding, "sd": rounding * np.sqrt(ours["n_readers"] / (ours["n_readers"] - 1))}
        for part, of_readers in widest.items():
            key = group, METRICS[metric], part
            published = printed.cells["value"][key]
            agrees = abs(ours[part] - published) <= of_readers + unit[key] + 1e-12
            lines.append((group, metric, part, published, ours[part], bool(agrees)))
    return pd.DataFrame(lines, columns=["reader", "metric", "part", "published", "computed", "agrees"])


def operating_points(printed: Printed, lsnet: pd.DataFrame) -> pd.DataFrame:
    """Published points of the readers and of LSNet's runs: columns reader, those of TABLE_8, group."""
    parts = [printed.points.assign(group=printed.group), lsnet.assign(group="LSNet")]
    return pd.concat(parts).rename_axis("reader").reset_index()


def table_8(printed: Printed, intervals: pd.DataFrame) -> pd.DataFrame:
    """Table 8: published, recomputed from its own cells, and simulated readers with their intervals; group rows last.

    intervals: of `reader_intervals`, for simulated readers named as the printed ones
    Columns reader, group, metric, part, published, published_low, published_high, recomputed, simulated, and the ends
    of the intervals.
    """
    computed = intervals.set_index(["reader", "metric"]).drop(columns=["n", "n_undefined"])
    lines = []
    for reader, group in zip(printed.points.index, printed.group, strict=True):
        for metric in TABLE_8:
            line = {"reader": reader, "group": group, "metric": metric, "part": "value"}
            line["published"] = printed.points.loc[reader, metric]
            line["published_low"] = printed.low.loc[reader, metric]
            line["published_high"] = printed.high.loc[reader, metric]
            line["recomputed"] = printed.area[reader] if metric == "roc_auc" else np.nan
            lines.append(line | computed.loc[(reader, metric)].rename({"estimate": "simulated"}).to_dict())
    simulated = group_summary(computed["estimate"].unstack().loc[printed.points.index, list(TABLE_8)], printed.group)
    below = group_rows(printed).rename(columns={"computed": "recomputed"}).drop(columns="agrees")
    keys = below[["reader", "metric", "part"]].itertuples(index=False)
    below = below.assign(group=below["reader"], simulated=[simulated.loc[(g, m), part] for g, m, part in keys])
    return pd.concat([pd.DataFrame(lines), below], ignore_index=True)


def score_columns(predictions: pd.DataFrame) -> list[str]:
    """The columns of `predictions.csv` that hold the scores of LSNet's runs, first run first."""
    return [column for column in predictions if column.startswith("score_")]


def in_roc_space(predictions: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    """The curve of each run of LSNet and the point of each reader on the same images.

    predictions: columns truth and score_*;  intervals: of `reader_intervals`
    Columns reader, kind ("curve" or "point"), x (1 - specificity), y (sensitivity), low and high (of y, by patient).
    """
    lines = []
    for column in score_columns(predictions):
        x, y, _ = roc_curve(predictions["truth"], predictions[column])
        lines += [(column, "curve", a, b, np.nan, np.nan) for a, b in zip(x, y, strict=True)]
    for reader, of in intervals.groupby("reader", sort=False):
        metrics = of.set_index("metric")
        se, sp = metrics.loc["sensitivity"], metrics.loc["specificity"]
        lines.append((reader, "point", 1 - sp["estimate"], se["estimate"], se["patient_low"], se["patient_high"]))
    return pd.DataFrame(lines, columns=["reader", "kind", "x", "y", "low", "high"])


def model_less_readers(
    truth: np.ndarray, calls: pd.DataFrame, patients: pd.Series, comparisons: Comparisons
) -> pd.DataFrame:
    """Obuchowski-Rockette analysis of the model against the readers, one row a comparison.

    truth, patients: (n_images,);  calls: [n_images, n_readers]
    Columns figure of merit, model, readers, difference, then low, high and p for random readers and for these readers.
    """
    lines = []
    for name, (merit, score) in comparisons.items():
        analysis = mrmc.readers_against_model(truth, calls, score, merit, patient_id=patients)
        model, readers = analysis.means["mean"]
        pair = analysis.differences.iloc[0]
        line = {"figure of merit": name, "model": model, "readers": readers, "difference": pair["difference"]}
        for kind, of in (("random", ""), ("fixed", " (these readers)")):
            line |= {f"{end}{of}": pair[f"{kind}_{end}"] for end in ("low", "high", "p")}
        lines.append(line)
    return pd.DataFrame(lines)
