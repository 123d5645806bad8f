"""Gradient-guided sparse attention (Methods, "Gradient-Guided Sparse Attention with Simulated Gradient Learning").

A simulator guesses, from the tokens alone, the gradient of the loss with respect to each attention score. Each query
then attends only to the k keys whose gradients matter most.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ecsupport.core.errors import UserError
from ecsupport.core.training import torch_generator
from ecsupport.screening.mobilevit import (
    HEADS,
    POSITIONS,
    Attention,
    from_grid,
    merge_heads,
    separable,
    split_heads,
    to_grid,
)

TEMPERATURE = 0.5
ALPHA = 0.7
FUSIONS = ("abs_mix", "code")
CHUNK = 3_000_000  # numbers that are held at a time; of more, some are made again on the way back
TINY = 1e-30  # gradients are about 1e-7, far below the usual safeguards against division by zero


class Simulator(nn.Module):
    """Equation 12 up to its features F: the tokens after a separable convolution, by head and pixel position."""

    tokens = staticmethod(from_grid)

    def __init__(self, dim: int, shared: bool = False) -> None:
        """`shared`: features of which the self-correlation is the mean over all heads and pixel positions."""
        super().__init__()
        self.layers, self.shared = separable(dim), shared

    def forward(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        """(B, P, N, C) tokens on a grid of `rows` rows -> (B, P, h, N, d), or (B, 1, 1, N, P C) where shared."""
        features = self.tokens(self.layers(to_grid(x, rows)))  # (B, P, N, C)
        if self.shared:
            joined = features.transpose(1, 2).flatten(2)  # (B, P, N, C) -> (B, N, P, C) -> (B, N, P C)
            return joined[:, None, None] * (POSITIONS * HEADS) ** -0.5  # -> (B, 1, 1, N, P C)
        return split_heads(features)  # -> (B, P, h, N, d)


def correlate(features: torch.Tensor) -> torch.Tensor:
    """F F^T: (..., N, d) -> (..., N, N)."""
    return features @ features.transpose(-1, -2)


def simulate(features: torch.Tensor) -> torch.Tensor:
    """Equation 12, SELU(F F^T): (..., N, d) -> (..., N, N), symmetric; the gradient that it imitates is not."""
    return functional.selu(correlate(features), inplace=True)


def standardise(gradients: torch.Tensor) -> torch.Tensor:
    """Each row (last axis) with mean 0 and standard deviation 1, whatever its scale; a constant row becomes 0."""
    centred = gradients - gradients.mean(-1, keepdim=True)
    centred = centred / centred.abs().amax(-1, keepdim=True).clamp_min(TINY)
    return centred / centred.square().mean(-1, keepdim=True).sqrt().clamp_min(TINY)


def importance(gradients: torch.Tensor, fusion: str = "abs_mix") -> torch.Tensor:
    """Equations 13 and 14: weight of each key for each query, from row-standardised gradients (B, P, h, N, N).

    `abs_mix`, alpha P+ + (1 - alpha) P-, prefers gradients that are large in either direction, as the text demands.
    `code`, alpha P+ + (1 - alpha)(1 - P-), is what the authors ran; it rises with the gradient, so that its top k are
    those of the gradient itself. ValueError for another fusion.
    """
    if fusion not in FUSIONS:
        raise ValueError(f"fusion {fusion!r} is unknown, expected one of {', '.join(FUSIONS)}")
    scaled = standardise(gradients) / TEMPERATURE
    positive, negative = scaled.softmax(-1), (-scaled).softmax(-1)
    return ALPHA * positive + (1 - ALPHA) * (negative if fusion == "abs_mix" else 1 - negative)


def mix(guidance: torch.Tensor | None, features: torch.Tensor, share: float) -> torch.Tensor:
    """What the keys are chosen by: `share` of the teacher's gradient, the rest simulated, both row-standardised.

    What has no share is not made: the teacher's gradient, or the one that the `features` simulate.
    """
    if guidance is None or share == 0:
        return simulate(features)
    own = 0 if share == 1 else (1 - share) * standardise(simulate(features))
    return share * standardise(guidance) + own


def number_of_keys(tokens: int, share: float) -> int:
    """k = max(1, round(share * N)); UserError for a share that is not above 0 or asks for more keys than tokens."""
    if not 0 < share <= 1:
        raise UserError(
            f"key_share = {share} asks for {round(share * tokens)} of N = {tokens} keys. Choose a share above 0 and up "
            "to 1 (dense attention)"
        )
    return max(1, round(share * tokens))


def top_keys(weight: torch.Tensor, k: int) -> torch.Tensor:
    """The k keys of largest weight for each query: (..., N) -> (..., k) int64, in any order. ValueError for k > N.

    On a CPU by NumPy, in a third of the time that torch takes.
    """
    if k > weight.shape[-1]:
        raise ValueError(f"k = {k} keys of N = {weight.shape[-1]} tokens, expected k <= N")
    if weight.device.type == "cpu":
        rows = weight.detach().reshape(-1, weight.shape[-1]).numpy()  # (..., N) -> (R, N)
        lowest = np.partition(rows, -k, axis=-1)[:, -k, None]  # (R, 1), the k-th largest
        places = np.flatnonzero(rows >= lowest)
        if len(places) == len(rows) * k:  # no equal values at the border
            return torch.from_numpy(places % rows.shape[1]).reshape(*weight.shape[:-1], k)  # (R k) -> (..., k)
    return weight.topk(k, dim=-1, sorted=False).indices


def pieces(features: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Features (B, P, h, N, d) in parts, of so many images that their maps of N x N together take little memory."""
    return features.split(max(1, CHUNK // (features[0, ..., 0].numel() * features.shape[-2])))


@torch.no_grad()
def choose(features: torch.Tensor, k: int, fusion: str, guidance: torch.Tensor | None, share: float) -> torch.Tensor:
    """Equations 13 and 14: the k keys of each query, (B, P, h, N, k) int64; the choice itself has no derivative.

    features: (B, P, h, N, d), or (B, 1, 1, N, .) for keys shared by all; guidance: (B, P, h, N, N), a teacher's
    gradient that weighs `share` against the simulated one.
    """
    guidance = None if share == 0 else guidance
    if guidance is not None and features.shape[1:3] == (1, 1):
        guidance = guidance.mean((1, 2), keepdim=True)  # (B, P, h, N, N) -> (B, 1, 1, N, N)
    found, begin = [], 0
    for part in pieces(features):
        if guidance is None and fusion == "code":  # rises with the gradient, as SELU does: neither changes the order
            weight = correlate(part)
        else:
            given = None if guidance is None else guidance[begin : begin + len(part)]
            weight = importance(mix(given, part, share), fusion)
        found.append(top_keys(weight, k))
        begin += len(part)
    return torch.cat(found)


def random_map(positions: int, heads: int, tokens: int, block: int, drawn: int) -> torch.Tensor:
    """A map that knows nothing, one for all images: (1, P, h, N, N) normal numbers, fixed by block and `drawn`."""
    generator = torch_generator("screening", "random keys", drawn, block, tokens)
    return torch.randn(positions, heads, tokens, tokens, generator=generator)[None]


def gather_keys(x: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Rows of x (B, P, h, N, d) at `keys` (B, P, h, N, k) -> (B, P, h, N, k, d); never N x N x d."""
    tokens = x.shape[-2]
    start = torch.arange(x.shape[:-2].numel(), device=x.device) * tokens  # first row of each batch, position and head
    rows = keys.flatten(0, 2).flatten(1) + start[:, None]  # (B, P, h, N, k) -> (B P h, N k)
    found = x.flatten(0, 3).index_select(0, rows.flatten())  # (B P h N, d) -> (B P h N k, d)
    return found.reshape(*keys.shape, x.shape[-1])  # -> (B, P, h, N, k, d)


class SparseAttention(Attention):
    """Attention in which each query sees its chosen keys only."""

    def forward(self, x: torch.Tensor, keys: torch.Tensor | None = None) -> torch.Tensor:
        """(B, P, N, C) -> (B, P, N, C); keys: (B, P, h, N, k) int64, None for dense attention."""
        if keys is None:
            return super().forward(x)
        q, k, v = (split_heads(part) for part in self.queries_keys_values(x).chunk(3, dim=-1))
        return self.out(merge_heads(self.attend_to(q, k, v, keys)))

    @staticmethod
    def attend_to(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Equation 15: softmax over the chosen keys of q k^T / sqrt(d), all others weigh 0.

        q, k, v: (B, P, h, N, d); keys: (B, P, h, N, k) int64, or (B, 1, 1, N, k) for all heads and positions alike.
        Returns (B, P, h, N, d). Where much was gathered, it is gathered once more on the way back.
        """
        attend, chosen = (attend_to_shared, keys[:, 0, 0]) if keys.shape[1:3] == (1, 1) else (attend_to_each, keys)
        if torch.is_grad_enabled() and q.numel() * keys.shape[-1] > CHUNK:
            return checkpoint(attend, q, k, v, chosen, use_reentrant=False, preserve_rng_state=False)
        return attend(q, k, v, chosen)


def attend_to_each(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Equation 15 where each head and position sees its own keys (B, P, h, N, k); shapes as above."""
    scores = (gather_keys(k, keys) * q.unsqueeze(-2)).sum(-1) * q.shape[-1] ** -0.5  # (B, P, h, N, k)
    return (scores.softmax(-1).unsqueeze(-1) * gather_keys(v, keys)).sum(-2)  # -> (B, P, h, N, d)


def attend_to_shared(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Equation 15 where all heads and positions see the same keys (B, N, k): whole tokens are gathered, row by row.

    q, k, v: (B, P, h, N, d). Returns (B, P, h, N, d).
    """
    positions, heads, tokens = q.shape[1:4]
    start = torch.arange(len(q), device=q.device)[:, None] * tokens  # first row of each image
    rows = (keys.flatten(1) + start).flatten()  # (B, N, k) -> (B, N k) -> (B N k)

    def gathered(x: torch.Tensor) -> torch.Tensor:
        table = x.permute(0, 3, 1, 2, 4).flatten(2).flatten(0, 1)  # (B, P, h, N, d) -> (B, N, P h d) -> (B N, P h d)
        found = table.index_select(0, rows)  # (B N k, P h d)
        return found.reshape(*keys.shape, positions, heads, -1)  # -> (B, N, k, P, h, d)

    scores = (gathered(k) * q.permute(0, 3, 1, 2, 4).unsqueeze(2)).sum(-1) * q.shape[-1] ** -0.5  # (B, N, k, P, h)
    values = (scores.softmax(2).unsqueeze(-1) * gathered(v)).sum(2)  # -> (B, N, P, h, d)
    return values.permute(0, 2, 3, 1, 4)  # -> (B, P, h, N, d)
