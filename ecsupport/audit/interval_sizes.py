"""How many cases a printed proportion with its 95 % interval implies (Table 8): the interval read backwards.

An interval's width is fixed by the number of cases and the method. For every n up to a limit and each of three
methods (Wald, Wilson, Clopper-Pearson) the question is whether some whole k gives value, lower and upper end as
printed, each within half a unit of its last digit.
"""

from functools import cache

import numpy as np
import pandas as pd
from scipy import special, stats

from ecsupport.paper.published import half_unit, parse_printed

METHODS = ("Wald", "Wilson", "Clopper-Pearson")
SEARCHED = {"Sensitivity": 3354, "Specificity": 10_000, "ROC AUC": 10_000}  # column of Table 8 -> greatest size tried
_TAIL = 0.025
_Z = float(stats.norm.isf(_TAIL))
_MARGIN = 1e-10  # far above the rounding error of the ends, far below a printed digit
_BLOCK = 2**20  # pairs (n, k) held at once


@cache
def implied_sizes(value: str, low: str, high: str, up_to: int, method: str) -> np.ndarray:
    """Every n in 1..up_to for which some k / n has the printed value and 95 % interval; ascending int64, read-only.

    value, low, high: printed strings;  method: one of METHODS
    """
    n = np.arange(1, up_to + 1, dtype=np.int64)
    v, h = parse_printed(value), half_unit(value) + _MARGIN
    least = np.maximum(np.ceil((v - h) * n), 0).astype(np.int64)  # the k that give the value: least..most
    most = np.minimum(np.floor((v + h) * n), n).astype(np.int64)
    ends = [
        (parse_printed(end) - half_unit(end) - _MARGIN, parse_printed(end) + half_unit(end) + _MARGIN)
        for end in (low, high)
    ]
    fits = _fits_clopper_pearson if method == "Clopper-Pearson" else _fits_closed_form
    found = n[fits(n, least, most, ends, method)]
    found.flags.writeable = False
    return found


def reader_sizes(numbers: pd.DataFrame) -> pd.DataFrame:
    """The sizes that each reader's printed intervals in Table 8 imply, the AUC read as a proportion.

    numbers: of `load_numbers`. Columns metric, reader, method, least, greatest (NaN where no size fits) and sizes (how
    many fit), in the order of print.
    """
    table_8 = numbers[(numbers["where"] == "table_8") & numbers["row"].str.contains("#")]
    lines = []
    for metric, up_to in SEARCHED.items():
        for reader, cells in table_8[table_8["column"] == metric].groupby("row", sort=False):
            printed = cells.set_index("part")["printed"]
            for method in METHODS:
                found = implied_sizes(printed["value"], printed["low"], printed["high"], up_to, method)
                ends = (found[0], found[-1]) if len(found) else (None, None)
                lines.append((metric, reader, method, *ends, len(found)))
    return pd.DataFrame(lines, columns=["metric", "reader", "method", "least", "greatest", "sizes"])


def interval(k: np.ndarray, n: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of the 95 % interval of k / n (method "Wald" or "Wilson"), shapes broadcast."""
    p = k / n
    if method == "Wald":
        half = _Z * np.sqrt(p * (1 - p) / n)
        return p - half, p + half
    half = _Z * np.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    centre, scale = p + _Z**2 / (2 * n), 1 + _Z**2 / n
    return (centre - half) / scale, (centre + half) / scale


def _fits_closed_form(n: np.ndarray, least: np.ndarray, most: np.ndarray, ends: list, method: str) -> np.ndarray:
    """Try every k of every n, in blocks of n."""
    widest = max(int((most - least).max()) + 1, 1)
    fits = np.zeros(len(n), dtype=bool)
    for part in np.array_split(np.arange(len(n)), max(1, len(n) * widest // _BLOCK)):
        width = max(int((most - least)[part].max()) + 1, 1)
        k = np.clip(least[part, None] + np.arange(width), 0, n[part, None])  # (len(part), width)
        low, high = interval(k, n[part, None], method)
        with_ends = (low >= ends[0][0]) & (low <= ends[0][1]) & (high >= ends[1][0]) & (high <= ends[1][1])
        fits[part] = (with_ends & (k >= least[part, None]) & (k <= most[part, None])).any(axis=1)
    return fits


def _fits_clopper_pearson(n: np.ndarray, least: np.ndarray, most: np.ndarray, ends: list, _: str) -> np.ndarray:
    """Both ends rise with k, so the fitting k lie between thresholds that bisection finds without any quantile.

    The lower end of k is at least L where P(X >= k | n, L) <= 0.025, the upper end at least U where
    P(X <= k | n, U) >= 0.025 (Clopper and Pearson, Biometrika 1934).
    """

    def low_at_least(end: float) -> np.ndarray:
        return _first(least, most, lambda k: special.bdtrc(k - 1.0, n, end) <= _TAIL)

    def high_at_least(end: float) -> np.ndarray:
        return _first(least, most, lambda k: special.bdtr(1.0 * k, n, end) >= _TAIL)

    (low_from, low_to), (high_from, high_to) = ends
    first = np.maximum(low_at_least(low_from), high_at_least(high_from))
    beyond = np.minimum(low_at_least(low_to), high_at_least(high_to))  # the first k that is too large
    return first < np.minimum(beyond, most + 1)


def _first(least: np.ndarray, most: np.ndarray, holds: object) -> np.ndarray:
    """Smallest k in least..most for which a condition that stays true once true holds; most + 1 where none does."""
    left, right = least.copy(), np.maximum(most + 1, least)
    while (left < right).any():
        middle = (left + right) // 2
        true, open_ = holds(middle), left < right
        right = np.where(open_ & true, middle, right)
        left = np.where(open_ & ~true, middle + 1, left)
    return left
