"""CycleGAN: SG-CycleGAN without shared encoder, feature consistency and domain term (Table 1's comparator).

Its residual blocks are as many as bring the parameters of one direction nearest to those of SG-CycleGAN.
"""

import torch
from torch import nn

from ecsupport.translation import losses, sg_cyclegan
from ecsupport.translation.blocks import Hourglass, Residual, parameters
from ecsupport.translation.interface import Cache, Terms, Translator, frozen, noise_of_fakes
from ecsupport.translation.settings import Settings


def residual_blocks(settings: Settings) -> int:
    """Number of residual blocks at which one direction has about as many parameters as one of SG-CycleGAN."""
    s = settings
    with torch.device("meta"):  # counted, not made
        aim = parameters(*sg_cyclegan.networks(settings))
        bare = parameters(Hourglass(1, 1, s.width, s.downsamplings, 0, noisy=True))
        block = parameters(Residual(s.width * 2**s.downsamplings, noisy=True))
    return round((aim - bare) / block)


class CycleGAN(Translator):
    """Two independent generators tied by cycle consistency alone."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        size = (settings.width, settings.downsamplings, residual_blocks(settings))
        self.to_us, self.to_mri = Hourglass(1, 1, *size, noisy=True), Hourglass(1, 1, *size, noisy=True)

    def path(self, direction: str) -> tuple[nn.Module, ...]:
        """The one generator of the direction."""
        return (self.to_us if direction == "mri_to_us" else self.to_mri,)

    def generator_step(
        self, mri: torch.Tensor, us: torch.Tensor, progress: float, source: torch.Generator | None = None
    ) -> tuple[torch.Tensor, Terms, Cache]:
        """The terms of Equation 9 that CycleGAN has: adversarial, cycle, identity."""
        sizes = len(mri), len(us)
        noise = noise_of_fakes(sizes, source)
        with frozen(self.discriminators):
            real = torch.cat([mri, us])
            fake_us, us_same = self.to_us(real, noise[0]).split(sizes)
            mri_same, fake_mri = self.to_mri(real, noise[1]).split(sizes)
            mri_again, us_again = self.to_mri(fake_us), self.to_us(fake_mri)
            mode = self.settings.gan_mode
            terms = {
                "gan": losses.adversarial(self.discriminators["us"](fake_us), True, mode)
                + losses.adversarial(self.discriminators["mri"](fake_mri), True, mode),
                "cycle": losses.cycle(mri, mri_again, us, us_again),
                "identity": losses.identity(mri, mri_same, us, us_same),
            }
        return self.settings.weights.total(terms), terms, Cache(fake_us.detach(), fake_mri.detach())
