"""The segmenter and judge of invasion: what kept anatomy is measured with on phantoms (claims on Figure 1).

One small network with two heads: where the layers of the uterus lie, and whether the view shows invasion. It learns
from ultrasound of the instrument patients alone, who belong to no split. What it finds in a translation is therefore
what a translation shows as ultrasound; what still looks like MRI it cannot read.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from ecsupport.cohort.structures import STRUCTURES, Reading
from ecsupport.core import jobs, progress
from ecsupport.core.errors import UserError
from ecsupport.core.pixels import demand_grey
from ecsupport.core.training import demand_finite, load_weights, reproducible, save_weights, torch_generator
from ecsupport.core.training import device as find_device

REVISION = 1  # network, losses, augmentation and schedule of the segmenter
SMALLEST, LARGEST, MULTIPLE = 64, 256, 16  # sides of images, in pixels
WIDTHS = (24, 32, 48, 64)  # channels at half the size and after each further halving: two below 128 pixels, else three
JUDGE = 16  # channels
BATCH = 16
LEARNING_RATE = 3e-3
GAIN, OFFSET, NOISE = 0.2, 20.0, 8.0  # how far training images are spoilt: share around DARK, and grey levels
DARK = 64.0  # grey level that a change of gain leaves alone
TURN, SCALE, MOVE = 0.2, 0.1, 0.06  # how far they are turned (radians), scaled, moved (half image widths)


class Layer(nn.Sequential):
    """3 x 3 convolution, batch normalisation, ReLU: (B, C, H, W) to (B, C', H / stride, W / stride)."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        convolution = skip_init(nn.Conv2d, before, after, 3, stride, 1, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(after), nn.ReLU())


class Segmenter(nn.Module):
    """A U-Net whose maps are added, not stacked, on the way up, and a judge that sees only what it has found.

    A judge that sees the image learns its training patients by heart; this one sends no gradient to the structures.
    side: of the images that it reads, in pixels. UserError for a side that it cannot take.
    """

    def __init__(self, side: int, generator: torch.Generator) -> None:
        super().__init__()
        if not SMALLEST <= side <= LARGEST or side % MULTIPLE:
            raise UserError(
                f"the segmenter cannot read images of {side} x {side} pixels: the side must be a multiple of "
                f"{MULTIPLE} from {SMALLEST} to {LARGEST}. Choose such an image_size for the translators"
            )
        self.side = side
        widths = WIDTHS[: 3 if side < 128 else 4]
        self.first = Layer(4, widths[0])
        self.down = nn.ModuleList(nn.Sequential(Layer(a, b, 2), Layer(b, b)) for a, b in pairwise(widths))
        self.narrow = nn.ModuleList(skip_init(nn.Conv2d, b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Layer(width, width) for width in widths[:-1])
        self.segment = skip_init(nn.Conv2d, widths[0], 4 * len(STRUCTURES), 1)
        self.look = nn.Sequential(Layer(len(STRUCTURES), JUDGE, 2), Layer(JUDGE, JUDGE))
        self.judge = nn.Sequential(nn.BatchNorm1d(2 * JUDGE), skip_init(nn.Linear, 2 * JUDGE, 1))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, S) grey levels, 0 to 255, to logits of the structures (B, 5, S, S) and of invasion (B,)."""
        x = functional.pixel_unshuffle(images[:, None].float() / 127.5 - 1, 2)  # (B, S, S) -> (B, 4, S / 2, S / 2)
        maps = [self.first(x)]
        for step in self.down:
            maps.append(step(maps[-1]))
        x = maps[-1]
        for fine, narrow, up in zip(maps[-2::-1], self.narrow[::-1], self.up[::-1], strict=True):
            x = up(fine + functional.interpolate(narrow(x), scale_factor=2, mode="nearest"))
        structures = functional.pixel_shuffle(self.segment(x), 2)  # (B, 20, S / 2, S / 2) -> (B, 5, S, S)
        shares = functional.interpolate(structures.detach().softmax(1), (SMALLEST, SMALLEST), mode="area")
        x = self.look(shares)
        return structures, self.judge(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))[:, 0]  # (B, 1) -> (B,)


def train(folder: Path, content: Mapping[str, np.ndarray], steps: int, seed: int, device: str = "cpu") -> None:
    """Train both heads on the sum of their losses and write weights.safetensors.

    content: image and labels (N, S, S) uint8, and invasion (N,) int64, 1 where the view shows invasion; see
    `cohort.structures.known`

    Structures: cross-entropy of pixels, and 1 less the mean soft Dice of structures, without which thin ones count
    for little; invasion: binary cross-entropy. Adam, rate falling to 0 along a cosine; batches drawn with replacement,
    mirrored, turned, scaled and moved with their labels, and slightly changed in gain, offset and noise.
    UserError for images other than (N, S, S) uint8 or of a side that it cannot take; TrainingError at the first NaN.
    """
    demand_grey(content["image"])
    images, labels = (torch.from_numpy(np.array(content[name])) for name in ("image", "labels"))
    invasion = torch.from_numpy(np.array(content["invasion"], dtype=np.float32))
    where = find_device(device)
    with reproducible(1):
        network = start(images.shape[1], seed).to(where, memory_format=torch.channels_last).train()
        optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        draws = torch_generator("segmenter", seed, "batches")
        for step in progress.bar(range(steps), f"segmenter {seed}"):
            rows = torch.randint(len(images), (BATCH,), generator=draws)
            batch, wanted = (part.to(where) for part in varied(images[rows], labels[rows], draws))
            structures, judged = network(batch)
            terms = {
                "structures": structure_loss(structures, wanted),
                "invasion": functional.binary_cross_entropy_with_logits(judged, invasion[rows].to(where)),
            }
            demand_finite(terms, step + 1)
            optimiser.zero_grad()
            sum(terms.values()).backward()
            optimiser.step()
            schedule.step()
    side = {"side": torch.tensor(network.side)}
    save_weights(folder / "weights.safetensors", network.to("cpu").state_dict() | side)


def structure_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy and 1 less the soft Dice of structures over the batch. (B, 5, S, S), (B, S, S) to a scalar >= 0."""
    flat = logits.permute(0, 2, 3, 1).flatten(0, 2)  # (B, 5, S, S) -> (B * S * S, 5); as maps, GPUs repeat no sum
    wanted = labels.flatten().long()  # (B, S, S) -> (B * S * S,)
    share, true = flat.softmax(1), wanted[:, None] == torch.arange(len(STRUCTURES), device=wanted.device)
    overlap = 2 * (share * true).sum(0) / (share.sum(0) + true.sum(0) + 1)
    return functional.cross_entropy(flat, wanted) + 1 - overlap.mean()


def varied(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images and labels (B, S, S) uint8 as a batch of training sees them: float32 in [0, 255], and uint8."""

    def uniform() -> Tensor:
        return 2 * torch.rand(len(images), 1, 1, generator=generator) - 1

    turn, scale, mirror = TURN * uniform(), 1 + SCALE * uniform(), torch.where(uniform() < 0, -1.0, 1.0)
    cosine, sine = scale * turn.cos(), scale * turn.sin()
    rows = (mirror * cosine, -mirror * sine, MOVE * uniform()), (sine, cosine, MOVE * uniform())
    matrix = torch.cat([torch.cat(row, dim=2) for row in rows], dim=1)  # (B, 1, 1) each -> (B, 2, 3)
    grid = functional.affine_grid(matrix, [len(images), 1, *images.shape[1:]], align_corners=False)
    x, y = (
        functional.grid_sample(of[:, None].float(), grid, how, "border", align_corners=False)[:, 0]
        for of, how in ((images, "bilinear"), (labels, "nearest"))
    )  # (B, S, S) -> (B, 1, S, S) -> (B, S, S)
    x = (x - DARK) * (1 + GAIN * uniform()) + DARK + OFFSET * uniform()
    x = x + NOISE * uniform() * torch.randn(x.shape, generator=generator)
    return x.clamp(0, 255), y.to(torch.uint8)


def start(side: int, seed: int) -> Segmenter:
    """The segmenter with the random weights from which a training of this seed starts."""
    return Segmenter(side, torch_generator("segmenter", seed, "weights")).eval()


def restore(folder: Path) -> Segmenter:
    """The segmenter of a made job, on the cpu, ready to read images of the side that it was trained on."""
    weights = load_weights(folder / "weights.safetensors")
    network = start(int(weights.pop("side")), jobs.record(folder)["recipe"]["seed"])
    network.load_state_dict(weights)
    return network.eval()


@torch.inference_mode()
def read(network: Segmenter, images: np.ndarray, batch: int = 64) -> Reading:
    """What the network finds in images, `batch` at a time, on its own device.

    images: (N, S, S) uint8, S the side that the network was trained on. UserError for any other array.
    """
    demand_grey(images, network.side)
    none = torch.empty(0, *images.shape[1:], dtype=torch.uint8), torch.empty(0, dtype=torch.float64)
    where, structures, invasion = next(network.parameters()).device, *([part] for part in none)
    for begin in progress.bar(range(0, len(images), batch), "reading"):
        logits, judged = network(torch.from_numpy(np.array(images[begin : begin + batch])).to(where))
        structures.append(logits.argmax(1).to(torch.uint8).cpu())
        invasion.append(judged.double().sigmoid().cpu())
    return Reading(torch.cat(structures).numpy(), torch.cat(invasion).numpy())
