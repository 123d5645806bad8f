"""Pictures in, pictures out: grey levels of 8 bits to network inputs and back, and the translation of whole sets."""

import numpy as np
import torch

from ecsupport.core.pixels import demand_grey
from ecsupport.core.training import torch_generator
from ecsupport.translation.interface import Translator

REVISION = 1  # how a set is translated, and turned into grey levels


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """(N, S, S) uint8 to (N, 1, S, S) float32 in [-1, 1]; UserError for any other array."""
    return torch.from_numpy(np.array(demand_grey(images)))[:, None].float() / 127.5 - 1


def to_grey(images: torch.Tensor) -> np.ndarray:
    """(N, 1, H, W) in [-1, 1] to (N, H, W) uint8, rounded."""
    return ((images[:, 0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def translate(
    translator: Translator, images: np.ndarray, seed_words: tuple[str | int, ...], batch: int = 64
) -> np.ndarray:
    """Translate MRI (N, S, S) uint8 to ultrasound of the same shape; UserError for any other array or a wrong size.

    Image i has noise of its own, named by `seed_words` and i: what comes out does not depend on `batch`.
    """
    device = next(translator.parameters()).device
    translated = [np.empty((0, *demand_grey(images).shape[1:]), np.uint8)]
    for start in range(0, len(images), batch):
        part = to_tensor(images[start : start + batch]).to(device)
        noise = [torch_generator(*seed_words, start + i) for i in range(len(part))]
        translated.append(to_grey(translator.translate(part, "mri_to_us", noise)))
    return np.concatenate(translated)
