"""Which whole numbers of images can stand behind printed proportions (Tables 2 to 6): the search engine of the audit.

A printed value stands for the closed interval of numbers that round to it (half a unit of the last digit, ties in
both directions). A proportion of n images is k / n with a whole k, so most printed strings are out of reach for most
n. A mean and standard deviation (SD) over three runs leave few triples of counts, and the metrics of one row must
agree on one set of runs: often a single set is left, or none, and either is a fact about the print.

The scans use integers; a ratio is first screened in floating point with a margin far above its rounding error and
then confirmed in fractions. "None" therefore is a proof for the range searched.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, permutations, product
from math import ceil, floor, isqrt, prod

import numpy as np

from ecsupport.evaluation.classification import Counts, metrics_from_counts
from ecsupport.paper.published import half_unit, parse_printed

RUNS = 3
FIVE = ("sensitivity", "specificity", "accuracy", "precision", "f1")  # what a 2 x 2 table determines
_MARGIN = 1e-11  # of the screening in floating point, whose error is below 1e-13
_ORDERS = np.array(list(permutations(range(RUNS))))  # (6, 3)
_MOST = 2_000_000  # candidates held at once

Row = Mapping[str, tuple[str, str]]  # metric -> (printed mean, printed SD)


@dataclass(frozen=True)
class Runs:
    """One set of three runs that gives every printed number of a row: pairs (tp, tn), in ascending order."""

    pairs: tuple[tuple[int, int], ...]
    n_positive: int
    n_negative: int
    ddof: int

    def mean_sd(self, metric: str) -> tuple[float, float]:
        """Mean and SD over the runs of one of `FIVE`."""
        values = _values(
            np.array([self.pairs])[..., 0], np.array([self.pairs])[..., 1], self.n_positive, self.n_negative
        )
        return float(values[metric].mean()), float(values[metric].std(ddof=self.ddof))

    def __str__(self) -> str:
        pairs = ", ".join(f"{tp}/{tn}" for tp, tn in self.pairs)
        return f"TP/TN {pairs} of {self.n_positive}/{self.n_negative} (SD with ddof {self.ddof})"


def exact(printed: str) -> Fraction:
    """The printed value as a fraction: 199/200 for `99.5%`, 2/3 for `two-thirds`."""
    value = parse_printed(printed)
    return Fraction(repr(value)) if half_unit(printed) else Fraction(value).limit_denominator(1000)


def bounds(printed: str) -> tuple[Fraction, Fraction]:
    """Least and greatest number that rounds to the printed string, ties included; both the value itself for words."""
    half = Fraction(repr(half_unit(printed)))
    return exact(printed) - half, exact(printed) + half


def counts(printed: str, n: int) -> range:
    """Whole k in 0..n with k / n rounding to the printed proportion; empty where there is none."""
    low, high = bounds(printed)
    return range(max(0, ceil(low * n)), min(n, floor(high * n)) + 1)


def nearest(printed: str, n: int) -> tuple[Fraction, Fraction]:
    """The attainable proportions k / n next below and next above (or at) the printed value."""
    k = min(max(floor(exact(printed) * n), 0), n)
    return Fraction(k, n), Fraction(min(k + 1, n), n)


def sizes(printed: str, up_to: int, runs: int = 1) -> np.ndarray:
    """Every n in 1..up_to for which the printed proportion, or mean over runs of equal n, is attainable."""
    low, high = bounds(printed)
    n = runs * np.arange(1, up_to + 1, dtype=np.int64)
    least = -((-low.numerator * n) // low.denominator)  # ceil, in integers
    most = (high.numerator * n) // high.denominator
    return n[np.maximum(least, 0) <= np.minimum(most, n)] // runs


def triples(mean: str, sd: str, n: int, ddof: int) -> np.ndarray:
    """All ascending triples of counts in 0..n whose proportions have the printed mean and SD: (m, 3) int64.

    With x1 <= x2 <= x3, d1 = x2 - x1 and d2 = x3 - x2 the squared distances add up to
    d1^2 + d2^2 + (d1 + d2)^2 = 9 n^2 SD^2 (ddof 0) or 6 n^2 SD^2 (ddof 1): a search over two small integers.
    """
    low, high = (max(end, Fraction(0)) for end in bounds(sd))
    factor = (9 if ddof == 0 else 6) * n * n
    least, most = ceil(factor * low**2), floor(factor * high**2)
    gap = np.arange(min(isqrt(most), n) + 1, dtype=np.int64)
    d1, d2 = np.meshgrid(gap, gap, indexing="ij")
    square = d1**2 + d2**2 + (d1 + d2) ** 2
    fits = (square >= least) & (square <= most)
    d1, d2 = d1[fits], d2[fits]
    found = [np.empty((0, RUNS), dtype=np.int64)]
    for total in counts(mean, RUNS * n):
        three_x1 = total - 2 * d1 - d2
        whole = (three_x1 % 3 == 0) & (three_x1 >= 0)
        x1 = three_x1[whole] // 3
        three = np.column_stack([x1, x1 + d1[whole], x1 + d1[whole] + d2[whole]])
        found.append(three[three[:, 2] <= n])
    return np.concatenate(found)


def run_sets(row: Row, n_positive: int, n_negative: int, ddof: int) -> list[Runs] | None:
    """Every set of three runs that gives all printed means and SDs of a row at once.

    row: two or more of `FIVE`, among them the accuracy or both rates
    Returns None where the candidates are too many to list (undetermined), else the sets, perhaps none.
    """
    sized = {"sensitivity": n_positive, "specificity": n_negative, "accuracy": n_positive + n_negative}
    listed = {}
    for metric, n in sized.items():
        if metric in row:
            listed[metric] = triples(*row[metric], n, ddof)
            if not len(listed[metric]):
                return []
    pairs = _candidates(listed, n_positive, n_negative)
    if pairs is None:
        return None
    tp, tn = pairs
    values = _values(tp, tn, n_positive, n_negative)
    keep = np.ones(len(tp), dtype=bool)
    for metric, (mean, sd) in row.items():
        keep &= np.abs(values[metric].mean(axis=1) - parse_printed(mean)) <= half_unit(mean) + _MARGIN
        keep &= np.abs(values[metric].std(axis=1, ddof=ddof) - parse_printed(sd)) <= half_unit(sd) + _MARGIN
    distinct = {
        tuple(sorted(zip(a, b, strict=True))) for a, b in zip(tp[keep].tolist(), tn[keep].tolist(), strict=True)
    }
    found = [Runs(pairs, n_positive, n_negative, ddof) for pairs in sorted(distinct)]
    return [runs for runs in found if _confirmed(runs, row)]


def all_run_sets(row: Row, n_positive: int, n_negative: int) -> list[Runs]:
    """`run_sets` under both conventions, ddof 0 first; what could not be listed counts as none."""
    return [runs for ddof in (0, 1) for runs in run_sets(row, n_positive, n_negative, ddof) or []]


def without_fewest(
    row: Row, n_positive: int, n_negative: int, most: int = 2
) -> list[tuple[tuple[str, ...], list[Runs]]]:
    """The smallest groups of metrics that must be left out for the rest of the row to have common runs.

    Returns (metrics left out, run sets of the rest), all groups of the least size that will do; empty where leaving
    out `most` metrics does not help. Leaving out nothing, `((), sets)`, means that the row is consistent.
    """
    for size in range(most + 1):
        found = []
        for left_out in combinations(row, size):
            rest = {metric: printed for metric, printed in row.items() if metric not in left_out}
            if "accuracy" in rest or {"sensitivity", "specificity"} <= set(rest):
                runs = all_run_sets(rest, n_positive, n_negative)
                found += [(left_out, runs)] if runs else []
        if found:
            return found
    return []


def balanced_sizes(row: Row, up_to: int) -> dict[int, list[Runs]]:
    """Every n in 1..up_to with n positive and n negative images for which the whole row has common runs."""
    possible = set(range(1, up_to + 1))
    for metric in {"sensitivity", "specificity"} & set(row):
        possible &= set(sizes(row[metric][0], up_to, RUNS).tolist())
    if "accuracy" in row:
        possible &= {n // 2 for n in sizes(row["accuracy"][0], 2 * up_to, RUNS).tolist() if n % 2 == 0}
    found = {n: all_run_sets(row, n, n) for n in sorted(possible)}
    return {n: runs for n, runs in found.items() if runs}


def unequal_sizes(row: Row, up_to: int) -> dict[tuple[int, int], list[Runs]]:
    """Every (n_positive, n_negative), each in 1..up_to, for which the whole row has common runs.

    row: with both rates
    """
    found = {}
    for ddof in (0, 1):
        fit = {
            metric: [n for n in sizes(row[metric][0], up_to, RUNS).tolist() if len(triples(*row[metric], n, ddof))]
            for metric in ("sensitivity", "specificity")
        }
        for n_positive, n_negative in product(*fit.values()):
            if _means_agree(row, n_positive, n_negative):
                runs = run_sets(row, n_positive, n_negative, ddof)
                if runs:
                    found.setdefault((n_positive, n_negative), []).extend(runs)
    return dict(sorted(found.items()))


def one_run(row: Mapping[str, tuple[str, float]], n_positive: int, n_negative: int) -> list[Counts]:
    """Every 2 x 2 table that gives all printed metrics of one run at once.

    row: metric -> (printed, further slack on either side, such as the error of a bootstrap mean); both rates needed
    """
    ranges = []
    for metric, n in (("sensitivity", n_positive), ("specificity", n_negative)):
        low, high = (float(end) for end in bounds(row[metric][0]))
        slack = row[metric][1]
        ranges.append(
            np.arange(max(0, ceil((low - slack) * n - _MARGIN)), min(n, floor((high + slack) * n + _MARGIN)) + 1)
        )
    tp, tn = (grid.ravel() for grid in np.meshgrid(*ranges, indexing="ij"))
    values = _values(tp, tn, n_positive, n_negative)
    keep = np.ones(len(tp), dtype=bool)
    for metric, (printed, slack) in row.items():
        keep &= np.abs(values[metric] - parse_printed(printed)) <= half_unit(printed) + slack + _MARGIN
    return [
        Counts(tp=a, fp=n_negative - b, fn=n_positive - a, tn=b)
        for a, b in zip(tp[keep].tolist(), tn[keep].tolist(), strict=True)
    ]


def _means_agree(row: Row, n_positive: int, n_negative: int) -> bool:
    """Whether the sums of TP, TN and correct calls behind the three printed means can add up."""
    if "accuracy" not in row:
        return True
    tp, tn = counts(row["sensitivity"][0], RUNS * n_positive), counts(row["specificity"][0], RUNS * n_negative)
    correct = counts(row["accuracy"][0], RUNS * (n_positive + n_negative))
    return tp.start + tn.start < correct.stop and correct.start < tp.stop + tn.stop - 1


def _candidates(
    listed: dict[str, np.ndarray], n_positive: int, n_negative: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """(tp, tn), each (m, 3), of all runs that two of the listed triples allow, or the accuracy's alone."""
    if {"sensitivity", "specificity"} <= set(listed):
        tp, tn = _paired(listed["sensitivity"], listed["specificity"])
    elif "sensitivity" in listed:
        tp, correct = _paired(listed["sensitivity"], listed["accuracy"])
        tn = correct - tp
    elif "specificity" in listed:
        tn, correct = _paired(listed["specificity"], listed["accuracy"])
        tp = correct - tn
    else:
        ranges = [
            [range(max(0, c - n_negative), min(n_positive, c) + 1) for c in three]
            for three in listed["accuracy"].tolist()
        ]
        if sum(prod(map(len, three)) for three in ranges) > _MOST:
            return None
        tp = np.array([p for three in ranges for p in product(*three)], dtype=np.int64).reshape(-1, RUNS)
        sizes_of = [prod(map(len, three)) for three in ranges]
        tn = np.repeat(listed["accuracy"], sizes_of, axis=0) - tp
    within = ((tp >= 0) & (tp <= n_positive) & (tn >= 0) & (tn <= n_negative)).all(axis=1)
    return tp[within], tn[within]


def _paired(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each triple (a, 3) of the first with each order of each triple (b, 3) of the second: (6 a b, 3) both."""
    ordered = second[:, _ORDERS].reshape(-1, RUNS)
    return np.repeat(first, len(ordered), axis=0), np.tile(ordered, (len(first), 1))


def _values(tp: np.ndarray, tn: np.ndarray, n_positive: int, n_negative: int) -> dict[str, np.ndarray]:
    return metrics_from_counts(Counts(tp=tp, fp=n_negative - tn, fn=n_positive - tp, tn=tn))


def _fractions(runs: Runs) -> Iterator[dict[str, Fraction]]:
    for tp, tn in runs.pairs:
        fp, fn = runs.n_negative - tn, runs.n_positive - tp
        yield {
            "sensitivity": Fraction(tp, runs.n_positive),
            "specificity": Fraction(tn, runs.n_negative),
            "accuracy": Fraction(tp + tn, runs.n_positive + runs.n_negative),
            "precision": Fraction(tp, max(tp + fp, 1)),  # 0/0 has been screened out as NaN
            "f1": Fraction(2 * tp, max(2 * tp + fp + fn, 1)),
        }


def _confirmed(runs: Runs, row: Row) -> bool:
    """Whether the runs give each printed mean and SD, in fractions."""
    exactly = list(_fractions(runs))
    for metric, (mean, sd) in row.items():
        values = [run[metric] for run in exactly]
        centre = sum(values) / RUNS
        variance = sum((value - centre) ** 2 for value in values) / (RUNS - runs.ddof)
        low, high = bounds(sd)
        if not bounds(mean)[0] <= centre <= bounds(mean)[1] or not max(low, Fraction(0)) ** 2 <= variance <= high**2:
            return False
    return True
