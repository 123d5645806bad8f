"""DCLGAN (Han et al., CVPR workshops 2021): two generators held to their source by contrasts of patches (Table 1)."""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from ecsupport.translation import losses
from ecsupport.translation.blocks import Hourglass
from ecsupport.translation.cyclegan import TwoGenerators
from ecsupport.translation.interface import Cache, Share, Terms, noise_of_fakes
from ecsupport.translation.settings import Settings

PATCHES = 64  # places drawn from each map; 256 in the source, whose images are larger


class Heads(nn.Module):
    """For each of four maps, two layers that turn the channels of a place into a vector of length 1."""

    def __init__(self, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs)) for inputs in channels
        )

    def forward(self, maps: list[torch.Tensor], places: list[torch.Tensor]) -> list[torch.Tensor]:
        """Maps (N, C, H, W) and places (P,) in them to vectors (N, P, D)."""
        chosen = [x.flatten(2)[:, :, at].transpose(1, 2) for x, at in zip(maps, places, strict=True)]  # (N, P, C)
        return [functional.normalize(layer(x), dim=-1) for layer, x in zip(self.layers, chosen, strict=True)]


def draw_places(maps: list[torch.Tensor], source: torch.Generator | None) -> list[torch.Tensor]:
    """PATCHES places of each map (or all of fewer), drawn without replacement; evenly spread without a generator."""
    drawn = []
    for x in maps:
        places = x.shape[2] * x.shape[3]
        if source is None:
            at = torch.linspace(0, places - 1, min(PATCHES, places)).long()
        else:
            at = torch.randperm(places, generator=source, device=source.device)[:PATCHES]
        drawn.append(at.to(x.device))
    return drawn


class DCLGAN(TwoGenerators):
    """What a generator makes of a place must resemble that place more than any other place of the same image.

    The translation is described by the encoder of the way back, the source by the encoder of the way there. Weights:
    L = (GAN + GAN) / 2 + (NCE + NCE) + (identity + identity) / 2, those of the authors' code; temperature and the four
    maps (early, late, first and middle residual block) are its, too. Least squares stands for its hinge, the generators
    are those of CycleGAN here, with an image pool, and wrong answers come from the image itself, as the paper says. Its
    heads are trained with the generators, at their rate.
    """

    REVISION: ClassVar = 1  # contrast of patches at four maps
    WEIGHTS: ClassVar = {"gan": 0.5, "contrast": 1.0, "identity": 0.5}

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        width, inner = settings.width, settings.width * 2**settings.downsamplings
        self.heads = nn.ModuleDict({name: Heads((width, inner, inner, inner), 4 * width) for name in self.domains})

    def generator_step(
        self, mri: torch.Tensor, us: torch.Tensor, progress: Share, source: torch.Generator | None = None
    ) -> tuple[torch.Tensor, Terms, Cache]:
        """Adversarial term, contrast of patches both ways, identity."""
        sizes = len(mri), len(us)
        noise = noise_of_fakes(sizes, source)
        with self.judged():
            real = torch.cat([mri, us])
            fake_us, us_same = self.to_us(real, noise[0]).split(sizes)
            mri_same, fake_mri = self.to_mri(real, noise[1]).split(sizes)
            terms = {
                "gan": self.generator_adversarial(fake_us, fake_mri),
                "contrast": self._contrast(mri, "mri", self.to_us, fake_us, "us", self.to_mri, source)
                + self._contrast(us, "us", self.to_mri, fake_mri, "mri", self.to_us, source),
                "identity": losses.identity(mri, mri_same, us, us_same),
            }
        return self.total(terms), terms, Cache(fake_us.detach(), fake_mri.detach())

    def _contrast(
        self,
        image: torch.Tensor,
        domain: str,
        way_there: Hourglass,
        fake: torch.Tensor,
        other: str,
        way_back: Hourglass,
        source: torch.Generator | None,
    ) -> torch.Tensor:
        """Mean over the maps; keys come from the source image, without noise, and send no gradient."""
        of_image: list[torch.Tensor] = []
        of_fake: list[torch.Tensor] = []
        way_back.encoder(fake, None, of_fake)
        places = draw_places(of_fake, source)
        with torch.no_grad():
            way_there.encoder(image, None, of_image)
            keys = self.heads[domain](of_image, places)
        pairs = zip(self.heads[other](of_fake, places), keys, strict=True)
        return torch.stack([losses.contrast(*pair) for pair in pairs]).mean()
