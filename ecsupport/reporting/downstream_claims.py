"""The claims of Table 2, put into the ledger from what notebook 04 has compared."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from ecsupport.core.seeds import generator
from ecsupport.evaluation.feature_sets import jackknife
from ecsupport.evaluation.frechet import value_or_reason
from ecsupport.evaluation.hierarchical import difference_table, hierarchical_difference, smallest
from ecsupport.evaluation.runs import sensitivity_at
from ecsupport.experiments.tested import Tested
from ecsupport.experiments.translators import NAMES
from ecsupport.reporting.downstream_tables import OTHERS, OURS, Pair, shared_scores
from ecsupport.reporting.results import Results
from ecsupport.screening import arms

NOTE = "synthetic positives added to the same real images, weights selected by AUC"
NOTHING = "nothing was translated"
MARGIN = -0.05  # of the claim that specificity stays competitive
SPECIFICITY = 0.90  # at which sensitivities are compared
GROUPS = 20  # of patients, left out one at a time


def better(results: Results, tested: Tested, found: Mapping[Pair, pd.DataFrame | None]) -> None:
    """The claims that SG-CycleGAN's images help more than each baseline's, and more than all of them."""
    for name, label in NAMES.items():
        if label in OTHERS:
            for metric, short in (("sensitivity", "sensitivity"), ("roc_auc", "auc")):
                one = [found[OURS, f"+ {label}"]]
                _book(results, f"downstream_beats_{name}_{short}", tested, one, metric, NOTE)
    every = [found[OURS, f"+ {label}"] for label in OTHERS]
    note = f"{NOTE}; smallest difference over the four baselines, its limits the smallest of their limits"
    for metric in ("accuracy", "f1"):
        _book(results, f"downstream_best_{metric}", tested, every, metric, note)


def _book(
    results: Results, claim: str, tested: Tested, tables: Sequence[pd.DataFrame | None], metric: str, note: str
) -> None:
    """The smallest difference over some tables, where each could be made and the metric is defined."""
    made = [table for table in tables if table is not None]
    if len(made) < len(tables):
        results.estimate(claim, None, assessable=False, note=NOTHING)
        return
    lines = pd.DataFrame([table.loc[metric] for table in made])
    value, low, high, p = smallest(lines)
    if np.isnan([value, low, high]).any():
        why = "the metric is undefined for a run that calls all alike"
        results.estimate(claim, None, trained=True, assessable=False, note=why)
        return
    scopes = " and ".join(sorted(set(lines["scope"])))
    note = f"{note}; interval over {scopes}; {tested.described}"
    by = {"p": p} if len(lines) > 1 else {"degrees": lines["degrees"].iloc[0]}
    results.estimate(claim, value, low, high, **by, trained=True, n=tested.number, note=note)


def against_the_mean_of_four(results: Results, tested: Tested, seeds: Mapping[str, list[int]]) -> None:
    """The claims on specificity, where sensitivity has gained, and on the smallest spread over runs."""
    names = [OURS, *(f"+ {label}" for label in OTHERS)]
    rows = shared_scores(tested, seeds, names)
    if not rows:
        for claim in ("downstream_specificity_competitive", "downstream_most_stable_auc"):
            results.estimate(claim, None, assessable=False, note=NOTHING)
        return
    ours, *others = rows
    mean_of_four = hierarchical_difference(tested.truth, ours, [row for of in others for row in of], tested.patients)
    gained = difference_table(mean_of_four).loc["sensitivity"]
    if gained["low"] > 0:
        table, note = difference_table(mean_of_four, null=MARGIN), f"{NOTE}; less the mean of four"
        _book(results, "downstream_specificity_competitive", tested, [table], "specificity", note)
    else:
        won = f"{gained['estimate']:+.3f} ({gained['low']:+.3f} to {gained['high']:+.3f})"
        why = f"no gain in sensitivity that specificity could have paid for: {won} over the mean of four"
        results.estimate("downstream_specificity_competitive", None, trained=True, assessable=False, note=why)
    spread = [float(np.std([roc_auc_score(tested.truth, row) for row in of])) for of in rows]
    sds = f"SDs over {len(ours)} seeds of {spread[0]:.3f} and {min(spread[1:]):.3f} (smallest of four)"
    why = f"{sds}: so few runs do not tell SDs apart"
    results.estimate("downstream_most_stable_auc", None, assessable=False, note=why)


def imbalance(results: Results, tested: Tested, seeds: Mapping[str, list[int]]) -> None:
    """The claim that synthetic positives relieve the imbalance: sensitivity at one specificity, with less without."""
    claim = "synthetic_images_relieve_imbalance"
    pairs = shared_scores(tested, seeds, [OURS, arms.REAL_ONLY])
    if not pairs:
        results.estimate(claim, None, assessable=False, note=NOTHING)
        return

    def gain(kept: np.ndarray) -> np.ndarray:
        y = tested.truth[kept]
        if len(set(y)) < 2:
            return np.full(len(pairs[0]), np.nan)
        with_, without = ([sensitivity_at(y, row[kept], SPECIFICITY) for row in of] for of in pairs)
        return np.subtract(with_, without)

    found = value_or_reason(jackknife, gain, [tested.patients], rng=generator("04", "gain"), groups=GROUPS)
    if isinstance(found, str) or np.isnan(found.low):
        results.estimate(claim, None, trained=True, assessable=False, note="nothing varies between patients")
        return
    value = found.corrected
    note = f"sensitivity at specificity {SPECIFICITY}; jackknife; interval over {found.scope}; {tested.described}"
    results.estimate(
        claim, value, found.low, found.high, degrees=found.degrees, trained=True, n=found.n_patients, note=note
    )
    print(f"gain in sensitivity at specificity {SPECIFICITY}: {value:+.3f} ({found.low:+.3f} to {found.high:+.3f})")
