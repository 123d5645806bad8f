"""Which images a training step sees: all in the first phase, real ones in the second (Results, on LSNet).

Batches hold as many positive as negative images in both phases, which weighs the classes as a weighted loss would,
with less noise.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from ecsupport.backbone.inputs import augment, to_input
from ecsupport.core.errors import UserError
from ecsupport.core.pixels import demand_grey
from ecsupport.core.seeds import generator
from ecsupport.core.training import torch_generator
from ecsupport.screening.settings import Settings


class Batch(NamedTuple):
    """Images (B, 1, S, S) float32 in [-1, 1], augmented; labels (B,) int64; their places in the training set (B,)."""

    images: torch.Tensor
    labels: torch.Tensor
    ids: torch.Tensor


class Batches:
    """The batches of a run, each fixed by seed and step: a run that goes on sees what it would have seen."""

    def __init__(
        self, arrays: Mapping[str, np.ndarray], settings: Settings, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        """`arrays` as in `training.train`; what `examine` raises."""
        examine(arrays, settings.real_steps > 0)
        self.arrays, self.settings, self.seed, self.device = arrays, settings, seed, device
        label, real = np.asarray(arrays["label"]), np.asarray(arrays["real"])
        half = settings.batch // 2
        self.pools = {
            phase: [
                part
                for value, count in ((1, half), (0, settings.batch - half))
                for part in sources((label == value) & shown, real, count, settings.synthetic_share)
            ]
            for phase, shown in ((1, np.ones_like(real)), (2, real))
        }

    def draw(self, step: int) -> np.ndarray:
        """Places in the training set of a step's images (B,), half of them positive; one may come twice."""
        rng = generator("screening", self.settings.seed_at(step, self.seed), "batch", step)
        return np.concatenate([rng.choice(places, count) for places, count in self.pools[self.settings.phase(step)]])

    def at(self, step: int) -> Batch:
        """The batch of a step, from 0."""
        ids = self.draw(step)
        order = torch_generator("screening", self.settings.seed_at(step, self.seed), "augment", step)
        images = augment(to_input(self.arrays["image"][ids], self.device), order)
        labels, places = (torch.from_numpy(a).to(self.device) for a in (self.arrays["label"][ids], ids))
        return Batch(images, labels, places)


def examine(arrays: Mapping[str, np.ndarray], second_phase: bool) -> None:
    """UserError for images other than (N, S, S) uint8, all of one size, and for other than one label an image.

    And where a label is neither 0 nor 1, or a class is missing among training or validation images. The second phase
    needs both classes among the real training images too.
    """
    side = demand_grey(arrays["image"], name="training images").shape[1]
    demand_grey(arrays["validation_image"], side, "validation images")
    for name, of in (("label", "image"), ("real", "image"), ("validation_label", "validation_image")):
        if len(arrays[name]) != len(arrays[of]):
            raise UserError(f"{len(arrays[name])} values in {name} for {len(arrays[of])} in {of}. Give one an image")
    sets = {"training": arrays["label"], "validation": arrays["validation_label"]}
    if second_phase:
        sets["real training"] = arrays["label"][arrays["real"]]
    for name, label in sets.items():
        if (other := np.setdiff1d(label, (0, 1))).size:
            raise UserError(f"a {name} image has the label {other[0]}. Labels are 0 (negative) and 1 (positive)")
        for value, word in ((0, "negative"), (1, "positive")):
            if not (label == value).any():
                raise UserError(f"there is no {word} {name} image (label {value}). Both classes are needed")


def sources(
    shown: np.ndarray, real: np.ndarray, count: int, synthetic_share: float | None
) -> list[tuple[np.ndarray, int]]:
    """From which places of the training set the `count` images of one class are drawn, and how many from each.

    shown, real: (N,) bool, the images of the class, and the real ones of all. Where the class has real and synthetic
    images, `synthetic_share` of the draws are synthetic, however many there are: with synthetic images of both
    classes, the source of an image then tells nothing about its class.
    """
    if synthetic_share is None or real[shown].all() or not real[shown].any():
        return [(np.flatnonzero(shown), count)]
    synthetic = round(synthetic_share * count)
    return [(np.flatnonzero(shown & real), count - synthetic), (np.flatnonzero(shown & ~real), synthetic)]
