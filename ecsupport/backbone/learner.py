"""A network with its optimiser: AdamW, no decay on norms and biases, simulators at a rate of their own."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ecsupport.core import replay

WARM_UP = 0.1  # of a schedule


def groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Parameter groups of AdamW: weight decay on kernels and matrices alone, simulators apart for their own rate.

    Norms, biases and learnt tokens are not drawn to zero: it would weaken what a norm has to restore, and regularises
    nothing.
    """
    found: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        found.setdefault(("simulator" in name, parameter.ndim > 1 and name.endswith("weight")), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay if kernels else 0.0, "simulators": simulators}
        for (simulators, kernels), parameters in found.items()
    ]


def rate(highest: float, done: int, steps: int) -> float:
    """Learning rate of step `done`, from 1, of a schedule: a linear rise, then a cosine to zero."""
    rise = max(1, round(WARM_UP * steps))
    if done <= rise:
        return highest * done / rise
    return highest * (1 + math.cos(math.pi * (done - rise) / (steps - rise + 1))) / 2


class Learner:
    """A network with its optimiser."""

    def __init__(self, network: nn.Module, rate: float, decay: float, device: torch.device) -> None:
        self.network = network.to(device)
        self.optimiser = replay.adaptive(torch.optim.AdamW, groups(network, decay), rate, device)

    def begin(self) -> nn.Module:
        """The network in training mode, its gradients cleared."""
        self.optimiser.zero_grad()
        return self.network.train()

    def set_rate(self, rate: float, simulation: float = 1.0) -> None:
        """The rate of the steps to come; simulators learn at `simulation` times it."""
        for group in self.optimiser.param_groups:
            replay.set_rate(group, rate * (simulation if group["simulators"] else 1.0))

    def update(self) -> None:
        """One step of the optimiser."""
        self.optimiser.step()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
