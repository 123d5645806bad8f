"""The claims of Tables 4 and 5, put into the ledger from what notebook 06 has measured.

Each function enters estimates into a notebook's `Results` and returns nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ecsupport.bench import Measure
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.hierarchical import difference_table, smallest
from ecsupport.experiments.tested import Tested
from ecsupport.reporting.ablation_tables import Costs, difference
from ecsupport.reporting.results import Results
from ecsupport.reporting.screening_claims import NOT_MEASURED, untrained
from ecsupport.screening import cost
from ecsupport.screening.ablations import ALL_KEYS, ALONE, FULL, PAPER, REAL
from ecsupport.screening.settings import Settings

MARGIN = -0.02  # of the claims that sparse attention costs little


def arms(
    results: Results, tested: Tested, short: Collection[str], settings: Settings, of_share: Mapping[str, str]
) -> None:
    """What the paper's ablations claim, arm against arm.

    short: arms below the logistic floor;  settings: LSNet's;  of_share: of `ablation_tables.arm_of_share`.
    """
    fewer = of_share["1/25"] if of_share["1/25"] in tested.scores else FULL
    wanted = (
        ("synthetic_pretraining_raises_accuracy", FULL, REAL, ["accuracy"], 0.0),
        ("synthetic_pretraining_raises_sensitivity", FULL, REAL, ["sensitivity"], 0.0),
        ("gradient_distillation_raises_every_metric", FULL, PAPER, list(METRICS), 0.0),
        ("teacher_knowledge_transfers", FULL, ALONE, ["roc_auc"], 0.0),
        ("sparse_keeps_accuracy", fewer, ALL_KEYS, ["accuracy"], MARGIN),
        ("sparsest_degrades_little", of_share["1/50"], ALL_KEYS, ["sensitivity", "specificity"], MARGIN),
    )
    for claim, one, other, metrics, null in wanted:
        if missing := [arm for arm in (one, other) if arm not in tested.scores]:
            named = ", ".join(f"'{arm}'" for arm in missing)
            why = f"{named} is not trained in this profile" if REAL in tested.scores else "no synthetic image exists"
            results.estimate(claim, None, assessable=False, note=why)
        elif below := [arm for arm in (one, other) if arm in short]:
            why = f"{' and '.join(below)} {untrained(settings)}"
            results.estimate(claim, None, trained=True, assessable=False, note=why)
        else:
            _difference(results, tested, claim, (one, other), metrics, null)


def _difference(
    results: Results, tested: Tested, claim: str, pair: tuple[str, str], metrics: list[str], null: float
) -> None:
    """The smallest difference of two arms over the metrics, against a margin."""
    found = difference(tested, *pair)
    lines = difference_table(found, null=null).loc[metrics]
    value, low, high, p = smallest(lines, null)
    note = f"{found.scope}; {tested.described}; {pair[0]} less {pair[1]}"
    if np.isnan([value, low, high]).any():
        why = f"{note}: a network calls no image positive"
        results.estimate(claim, None, trained=True, assessable=False, note=why)
        return
    note += "; limits are the smallest of several" if len(metrics) > 1 else ""
    by = {"p": p} if len(metrics) > 1 else {"degrees": lines["degrees"].iloc[0]}
    results.estimate(claim, value, low, high, **by, trained=True, n=tested.number, note=note)


def operations(results: Results, costs: Costs) -> None:
    """Operations of 1/25 of the keys against the dense student, read in two ways."""
    _two_readings(
        results, "sparse_fewer_flops_than_dense",
        [((of["1/25"] - of["1"]) * cost.SCALE,) for of in (costs.needed, costs.performed)],
        "by the products of kept keys alone, or by all that are made and masked here, which takes less time; at 320 "
        "px, 1/25 of the keys, against the dense student without a simulator; the simulator's products included, "
        "weighing and sorting not",
        exact=True,
    )  # fmt: skip


def times(results: Results, timed: Mapping[str, Measure]) -> None:
    """Time and memory, from the kept measures of the bench `screening`; none where there are none."""
    if not timed:
        for claim in ("sparse_faster_than_dense", "sparse_less_memory_than_dense"):
            results.estimate(claim, None, assessable=False, note=NOT_MEASURED)
        return
    note = "kept measures of make bench GROUP=screening, at 320 px"
    ratio, dense = timed["LSNet over dense"], timed["dense student, one image"].value / 1000
    masked = "all scores made and masked, which takes no longer than gathering keys"
    seconds = [(x - 1) * dense for x in (ratio.value, ratio.low, ratio.high)]
    results.estimate("sparse_faster_than_dense", *seconds, note=f"{note}: one thread, rounds in turn; {masked}")
    step = "training step of the dense student"
    bytes_of = [timed[name].value * 2**20 for name in (step, f"{step}, scores kept")]
    ratios = [timed[f"memory: LSNet over {of}"] for of in ("the dense student", "dense, scores kept")]
    readings = [
        tuple((x - 1) * dense for x in (m.value, m.low, m.high)) for m, dense in zip(ratios, bytes_of, strict=True)
    ]
    _two_readings(
        results, "sparse_less_memory_than_dense", readings,
        f"against a dense student with fused attention ({ratios[0].value:.2f} times its memory), or one that keeps its "
        f"scores ({ratios[1].value:.2f} times); {note}: a training step's resident memory, six processes each; ours "
        "keeps masks; without the teacher, whose pass comes on top",
    )  # fmt: skip


def _two_readings(results: Results, claim: str, readings: Sequence[tuple[float, ...]], note: str, **kind: Any) -> None:
    """Judge by the reading nearer to zero where both (value, low, high) have its sign; else the claim depends on it."""
    (one, *_), (other, *_) = readings
    if one * other <= 0:
        results.estimate(claim, None, assessable=False, note=f"{one:+.3g} or {other:+.3g}, {note}")
    else:
        results.estimate(claim, *min(readings, key=lambda reading: abs(reading[0])), note=note, **kind)
