"""UNIT (Liu, Breuel and Kautz, NeurIPS 2017): two variational autoencoders that share a latent space (Table 1)."""

from typing import ClassVar

import torch
from torch import nn

from ecsupport.translation import budget, losses
from ecsupport.translation.blocks import Decoder, Encoder, Residual
from ecsupport.translation.interface import Cache, Share, Terms, Translator, noise_like, noise_of_fakes
from ecsupport.translation.settings import Settings


def networks(settings: Settings, blocks: int) -> tuple[Encoder, Residual, Decoder]:
    """One direction with that many residual blocks: encoder, the block that both domains share, decoder."""
    s, around = settings, blocks - 1
    return (
        Encoder(1, s.width, s.downsamplings, around // 2, noisy=False),
        Residual(s.width * 2**s.downsamplings, noisy=False),
        Decoder(1, s.width, s.downsamplings, around - around // 2, noisy=True),
    )


class UNIT(Translator):
    """An encoder and a decoder for each domain; whatever is encoded passes one shared residual block.

    The latent map h is Gaussian with unit variance, z = h + e in training and z = h in translation, so that the
    Kullback-Leibler divergence is the mean of h squared. Weights: those of the authors' code (10 and 0.01; the paper
    writes 100 and 0.1 and ten times the adversarial weight), which has no shared layer although the paper demands
    one: we share. Its perceptual term needs VGG weights and is left out, as its weight 0 does there. Discriminators are
    those of all translators here, not its three scales; instance normalisation stands for its layer normalisation.
    """

    REVISION: ClassVar = 1  # a shared latent map with noise
    WEIGHTS: ClassVar = {"gan": 1.0, "reconstruction": 10.0, "latent": 0.01, "cycle": 10.0, "cycle_latent": 0.01}

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        blocks = budget.residual_blocks(settings, lambda number: networks(settings, number))
        self.from_mri, self.shared, self.to_us = networks(settings, blocks)
        self.from_us, _, self.to_mri = networks(settings, blocks)

    def path(self, direction: str) -> tuple[nn.Module, ...]:
        """Encoder of the source, shared block, decoder of the target."""
        if direction == "mri_to_us":
            return self.from_mri, self.shared, self.to_us
        return self.from_us, self.shared, self.to_mri

    def generator_step(
        self, mri: torch.Tensor, us: torch.Tensor, progress: Share, source: torch.Generator | None = None
    ) -> tuple[torch.Tensor, Terms, Cache]:
        """Adversarial, reconstruction and cycle terms, the latter two with their divergences."""
        sizes = len(mri), len(us)
        noise = noise_of_fakes(sizes, source)
        with self.judged():
            latent = self.shared(torch.cat([self.from_mri(mri), self.from_us(us)]), None)
            drawn = latent + noise_like(latent, source)
            fake_us, us_same = self.to_us(drawn, noise[0]).split(sizes)
            mri_same, fake_mri = self.to_mri(drawn, noise[1]).split(sizes)
            again = self.shared(torch.cat([self.from_us(fake_us), self.from_mri(fake_mri)]), None)
            of_mri, of_us = (again + noise_like(again, source)).split(sizes)
            terms = {
                "gan": self.generator_adversarial(fake_us, fake_mri),
                "reconstruction": losses.identity(mri, mri_same, us, us_same),
                "latent": sum(part.square().mean() for part in latent.split(sizes)),
                "cycle": losses.cycle(mri, self.to_mri(of_mri), us, self.to_us(of_us)),
                "cycle_latent": sum(part.square().mean() for part in again.split(sizes)),
            }
        return self.total(terms), terms, Cache(fake_us.detach(), fake_mri.detach())
