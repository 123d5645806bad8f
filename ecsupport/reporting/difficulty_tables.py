"""The tables of notebook 14: LSNet against others at each difficulty of the phantoms."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from ecsupport.cohort.recipe import Recipe
from ecsupport.core.profiles import Run
from ecsupport.evaluation.hierarchical import difference_table
from ecsupport.experiments.difficulty import NETWORKS
from ecsupport.experiments.tested import Tested
from ecsupport.paper.published import load_claims, smallest_effect
from ecsupport.reporting import ledger
from ecsupport.reporting.ablation_tables import difference
from ecsupport.screening.selection import area


def difficulties(tested: Mapping[str, Tested], run: Run) -> pd.DataFrame:
    """LSNet's AUC less each other network's by difficulty, with what the interval says to "LSNet is better".

    tested: of `difficulty.opened`. Columns difficulty, against, lsnet, other, estimate, low, high, scope, verdict (of
    `ledger.verdict`, without Holm's adjustment: these are no claims of the paper). A profile that ranks nothing tests
    nothing.
    """
    matters = smallest_effect(load_claims()["smallest_effect"]["lsnet_beats_efficientnet_auc"])
    rows = []
    for which, of in tested.items():
        ill = of.truth == 1
        areas = {name: np.mean([area(one[ill], one[~ill]) for one in scores]) for name, scores in of.scores.items()}
        for other in list(NETWORKS)[1:]:
            line = difference_table(difference(of, "LSNet", other)).loc["roc_auc"]
            ends = line[["estimate", "low", "high"]].tolist()
            said = ledger.verdict(">", 0.0, *ends, smallest_effect=matters) if run.profile.ranks else ledger.NOT_TESTED
            rows.append((which, other, areas["LSNet"], areas[other], *ends, line["scope"], said))
    names = ["difficulty", "against", "lsnet", "other", "estimate", "low", "high", "scope", "verdict"]
    return pd.DataFrame(rows, columns=names)


def changed(dials: Mapping[str, Recipe]) -> pd.DataFrame:
    """The dials that differ between difficulties, one row a dial; of `difficulty.dials`."""
    table = pd.DataFrame({which: asdict(recipe) for which, recipe in dials.items()}).drop("version")
    differ = table[table.astype(str).nunique(axis=1) > 1]
    return differ.map(lambda value: " to ".join(map(str, value)) if isinstance(value, tuple) else str(value))


def survives(table: pd.DataFrame, run: Run) -> str:
    """In a sentence, whether what is said of LSNet against each other network is the same at every difficulty."""
    if not run.profile.ranks:
        return f"{run.profile.name} trains too briefly for a difference to mean anything."
    parts = []
    for other, rows in table.groupby("against", sort=False):
        said = rows.set_index("difficulty")["verdict"]
        same = said.iloc[0] if said.nunique() == 1 else "; ".join(f"{one} ({which})" for which, one in said.items())
        parts.append(f"against {other}: {same}{' at every difficulty' if said.nunique() == 1 else ''}")
    return f"That LSNet's AUC is higher, {', '.join(parts)}."
