"""Equal budgets: every translator gets as many residual blocks as bring it nearest to SG-CycleGAN (Table 1)."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from ecsupport.translation.blocks import Hourglass, parameters
from ecsupport.translation.settings import Settings


def structure_guided(settings: Settings) -> tuple[Hourglass, Hourglass]:
    """What one direction of SG-CycleGAN is made of: the shared encoder and a private branch."""
    s = settings
    return (
        Hourglass(1, s.width // 2, s.width, s.downsamplings, 0, noisy=False),
        Hourglass(s.width // 2, 1, s.width, s.downsamplings, s.residual_blocks, noisy=True, regions=s.dynamic_regions),
    )


def residual_blocks(settings: Settings, direction: Callable[[int], Iterable[nn.Module]]) -> int:
    """The number of residual blocks, 1 or more, with which one direction has about the parameters of SG-CycleGAN's.

    direction: a number of blocks to the networks of one direction
    """
    with torch.device("meta"):  # counted, not made
        aim = parameters(*structure_guided(settings))
        away = [abs(parameters(*direction(1)) - aim)]
        while len(away) < 2 or away[-1] < away[-2]:  # each block adds parameters: nearer and nearer, then farther
            away.append(abs(parameters(*direction(len(away) + 1)) - aim))
    return len(away) - 1
