"""From stored pixels to what a network sees: scaling, and augmentation suited to ultrasound (Methods, training)."""

import numpy as np
import torch
from torch.nn import functional

from ecsupport.core.pixels import demand_grey

SMALLEST_CROP = 0.8  # of the side: a smaller one could lose the uterus
CONTRAST, BRIGHTNESS = 0.2, 0.2


def to_input(images: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """(N, S, S) uint8 -> (N, 1, S, S) float32 in [-1, 1]; UserError for any other array."""
    pixels = torch.from_numpy(np.array(demand_grey(images))).to(device).float().div_(127.5).sub_(1)
    return pixels[:, None].contiguous(memory_format=torch.channels_last)  # (N, S, S) -> (N, 1, S, S)


def augment(images: torch.Tensor, generator: torch.Generator, smallest_crop: float = SMALLEST_CROP) -> torch.Tensor:
    """Each image flipped left to right or not, cropped to .8 to 1 of its side, its contrast and grey level changed.

    images: (B, 1, H, W) float32 in [-1, 1]; the generator is of the CPU;  smallest_crop: of the side,
    1 where nothing may be cropped. Returns the same shape and range.
    """
    chance = torch.rand(6, len(images), generator=generator).to(images.device)
    scale = smallest_crop + (1 - smallest_crop) * chance[0]
    flip = torch.where(chance[1] < 0.5, -1.0, 1.0)
    shift = (1 - scale) * (2 * chance[2:4] - 1)  # (2, B): keeps the crop inside the image
    none = torch.zeros_like(scale)
    rows = [torch.stack([scale * flip, none, shift[0]], 1), torch.stack([none, scale, shift[1]], 1)]  # each (B, 3)
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    cropped = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    contrast = 1 + CONTRAST * (2 * chance[4] - 1)
    brightness = BRIGHTNESS * (2 * chance[5] - 1)
    mixed = cropped * contrast[:, None, None, None] + brightness[:, None, None, None]
    return mixed.clamp(-1, 1).contiguous(memory_format=torch.channels_last)
