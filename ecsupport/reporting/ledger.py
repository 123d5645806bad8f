"""The claims ledger: every claim of the paper beside this run's estimate and a verdict given by rule.

Serves the whole paper. Claims, their direction, margin and smallest effect of interest stand in
`data_manifests/paper/claims.csv`, written before any result; estimates come from the notebooks' results files. Nothing
here looks at how an estimate was made.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ecsupport.core.profiles import Run
from ecsupport.paper.published import BY_CONSTRUCTION, TRAINING, load_claims, load_numbers, smallest_effect
from ecsupport.reporting.results import Results, read_results, results_file

# fmt: off
SUPPORTED, NEGLIGIBLE, REFUTED, EQUIVALENT = "supported", "supported, negligible", "refuted", "equivalent"
UNDECIDED, CONSTRUCTION, DESCRIPTIVE = "undecided", "by construction", "descriptive"
NOT_ASSESSABLE, NOT_TESTED, NOT_YET = "not assessable", "not tested at smoke", "not yet"
DECIDED = (SUPPORTED, NEGLIGIBLE, REFUTED, EQUIVALENT)
VERDICTS = (*DECIDED, UNDECIDED, CONSTRUCTION, DESCRIPTIVE, NOT_ASSESSABLE, NOT_TESTED, NOT_YET)
COLOURS = dict(zip(VERDICTS, ("#009E73", "#7FCDB5", "#D55E00", "#0072B2", "#E69F00",
                              "#9AA1A8", "#56B4E9", "#B9BEC3", "#D3D6D9", "#ECEEF0"), strict=True))
COLUMNS = ["id", "where", "claim", "estimand", "published", "computed", "low", "high", "unit", "n", "direction",
           "margin", "smallest_effect", "rests_on", "p_holm", "verdict", "detectable", "notebook", "note"]
# fmt: on
LEVEL = 0.05
POWER = 0.8


def verdict(
    direction: str,
    margin: float,
    value: float,
    low: float | None = None,
    high: float | None = None,
    exact: bool = False,
    smallest_effect: float = math.nan,
) -> str:
    """What one 95 % interval says to a claim. The first that holds is the verdict:

    1. `supported`: it lies wholly beyond the margin; `supported, negligible`: and wholly within the smallest effect of
       it, so that there is a difference, but none that matters;
    2. `refuted`: it lies wholly on the other side of the margin, however near;
    3. `equivalent`: it holds the margin and lies wholly within the smallest effect on both sides of it. For a claim
       "better than" that means: not better by anything that matters;
    4. `undecided`.

    `direction` is `>` or `<` (than the margin), `=` (to the margin), `within` (the margin of zero, on both sides) or
    `descriptive`. An exact value has no interval and is decided by itself; so is a `=` without an interval. An interval
    can refute `=` but never support it. An interval of no width that is not exact decides nothing: where nothing varies
    its error is not known.
    """
    if direction == "descriptive":
        return DESCRIPTIVE
    if low is None or high is None:
        if not (exact or direction == "="):
            return UNDECIDED
        low = high = value
    elif low == high and not exact:
        return UNDECIDED
    holds, fails = {
        ">": (low > margin, high < margin or (exact and value <= margin)),
        "<": (high < margin, low > margin or (exact and value >= margin)),
        "=": (low == high == margin, not low <= margin <= high),
        "within": (-margin <= low and high <= margin, low > margin or high < -margin),
    }[direction]
    negligible = margin - smallest_effect < low and high < margin + smallest_effect
    if holds:
        return NEGLIGIBLE if negligible else SUPPORTED
    return REFUTED if fails else EQUIVALENT if negligible else UNDECIDED


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

    Claims of a notebook that this run has not made are not yet tested. `claims` and `numbers` default to the committed
    files. ValueError where an estimate names an unknown claim or another unit than the claim's, or where two notebooks
    speak to one claim.
    """
    there = [notebook for notebook in notebooks if results_file(run, notebook).is_file()]
    estimates = {notebook: read_results(run, notebook)["estimates"] for notebook in there}
    return _ledger(estimates, run.profile.ranks, claims, numbers)


def verdicts(results: Results, claims: pd.DataFrame | None = None, numbers: pd.DataFrame | None = None) -> pd.DataFrame:
    """The ledger's rows of the claims that a notebook has estimated so far; columns `COLUMNS`.

    A claim of the same family in another notebook counts as a test not yet done: with that notebook the ledger may
    support or refute what is undecided here, never the other way round. ValueError as for `claims_ledger`.
    """
    ranks = results.run.profile.ranks
    ledger = _ledger({results.notebook.name: results.estimates}, ranks, claims, numbers)
    return ledger[ledger["verdict"] != NOT_YET].reset_index(drop=True)


def _ledger(
    of_notebooks: Mapping[str, Sequence[dict[str, Any]]],
    ranks: bool,
    claims: pd.DataFrame | None,
    numbers: pd.DataFrame | None,
) -> pd.DataFrame:
    numbers = load_numbers() if numbers is None else numbers
    claims = load_claims(numbers=numbers) if claims is None else claims
    estimates = _estimates(of_notebooks, ranks, claims)
    rows = [_row(claim, estimates.get(claim["id"]), numbers) for claim in claims.to_dict("records")]
    ledger = pd.DataFrame(rows, columns=[*COLUMNS, "family", "p"])
    _adjust_within_families(ledger)
    ledger["detectable"] = ledger["detectable"].where(ledger["verdict"] == UNDECIDED)
    return ledger[COLUMNS]


def _estimates(
    of_notebooks: Mapping[str, Sequence[dict[str, Any]]], ranks: bool, claims: pd.DataFrame
) -> dict[str, dict[str, Any]]:
    known = {claim["id"]: claim for claim in claims.to_dict("records")}
    found: dict[str, dict[str, Any]] = {}
    for notebook, estimates in of_notebooks.items():
        for estimate in estimates:
            claim = estimate["claim"]
            if claim not in known:
                raise ValueError(f"{notebook} estimates {claim!r}, which claims.csv does not hold")
            if claim in found:
                raise ValueError(f"{notebook} estimates {claim!r}, and so does {found[claim]['notebook']}")
            if estimate["unit"] not in ("", known[claim]["unit"]):
                unit = known[claim]["unit"]
                raise ValueError(f"{notebook} gives {claim!r} in {estimate['unit']}; the claim is in {unit}")
            if estimate["assessable"] and not ranks and estimate["decides"] == (known[claim]["rests_on"] == TRAINING):
                rests = known[claim]["rests_on"]
                raise ValueError(
                    f"{notebook} gives {claim!r} as trained={not estimate['decides']}; it rests on {rests}"
                )
            found[claim] = {**estimate, "notebook": notebook}
    return found


def _row(claim: dict[str, Any], estimate: dict[str, Any] | None, numbers: pd.DataFrame) -> dict[str, Any]:
    named = ("id", "where", "claim", "estimand", "unit", "direction", "margin", "rests_on", "family")
    row = {key: claim[key] for key in named}
    row["published"] = numbers.loc[claim["published"], "printed"] if claim["published"] else ""
    row |= dict.fromkeys(("computed", "low", "high", "p", "p_holm", "detectable"), math.nan) | {"n": None}
    effect = smallest_effect(claim["smallest_effect"], estimate and estimate.get("floor"))
    row["smallest_effect"] = effect
    if estimate is None:
        return {**row, "verdict": NOT_YET, "notebook": claim["notebook"], "note": ""}
    row |= {key: estimate[key] for key in ("notebook", "note", "n")}
    if not estimate["assessable"]:
        return {**row, "verdict": NOT_ASSESSABLE if estimate["decides"] else NOT_TESTED}
    direction, margin, degrees = claim["direction"], claim["margin"], estimate.get("degrees")
    interval = tuple(estimate[key] for key in ("value", "low", "high"))
    decided = verdict(direction, margin, *interval, estimate["exact"], effect)
    row |= dict(zip(("computed", "low", "high"), (math.nan if x is None else x for x in interval), strict=True))
    if not estimate["decides"]:
        return {**row, "verdict": NOT_TESTED}
    if claim["rests_on"] == BY_CONSTRUCTION:
        return {**row, "verdict": CONSTRUCTION if decided == SUPPORTED else decided}
    if decided == EQUIVALENT:
        p = p_from_interval("within", effect, *(x - margin for x in interval), degrees)
    elif estimate["p"] is not None:
        p = estimate["p"]
    else:
        p = p_from_interval(direction, margin, *interval, degrees)
    return {**row, "p": p, "verdict": decided, "detectable": detectable(*interval[1:], degrees)}


def p_from_interval(
    direction: str, margin: float, value: float, low: float | None, high: float | None, degrees: float | None = None
) -> float:
    """The smallest level at which an interval still excludes the margin (Altman and Bland, BMJ 2011;343:d2304).

    low, high: the 95 % interval, of a t with that many degrees of freedom, or None: normal
    The half of the interval that faces the margin counts, so that p < 0.05 where the interval excludes the margin; for
    `within` the margin that is harder to exclude, which makes it the test of equivalence (both sides, each at half the
    level). NaN without an interval and for other directions than `>`, `<` and `within`; 1 of an interval of no width.
    """
    if low is None or high is None or direction not in (">", "<", "within"):
        return math.nan
    if low == high:
        return 1.0
    value = min(max(value, low), high)  # a biased statistic may lie outside
    bounds = (margin, -margin) if direction == "within" else (margin,)
    halves = [value - low if value > bound else high - value for bound in bounds]
    away = [abs(value - bound) for bound in bounds]
    ratio = min(d / half if half else (math.inf if d else 0.0) for d, half in zip(away, halves, strict=True))
    of = _curve(degrees)
    return 2 * float(of.sf(of.ppf(0.975) * ratio))


def detectable(low: float | None, high: float | None, degrees: float | None = None) -> float:
    """The difference from the margin that an interval as wide would have excluded with 80 % probability.

    (t_.975 + t_.80) standard errors, which the half-width of the 95 % interval gives; NaN without an interval, or where
    nothing varies.
    """
    if low is None or high is None or low == high:
        return math.nan
    of = _curve(degrees)
    return (high - low) / 2 * float(1 + of.ppf(POWER) / of.ppf(0.975))


def _curve(degrees: float | None) -> Any:
    return stats.norm if degrees is None else stats.t(degrees)


def _adjust_within_families(ledger: pd.DataFrame) -> None:
    """Holm within each family; a verdict that does not survive is undecided.

    Claims of the family that are not tested, yet, at smoke or with this cohort, count as tests with p = 1: the family
    was fixed beforehand, and what cannot be assessed may depend on the results. What holds by construction is no test.
    """
    waits = ledger["verdict"].isin([NOT_YET, NOT_TESTED, NOT_ASSESSABLE]) & (ledger["rests_on"] != BY_CONSTRUCTION)
    tested = ledger["p"].notna() & ledger["verdict"].isin([*DECIDED, UNDECIDED])
    for _, family in ledger.groupby("family"):
        rows = family.index[tested[family.index]]
        if len(rows) == 0:
            continue
        waiting = int(waits[family.index].sum())
        ledger.loc[rows, "p_holm"] = holm([*ledger.loc[rows, "p"], *[1.0] * waiting])[: len(rows)]
        ledger.loc[rows[ledger.loc[rows, "p_holm"] >= LEVEL], "verdict"] = UNDECIDED


def verdict_counts(ledger: pd.DataFrame) -> dict[str, int]:
    """How many claims stand under each verdict, in the order of `VERDICTS`; verdicts that do not occur count 0."""
    return {name: int((ledger["verdict"] == name).sum()) for name in VERDICTS}
