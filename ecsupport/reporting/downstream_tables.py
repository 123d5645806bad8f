"""The tables of notebook 04: Table 2 by protocol, what selection picks, and differences between arms."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from ecsupport.evaluation.hierarchical import difference_table, hierarchical_difference
from ecsupport.evaluation.runs import beside_published, metric_runs
from ecsupport.experiments.downstream import ONCE, PRINTED, UNTRANSLATED
from ecsupport.experiments.tested import Tested
from ecsupport.experiments.translators import NAMES
from ecsupport.paper.published import load_numbers
from ecsupport.screening import arms, selection

OURS, BOTH = "+ SG-CycleGAN", "+ SG-CycleGAN, both classes"
OTHERS = [name for name in NAMES.values() if name != "SG-CycleGAN"]
Pair = tuple[str, str]


def table_2(by_area: Tested, by_sensitivity: Tested) -> pd.DataFrame:
    """Published beside computed: as printed, selected by sensitivity, and unconfounded, selected by area."""
    published = load_numbers()
    published = published[published["where"] == "table_2"]
    printed = {arm: rows for arm, rows in by_sensitivity.scores.items() if _printed(arm)}
    design = {arm: rows for arm, rows in by_area.scores.items() if not _printed(arm)}
    named = {f"{PRINTED}{name}": name for name in NAMES.values()} | ({ONCE: ONCE} if ONCE in printed else {})
    parts = {
        "as printed, selected by sensitivity": (metric_runs(by_area.truth, printed), named),
        "unconfounded, selected by AUC": (metric_runs(by_area.truth, design), {arm: arm for arm in design}),
    }
    tables = [beside_published(runs, published, of).assign(protocol=name) for name, (runs, of) in parts.items()]
    return pd.concat(tables)


def _printed(arm: str) -> bool:
    return arm.startswith("as printed")


def selected(by_area: Tested, by_sensitivity: Tested, histories: Mapping[str, Sequence[pd.DataFrame]]) -> pd.DataFrame:
    """What each rule of selection picks: runs that call every validation image positive, and the mean test AUC."""
    of_rule = {"auc": by_area, "sensitivity": by_sensitivity}
    lines = []
    for arm, records in histories.items():
        line = {"arm": arm, "runs": len(records)}
        line |= {f"all_positive_by_{rule}": selection.all_positive(records, rule) for rule in of_rule}
        for rule, tested in of_rule.items():
            line[f"test_auc_by_{rule}"] = np.mean([roc_auc_score(tested.truth, row) for row in tested.scores[arm]])
        lines.append(line)
    return pd.DataFrame(lines)


def learning(histories: Mapping[str, Sequence[pd.DataFrame]]) -> pd.DataFrame:
    """Validation AUC over training, mean over runs: columns arm, step, auc; arms of the unconfounded design."""
    records = [
        record[["step", "auc"]].dropna().assign(arm=arm)
        for arm, of in histories.items()
        if not _printed(arm)
        for record in of
    ]
    return pd.concat(records).groupby(["arm", "step"], sort=False)["auc"].mean().reset_index()


def pairs(tested: Tested) -> list[Pair]:
    """Which arms are compared: SG-CycleGAN's with the other translators', all with real images only, and with MRI."""
    found = [(OURS, f"+ {name}") for name in OTHERS]
    found += [(BOTH, f"+ {name}, both classes") for name in OTHERS]
    found += [(arm, arms.REAL_ONLY) for arm in tested.scores if arm != arms.REAL_ONLY and not _printed(arm)]
    return found + [(BOTH, f"+ {name}, both classes") for name in UNTRANSLATED]


def shared_scores(tested: Tested, seeds: Mapping[str, list[int]], names: Sequence[str]) -> list[list[np.ndarray]]:
    """Scores of arms on the seeds that all of them have, in the same order; empty where one was not trained."""
    common = [seed for seed in seeds.get(names[0], []) if all(seed in seeds.get(arm, []) for arm in names)]
    return [[tested.scores[arm][seeds[arm].index(seed)] for seed in common] for arm in names] if common else []


def difference(tested: Tested, seeds: Mapping[str, list[int]], pair: Pair) -> pd.DataFrame | None:
    """Arm less arm in every metric, on the seeds that both have; None where one was not trained."""
    rows = shared_scores(tested, seeds, pair)
    if not rows:
        return None
    found = hierarchical_difference(tested.truth, *rows, tested.patients, paired=True)
    return difference_table(found).assign(seeds=len(rows[0]))


def compared(found: Mapping[Pair, pd.DataFrame | None]) -> pd.DataFrame:
    """All differences as one table: columns a, b, metric, estimate, low, high, p_value, seeds, scope."""
    tables = [table.reset_index().assign(a=a, b=b) for (a, b), table in found.items() if table is not None]
    columns = ["a", "b", "metric", "estimate", "low", "high", "p_value", "seeds", "scope"]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)
