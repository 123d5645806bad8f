"""What a screening network costs: parameters and multiply-accumulates, stage by stage (Table 3).

The paper's "FLOPs" are multiply-accumulates of layers alone: its counting tool sees convolutions and linear layers, not
the products of attention. Both are counted here, apart. One multiply-accumulate is two floating-point operations.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

import pandas as pd
import torch
from torch import nn

from ecsupport.backbone.mobilevit import POSITIONS, Attention
from ecsupport.screening.sparse_attention import Simulator

SCALE = 1e9  # multiply-accumulates in the table are in G
KINDS = ("layers", "attention", "simulator")
MASKED = "masked"


def table(network: nn.Module, side: int) -> pd.DataFrame:
    """One row a stage, in the order of computation, for one image of `side` x `side` pixels.

    Columns: stage, parameters, layers (G multiply-accumulates of convolutions and linear layers: the paper's counting),
    attention (those of scores and weighted values, of sparse attention for the kept keys alone, whatever is computed
    and masked), simulator (those of its self-correlation), masked (those of attention that are computed and come to
    nothing, in no other column). The network is left as it was.
    """
    counted: dict[str, Counter[str]] = {stage: Counter() for stage in stages(network)}
    with _counting(network, counted), torch.inference_mode():
        before, device = network.training, next(network.parameters()).device
        network.eval()(torch.zeros(1, 1, side, side, device=device))
        network.train(before)
    parts = dict(network.named_modules())
    rows = [
        (stage, sum(p.numel() for p in parts[stage].parameters()), *(count[kind] / SCALE for kind in (*KINDS, MASKED)))
        for stage, count in counted.items()
    ]
    return pd.DataFrame(rows, columns=["stage", "parameters", *KINDS, MASKED])


def total(network: nn.Module, side: int) -> pd.Series:
    """The sums of `table`: parameters, layers, attention, simulator, masked."""
    return table(network, side).drop(columns="stage").sum()


def stages(network: nn.Module) -> list[str]:
    """Names of the parts between which the cost is divided: children, and children of lists and sequences."""
    found = []
    for name, child in network.named_children():
        inner = isinstance(child, nn.ModuleList | nn.Sequential) and any(
            isinstance(part, nn.Module) and next(part.children(), None) is not None for part in child
        )
        found += [f"{name}.{part}" for part, _ in child.named_children()] if inner else [name]
    place = {stage: number for number, stage in enumerate(found)}
    # A MobileViT block follows its stage of the backbone.
    return sorted(found, key=lambda s: place[s.replace("blocks", "stages")] + (0.5 if "blocks" in s else 0))


@contextlib.contextmanager
def _counting(network: nn.Module, counted: dict[str, Counter[str]]) -> Iterator[None]:
    handles = []
    for stage, count in counted.items():
        for module in network.get_submodule(stage).modules():
            if isinstance(module, nn.Conv2d | nn.Linear | Attention | Simulator):
                handles.append(module.register_forward_hook(_hook(count)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(count: Counter[str]) -> Callable[[nn.Module, tuple, torch.Tensor], None]:
    def hook(module: nn.Module, arguments: tuple, output: torch.Tensor) -> None:
        x = arguments[0]
        if isinstance(module, nn.Conv2d):
            count["layers"] += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            count["layers"] += output.numel() * module.in_features
        elif isinstance(module, Simulator):
            maps = 1 if module.shared else POSITIONS
            count["simulator"] += maps * x.shape[2] ** 2 * x.shape[3]  # F F^T of each position, all heads
        else:
            kept = next((a for a in arguments[1:] if isinstance(a, torch.Tensor)), None)
            seen = x.shape[2] if kept is None else _number(kept)
            each = 2 * POSITIONS * x.shape[2] * module.out.in_features  # of a key: q k^T, then times v
            count["attention"] += each * seen
            if kept is not None and kept.is_floating_point():
                count[MASKED] += each * (x.shape[2] - seen)

    return hook


def _number(kept: torch.Tensor) -> int:
    """Keys of a query that are used, of a mask of kept keys or of the keys themselves."""
    return int((kept[0, 0, 0, 0] == 0).sum()) if kept.is_floating_point() else kept.shape[-1]
