"""LSNet's parts as the released code computes them, beside the described ones and from the same layers.

Written from what the released networks put out, which `tests/test_parity.py` holds them to. Four mistakes of layout:

1. Keys and values are repeated along the wrong axis: a query finds k copies of its own token wherever it looks, so that
   the result is the token's own value. No choice of keys changes it, not even that of all keys.
2. Pixel position and head are exchanged in that result, which only runs because both are 4. It passes a GELU, and the
   output projection then sees, at each position, one head of all four: a change of one pixel reaches its whole patch.
3. The simulator cuts its tokens into heads and reads the memory of these as images with channels last, which mixes
   tokens that are far apart; position and head are exchanged in what it puts out. Its loss reaches the tokens.
4. The feed-forward layer reads what it has convolved as tokens though channels come first.

The released code stops with an error below 320 px, where a share of 1/25 of the last block's tokens rounds down to no
key; here at least one is kept, so that small images can be tried.
"""

import torch
from torch.nn import functional

from ecsupport.backbone.mobilevit import (
    HEADS,
    POSITIONS,
    ConvolutionalFeedForward,
    from_grid,
    merge_heads,
    split_heads,
)
from ecsupport.screening.sparse_attention import Simulator, SparseAttention

REVISION = 1  # as the released networks compute, to 1e-5


class ReleasedSimulator(Simulator):
    """Equation 12 on misread tokens, its heads where positions are expected."""

    def forward(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        """(B, P, N, C) tokens on a grid of `rows` rows -> (B, h, P, N, d)."""
        heads = split_heads(x)  # (B, P, N, C) -> (B, P, h, N, d)
        misread = heads.reshape(-1, rows, x.shape[2] // rows, HEADS * heads.shape[-1])  # -> (B P, rows, columns, C)
        return split_heads(from_grid(self.layers(misread.permute(0, 3, 1, 2)))).transpose(1, 2)  # -> (B, h, P, N, d)


class ReleasedFeedForward(ConvolutionalFeedForward):
    """The separable convolution, its result misread."""

    @staticmethod
    def tokens(grid: torch.Tensor) -> torch.Tensor:
        """(B * P, C, rows, columns) -> (B, P, N, C), as memory lies: token n holds numbers of many places."""
        channels, tokens = grid.shape[1], grid.shape[2] * grid.shape[3]
        return grid.reshape(-1, POSITIONS, tokens, channels)  # without a permute


class ReleasedAttention(SparseAttention):
    """Each query gathers its keys from N copies of its own token, N x N x d numbers each for keys and for values."""

    def forward(self, x: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """(B, P, N, C) -> (B, P, N, C); kept: keys as in `attend_to`; None, for all keys, comes to the same."""
        q, k, v = (split_heads(part) for part in self.queries_keys_values(x).chunk(3, dim=-1))
        own = v if kept is None else self.attend_to(q, k, v, kept)
        return self.out(functional.gelu(merge_heads(own.transpose(1, 2))))  # (B, P, h, N, d) -> (B, h, P, N, d)

    @staticmethod
    def attend_to(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """q, k, v: (B, P, h, N, d); kept: (B, P, h, N, m) int64. Returns (B, P, h, N, d), which is v.

        All m scores of a query are equal, so that no gradient reaches q or k.
        """
        tokens, width = q.shape[-2:]
        places = kept.unsqueeze(-1).expand(*kept.shape, width)  # (B, P, h, N, m) -> (B, P, h, N, m, d)
        own_keys, own_values = (
            x.unsqueeze(-2).repeat(1, 1, 1, 1, tokens, 1).gather(-2, places)  # -> (B, P, h, N, N, d) -> (.., m, d)
            for x in (k, v)
        )
        scores = (own_keys * q.unsqueeze(-2)).sum(-1) * width**-0.5  # (B, P, h, N, m)
        return (scores.softmax(-1).unsqueeze(-1) * own_values).sum(-2)  # -> (B, P, h, N, d)
