"""The embedded feature extractor: what Fréchet and kernel distances of Table 1 are measured with on phantoms.

A small network that tells centre, diagnosis and modality apart, trained on the instrument patients, who belong to no
split. The third task matters most: a network that has seen MRI and need not tell it from ultrasound learns to take
both for the same, and rates raw MRI closer to ultrasound than blurred ultrasound.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from ecsupport.core import jobs, progress
from ecsupport.core.errors import UserError
from ecsupport.core.pixels import demand_grey
from ecsupport.core.training import demand_finite, load_weights, reproducible, save_weights, torch_generator
from ecsupport.core.training import device as find_device

REVISION = 1  # network, tasks, augmentation and schedule of the extractor
WIDTHS = (16, 32, 48, 64)  # channels after each halving of the image
SMALLEST = 2 ** len(WIDTHS) + 1  # side of images, in pixels: the last map has a spread from two pixels on
FEATURES = 16  # few, since a Fréchet distance needs more images than features
BATCH = 32
LEARNING_RATE = 3e-3
GAIN, OFFSET, NOISE = 0.2, 20.0, 8.0  # how far training images are spoilt: share around DARK, and grey levels
DARK = 64.0  # grey level that a change of gain leaves alone
TASKS = ("centre", "diagnosis", "modality")


class Extractor(nn.Module):
    """Grey images to FEATURES numbers, from which one linear head for each task reads its classes."""

    def __init__(self, classes: Mapping[str, int], generator: torch.Generator) -> None:
        super().__init__()
        layers = []
        for before, after in zip((1, *WIDTHS), WIDTHS, strict=False):
            layers += [skip_init(nn.Conv2d, before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.project = skip_init(nn.Linear, 2 * WIDTHS[-1], FEATURES)
        self.heads = nn.ModuleDict({task: skip_init(nn.Linear, FEATURES, number) for task, number in classes.items()})
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, S, S) grey levels, 0 to 255, to features (B, FEATURES) of any sign; UserError for too small images."""
        if images.shape[-1] < SMALLEST:
            raise UserError(
                f"images of {images.shape[-1]} x {images.shape[-1]} pixels are too small for the feature extractor: "
                f"the side must be at least {SMALLEST}. Load or resize them larger"
            )
        x = self.trunk(images[:, None].float() / 127.5 - 1)  # (B, S, S) -> (B, 1, S, S) -> (B, C, S / 16, S / 16)
        # the spread over the image beside the mean: speckle is a matter of variation
        return self.project(torch.cat([x.mean((2, 3)), x.std((2, 3))], dim=1))

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """(B, S, S) grey levels to the unnormalised log-probabilities of every task, (B, classes)."""
        features = functional.relu(self(images))
        return {task: head(features) for task, head in self.heads.items()}


def train(
    folder: Path,
    content: Mapping[str, np.ndarray],
    steps: int,
    seed: int,
    tasks: Sequence[str] = TASKS,
    device: str = "cpu",
) -> None:
    """Train on the sum of the tasks' cross-entropies and write weights.safetensors.

    content: image (N, S, S) uint8 and for each task (N,) whole numbers from 0
    tasks: the heads that are trained; fewer than TASKS only to show what an unfit instrument does

    Adam, rate falling to 0 along a cosine; batches drawn with replacement, mirrored, and slightly changed in gain,
    offset and noise: without that the features answer to a little noise as if it were another modality.
    UserError for images other than (N, S, S) uint8 or too small; TrainingError at the first NaN.
    """
    images = torch.from_numpy(np.array(demand_grey(content["image"])))
    labels = {task: torch.from_numpy(np.array(content[task], dtype=np.int64)) for task in tasks}
    where = find_device(device)
    with reproducible(1):
        network = start(_classes(labels), seed).to(where).train()
        optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        draws = torch_generator("extractor", seed, "batches")
        for step in progress.bar(range(steps), f"extractor {seed}"):
            rows = torch.randint(len(images), (BATCH,), generator=draws)
            logits = network.logits(_varied(images[rows], draws).to(where))
            terms = {t: functional.cross_entropy(logits[t], labels[t][rows].to(where)) for t in tasks}
            demand_finite(terms, step + 1)
            optimiser.zero_grad()
            sum(terms.values()).backward()
            optimiser.step()
            schedule.step()
    save_weights(folder / "weights.safetensors", network.to("cpu").state_dict())


def start(classes: Mapping[str, int], seed: int) -> Extractor:
    """The extractor with the random weights from which a training of this seed starts."""
    return Extractor(classes, torch_generator("extractor", seed, "weights")).eval()


def restore(folder: Path) -> Extractor:
    """The extractor of a made job, on the cpu, ready to measure."""
    weights = load_weights(folder / "weights.safetensors")
    classes = {
        name.split(".")[1]: len(bias) for name, bias in weights.items() if name.startswith("heads.") and "bias" in name
    }
    network = start(classes, jobs.record(folder)["recipe"]["seed"])
    network.load_state_dict(weights)
    return network.eval()


def _varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, H, W) uint8 as a batch of training sees them, float32 in [0, 255]."""

    def uniform() -> Tensor:
        return 2 * torch.rand(len(images), 1, 1, generator=generator) - 1

    x = torch.where(uniform() < 0, images.flip(2), images).float()
    x = (x - DARK) * (1 + GAIN * uniform()) + DARK + OFFSET * uniform()
    x = x + NOISE * uniform() * torch.randn(x.shape, generator=generator)
    return x.clamp(0, 255)


def _classes(labels: Mapping[str, Tensor]) -> dict[str, int]:
    return {task: int(numbers.max()) + 1 for task, numbers in labels.items()}


@torch.inference_mode()
def features(network: nn.Module, images: np.ndarray, batch: int = 32) -> np.ndarray:
    """Features of images, `batch` at a time, on the network's device.

    network: takes (B, S, S) uint8, gives (B, d);  images: (N, S, S) uint8, of which one batch is read at a time
    Returns (N, d) float64. UserError for any other array, and for none: no image does not tell d.
    """
    if not len(demand_grey(images)):
        raise UserError("there are 0 images. Give at least one")
    where, found = next(network.parameters()).device, None
    # written into one array: a list of small ones would lie scattered between the network's, and keep their memory
    for begin in progress.bar(range(0, len(images), batch), "features"):
        values = network(torch.from_numpy(np.array(images[begin : begin + batch])).to(where)).cpu().numpy()
        found = np.empty((len(images), values.shape[1])) if found is None else found
        found[begin : begin + batch] = values
    return found
