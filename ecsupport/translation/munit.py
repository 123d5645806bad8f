"""MUNIT (Huang et al., ECCV 2018): content that the domains share and a style of each domain's own (Table 1)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from ecsupport.translation import budget, losses
from ecsupport.translation.blocks import Convolution, Encoder, Noise, Source, Up, normalise
from ecsupport.translation.interface import Cache, Share, Terms, Translator, noise_of_fakes
from ecsupport.translation.settings import Settings

STYLE = 8  # numbers that describe a style, as in the source


def draw_styles(count: int, source: Source, like: torch.Tensor) -> torch.Tensor:
    """Styles (N, 8) from N(0, 1): one generator for all or one an image; zeros, the middle, where there is none."""
    sources = source if isinstance(source, Sequence) else [source] * count
    middle = torch.zeros(STYLE, device=like.device)
    rows = [middle if one is None else torch.randn(STYLE, generator=one, device=one.device) for one in sources]
    return torch.stack([row.to(like) for row in rows])


class StyleEncoder(nn.Module):
    """Image (N, 1, H, W) to style (N, 8): convolutions without normalisation, which would erase it, and a mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Convolution(1, width, bias=True)
        self.down = nn.ModuleList(nn.Conv2d(width * m, width * m * 2, 3, 2, 1) for m in (1, 2))
        self.last = nn.Linear(4 * width, STYLE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The style of each image."""
        for conv in (self.first, *self.down):
            x = conv(x).relu()
        return self.last(x.mean(dim=(2, 3)))


class StyledResidual(nn.Module):
    """Residual block whose normalised maps take scale and shift from the style (adaptive instance normalisation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = Convolution(channels, channels), Convolution(channels, channels)
        self.noise = Noise(channels)

    def forward(self, x: torch.Tensor, style: torch.Tensor, source: Source) -> torch.Tensor:
        """(N, C, H, W) to the same; style: (N, 2, 2, C, 1, 1), of both convolutions their scale less 1 and shift."""
        inner = self.noise(_styled(self.first(x), style[:, 0]), source).relu()
        return _styled(self.second(inner), style[:, 1]) + x


def _styled(x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(style[:, 1], 1 + style[:, 0], normalise(x))


class StyledDecoder(nn.Module):
    """Content and style to image (N, 1, H, W) in [-1, 1]; three layers make of a style what the blocks need."""

    def __init__(self, width: int, downsamplings: int, blocks: int) -> None:
        super().__init__()
        self.channels = width * 2**downsamplings
        hidden = 4 * width  # the source's 256 at its width of 64
        self.styling = nn.Sequential(
            nn.Linear(STYLE, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, blocks * 4 * self.channels),
        )
        self.blocks = nn.ModuleList(StyledResidual(self.channels) for _ in range(blocks))
        self.up = nn.ModuleList(
            Up(width * 2 ** (level + 1), width * 2**level, noisy=True) for level in reversed(range(downsamplings))
        )
        self.last = Convolution(width, 1, bias=True)

    def forward(self, x: torch.Tensor, source: Source = None, style: torch.Tensor | None = None) -> torch.Tensor:
        """Decode the content `x` (N, C, H, W) in a style (N, 8), drawn from `source` where none is given."""
        style = draw_styles(len(x), source, x) if style is None else style
        wanted = self.styling(style).view(len(x), -1, 2, 2, self.channels, 1, 1)  # (N, 4 B C) -> (N, B, 2, 2, C, 1, 1)
        for number, block in enumerate(self.blocks):
            x = block(x, wanted[:, number], source)
        for up in self.up:
            x = up(x, source)
        return torch.tanh(self.last(x))


def networks(settings: Settings, blocks: int) -> tuple[Encoder, StyledDecoder]:
    """One direction with that many residual blocks: content encoder and decoder."""
    s = settings
    return (
        Encoder(1, s.width, s.downsamplings, blocks // 2, noisy=False),
        StyledDecoder(s.width, s.downsamplings, blocks - blocks // 2),
    )


class MUNIT(Translator):
    """Content encoder, style encoder and decoder for each domain.

    Translating draws a style from N(0, 1); without a generator it is the middle one, 0. Weights: those of the authors'
    code; the cycle, which their paper leaves to the other terms, has the 10 of their summer2winter settings. Scales
    start at 1 instead of wherever the style network puts them. Perceptual term and discriminators: see UNIT.
    """

    REVISION: ClassVar = 1  # content and style, AdaIN
    WEIGHTS: ClassVar = {"gan": 1.0, "reconstruction": 10.0, "style": 1.0, "content": 1.0, "cycle": 10.0}

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        blocks = budget.residual_blocks(settings, lambda number: networks(settings, number))
        self.mri_content, self.to_us = networks(settings, blocks)
        self.us_content, self.to_mri = networks(settings, blocks)
        self.mri_style, self.us_style = StyleEncoder(settings.width), StyleEncoder(settings.width)

    def path(self, direction: str) -> tuple[nn.Module, ...]:
        """Content encoder of the source, decoder of the target."""
        if direction == "mri_to_us":
            return self.mri_content, self.to_us
        return self.us_content, self.to_mri

    def generator_step(
        self, mri: torch.Tensor, us: torch.Tensor, progress: Share, source: torch.Generator | None = None
    ) -> tuple[torch.Tensor, Terms, Cache]:
        """Adversarial term, reconstruction of images, styles and contents, and the cycle in the image's own style."""
        sizes = len(mri), len(us)
        noise = noise_of_fakes(sizes, source)
        with self.judged():
            content = torch.cat([self.mri_content(mri), self.us_content(us)])
            own_mri, own_us = self.mri_style(mri), self.us_style(us)
            new_us, new_mri = draw_styles(len(mri), source, own_mri), draw_styles(len(us), source, own_us)
            fake_us, us_same = self.to_us(content, noise[0], torch.cat([new_us, own_us])).split(sizes)
            mri_same, fake_mri = self.to_mri(content, noise[1], torch.cat([own_mri, new_mri])).split(sizes)
            of_mri, of_us = self.us_content(fake_us), self.mri_content(fake_mri)
            mri_again, us_again = self.to_mri(of_mri, None, own_mri), self.to_us(of_us, None, own_us)
            found = ((self.us_style(fake_us), new_us), (self.mri_style(fake_mri), new_mri))
            terms = {
                "gan": self.generator_adversarial(fake_us, fake_mri),
                "reconstruction": losses.identity(mri, mri_same, us, us_same),
                "style": sum(functional.l1_loss(*pair) for pair in found),
                "content": sum(
                    functional.l1_loss(*pair) for pair in zip((of_mri, of_us), content.split(sizes), strict=True)
                ),
                "cycle": losses.cycle(mri, mri_again, us, us_again),
            }
        return self.total(terms), terms, Cache(fake_us.detach(), fake_mri.detach())
