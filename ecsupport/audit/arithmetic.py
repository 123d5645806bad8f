"""Rules of the audit that need arithmetic alone: repeated quantities, totals, shares, orders, group rows.

A rule takes `cells`, the rows of numbers.csv that it judges, `against`, the rows that it holds them against, and its
parameters; it returns one `Finding` a judged row. Values are exact fractions of what is printed, and a printed value
stands for every number that rounds to it.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecsupport.audit.compatible import bounds, exact
from ecsupport.core.errors import UserError
from ecsupport.paper.published import decimals, half_unit

CONSISTENT, INCONSISTENT, UNDECIDED = VERDICTS = ("consistent", "inconsistent", "not decidable")
MEASURED = {  # rows or columns of the tables that name what is measured
    "Accuracy": "accuracy",
    "Sensitivity": "sensitivity",
    "Specificity": "specificity",
    "Precision": "precision",
    "F1-score": "f1",
    "ROC AUC": "roc_auc",
    "FLOPs": "operations",
    "Params": "parameters",
    "CPU Inference Speed": "CPU time per image",
    "GPU Memory Usage": "memory",
}


class Finding(NamedTuple):
    """What a rule says of one printed number: its id, one of VERDICTS, and the witness or proof."""

    id: str
    verdict: str
    witness: str


def verdict(holds: bool) -> str:
    """CONSISTENT or INCONSISTENT."""
    return CONSISTENT if holds else INCONSISTENT


def metric_and_subject(cell: pd.Series) -> tuple[str, str]:
    """What a cell measures and of whom, whichever way its table is laid out: ("sensitivity", "LSNet")."""
    measured, subject = (cell["row"], cell["column"]) if cell["row"] in MEASURED else (cell["column"], cell["row"])
    return MEASURED.get(measured, measured), subject


def by_subject(cells: pd.DataFrame) -> dict[tuple[str, str], dict[tuple[str, str], pd.Series]]:
    """Cells grouped: (where, subject) -> (metric, part) -> row."""
    groups: dict[tuple[str, str], dict[tuple[str, str], pd.Series]] = {}
    for _, cell in cells.iterrows():
        metric, subject = metric_and_subject(cell)
        groups.setdefault((cell["where"], subject), {})[metric, cell["part"]] = cell
    return groups


def missing(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """Nothing can be said of a number that the extracted text has lost."""
    return [Finding(i, UNDECIDED, "the number is lost in the text at hand") for i in cells["id"]]


def no_redundancy(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """Nothing can be said of a number that nothing else in print determines."""
    return [Finding(i, UNDECIDED, "nothing else that is printed determines it") for i in cells["id"]]


def same_quantity(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """One quantity printed more than once: some number must round to both strings."""
    return [_compare(cell, list(_twins(cell, against))) for _, cell in cells.iterrows()]


def total(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """One number is the sum of others."""
    parts, whole = [exact(p) for p in against["printed"]], exact(one(cells)["printed"])
    off = f", off by {_show(whole - sum(parts))}" if whole != sum(parts) else ""
    sum_ = f"{' + '.join(against['printed'])} = {_show(sum(parts))}"
    return [Finding(one(cells)["id"], verdict(whole == sum(parts)), f"{sum_}, printed {one(cells)['printed']}{off}")]


def at_most(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """Parts taken from a whole, together, cannot exceed it; against: the whole."""
    parts, whole = sum(exact(p) for p in cells["printed"]), exact(one(against)["printed"])
    left = f"{_show(whole - parts)} left over" if parts <= whole else f"{_show(parts - whole)} too many"
    witness = f"{' + '.join(cells['printed'])} of {one(against)['printed']}: {left}"
    return [Finding(i, verdict(parts <= whole), witness) for i in cells["id"]]


def room_for(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """A whole holds the parts (`against`) that are taken from it."""
    whole, parts = exact(one(cells)["printed"]), sum(exact(p) for p in against["printed"])
    witness = f"{one(cells)['printed']} hold {' + '.join(against['printed'])} = {_show(parts)}"
    return [Finding(one(cells)["id"], verdict(parts <= whole), witness)]


def share(cells: pd.DataFrame, against: pd.DataFrame, share: Fraction, tolerance: Fraction) -> list[Finding]:
    """One number is a stated share of another (`against`), within a stated tolerance."""
    part, whole = exact(one(cells)["printed"]), exact(one(against)["printed"])
    found = part / whole
    witness = (
        f"{one(cells)['printed']} of {one(against)['printed']} is {float(found):.4%}; "
        f"{float(share):.4%} would be {float(share * whole):,.1f}"
    )
    return [Finding(one(cells)["id"], verdict(abs(found - share) <= tolerance), witness)]


def split(cells: pd.DataFrame, against: pd.DataFrame, tolerance: Fraction) -> list[Finding]:
    """The parts of a printed ratio, in order, against the counts of the sets, within a stated tolerance."""
    parts, sets = [exact(p) for p in cells["printed"]], [exact(p) for p in against["printed"]]
    findings = []
    for i, part, count in zip(cells["id"], parts, sets, strict=True):
        wanted, found = part / sum(parts), count / sum(sets)
        witness = f"{_show(count)} of {_show(sum(sets))} is {float(found):.4f}, the ratio says {float(wanted):.4f}"
        findings.append(Finding(i, verdict(abs(found - wanted) <= tolerance), witness))
    return findings


def whole_parts(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """A printed ratio divides a printed total without remainder."""
    parts, whole = [exact(p) for p in cells["printed"]], exact(one(against)["printed"])
    shares = [whole * part / sum(parts) for part in parts]
    witness = f"{one(against)['printed']} as {':'.join(cells['printed'])} is {' + '.join(map(_show, shares))}"
    return [Finding(i, verdict(all(s.denominator == 1 for s in shares)), witness) for i in cells["id"]]


def count_of(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """A printed number of things against the cells of which there is one a thing."""
    witness = f"{len(against)} in print: {', '.join(metric_and_subject(c)[1] for _, c in against.iterrows())}"
    return [Finding(c["id"], verdict(exact(c["printed"]) == len(against)), witness) for _, c in cells.iterrows()]


def listed(cells: pd.DataFrame, against: pd.DataFrame, count: Fraction) -> list[Finding]:
    """A printed number of things against how many the text names, counted by hand (the note says which)."""
    witness = f"the text names {_show(count)}"
    return [Finding(c["id"], verdict(exact(c["printed"]) == count), witness) for _, c in cells.iterrows()]


def ordered(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """Lower end, value and upper end of a range stand in this order; cells: one range after the other."""
    findings = []
    for _, group in cells.groupby([cells["id"].str.rsplit(".", n=1).str[0]], sort=False):
        place = {"low": 0, "value": 1, "mean": 1, "high": 2}
        of_group = group[group["part"].isin(place)].sort_values("part", key=lambda p: p.map(place))
        holds = all(exact(a) <= exact(b) for a, b in pairwise(of_group["printed"]))
        findings += [Finding(i, verdict(holds), " to ".join(of_group["printed"])) for i in of_group["id"]]
    return findings


def lower_bound(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """A number that bounds others from below; against: the others."""
    least = min(exact(p) for p in against["printed"])
    smallest = next(p for p in against["printed"] if exact(p) == least)
    return [
        Finding(c["id"], verdict(exact(c["printed"]) <= least), f"the smallest is {smallest}")
        for _, c in cells.iterrows()
    ]


def range_of(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """A printed range is that of other printed numbers."""
    ends = {"low": min(map(exact, against["printed"])), "high": max(map(exact, against["printed"]))}
    witness = f"printed elsewhere: {', '.join(against['printed'])}"
    return [Finding(c["id"], verdict(exact(c["printed"]) == ends[c["part"]]), witness) for _, c in cells.iterrows()]


def best(cells: pd.DataFrame, against: pd.DataFrame, highest: str) -> list[Finding]:
    """A number said to be the highest of its kind (the lowest, with `highest=no`); against: the others."""
    findings = []
    for _, cell in cells.iterrows():
        sign = 1 if highest == "yes" else -1
        rivals = list(_twins(cell, against))
        rival = max(rivals, key=lambda other: sign * exact(other["printed"]))
        ahead = sign * (exact(cell["printed"]) - exact(rival["printed"]))
        word = "highest" if highest == "yes" else "lowest"
        witness = (
            f"{cell['printed']}; {word} other, of {len(rivals)}: {rival['printed']} ({metric_and_subject(rival)[1]})"
        )
        findings.append(Finding(cell["id"], UNDECIDED if ahead == 0 else verdict(ahead > 0), witness))
    return findings


def not_above(cells: pd.DataFrame, against: pd.DataFrame, tolerance: Fraction) -> list[Finding]:
    """A number is lower than each of the others or exceeds it by no more than a stated fraction."""
    findings = []
    for _, cell in cells.iterrows():
        ratios = [(exact(cell["printed"]) / exact(o["printed"]), o) for _, o in against.iterrows()]
        said = ", ".join(f"{float(r):.2f} times {o['printed']} ({metric_and_subject(o)[1]})" for r, o in ratios)
        findings.append(
            Finding(cell["id"], verdict(all(r <= 1 + tolerance for r, _ in ratios)), f"{cell['printed']} is {said}")
        )
    return findings


def comparable(cells: pd.DataFrame, against: pd.DataFrame, tolerance: Fraction) -> list[Finding]:
    """Numbers said to be kept equal: the largest exceeds the smallest by no more than a stated fraction."""
    values = sorted(cells["printed"], key=exact)
    ratio = exact(values[-1]) / exact(values[0])
    witness = f"{values[0]} to {values[-1]}: a factor of {float(ratio):.2f}"
    return [Finding(i, verdict(ratio <= 1 + tolerance), witness) for i in cells["id"]]


def falling(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """Along the columns as printed, no number exceeds the one before it."""
    holds = all(exact(a) >= exact(b) for a, b in pairwise(cells["printed"]))
    return [Finding(i, verdict(holds), ", ".join(cells["printed"])) for i in cells["id"]]


def throughput(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """Operations over seconds, shown: equal rates would tie the two, but nothing in print says that they are equal."""
    rates = [float(exact(o) / exact(s)) / 1e9 for o, s in zip(against["printed"], cells["printed"], strict=True)]
    said = "; ".join(
        f"{metric_and_subject(c)[1]} {rate:.2f}" for (_, c), rate in zip(cells.iterrows(), rates, strict=True)
    )
    witness = f"10^9 operations per second: {said}. Time need not follow operations"
    return [Finding(i, UNDECIDED, witness) for i in cells["id"]]


def group_row(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """Means and SDs of a group row from the printed members, which stand for intervals; both ddof."""
    findings = []
    for _, cell in cells.iterrows():
        members = [bounds(other["printed"]) for other in _twins(cell, against, parts=("value", "mean"))]
        low, high = bounds(cell["printed"])
        if cell["part"] == "mean":
            ends = [sum(m[side] for m in members) / len(members) for side in (0, 1)]
            holds, said = ends[0] <= high and low <= ends[1], f"mean of {len(members)}: {_span(*ends, cell)}"
        else:
            spans = {ddof: sd_range(members, ddof) for ddof in (0, 1)}
            fit = [d for d, (a, b) in spans.items() if a <= float(high) + 1e-12 and float(low) <= b + 1e-12]
            said = "; ".join(f"ddof {d}: {_span(*span, cell)}" for d, span in spans.items())
            holds, said = bool(fit), f"{said}; agrees with ddof {' and '.join(map(str, fit)) or 'neither'}"
        findings.append(Finding(cell["id"], verdict(holds), f"{said}; printed {cell['printed']}"))
    return findings


def sd_range(members: list[tuple[Fraction, Fraction]], ddof: int) -> tuple[float, float]:
    """Least and greatest SD that numbers within the given intervals can have.

    The squared distances are convex: greatest at a corner; least where every number is as near as it can be to one
    common centre, a convex function of the centre that is quadratic between the intervals' ends.
    """
    ends = np.array(members, dtype=np.float64)  # (m, 2)
    corners = np.array(list(product(*ends)))  # (2^m, m)
    most = corners.std(axis=1, ddof=ddof).max()
    knots = np.unique(ends)
    centres = [knots]
    for a, b in pairwise(knots):
        middle = (a + b) / 2  # which intervals lie wholly below or above is the same for every centre in between
        away = np.clip(middle, ends[:, 0], ends[:, 1])
        outside = away != middle
        if outside.any():
            centres.append(np.clip(away[outside].mean(keepdims=True), a, b))
    centre = np.concatenate(centres)[:, None]
    distance = np.clip(centre, ends[:, 0], ends[:, 1]) - centre
    least = np.sqrt((distance**2).sum(axis=1).min() / (len(members) - ddof))
    return float(least), float(most)


def _twins(cell: pd.Series, against: pd.DataFrame, parts: tuple[str, ...] = ()) -> Iterator[pd.Series]:
    """Other rows, of `against`, that measure what the cell measures: same metric and part, or the only one there."""
    metric, part = metric_and_subject(cell)[0], cell["part"]
    allowed = parts or ({"value", "mean"} if part in ("value", "mean") else {part})
    others = [other for _, other in against.iterrows() if other["id"] != cell["id"]]
    twins = [other for other in others if metric_and_subject(other)[0] == metric and other["part"] in allowed]
    twins = twins or (others if len(others) == 1 else [])
    if not twins:
        raise UserError(f"{cell['id']}: nothing in `against` measures the same. Name a row of that quantity.")
    yield from twins


def _compare(cell: pd.Series, others: list[pd.Series]) -> Finding:
    different = []
    for other in others:
        a, b = exact(cell["printed"]), exact(other["printed"])
        reach = Fraction(repr(half_unit(cell["printed"]))) + Fraction(repr(half_unit(other["printed"])))
        if a != b and abs(a - b) >= reach:
            different.append(f"{other['printed']} in {other['id']}, {float(abs(a - b)):g} apart")
    if different:
        return Finding(cell["id"], INCONSISTENT, f"printed {cell['printed']} here, {'; '.join(different)}")
    said = ", ".join(f"{o['printed']} in {o['id']}" for o in others)
    return Finding(cell["id"], CONSISTENT, f"printed {cell['printed']} here, {said}")


def one(rows: pd.DataFrame) -> pd.Series:
    """The only row of a selection; UserError where there is another number of rows."""
    if len(rows) != 1:
        raise UserError(f"one row is needed, {len(rows)} were selected: {', '.join(rows['id'])}. Narrow the pattern.")
    return rows.iloc[0]


def _show(value: Fraction) -> str:
    return f"{value.numerator:,}" if value.denominator == 1 else f"{float(value):,.2f}"


def _span(low: Fraction | float, high: Fraction | float, cell: pd.Series) -> str:
    places = decimals(cell["printed"]) + 1
    return f"{float(low):.{places}f} to {float(high):.{places}f}"
