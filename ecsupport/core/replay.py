"""Steps that a GPU repeats: the kernels of a training step are recorded once, and started together from then on.

A GPU does the thousand kernels of a small network's step faster than Python can start them one by one.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import torch

WARM_UP = 3  # calls before a step is recorded: libraries choose their kernels, optimisers make their state


class Replay:
    """A function of tensors and numbers, recorded as a CUDA graph at its first calls on a GPU; on a CPU simply called.

    The function does the same kernels whatever its tensors hold and waits for none of them. Before the numbers stands a
    key of what else it depends on: each has a recording of its own. On a GPU numbers arrive as tensors (), and what is
    returned is overwritten by the next call.
    """

    def __init__(
        self, function: Callable[..., Any], device: torch.device, noise: torch.Generator | None = None
    ) -> None:
        """`noise`: a generator of the device that the function draws from."""
        self.function, self.device, self.noise = function, device, noise
        self.recordings: dict[Hashable, _Recording] = {}

    def __call__(self, key: tuple, *inputs: torch.Tensor | float) -> Any:
        """`function(*key, *inputs)`."""
        if self.device.type == "cpu":
            return self.function(*key, *inputs)
        if key not in self.recordings:
            self.recordings[key] = _Recording(lambda *held: self.function(*key, *held), inputs, self.device, self.noise)
        return self.recordings[key](*inputs)


class _Recording:
    """The graph of a function for inputs of the shapes of these."""

    def __init__(
        self, function: Callable[..., Any], inputs: tuple, device: torch.device, noise: torch.Generator | None
    ) -> None:
        self.function, self.noise, self.calls, self.stream = function, noise, 0, _stream(device)
        self.inputs = [
            x.detach().clone() if isinstance(x, torch.Tensor) else torch.tensor(float(x), device=device) for x in inputs
        ]
        self.graph: torch.cuda.CUDAGraph | None = None
        self.outputs: Any = None

    def __call__(self, *inputs: torch.Tensor | float) -> Any:
        for held, x in zip(self.inputs, inputs, strict=True):
            if not isinstance(x, torch.Tensor):
                held.fill_(x)
            elif x.shape == held.shape:
                held.copy_(x)
            else:
                raise ValueError(f"an input of shape {tuple(x.shape)} for a recording of {tuple(held.shape)}")
        self.calls += 1
        if self.calls <= WARM_UP:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                outputs = self.function(*self.inputs)
            torch.cuda.current_stream().wait_stream(self.stream)
            return outputs
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            if self.noise is not None:
                self.graph.register_generator_state(self.noise)
            with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
                self.outputs = self.function(*self.inputs)
        self.graph.replay()
        return self.outputs


@lru_cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The one stream on which all of a process is recorded."""
    return torch.cuda.Stream(device)


def adaptive(kind: type, groups: list[dict[str, Any]], rate: float, device: torch.device, **others: Any) -> Any:
    """An optimiser of torch, Adam or AdamW, whose step can be recorded where it is on a GPU."""
    optimiser = kind(groups, rate, fused=True, capturable=device.type != "cpu", **others)
    if device.type != "cpu":
        for group in optimiser.param_groups:
            group["lr"] = torch.tensor(rate, device=device)
    return optimiser


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Set the learning rate of an optimiser's parameter group, in place where it is a tensor of a recorded step."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
