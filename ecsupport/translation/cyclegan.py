"""CycleGAN: SG-CycleGAN without shared encoder, feature consistency and domain term (Table 1's comparator)."""

from typing import ClassVar

import torch
from torch import nn

from ecsupport.translation import budget, losses
from ecsupport.translation.blocks import Hourglass
from ecsupport.translation.interface import Cache, Share, Terms, Translator, noise_of_fakes
from ecsupport.translation.settings import Settings


class TwoGenerators(Translator):
    """A translator made of one hourglass for each direction, which share nothing."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        s = settings

        def generator(blocks: int) -> Hourglass:
            return Hourglass(1, 1, s.width, s.downsamplings, blocks, noisy=True)

        blocks = budget.residual_blocks(settings, lambda number: [generator(number)])
        self.to_us, self.to_mri = generator(blocks), generator(blocks)

    def path(self, direction: str) -> tuple[nn.Module, ...]:
        """The one generator of the direction."""
        return (self.to_us if direction == "mri_to_us" else self.to_mri,)


class CycleGAN(TwoGenerators):
    """Two independent generators tied by cycle consistency alone (Zhu et al., ICCV 2017).

    Weights: cycle 10 and identity half of it, as in that source (its code; the paper uses identity where colours
    matter). Least squares, image pool and halved discriminator loss are its, too; the generators are smaller.
    """

    REVISION: ClassVar = 1  # two generators, Equations 2 to 4 and 8
    WEIGHTS: ClassVar = {"gan": 1.0, "cycle": 10.0, "identity": 5.0}

    def generator_step(
        self, mri: torch.Tensor, us: torch.Tensor, progress: Share, source: torch.Generator | None = None
    ) -> tuple[torch.Tensor, Terms, Cache]:
        """The terms of Equation 9 that CycleGAN has: adversarial, cycle, identity."""
        sizes = len(mri), len(us)
        noise = noise_of_fakes(sizes, source)
        with self.judged():
            real = torch.cat([mri, us])
            fake_us, us_same = self.to_us(real, noise[0]).split(sizes)
            mri_same, fake_mri = self.to_mri(real, noise[1]).split(sizes)
            mri_again, us_again = self.to_mri(fake_us), self.to_us(fake_mri)
            terms = {
                "gan": self.generator_adversarial(fake_us, fake_mri),
                "cycle": losses.cycle(mri, mri_again, us, us_again),
                "identity": losses.identity(mri, mri_same, us, us_same),
            }
        return self.total(terms), terms, Cache(fake_us.detach(), fake_mri.detach())
