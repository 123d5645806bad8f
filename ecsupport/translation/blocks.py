"""Building blocks of every translator, small and exact in size: the layers of the paper's generators (SG-CycleGAN).

Images are (N, 1, H, W) float32 in [-1, 1], H and W multiples of 2**downsamplings. Where randomness enters a forward
pass it comes from a `Source`: one generator for the batch, one generator an image, or None for no noise at all.
"""

from collections.abc import Sequence
from itertools import groupby, pairwise

import torch
from torch import nn
from torch.nn import functional

from ecsupport.translation.released import DynamicRegionConvolution

Source = torch.Generator | Sequence[torch.Generator | None] | None
REVISION = 2  # networks and terms that all translators share; since 2 noise of whole images, bare discriminators
NOISE_SCALE = 0.3  # spread of the noise scales at the start, in units of a normalised feature
SLOPE = 0.2  # of the leaky rectifiers


def noise_maps(like: torch.Tensor, source: torch.Generator | Sequence[torch.Generator | None]) -> torch.Tensor:
    """White noise for images (N, C, H, W): (N, 1, H, W), standard normal, zero where an image has no generator."""
    count, _, *size = like.shape
    if isinstance(source, torch.Generator):
        return torch.randn((count, 1, *size), generator=source, device=source.device).to(like.device)
    if len(source) != count:
        raise ValueError(f"{len(source)} generators for {count} images")
    maps = []
    for _, neighbours in groupby(source, id):  # images that follow one another with one generator, in one call
        generator, *others = neighbours
        shape = (1 + len(others), 1, *size)
        if generator is None:
            maps.append(torch.zeros(shape, device=like.device))
        else:
            maps.append(torch.randn(shape, generator=generator, device=generator.device).to(like.device))
    return torch.cat(maps)


def normalise(x: torch.Tensor) -> torch.Tensor:
    """Instance normalisation without learned scale and shift: each channel of each image to mean 0, variance 1.

    (N, C, H, W) to the same shape.
    """
    return functional.group_norm(x, x.shape[1])  # one channel a group: the same arithmetic, a faster kernel


class Convolution(nn.Module):
    """3 x 3 convolution over repeated borders: (N, C, H, W) to (N, C', H, W)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve."""
        return self.conv(functional.pad(x, (1, 1, 1, 1), mode="replicate"))  # reflecting has no exact GPU gradient


class Noise(nn.Module):
    """White noise of pixels and of whole images, added to every channel with the scales that this channel has learnt.

    A deterministic generator can make neither speckle nor an examiner's gain, which are random by nature; and behind a
    normalisation every image would be equally bright.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels))
        self.level = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor, source: Source) -> torch.Tensor:
        """(N, C, H, W) to the same shape; unchanged without a source."""
        if source is None:
            return x
        x = torch.addcmul(x, self.scale.view(-1, 1, 1), noise_maps(x, source))  # (C) -> (C, 1, 1)
        return torch.addcmul(x, self.level.view(-1, 1, 1), noise_maps(x[..., :1, :1], source))  # one number an image


class Residual(nn.Module):
    """Residual block of two convolutions, with noise between them: (N, C, H, W) to the same shape."""

    def __init__(self, channels: int, noisy: bool) -> None:
        super().__init__()
        self.first = Convolution(channels, channels)
        self.noise = Noise(channels) if noisy else None
        self.second = Convolution(channels, channels)

    def forward(self, x: torch.Tensor, source: Source) -> torch.Tensor:
        """Add to `x` what the two convolutions make of it."""
        inner = normalise(self.first(x))
        if self.noise is not None:
            inner = self.noise(inner, source)
        return normalise(self.second(inner.relu_())).add_(x)


class Up(nn.Module):
    """Twice the side: transposed 4 x 4 convolution, which covers every pixel equally often, then noise and ReLU."""

    def __init__(self, inputs: int, outputs: int, noisy: bool) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
        self.noise = Noise(outputs) if noisy else None

    def forward(self, x: torch.Tensor, source: Source) -> torch.Tensor:
        """(N, C, H, W) to (N, C', 2H, 2W)."""
        x = normalise(self.conv(x))
        return (x if self.noise is None else self.noise(x, source)).relu_()


class Encoder(nn.Module):
    """Image to inner map: a convolution, halvings, residual blocks.

    (N, inputs, H, W) to (N, width * 2**downsamplings, H / 2**downsamplings, W / 2**downsamplings). With `regions`, a
    dynamic region-aware convolution stands before the residual blocks, as in the released code.
    """

    def __init__(
        self, inputs: int, width: int, downsamplings: int, residual_blocks: int, noisy: bool, regions: bool = False
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(downsamplings + 1)]
        self.first = Convolution(inputs, width)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1, bias=False) for a, b in pairwise(widths))
        self.regions = DynamicRegionConvolution(widths[-1]) if regions else None
        self.blocks = nn.ModuleList(Residual(widths[-1], noisy) for _ in range(residual_blocks))

    def forward(self, x: torch.Tensor, source: Source = None, taps: list[torch.Tensor] | None = None) -> torch.Tensor:
        """Encode `x`. A list `taps` receives four maps: first layer, last halving, first and middle residual block."""
        maps = []
        for conv in (self.first, *self.down):
            x = normalise(conv(x)).relu_()  # in place: at these sizes new memory costs more than arithmetic
            maps.append(x)
        if self.regions is not None:
            x = self.regions(x)
        for block in self.blocks:
            x = block(x, source)
            maps.append(x)
        if taps is not None:
            lowest = len(self.down)
            taps += [maps[0], maps[lowest], maps[lowest + 1], maps[lowest + (len(self.blocks) + 1) // 2]]
        return x


class Decoder(nn.Module):
    """Inner map to image: residual blocks, doublings, a convolution and Tanh; the way back of `Encoder`.

    To (N, outputs, H, W) in [-1, 1]. With `noisy`, noise enters every residual block and every doubling.
    """

    def __init__(self, outputs: int, width: int, downsamplings: int, residual_blocks: int, noisy: bool) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(downsamplings + 1)]
        self.blocks = nn.ModuleList(Residual(widths[-1], noisy) for _ in range(residual_blocks))
        self.up = nn.ModuleList(Up(b, a, noisy) for a, b in reversed(list(pairwise(widths))))
        self.last = Convolution(width, outputs, bias=True)

    def forward(self, x: torch.Tensor, source: Source = None) -> torch.Tensor:
        """Decode `x`, with noise from `source`."""
        for block in (*self.blocks, *self.up):
            x = block(x, source)
        return torch.tanh(self.last(x))


class Hourglass(nn.Module):
    """Image to image: `Encoder` with all residual blocks, then `Decoder` without.

    (N, inputs, H, W) to (N, outputs, H, W) in [-1, 1]; `noisy` and `regions` as there.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        downsamplings: int,
        residual_blocks: int,
        noisy: bool,
        regions: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(inputs, width, downsamplings, residual_blocks, noisy, regions)
        self.decoder = Decoder(outputs, width, downsamplings, 0, noisy)

    def forward(self, x: torch.Tensor, source: Source = None) -> torch.Tensor:
        """Map `x`, with noise from `source`."""
        return self.decoder(self.encoder(x, source), source)


class Patches(nn.Module):
    """Discriminator of patches: 4 x 4 convolutions with stride 2 `halvings` times, two more without; one logit a patch.

    (N, inputs, H, W) to (N, 1, H', W'); every convolution but the last has twice the channels of the one before. With 3
    halvings (from 64 pixels on) a logit sees 70 x 70 pixels, with 2 (below) 34 x 34. Of width 64 and with 3 halvings
    it is the PatchGAN of CycleGAN's source. Without `normalised` it sees how bright an image is and how strong its
    contrasts, which instance normalisation takes away.
    """

    def __init__(self, inputs: int, width: int, halvings: int, normalised: bool = True) -> None:
        super().__init__()
        self.normalised = normalised
        widths = [inputs, *(width * 2**level for level in range(halvings + 1))]
        strides = [2] * halvings + [1]
        self.trunk = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride, padding=1, bias=level == 0)
            for level, ((a, b), stride) in enumerate(zip(pairwise(widths), strides, strict=True))
        )
        self.last = nn.Conv2d(widths[-1], 1, 4, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the patches."""
        for level, conv in enumerate(self.trunk):
            x = conv(x)
            x = functional.leaky_relu_(normalise(x) if level and self.normalised else x, SLOPE)
        return self.last(x)


def halvings(image_size: int) -> int:
    """How often a discriminator of images of this side halves them: 3 times from 64 pixels on, else twice."""
    return 3 if image_size >= 64 else 2


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of convolutions N(0, 0.02), as the paper's code does, of linear layers N(0, 2 / inputs) (He).

    Noise scales are N(0, 0.3), biases zero. Of patches without normalisation, which alone would keep the signal's size,
    convolutions are drawn as He's for leaky rectifiers. ValueError for a layer that has weights of another kind: it
    would keep what torch's global generator drew.
    """
    bare = [patches for patches in module.modules() if isinstance(patches, Patches) and not patches.normalised]
    he = {conv for patches in bare for conv in (*patches.trunk, patches.last)}
    for layer in module.modules():
        own = dict(layer.named_parameters(recurse=False))
        with torch.no_grad():
            for name, parameter in own.items():
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                    he_spread = (2 / (1 + SLOPE**2) / layer.weight[0].numel()) ** 0.5
                    spread = (he_spread if layer in he else 0.02) if name == "weight" else 0.0
                elif isinstance(layer, nn.Linear):
                    spread = (2 / layer.in_features) ** 0.5 if name == "weight" else 0.0
                elif isinstance(layer, Noise):
                    spread = NOISE_SCALE
                else:
                    raise ValueError(f"no start is known for {name} of {type(layer).__name__}")
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)


def parameters(*modules: nn.Module) -> int:
    """Number of parameters of the modules, each counted once."""
    return sum(p.numel() for p in {p for module in modules for p in module.parameters()})
