"""Memory of feature extraction at the size of a published FID: 20,000 mapped images of 299 x 299 pixels."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ecsupport.bench import Measure, in_child, measure, memory
from ecsupport.core.pixels import Rows
from ecsupport.core.seeds import generator
from ecsupport.core.training import torch_generator
from ecsupport.instruments import features, inception

PICTURES, SIDE, NUMBER, THROUGH_INCEPTION = 257, inception.SIDE, 20_000, 512
FILE = "images.npy"
BOUND = 2000.0  # MB
FEATURES = 2048  # of Inception


def write(folder: Path) -> None:
    """PICTURES different pictures of grey noise in one file of `folder`."""
    rng = generator("bench", "distances")
    coarse = (Image.fromarray(rng.integers(256, size=(75, 75), dtype=np.uint8)) for _ in range(PICTURES))
    np.save(folder / FILE, [np.asarray(one.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for one in coarse])


def with_random_weights() -> inception.FidInception:
    """Inception with weights that keep its activations finite; what they are does not matter for memory."""
    network, draws = inception.skeleton().to_empty(device="cpu"), torch_generator("bench", "inception")
    for name, value in network.state_dict().items():
        if value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=draws)
        else:
            value.fill_(1 if name.endswith(("weight", "running_var")) else 0)
    return network.requires_grad_(False)


class AtFirst(nn.Module):
    """Inception for the first images; for the rest, whose time there is not, its features' place alone."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.seen = with_random_weights(), 0

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, H, W) uint8 to (B, FEATURES)."""
        self.seen += len(pictures)
        return self.network(pictures) if self.seen <= THROUGH_INCEPTION else torch.zeros(len(pictures), FEATURES)


NETWORKS = {
    "embedded": lambda: features.start({"centre": 5, "diagnosis": 4, "modality": 2}, 0),
    "inception": AtFirst,
}


def extract(name: str, folder: Path) -> float:
    """MB by which this process's peak exceeds what it held with the network, before the first image was read."""
    torch.set_num_threads(1)
    network, mapped = NETWORKS[name](), np.load(folder / FILE, mmap_mode="r")
    before = memory()  # the pictures come over and over: pages of a mapped file would count, and can be taken back
    found = features.features(network, Rows((mapped, np.arange(NUMBER) % PICTURES)))
    if len(found) != NUMBER or not np.isfinite(found).all():
        raise ValueError(f"features of shape {found.shape}, expected finite ones of {NUMBER} images")
    return memory(peak=True) - before


def memory_of(name: str, folder: Path) -> float:
    """`extract` in a process of its own."""
    return in_child(__file__, f"extract({name!r}, b.Path({str(folder)!r}))")


@measure("distances")
def mapped() -> Iterator[Measure]:
    """Mapped pixels to features, one batch at a time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        pixels = NUMBER * SIDE**2 / 2**20
        yield Measure(f"{NUMBER:,} images of {SIDE} px, their pixels", pixels, "MB")
        taken = memory_of("embedded", folder)
        yield Measure(f"peak memory, {NUMBER:,} by the embedded extractor", taken, "MB", BOUND)
        taken = memory_of("inception", folder)
        yield Measure(f"peak memory, {THROUGH_INCEPTION} by Inception, its features of all", taken, "MB", BOUND)
