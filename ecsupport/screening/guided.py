"""What a student makes of its guidance: scores of the same images under the maps that it had, and under exchanged ones.

If a student reads the label from its keys, its scores follow whatever label is given. If the keys tell it what the
teacher sees, another image's map moves its scores towards that image's class, also where no label can be read.
"""

import copy
from collections.abc import Callable

import torch
from torch import nn

from ecsupport.screening.distillation import Maps
from ecsupport.screening.label_leak import gradients

REVISION = 1  # maps given, scores
OWN, TOLD, PREDICTED = "own map, true label", "own map, random label", "own map, predicted class"
SAME, OTHER = "another image's map, same class", "another image's map, other class"
NOISE, NONE = "random map", "no map"
GIVEN = (OWN, TOLD, PREDICTED, SAME, OTHER, NOISE, NONE)


def maps_given(
    teacher: nn.Module, images: torch.Tensor, labels: torch.Tensor, told: torch.Tensor, generator: torch.Generator
) -> dict[str, Maps | None]:
    """Maps to guide a student with, one (B, P, h, N, N) or None a block, by the names of `GIVEN`; `no map` has none.

    images: (B, 1, S, S) float32 in [-1, 1], positives first, then as many negatives; labels, told: (B,) int64, the true
    and the random labels. The teacher works in its present mode, on the whole batch, and stays as it was.
    """
    half = len(images) // 2
    found = gradients(teacher, images, labels, ("label", "prediction"))
    own = found["label"]
    return {
        OWN: own,
        TOLD: gradients(teacher, images, told)["label"],
        PREDICTED: found["prediction"],
        SAME: changed(own, lambda g: torch.cat([of.roll(1, 0) for of in g.split(half)])),
        OTHER: changed(own, lambda g: g.roll(half, 0)),
        NOISE: changed(own, lambda g: torch.randn(g.shape, generator=generator).to(g.device)),
        NONE: None,
    }


def changed(maps: Maps, change: Callable[[torch.Tensor], torch.Tensor]) -> Maps:
    """Each map (B, P, h, N, N) as `change` makes it; a block without one stays without."""
    return [None if g is None else change(g) for g in maps]


@torch.no_grad()
def score(network: nn.Module, images: torch.Tensor, *guidance: object) -> torch.Tensor:
    """z1 - z0 (B,) by a copy of a network, since in training mode its norms move; guidance: of `Student.forward`."""
    logits = copy.deepcopy(network)(images, *guidance)
    return logits[:, 1] - logits[:, 0]
