"""The claims ledger: every claim of the paper beside this run's estimate and a verdict given by rule.

Serves the whole paper. Claims, their direction and margin stand in `data_manifests/paper/claims.csv`, written before
any result; estimates come from the notebooks' results files. Nothing here looks at how an estimate was made.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from ecsupport.core.profiles import Run
from ecsupport.paper.published import load_claims, load_numbers
from ecsupport.reporting.results import Results, read_results

# fmt: off
SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
DESCRIPTIVE, NOT_ASSESSABLE, NOT_YET = "descriptive", "not assessable", "not yet"
VERDICTS = (SUPPORTED, REFUTED, UNDECIDED, DESCRIPTIVE, NOT_ASSESSABLE, NOT_YET)
COLUMNS = ["id", "where", "claim", "estimand", "published", "computed", "low", "high",
           "unit", "n", "direction", "margin", "p_holm", "verdict", "notebook", "note"]
# fmt: on
LEVEL = 0.05


def verdict(
    direction: str,
    margin: float,
    value: float,
    low: float | None = None,
    high: float | None = None,
    exact: bool = False,
) -> str:
    """Supported or refuted only where the 95 % interval lies wholly on one side of the margin; otherwise undecided.

    `direction` is `>` or `<` (than the margin), `=` (to the margin), `within` (the margin of nought, on both sides) or
    `descriptive`. An exact value has no interval and is decided by itself; so is a `=` without an interval.
    An interval can refute `=` but never support it.
    """
    if direction == "descriptive":
        return DESCRIPTIVE
    if low is None or high is None:
        if not (exact or direction == "="):
            return UNDECIDED
        low = high = value
    holds, fails = {
        ">": (low > margin, high < margin or (exact and value <= margin)),
        "<": (high < margin, low > margin or (exact and value >= margin)),
        "=": (low == high == margin, not low <= margin <= high),
        "within": (-margin <= low and high <= margin, low > margin or high < -margin),
    }[direction]
    return SUPPORTED if holds else REFUTED if fails else UNDECIDED


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values (Scand J Stat 1979;6:65-70) in the given order; shape as `p_values`."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def claims_ledger(
    run: Run,
    notebooks: Sequence[str],
    claims: pd.DataFrame | None = None,
    numbers: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a claim, in the order of `claims.csv`, joined with the estimates of `notebooks`; columns `COLUMNS`.

    `claims` and `numbers` default to the committed files. ValueError where an estimate names an unknown claim or
    another unit than the claim's, or where two notebooks speak to one claim.
    """
    return _ledger({notebook: read_results(run, notebook)["estimates"] for notebook in notebooks}, claims, numbers)


def verdicts(results: Results, claims: pd.DataFrame | None = None, numbers: pd.DataFrame | None = None) -> pd.DataFrame:
    """The ledger's rows of the claims that a notebook has estimated so far; columns `COLUMNS`.

    A claim of the same family in another notebook counts as a test not yet done: with that notebook the ledger may
    support or refute what is undecided here, never the other way round. ValueError as for `claims_ledger`.
    """
    ledger = _ledger({results.notebook.name: results.estimates}, claims, numbers)
    return ledger[ledger["verdict"] != NOT_YET].reset_index(drop=True)


def _ledger(
    of_notebooks: Mapping[str, Sequence[dict[str, Any]]], claims: pd.DataFrame | None, numbers: pd.DataFrame | None
) -> pd.DataFrame:
    numbers = load_numbers() if numbers is None else numbers
    claims = load_claims(numbers=numbers) if claims is None else claims
    estimates = _estimates(of_notebooks, claims)
    rows = [_row(claim, estimates.get(claim["id"]), numbers) for claim in claims.to_dict("records")]
    ledger = pd.DataFrame(rows, columns=[*COLUMNS, "family", "p", "exact"])
    _adjust_within_families(ledger)
    return ledger[COLUMNS]


def _estimates(of_notebooks: Mapping[str, Sequence[dict[str, Any]]], claims: pd.DataFrame) -> dict[str, dict[str, Any]]:
    known = dict(zip(claims["id"], claims["unit"], strict=True))
    found: dict[str, dict[str, Any]] = {}
    for notebook, estimates in of_notebooks.items():
        for estimate in estimates:
            claim = estimate["claim"]
            if claim not in known:
                raise ValueError(f"{notebook} estimates {claim!r}, which claims.csv does not hold")
            if claim in found:
                raise ValueError(f"{notebook} estimates {claim!r}, and so does {found[claim]['notebook']}")
            if estimate["unit"] not in ("", known[claim]):
                raise ValueError(f"{notebook} gives {claim!r} in {estimate['unit']}; the claim is in {known[claim]}")
            found[claim] = {**estimate, "notebook": notebook}
    return found


def _row(claim: dict[str, Any], estimate: dict[str, Any] | None, numbers: pd.DataFrame) -> dict[str, Any]:
    row = {key: claim[key] for key in ("id", "where", "claim", "estimand", "unit", "direction", "margin", "family")}
    row["published"] = numbers.loc[claim["published"], "printed"] if claim["published"] else ""
    row |= {"computed": math.nan, "low": math.nan, "high": math.nan, "p": math.nan, "p_holm": math.nan, "n": None}
    if estimate is None:
        return {**row, "verdict": NOT_YET, "notebook": claim["notebook"], "note": "", "exact": False}
    row |= {key: estimate[key] for key in ("notebook", "note", "exact", "n")}
    if not estimate["assessable"]:
        return {**row, "verdict": NOT_ASSESSABLE if estimate["decides"] else UNDECIDED}
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    decided = verdict(claim["direction"], claim["margin"], value, low, high, estimate["exact"])
    if not estimate["decides"] and decided in (SUPPORTED, REFUTED):
        decided = UNDECIDED
    interval = {key: math.nan if number is None else number for key, number in (("low", low), ("high", high))}
    p = estimate["p"]
    if p is None:
        p = p_from_interval(claim["direction"], claim["margin"], value, low, high)
    return {**row, "computed": value, **interval, "p": p, "verdict": decided}


def p_from_interval(direction: str, margin: float, value: float, low: float | None, high: float | None) -> float:
    """Two-sided p-value of a value against its margin, from its 95 % interval (Altman and Bland, BMJ 2011;343:d2304).

    The half of the interval that faces the margin counts, so that p < 0.05 where the interval excludes the margin; for
    `within` the margin that is harder to exclude. NaN without an interval and for other directions than `>`, `<` and
    `within`.
    """
    if low is None or high is None or direction not in (">", "<", "within"):
        return math.nan
    value = min(max(value, low), high)  # a biased statistic may lie outside
    bounds = (margin, -margin) if direction == "within" else (margin,)
    halves = [value - low if value > bound else high - value for bound in bounds]
    away = [abs(value - bound) for bound in bounds]
    z = [d / half if half else (math.inf if d else 0.0) for d, half in zip(away, halves, strict=True)]
    return 2 * float(norm.sf(norm.ppf(0.975) * min(z)))


def _adjust_within_families(ledger: pd.DataFrame) -> None:
    """Holm within each family; a verdict that does not survive is undecided.

    Claims of the family that are not tested, yet or with this cohort, count as tests with p = 1: the family was fixed
    beforehand, and what cannot be assessed may depend on the results.
    """
    tested = ledger["p"].notna() & ledger["verdict"].isin([SUPPORTED, REFUTED, UNDECIDED])
    for _, family in ledger.groupby("family"):
        rows = family.index[tested[family.index]]
        if len(rows) == 0:
            continue
        waiting = int(family["computed"].isna().sum())
        ledger.loc[rows, "p_holm"] = holm([*ledger.loc[rows, "p"], *[1.0] * waiting])[: len(rows)]
        ledger.loc[rows[ledger.loc[rows, "p_holm"] >= LEVEL], "verdict"] = UNDECIDED


def verdict_counts(ledger: pd.DataFrame) -> dict[str, int]:
    """How many claims stand under each verdict, in the order of `VERDICTS`; verdicts that do not occur count 0."""
    return {name: int((ledger["verdict"] == name).sum()) for name in VERDICTS}
