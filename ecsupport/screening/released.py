"""LSNet's attention as the released code computes it, beside the described one and from the same parts.

Two mistakes of layout change what it computes. Keys and values are repeated along the wrong axis, so that a query finds
k copies of its own token wherever it looks: whatever is chosen, the result is the token's own value. And what simulator
and feed-forward layer have convolved is read as tokens though channels come first, which mixes tokens that are far
apart. Two of its axes, patch position and head, are exchanged too; since the choice has no effect, neither has that.
"""

import torch

from ecsupport.screening.mobilevit import POSITIONS, ConvolutionalFeedForward
from ecsupport.screening.sparse_attention import Simulator, SparseAttention


def misread(grid: torch.Tensor) -> torch.Tensor:
    """(B * P, C, rows, columns) -> (B, P, N, C), as memory lies: token n holds numbers of many places and channels."""
    channels, tokens = grid.shape[1], grid.shape[2] * grid.shape[3]
    return grid.reshape(-1, POSITIONS, tokens, channels)  # (B P, C, rows, columns) -> (B, P, N, C), without a permute


class ReleasedSimulator(Simulator):
    """Equation 12 on tokens that are misread."""

    tokens = staticmethod(misread)


class ReleasedFeedForward(ConvolutionalFeedForward):
    """The separable convolution, its result misread."""

    tokens = staticmethod(misread)


class ReleasedAttention(SparseAttention):
    """Each query gathers its keys from N copies of its own token, N x N x d numbers each for keys and for values."""

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
