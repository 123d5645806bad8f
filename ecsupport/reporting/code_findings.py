"""The method as described, and beside it the released code: what follows by algebra, and what was measured of it."""

import re

from ecsupport.reporting import evidence
from ecsupport.reporting.evidence import interval, link, number
from ecsupport.reporting.findings import COSTS, Finding, of_notebooks, page


def code() -> str:
    """Block of FINDINGS.md: the method as described, and beside it the released code."""
    ledger = evidence.ledger()
    return page(found(), ledger[(ledger["rests_on"] == "measured") & of_notebooks(ledger, COSTS)])


def found() -> list[Finding]:
    """What follows by algebra, costs that were measured, and the released code beside ours."""
    return [
        *_keys(), *_times(), _operations(), _multiply_accumulates(), _released_attention(), _released_logits(),
        _released_translator(), _order_of_keys(), *_label(),
    ]  # fmt: skip


def _keys() -> list[Finding]:
    where = link("05", "From gradients to keys")
    return [
        Finding(
            "Equation 14, in the released code's form, grows with the simulated gradient within a row: temperature "
            "and weight cannot change which keys are kept",
            "by algebra", where, "says nothing of Equation 14 as printed, which is lost in the text",
        ),
        Finding(
            "The simulated gradient of Equation 12 is symmetric, the teacher's is not", "by algebra", where,
            "how much that costs a trained network is not shown",
        ),
    ]  # fmt: skip


def _ratio(name: str) -> str:
    row = evidence.bench().loc[name]
    return interval(row["value"], row["low"], row["high"], row["unit"])


def _times() -> list[Finding]:
    where = link("05", "The same attention three ways")
    machine = f"one image of 320 pixels, one thread, one machine ({evidence.bench()['machine'].iloc[0]})"
    return [
        Finding(
            "Sparse attention as described does not make LSNet faster than dense attention", _ratio("LSNet over dense"),
            where, machine, ("sparse_faster_than_dense",),
        ),
        Finding(
            "With Equation 14 in the released code's form it is slower too", _ratio("as described over dense"), where,
            machine,
        ),
        Finding(
            "Only where heads and pixel places share their keys is it faster", _ratio("shared keys over dense"), where,
            f"{machine}; on another processor it was not",
        ),
        Finding(
            "The released attention takes longer than ours with that form of Equation 14",
            _ratio("as released over as described"), where,
            f"re-made by us; most of it is copying: {_ratio('as released, nothing copied, over as described')} without",
        ),
    ]  # fmt: skip


def _operations() -> Finding:
    rows = evidence.table("table_5_cost").set_index("column")[["GFLOPs needed", "GFLOPs performed"]]
    dense, sparse = rows.loc["Full attention"], rows.loc["Sparse attention 2"]
    return Finding(
        "Sparse attention needs fewer operations where only those of kept keys are counted, and more as performed",
        f"{number(sparse.iloc[0])} or {number(sparse.iloc[1])} GFLOPs, dense {number(dense.iloc[0])}",
        link("06", "Table 5"),
        "the simulator's products are counted, weighing and sorting are not",
        ("sparse_fewer_flops_than_dense",),
    )


def _multiply_accumulates() -> Finding:
    row = evidence.table("network_sizes").set_index("network").loc["LSNet"]
    sums = row[["layers", "attention", "simulator"]].sum()
    return Finding(
        f'The printed {row["published FLOPs"]} "FLOPs" of LSNet count multiply-accumulates',
        f"{number(sums)} G multiply-accumulates, {number(row['FLOPs'])} GFLOPs",
        link("05", "The networks"),
        "counted in our network of about the printed number of parameters",
    )


def _released_attention() -> Finding:
    rows = evidence.table("variants").set_index("variant")
    scores, gradient = rows.columns
    return Finding(
        "In the released attention guidance changes nothing: queries and keys receive no gradient",
        f"change of scores {number(rows.loc['released', scores])}, as described "
        f"{number(rows.loc['described', scores])}; gradient of queries and keys over that of values "
        f"{number(rows.loc['released', gradient])}, as described {number(rows.loc['described', gradient])}",
        link("05", "The same attention three ways"),
        "networks at their random start",
    )


def _released_logits() -> Finding:
    reasons = evidence.table("options")["left open"].str.cat(sep=" ")
    return Finding(
        "With weights of a stated formula our `released` variants give the logits of the authors' networks",
        f"to {re.search(r'logits are the released network.s to (1e-[0-9]+)', reasons)[1]}",
        link("05", "The same attention three ways"),
        "the authors' code is described and measured; none of it is here",
    )


def _released_translator() -> Finding:
    rows = evidence.table("released_translator").set_index("quantity")["value"]
    longer = rows["length of the generators' gradient over the discriminators' own"]
    cosine = rows["cosine between a released step's gradient and the described one"]
    return Finding(
        "In the released translator the generators' gradient is added to the discriminators' own",
        f"{number(longer)} times as long as their own; cosine with the described step {number(cosine)}",
        link("02", "What the released code does otherwise"),
        f"one batch, SG-CycleGAN as trained at `{evidence.profile()}`; what it does to a training is not shown",
    )


def _order_of_keys() -> Finding:
    rows = evidence.table("lessons")
    last = rows[(rows["block"] == 1) & (rows["step"] == rows["step"].max())].set_index("loss")["agreement"]
    text, ours = (next(v for k, v in last.items() if k.endswith(end)) for end in ("(text)", "(ours)"))
    return Finding(
        "A loss on features of gradient maps teaches only part of the order of keys, on which their choice rests. "
        "Equation 11 on row-standardised maps teaches it",
        f"rank correlation {number(text)} and {number(ours)} in block 1",
        link("05", "Can the loss teach the order of keys?"),
        "random features, a new network, a few phantom images, targets that its simulators could meet exactly",
    )


def _label() -> list[Finding]:
    rows = evidence.table("label_in_guidance")
    cosine = rows.loc[(rows["measure"] == "cosine") & (rows["when"] == "each image alone"), "value"]
    where = link("05", "Guidance and the label")
    return [
        Finding(
            "The teacher's gradient for the other label is the same map with its sign turned: keys chosen by signed "
            "maps tell the student the training label",
            f"cosine {number(cosine.mean(), 4)}", where, "proved for two classes and an image by itself",
        ),
        Finding(
            "During the hand-over even a choice that treats both signs alike tells it; magnitudes added as "
            "magnitudes do not",
            "by algebra", where, "what a student makes of it is another question; at the bedside no label is given",
        ),
    ]  # fmt: skip
