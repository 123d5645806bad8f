"""Tables of notebook 06: arms against each other, shares of keys and what they cost, and what open choices change."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ecsupport.bench import Measure
from ecsupport.core.profiles import Profile
from ecsupport.core.training import torch_generator
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.hierarchical import Difference, difference_table, hierarchical_difference
from ecsupport.experiments.tested import Tested
from ecsupport.reporting.shown import estimated
from ecsupport.screening import ablations, cost, options
from ecsupport.screening.lsnet import build
from ecsupport.screening.settings import Settings

PRINTED = {  # columns of Table 5 by the share of keys that they are taken for
    "1": "Full attention", "1/10": "Sparse attention 1", "1/25": "Sparse attention 2", "1/50": "Sparse attention 3",
}  # fmt: skip
MEASURED = {"1": "dense student, one image", "1/25": "LSNet, one image"}
PAPER_SIDE = 320  # pixels


def difference(tested: Tested, one: str, other: str) -> Difference:
    """One arm less another, on the runs that both have, paired by seed."""
    both = min(len(tested.scores[one]), len(tested.scores[other]))
    scores = tested.scores[one][:both], tested.scores[other][:both]
    return hierarchical_difference(tested.truth, *scores, tested.patients, paired=True)


def against(tested: Tested, pairs: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Differences of pairs of arms by what they say, those whose arms are there: rows of `difference_table`.

    With columns metric, change, arm and less.
    """
    parts = [
        difference_table(difference(tested, *pair)).reset_index().assign(change=change, arm=pair[0], less=pair[1])
        for change, pair in pairs.items()
        if set(pair) <= set(tested.scores)
    ]  # fmt: skip
    return pd.concat(parts)


def both(table: pd.DataFrame, index: str | list[str]) -> pd.DataFrame:
    """Published and computed means of a table of `beside_published`, one below the other."""
    parts = {"published": "published_mean", "computed": "mean"}
    wide = {name: table.pivot(index=index, columns="metric", values=column) for name, column in parts.items()}
    return pd.concat(wide).dropna(how="all")[list(METRICS)].round(3)


def arm_of_share(profile: Profile, own: float) -> dict[str, str]:
    """Arm of each share of keys of `ablations.SHARES`; shares with the same numbers of keys have one.

    own: LSNet's share.
    """
    keys, levels = ablations.keys(profile), ablations.levels(profile)
    ours = next(name for name, share in ablations.SHARES.items() if share == own)
    found = {}
    for name in ablations.SHARES:
        same = next(level for level in levels if keys[level].tolist() == keys[name].tolist())
        found[name] = {"1": ablations.ALL_KEYS, ours: ablations.FULL}.get(same, f"{same} of the keys")
    return found


@dataclass(frozen=True)
class Costs:
    """Costs of Table 5 as a table, and GFLOPs by share of keys: those that are needed, and those performed."""

    table: pd.DataFrame
    needed: Mapping[str, float]
    performed: Mapping[str, float]


def costs(published: pd.DataFrame, timed: Mapping[str, Measure]) -> Costs:
    """What a share of keys costs at the paper's size; timed: kept measures of the bench `screening`, or none.

    The table has a row a column of Table 5, with what is printed, G multiply-accumulates of layers, GFLOPs and ms.
    """
    needed, performed, rows = {}, {}, []
    for name, share in ablations.SHARES.items():
        network = build("lsnet_dense" if name == "1" else "lsnet", torch_generator("06"), key_share=share)
        counted = cost.total(network, PAPER_SIDE)
        needed[name] = 2 * counted[list(cost.KINDS)].sum()
        performed[name] = needed[name] + 2 * counted[cost.MASKED]
        taken = timed.get(MEASURED.get(name, f"LSNet with {name} of the keys, one image"))
        rows.append((PRINTED[name], counted["layers"], needed[name], performed[name], taken.value if taken else np.nan))
    columns = ["column", "G multiply-accumulates", "GFLOPs needed", "GFLOPs performed", "ms"]
    ours = pd.DataFrame(rows, columns=columns).set_index("column")
    of_costs = published["unit"].isin(["operations", "seconds", "bytes"])
    printed = published[(published["where"] == "table_5") & of_costs]
    wide = printed.pivot(index="column", columns="row", values="printed")
    return Costs(wide.join(ours).loc[list(PRINTED.values())], needed, performed)


def open_choices(
    compared: Mapping[str, pd.DataFrame], runs: Mapping[str, Collection], full: Settings, of_share: Mapping[str, str]
) -> pd.DataFrame:
    """`options.table`, with what an alternative does to the ROC AUC where its arm was trained.

    compared: LSNet less each arm, of `difference_table`;  runs: one entry a run by arm;  full: LSNet's settings;
    of_share: of `arm_of_share`.
    """
    of_field = {
        "guidance": {"simulator": ablations.UNTAUGHT, "random": ablations.RANDOM},
        "key_share": {share: of_share[name] for name, share in ablations.SHARES.items()},
    }
    effects = {}
    for option in options.OPTIONS:
        for other in (option.default, *option.others):
            arm = of_field.get(option.field, {}).get(other, f"{option.field}: {other}")
            if option.field == "shared_start":
                arm = ablations.ONE_START
            if arm in compared and other != getattr(full, option.field):
                value, low, high = compared[arm].loc["roc_auc", ["estimate", "low", "high"]]
                count = f"{len(runs[arm])} run{'s' if len(runs[arm]) > 1 else ''}"
                effects[option.field, other] = f"{estimated(-value, -high, -low, '+.3f')}, {count}"
    return options.table(effects, {option.field: getattr(full, option.field) for option in options.OPTIONS})
