"""Rules of the audit that look for the whole numbers of images behind printed metrics (Tables 2 to 6).

Each rule takes `cells` and `against` as in `arithmetic` and whole numbers of images as parameters. Where no
counts exist the witness says what was searched and which attainable values lie next to the printed one.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import sqrt

import numpy as np
import pandas as pd

from ecsupport.audit.arithmetic import (
    CONSISTENT,
    INCONSISTENT,
    UNDECIDED,
    Finding,
    by_subject,
    verdict,
)
from ecsupport.audit.compatible import (
    FIVE,
    RUNS,
    Row,
    Runs,
    bounds,
    counts,
    exact,
    nearest,
    one_run,
    unequal_sizes,
    without_fewest,
)
from ecsupport.core.seeds import generator
from ecsupport.evaluation.bootstrap import bootstrap_counts
from ecsupport.evaluation.classification import METRICS, Counts
from ecsupport.paper.published import half_unit, parse_printed

_ERRORS = 4  # standard errors of resampling allowed: one cell in 16,000 would stray further
_DRAWS = 100_000

Group = dict[tuple[str, str], pd.Series]


def proportion_at_n(cells: pd.DataFrame, against: pd.DataFrame, n: Fraction) -> list[Finding]:
    """A single proportion is some whole k of n images."""
    findings = []
    for _, cell in cells.iterrows():
        k = counts(cell["printed"], int(n))
        said = f"{k.start} to {k.stop - 1}" if len(k) > 1 else f"{k.start}" if k else ""
        witness = f"{said} of {n}" if k else _out_of_reach(cell["printed"], int(n), 1)
        findings.append(Finding(cell["id"], verdict(len(k) > 0), witness))
    return findings


def runs_at_n(cells: pd.DataFrame, against: pd.DataFrame, n_positive: Fraction, n_negative: Fraction) -> list[Finding]:
    """All means and SDs of a row come from one set of three runs on n_positive + n_negative images."""
    sizes = int(n_positive), int(n_negative)
    findings = []
    for group in by_subject(cells).values():
        row = _row(group)
        options = without_fewest(row, *sizes, most=2)
        blamed, runs = options[0] if options else ((), [])
        alone = len(options) == 1 and len(blamed) == 1  # a single metric that all the others contradict
        for (metric, _), cell in _five(group):
            own = _own_mean(metric, cell, group, sizes)
            if options and not blamed:
                said = _several(runs)
            elif alone:
                said = f"all but {blamed[0]}: {runs[0]}, whose {blamed[0]} is {_mean_sd(runs[0], blamed[0])}"
            else:
                said = f"no three runs on {sizes[0]} + {sizes[1]} images give the row, with either ddof{own}"
                said += "".join(f"; without {' and '.join(b)}: {r[0]}" for b, r in options[:1])
            holds = bool(options) and (not blamed or (alone and metric != blamed[0]))
            findings.append(Finding(cell["id"], verdict(holds), said))
    return findings


def runs_at_any_n(cells: pd.DataFrame, against: pd.DataFrame, up_to: Fraction) -> list[Finding]:
    """All means and SDs of a row come from three runs on some numbers of images, each number up to `up_to`."""
    findings = []
    for group in by_subject(cells).values():
        found = unequal_sizes(_row(group), int(up_to))
        if found:
            first = next(iter(found))
            pairs = ", ".join(f"{p} + {q}" for p, q in found)
            at = f"at {first[0]} + {first[1]} {_several(found[first])}"
            witness = f"of all pairs up to {up_to} + {up_to} only {pairs}; {at}"
        else:
            witness = (
                f"no three runs on any pair of 1 to {up_to} positive and negative images give the row, with either ddof"
            )
        findings += [Finding(cell["id"], verdict(bool(found)), witness) for _, cell in _five(group)]
    return findings


def shared_n(cells: pd.DataFrame, against: pd.DataFrame, up_to: Fraction) -> list[Finding]:
    """Some numbers of images, each up to `up_to`, serve every row of a table at once.

    A row that no numbers serve is left out of the comparison: `runs_at_any_n` has judged it.
    """
    groups = by_subject(cells)
    found = {subject: set(unequal_sizes(_row(group), int(up_to))) for (_, subject), group in groups.items()}
    each = {subject: pairs for subject, pairs in found.items() if pairs}
    common = sorted(set.intersection(*each.values())) if each else []
    if common:
        witness = f"the pairs up to {up_to} + {up_to} that serve all of {', '.join(each)}: {_pairs(common)}"
    else:
        witness = "no pair serves all rows: " + "; ".join(
            f"{subject} {_pairs(sorted(p))}" for subject, p in each.items()
        )
    return [
        Finding(cell["id"], verdict(bool(common)) if subject in each else UNDECIDED, witness)
        for (_, subject), group in groups.items()
        for _, cell in _five(group)
    ]


def identity(cells: pd.DataFrame, against: pd.DataFrame, of: str) -> list[Finding]:
    """A metric computed from the printed sensitivity and specificity at equal numbers of both classes.

    of: "accuracy" (also true of means over runs), "precision" or "f1" (one run only), or "roc_auc" of one operating
    point; cells: metric, sensitivity and specificity of each subject, of which the metric is judged
    """
    formulas = {
        "accuracy": lambda se, sp: (se + sp) / 2,
        "roc_auc": lambda se, sp: (se + sp) / 2,
        "precision": lambda se, sp: se / (se + 1 - sp),
        "f1": lambda se, sp: 2 * se / (se + 2 - sp),
    }
    findings = []
    for group in by_subject(cells).values():
        cell, se, sp = (centre(group, metric) for metric in (of, "sensitivity", "specificity"))
        ends = [formulas[of](*pair) for pair in zip(bounds(se["printed"]), bounds(sp["printed"]), strict=True)]
        low, high = bounds(cell["printed"])
        witness = f"{se['printed']} and {sp['printed']} give {float(ends[0]):.5f} to {float(ends[1]):.5f}"
        findings.append(Finding(cell["id"], verdict(ends[0] <= high and low <= ends[1]), witness))
    return findings


def auc_bounds(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """No ROC curve through a point (1 - Sp, Se) has an area below Se Sp or above 1 - (1 - Se)(1 - Sp).

    Means over runs may stray from the product of the means by at most the product of the SDs (Cauchy-Schwarz).
    """
    findings = []
    for group in by_subject(cells).values():
        cell = centre(group, "roc_auc")
        se, sp = (bounds(centre(group, metric)["printed"]) for metric in ("sensitivity", "specificity"))
        spread = Fraction(1)
        for metric in ("sensitivity", "specificity"):
            spread *= bounds(group[metric, "sd"]["printed"])[1] if (metric, "sd") in group else 0
        least, most = se[0] * sp[0] - spread, 1 - (1 - se[1]) * (1 - sp[1]) + spread
        low, high = bounds(cell["printed"])
        witness = f"the operating point allows {float(least):.4f} to {float(most):.4f}, no more is determined"
        findings.append(Finding(cell["id"], verdict(least <= high and low <= most), witness))
    return findings


def one_run_at_n(
    cells: pd.DataFrame, against: pd.DataFrame, n_positive: Fraction, n_negative: Fraction
) -> list[Finding]:
    """All bootstrap means of one experiment come from one 2 x 2 table, within rounding and resampling error."""
    findings = []
    for group in by_subject(cells).values():
        found = _tables(group, int(n_positive), int(n_negative))
        said = f"TP/TN {', '.join(f'{c.tp}/{c.tn}' for c in found)} of {n_positive}/{n_negative}"
        if not found:
            said = f"no TP of {n_positive} and TN of {n_negative} give all means of the experiment"
        findings += [Finding(c["id"], verdict(bool(found)), said) for (m, p), c in _five(group) if p == "mean"]
    return findings


def bootstrap_replay(
    cells: pd.DataFrame, against: pd.DataFrame, n_positive: Fraction, n_negative: Fraction, resamples: Fraction
) -> list[Finding]:
    """Mean, SD and percentile interval of one experiment from its 2 x 2 table, resampled by image.

    A printed end, a quantile of `resamples` draws, lies between the quantiles of the true distribution whose ranks
    are four standard errors off, sqrt(q (1 - q) / resamples); this needs no density and no step of the metric.
    """
    findings = []
    for (_, subject), group in by_subject(cells).items():
        found = _tables(group, int(n_positive), int(n_negative))
        if not found:
            findings += [Finding(c["id"], UNDECIDED, "no 2 x 2 table to resample") for _, c in _five(group)]
            continue
        replays = [_replay(group, table, int(resamples), subject) for table in found]
        findings += max(replays, key=lambda r: sum(f.verdict == CONSISTENT for f in r))
    return findings


def _five(group: Group) -> Iterator[tuple[tuple[str, str], pd.Series]]:
    """The cells of a group whose metric follows from a 2 x 2 table."""
    return ((key, cell) for key, cell in group.items() if key[0] in FIVE)


def _row(group: Group) -> Row:
    """Printed mean and SD of the metrics of `FIVE` that a group has, in that order."""
    return {m: (group[m, "mean"]["printed"], group[m, "sd"]["printed"]) for m in FIVE if (m, "mean") in group}


def centre(group: Group, metric: str) -> pd.Series:
    """The cell of a group that holds a metric's mean or single value."""
    return group[metric, "mean"] if (metric, "mean") in group else group[metric, "value"]


def _own_mean(metric: str, cell: pd.Series, group: Group, sizes: tuple[int, int]) -> str:
    """Said of a mean over runs that no counts give even by itself, with the attainable values beside it."""
    n = {"sensitivity": sizes[0], "specificity": sizes[1], "accuracy": sum(sizes)}.get(metric)
    printed = group[metric, "mean"]["printed"]
    if n is None or counts(printed, RUNS * n):
        return ""
    return f"; {_out_of_reach(printed, n, RUNS)}"


def _out_of_reach(printed: str, n: int, runs: int) -> str:
    below, above = nearest(printed, runs * n)
    of = f"{runs} x {n}" if runs > 1 else f"{n}"
    return f"{printed} is no k of {of}: the next are {float(below):.5f} and {float(above):.5f}"


def _several(runs: list[Runs]) -> str:
    return f"one set of runs: {runs[0]}" if len(runs) == 1 else f"{len(runs)} sets of runs, such as {runs[0]}"


def _mean_sd(runs: Runs, metric: str) -> str:
    mean, sd = runs.mean_sd(metric)
    return f"{mean:.4f} with SD {sd:.4f}"


def _pairs(pairs: list[tuple[int, int]]) -> str:
    return ", ".join(f"{p} + {q}" for p, q in pairs) or "none"


def _tables(group: Group, n_positive: int, n_negative: int) -> list[Counts]:
    resampled = {
        m: (group[m, "mean"]["printed"], _ERRORS * float(exact(group[m, "sd"]["printed"])) / 100)
        for m in FIVE
        if (m, "mean") in group
    }
    return one_run(resampled, n_positive, n_negative)


def _replay(group: Group, table: Counts, resamples: int, subject: str) -> list[Finding]:
    values = bootstrap_counts(table, rng=generator("audit", subject), n_resamples=_DRAWS).values
    findings = []
    for (metric, part), cell in _five(group):
        draws = values[:, METRICS.index(metric)]
        draws = draws[~np.isnan(draws)]
        per_draw = 1 / resamples + 1 / _DRAWS
        if part in ("low", "high"):
            q = 0.025 if part == "low" else 0.975
            off = _ERRORS * sqrt(q * (1 - q) * per_draw)
            ours, low, high = np.quantile(draws, [q, q - off, min(q + off, 1)])
        elif part == "mean":
            ours, off = draws.mean(), _ERRORS * draws.std() * sqrt(per_draw)
            low, high = ours - off, ours + off
        else:
            ours = draws.std(ddof=1)
            fourth = ((draws - draws.mean()) ** 4).mean()
            off = _ERRORS * sqrt(max(fourth - ours**4, 0) * per_draw) / (2 * ours)
            low, high = ours - off, ours + off
        half = half_unit(cell["printed"]) + 1e-12
        holds = low - half <= parse_printed(cell["printed"]) <= high + half
        witness = f"TP {table.tp}, TN {table.tn} resampled: {ours:.5f}, with resampling error {low:.5f} to {high:.5f}"
        findings.append(Finding(cell["id"], CONSISTENT if holds else INCONSISTENT, witness))
    return findings
