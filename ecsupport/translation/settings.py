"""What a translator is trained with: sizes, optimiser, weights of its terms (Methods, on SG-CycleGAN)."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecsupport.core.errors import UserError
from ecsupport.core.profiles import TranslationSize
from ecsupport.translation.losses import GAN_MODES

PAPER_WIDTH = 64  # channels at full size
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """Sizes and hyperparameters of one training run, the same for all translators; the defaults are the paper's.

    image_size: side in pixels;  width: channels at full size, and of the discriminators' first layer;
    batch: images of each domain in a step;
    learning_rate, betas: Adam's, as printed for SG-CycleGAN and as in the sources of CycleGAN and DCLGAN; those of UNIT
    and MUNIT have 1e-4 with a weight decay of 1e-4, halved every 100,000 steps, over a hundred times as many. All
    weights start as in the paper's code; UNIT's and MUNIT's sources use He's, DCLGAN's Xavier's;
    decay_from: share of the run after which the learning rate falls linearly to 0;  pool: images that the
    discriminators remember, as in CycleGAN's source;  gan_mode: see `losses.adversarial`;  weights: those that replace
    a translator's own, by term;  snapshots: shares of the run at which the translations of the followed images are
    kept;  precision: in which the networks compute
    adversarial: factor on the adversarial term of every translator, beside which all that holds a translation to its
    source counts less;  discriminator_width (0: that of the generators), normalised_discriminators: see
    `blocks.Patches`;  enlarged: side before the random crop, in units of the side after it. Images rendered at the
    side after it are blurred by enlarging them, so that what the discriminators see has another grain than the images
    that judge in the end
    accumulation, dynamic_regions, unfrozen: see `released`
    """

    image_size: int
    width: int
    downsamplings: int
    residual_blocks: int
    batch: int
    steps: int
    precision: str = "float32"
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    decay_from: float = 1 / 6
    pool: int = 50
    gan_mode: str = "lsgan"
    weights: Mapping[str, float] = field(default_factory=dict)
    snapshots: tuple[float, ...] = (0.0, 0.05, 0.15, 0.35, 0.65, 1.0)
    adversarial: float = 1.0
    discriminator_width: int = 0
    normalised_discriminators: bool = True
    enlarged: float = 1.12
    accumulation: int = 1
    dynamic_regions: bool = False
    unfrozen: bool = False

    def __post_init__(self) -> None:
        step = 2**self.downsamplings
        if self.image_size % step:
            raise UserError(
                f"images of {self.image_size} pixels cannot be halved {self.downsamplings} times. "
                f"Choose an image size that is a multiple of {step}"
            )
        for name, known in (("gan_mode", GAN_MODES), ("precision", PRECISIONS)):
            if (value := getattr(self, name)) not in known:
                raise UserError(f"{name} {value!r} is unknown. Choose one of: {', '.join(known)}")

    @classmethod
    def of(cls, size: TranslationSize, **others: Any) -> "Settings":
        """The settings of a profile's sizes; `others` replace defaults.

        The learning rate is the paper's at the paper's width and in inverse proportion to it elsewhere: a network a
        quarter as wide, trained for hundreds of steps, hardly leaves the identity at 2e-4.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        sizes = {k: v for k, v in dataclasses.asdict(size).items() if k in known}
        return cls(**{**sizes, "learning_rate": cls.learning_rate * PAPER_WIDTH / size.width, **others})

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Settings":
        """Back from `to_json`."""
        tuples = {key: tuple(values[key]) for key in ("betas", "snapshots")}
        return cls(**{**values, **tuples})

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ... steps - 1: constant, then linear towards 0, which it reaches at `steps`."""
        start = self.decay_from * self.steps
        return self.learning_rate * min(1.0, (self.steps - step) / (self.steps - start))

    def snapshot_steps(self) -> list[int]:
        """Steps after which a snapshot is taken, in order; 0 is before the first."""
        return sorted({round(share * self.steps) for share in self.snapshots})
