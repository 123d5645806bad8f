"""MobileViT, the backbone of teacher and student (Methods, "Architecture: Student and Teacher Backbones").

A MobileViT block looks locally with convolutions, cuts the map into patches of 2 x 2 pixels, lets the pixels at the
same place of their patches attend to each other, and puts the map together again. There are thus P = 4 pixel
positions, each with N tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from ecsupport.core.errors import UserError

REVISION = 1  # backbone and first weights: ReLU6 in MobileViT's blocks
HEADS = 4
PATCH = 2
POSITIONS = PATCH * PATCH
DEPTHS = (2, 4, 3)


@dataclass(frozen=True)
class Configuration:
    """Sizes of a network, as released; `inner` is the width of queries, keys and values over all heads per token width.

    channels: stem, stage at stride 1, three stages before a MobileViT block each preceded by one without, head.
    A `feed_forward` of None is convolutional: depthwise and pointwise over the grid of tokens. `activation` is that of
    the convolutions of a MobileViT block, of which the text says nothing: ReLU6 in the released networks.
    """

    channels: tuple[int, int, int, int, int, int, int]
    dims: tuple[int, int, int]
    expansion: int
    inner: float
    feed_forward: tuple[int, int, int] | None
    activation: type[nn.Module] = nn.ReLU6

    def scaled(self, width: float) -> "Configuration":
        """The same network with all widths multiplied and rounded to multiples of 8, never below 8."""
        sizes = [[max(8, 8 * round(width * n / 8)) for n in group] for group in (self.channels, self.dims)]
        return replace(self, channels=tuple(sizes[0]), dims=tuple(sizes[1]))


TEACHER = Configuration((16, 32, 64, 128, 160, 192, 384), (128, 160, 192), 4, 2.0, (2, 4, 4))
STUDENT = Configuration((16, 16, 24, 32, 48, 64, 128), (40, 48, 56), 2, 1.0, None)


def unfold(features: torch.Tensor) -> torch.Tensor:
    """Map to tokens: (B, C, H, W) -> (B, P, N, C); token n is patch n row by row, p the pixel's place within it."""
    batch, channels, height, width = features.shape
    x = features.permute(0, 2, 3, 1)  # (B, C, H, W) -> (B, H, W, C)
    x = x.reshape(batch, height // PATCH, PATCH, width // PATCH, PATCH, channels)  # -> (B, H/2, 2, W/2, 2, C)
    x = x.permute(0, 2, 4, 1, 3, 5)  # -> (B, 2, 2, H/2, W/2, C)
    return x.reshape(batch, POSITIONS, -1, channels)  # -> (B, P, N, C)


def fold(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The inverse of `unfold`: (B, P, N, C) -> (B, C, height, width)."""
    batch, _, _, channels = tokens.shape
    x = tokens.reshape(batch, PATCH, PATCH, height // PATCH, width // PATCH, channels)  # -> (B, 2, 2, H/2, W/2, C)
    x = x.permute(0, 3, 1, 4, 2, 5)  # -> (B, H/2, 2, W/2, 2, C)
    return x.reshape(batch, height, width, channels).permute(0, 3, 1, 2)  # -> (B, H, W, C) -> (B, C, H, W)


def to_grid(tokens: torch.Tensor, rows: int) -> torch.Tensor:
    """Tokens of each pixel position as a small image: (B, P, N, C) -> (B * P, C, rows, N / rows)."""
    x = tokens.reshape(-1, rows, tokens.shape[2] // rows, tokens.shape[3])  # (B, P, N, C) -> (B P, rows, columns, C)
    return x.permute(0, 3, 1, 2)  # -> (B P, C, rows, columns)


def from_grid(grid: torch.Tensor) -> torch.Tensor:
    """The inverse of `to_grid`: (B * P, C, rows, columns) -> (B, P, N, C)."""
    x = grid.permute(0, 2, 3, 1)  # -> (B P, rows, columns, C)
    return x.reshape(-1, POSITIONS, grid.shape[2] * grid.shape[3], grid.shape[1])  # -> (B, P, N, C)


def split_heads(tokens: torch.Tensor) -> torch.Tensor:
    """(B, P, N, h d) -> (B, P, h, N, d)."""
    return tokens.unflatten(-1, (HEADS, -1)).transpose(2, 3)  # (B, P, N, h d) -> (B, P, N, h, d) -> (B, P, h, N, d)


def merge_heads(values: torch.Tensor) -> torch.Tensor:
    """(B, P, h, N, d) -> (B, P, N, h d)."""
    return values.transpose(2, 3).flatten(3)  # (B, P, h, N, d) -> (B, P, N, h, d) -> (B, P, N, h d)


def tokens(size: int, stem_stride: int) -> tuple[int, int, int]:
    """Number of tokens N in the three MobileViT blocks, for images of `size` x `size` pixels.

    UserError where a map could not be cut into patches: `size` must be a multiple of 32 times the stem's stride.
    """
    multiple = 32 * stem_stride
    if size < multiple or size % multiple:
        below, above = size // multiple * multiple, (size // multiple + 1) * multiple
        nearest = " or ".join(str(n) for n in (below, above) if n)
        raise UserError(
            f"images of {size} x {size} pixels cannot be cut into patches at a stem stride of {stem_stride}: the side "
            f"must be a multiple of {multiple}. Resize them to {nearest}"
        )
    return tuple((size // (8 * stem_stride * 2**block)) ** 2 for block in range(3))  # type: ignore[return-value]


def convolution(
    before: int, after: int, kernel: int, stride: int = 1, activation: type[nn.Module] = nn.SiLU
) -> nn.Sequential:
    """Convolution without bias, batch norm, activation."""
    layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), activation())


def separable(width: int) -> nn.Sequential:
    """Depthwise 3 x 3 convolution, pointwise convolution, batch norm: of student's feed-forward and simulator."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)
    )


class InvertedResidual(nn.Module):
    """MobileNet-V2's block: widen, filter each channel, narrow; with a bypass where the shape stays."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = before * expansion
        self.layers = nn.Sequential(
            *convolution(before, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.SiLU(),
            nn.Conv2d(hidden, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.bypass = stride == 1 and before == after

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, before, H, W) -> (B, after, H / stride, W / stride)."""
        return features + self.layers(features) if self.bypass else self.layers(features)


class Attention(nn.Module):
    """Dense multi-head attention among the tokens of one pixel position."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.queries_keys_values = nn.Linear(dim, 3 * inner, bias=False)
        self.out = nn.Linear(inner, dim)

    def forward(self, x: torch.Tensor, scores: list[torch.Tensor] | None = None) -> torch.Tensor:
        """(B, P, N, C) -> (B, P, N, C). A list `scores` receives Q K^T / sqrt(d), (B, P, h, N, N), before softmax."""
        q, k, v = (split_heads(part) for part in self.queries_keys_values(x).chunk(3, dim=-1))
        return self.out(merge_heads(self.attend(q, k, v, scores)))

    @staticmethod
    def attend(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scores: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Softmax-weighted values; all (B, P, h, N, d)."""
        if scores is None:
            flat = (x.flatten(0, 1) for x in (q, k, v))  # (B, P, h, N, d) -> (B P, h, N, d)
            return functional.scaled_dot_product_attention(*flat).unflatten(0, q.shape[:2])  # -> (B, P, h, N, d)
        scores.append(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5)
        return scores[-1].softmax(-1) @ v


class ConvolutionalFeedForward(nn.Module):
    """The student's feed-forward layer: a separable convolution over the grid of tokens of each pixel position."""

    tokens = staticmethod(from_grid)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = separable(dim)

    def forward(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        """(B, P, N, C) -> (B, P, N, C)."""
        return self.tokens(self.layers(to_grid(x, rows)))


class LinearFeedForward(nn.Sequential):
    """The teacher's feed-forward layer: two linear layers with `factor` times the width between them."""

    def __init__(self, dim: int, factor: int) -> None:
        super().__init__(nn.Linear(dim, factor * dim), nn.SiLU(), nn.Linear(factor * dim, dim))

    def forward(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        """(B, P, N, C) -> (B, P, N, C)."""
        return super().forward(x)


class Layer(nn.Module):
    """One transformer layer: attention and feed-forward, each normalised before and added to its input."""

    def __init__(self, dim: int, inner: int, feed_forward: int | None, attention: type[nn.Module]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.attention = attention(dim, inner)
        self.feed_forward = (
            ConvolutionalFeedForward(dim) if feed_forward is None else LinearFeedForward(dim, feed_forward)
        )

    def forward(self, x: torch.Tensor, rows: int, *context: object) -> torch.Tensor:
        """(B, P, N, C) -> (B, P, N, C); `context` goes to the attention."""
        x = x + self.attention(self.norms[0](x), *context)
        return x + self.feed_forward(self.norms[1](x), rows)


class Block(nn.Module):
    """The MobileViT block around a transformer."""

    def __init__(
        self,
        channels: int,
        dim: int,
        inner: int,
        depth: int,
        feed_forward: int | None,
        attention: type[nn.Module] = Attention,
        activation: type[nn.Module] = nn.ReLU6,
    ) -> None:
        super().__init__()
        before = convolution(channels, channels, 3, 1, activation), convolution(channels, dim, 1, 1, activation)
        self.before = nn.Sequential(*before)
        self.layers = nn.ModuleList(Layer(dim, inner, feed_forward, attention) for _ in range(depth))
        self.after = convolution(dim, channels, 1, 1, activation)
        self.fuse = convolution(2 * channels, channels, 3, 1, activation)

    def forward(self, features: torch.Tensor, *context: object) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        height, width = features.shape[2:]
        x = self.transform(unfold(self.before(features)), height // PATCH, *context)
        return self.fuse(torch.cat([features, self.after(fold(x, height, width))], dim=1))

    def transform(
        self, x: torch.Tensor, rows: int, scores: list[torch.Tensor] | None = None, *_: object
    ) -> torch.Tensor:
        """(B, P, N, C) -> (B, P, N, C); a list `scores` receives those of the first layer."""
        for number, layer in enumerate(self.layers):
            x = layer(x, rows, scores if number == 0 else None)
        return x


class MobileViT(nn.Module):
    """Stem, three stages of inverted residuals each with a MobileViT block behind it, and a two-way classifier."""

    def __init__(self, configuration: Configuration, stem_stride: int, blocks: Sequence[nn.Module] = ()) -> None:
        """`blocks`: the three MobileViT blocks, where they are not the dense ones of the configuration."""
        super().__init__()
        c, expansion = configuration.channels, configuration.expansion
        self.stem_stride = stem_stride
        self.stem = convolution(1, c[0], 3, stem_stride, nn.ReLU6)
        first = [(c[0], c[1], 1), (c[1], c[2], 2), (c[2], c[2], 1), (c[2], c[2], 1), (c[2], c[3], 2)]
        stages = [first, [(c[3], c[4], 2)], [(c[4], c[5], 2)]]
        self.stages = nn.ModuleList(
            nn.Sequential(*(InvertedResidual(*sizes, expansion) for sizes in stage)) for stage in stages
        )
        self.blocks = nn.ModuleList(
            blocks or (Block(*sizes, activation=configuration.activation) for sizes in block_sizes(configuration))
        )
        self.head = convolution(c[5], c[6], 1, activation=nn.ReLU6)
        self.classifier = nn.Linear(c[6], 2, bias=False)

    def forward(self, images: torch.Tensor, scores: list[torch.Tensor] | None = None) -> torch.Tensor:
        """Logits (B, 2), class 1 is the positive one, of images (B, 1, S, S) float32 in [-1, 1].

        A list `scores` receives the attention scores before softmax of each block's first layer, (B, P, h, N, N).
        UserError for a size that cannot be cut into patches.
        """
        x = self.stem(self.demand_size(images))
        for stage, block in zip(self.stages, self.blocks, strict=True):
            x = block(stage(x), scores)
        return self.classify(x)

    def demand_size(self, images: torch.Tensor) -> torch.Tensor:
        """The images as they are; UserError for a size that cannot be cut into patches, or other than square."""
        height, width = images.shape[2:]
        if height != width:
            raise UserError(f"images of {height} x {width} pixels are not square. Crop, pad or resize them")
        tokens(height, self.stem_stride)
        return images

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, 2)."""
        return self.classifier(self.head(features).mean(dim=(2, 3)))


def block_sizes(configuration: Configuration) -> Iterator[tuple[int, int, int, int, int | None]]:
    """Channels, token width, inner width, depth and feed-forward factor of the three MobileViT blocks."""
    feed_forward = configuration.feed_forward or (None, None, None)
    for channels, dim, depth, factor in zip(
        configuration.channels[3:6], configuration.dims, DEPTHS, feed_forward, strict=True
    ):
        yield channels, dim, int(configuration.inner * dim), depth, factor


def initialise(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw every weight anew: convolutions after He, linear layers after Glorot; biases 0, norms 1 and 0.

    Simulators come last: a network with and one without start from the same weights in all that both have.
    """
    for _, module in sorted(network.named_modules(), key=lambda item: "simulator" in item[0]):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return network
