"""A dense-attention network with a branch for each task: does the view show disease, and of what tissue is it made?

Published (SD-MdaNet; Chen and Zhang, Med Phys 2024;51:1738): dense attention in the main branch, an attention module of
each task's own, and two tasks learnt together. Our reconstruction: all sizes, since only the abstract was to be had.
Layers are those of a densely connected network (Huang et al., CVPR 2017), and attention first weighs channels, then
places (Woo et al., ECCV 2018).
"""

from collections.abc import Sequence

import torch
from torch import nn

from ecsupport.backbone.mobilevit import initialise

REVISION = 1
INVASION, PROPORTIONS = TASKS = ("invasion", "proportions")
STEM, GROWTH, LAYERS, BLOCKS = 16, 12, 4, 3
REDUCTION = 4  # of channels, in the middle of their attention


class Reweighted(nn.Module):
    """Features weighed by channel, then by place: x <- x s(f(mean) + f(max)), then x <- x s(g[mean_c; max_c]).

    s is the sigmoid, f two linear layers on means and maxima over all places, g a 7 x 7 convolution of the mean and the
    maximum over channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(4, channels // REDUCTION)
        self.channels = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.places = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        weight = self.channels(x.mean(dim=(2, 3))) + self.channels(x.amax(dim=(2, 3)))  # (B, C)
        x = x * weight.sigmoid()[:, :, None, None]
        return x * self.places(torch.stack([x.mean(dim=1), x.amax(dim=1)], dim=1)).sigmoid()  # (B, 2, H, W) -> 1 map


class DenseBlock(nn.Module):
    """Layers of which each sees the outputs of all before it, every one reweighted before it is concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels + GROWTH * number for number in range(LAYERS)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, GROWTH, 3, padding=1, bias=False))
            for width in widths
        )
        self.attention = nn.ModuleList(Reweighted(width) for width in (channels, *[GROWTH] * LAYERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C + LAYERS GROWTH, H, W)."""
        x = self.attention[0](x)
        for layer, attention in zip(self.layers, self.attention[1:], strict=True):
            x = torch.cat([x, attention(layer(x))], dim=1)
        return x


class Branch(nn.Module):
    """A task's own attention on the features of the main branch, their mean over places, and its outputs."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.attention, self.head = Reweighted(channels), nn.Linear(channels, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, outputs)."""
        return self.head(self.attention(x).mean(dim=(2, 3)))


class DenseAttention(nn.Module):
    """The main branch, and a branch for each of the tasks that it is built for."""

    def __init__(self, tasks: Sequence[str], tissues: int, stem_stride: int = 1) -> None:
        """`tissues`: of how many the proportions are told. ValueError for an unknown task, or for none."""
        super().__init__()
        if not tasks or set(tasks) - set(TASKS):
            raise ValueError(f"tasks {', '.join(tasks)} are not some of {', '.join(TASKS)}")
        stages, channels = [nn.Conv2d(1, STEM, 3, stem_stride, 1, bias=False), nn.AvgPool2d(2)], STEM
        for number in range(BLOCKS):
            stages.append(DenseBlock(channels))
            channels += LAYERS * GROWTH
            if number < BLOCKS - 1:  # a transition: half the channels, half the side
                narrow = nn.Conv2d(channels, channels // 2, 1, bias=False)
                stages += [nn.BatchNorm2d(channels), nn.ReLU(), narrow, nn.AvgPool2d(2)]
                channels //= 2
        self.main = nn.Sequential(*stages, nn.BatchNorm2d(channels), nn.ReLU())
        outputs = {INVASION: 1, PROPORTIONS: 2 * tissues}
        self.branches = nn.ModuleDict({task: Branch(channels, outputs[task]) for task in TASKS if task in tasks})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits by task, (B, distributions, classes), of images (B, 1, S, S) float32 in [-1, 1].

        Their softmax over classes are probabilities.  invasion: (B, 1, 2), of the negative class, which is 0, and of
        the positive one;  proportions: (B, 2, tissues), the shares of the view, and which tissue is predominant
        """
        features, found = self.main(images), {}
        for task, branch in self.branches.items():
            logits = branch(features)
            if task == INVASION:
                found[task] = torch.stack([torch.zeros_like(logits), logits], dim=-1)  # (B, 1) -> (B, 1, 2)
            else:
                found[task] = logits.unflatten(-1, (2, -1))  # (B, 2 K) -> (B, 2, K)
        return found


def build(tasks: Sequence[str], tissues: int, stem_stride: int, generator: torch.Generator) -> DenseAttention:
    """The network with weights from `generator`."""
    with torch.random.fork_rng(devices=[]):  # torch's layers draw weights when built; these are drawn anew below
        network = DenseAttention(tasks, tissues, stem_stride)
    return initialise(network, generator).to(memory_format=torch.channels_last)
