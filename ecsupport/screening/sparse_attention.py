"""Gradient-guided sparse attention (Methods, "Gradient-Guided Sparse Attention with Simulated Gradient Learning").

A simulator guesses, from the tokens alone, the gradient of the loss with respect to each attention score. Each query
then attends only to the k keys whose gradients matter most.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ecsupport.backbone.mobilevit import (
    HEADS,
    POSITIONS,
    Attention,
    from_grid,
    merge_heads,
    separable,
    split_heads,
    to_grid,
)
from ecsupport.core.errors import UserError
from ecsupport.core.training import torch_generator

REVISION = 1  # simulator, choice of keys, sparse attention: of equal weights the first are kept
REVISION_MAGNITUDE = 2  # its hand-over: magnitudes are mixed, no longer signed maps
TAU = 0.5
ALPHA = 0.7
FUSIONS = ("abs_mix", "code", "magnitude")
CHUNK = 3_000_000  # numbers of simulated maps that are held at a time, and a hundred times as many on a GPU
CACHED = 2**16  # numbers of gathered keys that are held at a time: they fit a core's own cache
FAR = 1e30  # so far are other scores put below those of kept keys
TINY = 1e-30  # gradients may lie far below the usual safeguards against division by zero


class Simulator(nn.Module):
    """Equation 12 up to its features F: the tokens after a separable convolution, by head and pixel position."""

    def __init__(self, dim: int, shared: bool = False) -> None:
        """`shared`: one map for all heads and pixel positions, from the mean over the pixels of a patch."""
        super().__init__()
        self.layers, self.shared = separable(dim), shared

    def forward(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        """(B, P, N, C) tokens on a grid of `rows` rows -> (B, P, h, N, d), or (B, 1, 1, N, C) where shared."""
        if self.shared:
            grid = self.layers(to_grid(x.mean(1, keepdim=True), rows))  # (B, C, rows, columns)
            features = grid.flatten(2).transpose(1, 2)  # -> (B, C, N) -> (B, N, C)
            return features[:, None, None] * HEADS**-0.5  # (B, 1, 1, N, C): F F^T is the mean over heads
        return split_heads(from_grid(self.layers(to_grid(x, rows))))  # (B, P, N, C) -> (B, P, h, N, d)


def correlate(features: torch.Tensor) -> torch.Tensor:
    """F F^T: (..., N, d) -> (..., N, N)."""
    return features @ features.transpose(-1, -2)


def simulate(features: torch.Tensor) -> torch.Tensor:
    """Equation 12, SELU(F F^T): (..., N, d) -> (..., N, N), symmetric; the gradient that it imitates is not."""
    return functional.selu(correlate(features), inplace=True)


def standardise(gradients: torch.Tensor) -> torch.Tensor:
    """Each row (last axis) with mean 0 and standard deviation 1, whatever its scale; a constant row becomes 0."""
    rows = gradients - gradients.mean(-1, keepdim=True)
    rows.div_(rows.detach().abs().amax(-1, keepdim=True).clamp_min(TINY))  # else the squares of small ones are nought
    return rows / (torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(TINY) * rows.shape[-1] ** -0.5)


def demand_known(fusion: str) -> None:
    """ValueError for a fusion that is not one of `FUSIONS`."""
    if fusion not in FUSIONS:
        raise ValueError(f"fusion {fusion!r} is unknown, expected one of {', '.join(FUSIONS)}")


def importance(
    gradients: torch.Tensor, fusion: str = "abs_mix", alpha: float = ALPHA, tau: float = TAU
) -> torch.Tensor:
    """Equations 13 and 14: weight of each key for each query, from row-standardised gradients (B, P, h, N, N).

    `abs_mix`, alpha P+ + (1 - alpha) P-, prefers gradients that are large in either direction, as the text demands.
    `code`, alpha P+ + (1 - alpha)(1 - P-), is what the authors ran; it rises with the gradient, so that its top k are
    those of the gradient itself. `magnitude`, |G|, has neither alpha nor tau. Of two classes the gradients of one
    label's loss are those of the other's with the sign turned: `magnitude`, and `abs_mix` at alpha = .5, choose alike
    for both, all others tell the student the label; during the hand-over `magnitude` alone, see `magnitudes`.
    ValueError for another fusion.
    """
    demand_known(fusion)
    rows = standardise(gradients)
    if fusion == "magnitude":
        return rows.abs()
    positive, negative = (rows / tau).softmax(-1), (-rows / tau).softmax(-1)
    return alpha * positive + (1 - alpha) * (negative if fusion == "abs_mix" else 1 - negative)


def ranking(gradients: torch.Tensor, fusion: str = "abs_mix", alpha: float = ALPHA, tau: float = TAU) -> torch.Tensor:
    """Numbers that order the keys of a query as `importance` does, (..., N) -> (..., N), without its softmaxes.

    `code`: the gradients themselves. `abs_mix`: with x the standardised gradient over tau, Z+ and Z- the sums of exp(x)
    and exp(-x), the weight alpha exp(x) / Z+ + (1 - alpha) exp(-x) / Z- is proportional to cosh(x - c), where
    c = ln((1 - alpha) Z+ / (alpha Z-)) / 2: the keys that lie farthest from c are kept; those farthest from 0 by
    `magnitude`. ValueError for another fusion.
    """
    demand_known(fusion)
    if fusion == "code":
        return gradients
    x = standardise(gradients)
    if fusion == "magnitude":
        return x.abs_()
    x.div_(tau)
    centre = (x.logsumexp(-1, keepdim=True) - (-x).logsumexp(-1, keepdim=True) + math.log((1 - alpha) / alpha)) / 2
    return x.sub_(centre).abs_()


Share = float | torch.Tensor  # of the teacher's gradient; a tensor (), between 0 and 1, in a step that a GPU repeats


def exactly(share: Share, value: float) -> bool:
    """Whether a share is 0, or 1: a tensor is neither."""
    return not isinstance(share, torch.Tensor) and share == value


def mix(guidance: torch.Tensor | None, features: torch.Tensor, share: Share) -> torch.Tensor:
    """What the keys are chosen by: `share` of the teacher's gradient, the rest simulated, both row-standardised.

    What has no share is not made: the teacher's gradient, or the one that the `features` simulate.
    """
    if guidance is None or exactly(share, 0):
        return simulate(features)
    own = 0 if exactly(share, 1) else (1 - share) * standardise(simulate(features))
    return share * standardise(guidance) + own


def magnitudes(guidance: torch.Tensor | None, features: torch.Tensor, share: Share) -> torch.Tensor:
    """`mix` for the fusion `magnitude`: the absolute values of both maps are mixed, and ordered as they are.

    A sum of signed maps is large where they agree in sign, so that its magnitude still tells the sign of the teacher's.
    """
    if guidance is None or exactly(share, 0):
        return standardise(simulate(features)).abs_()
    own = 0 if exactly(share, 1) else (1 - share) * standardise(simulate(features)).abs_()
    return share * standardise(guidance).abs_() + own


def number_of_keys(tokens: int, share: float) -> int:
    """k = max(1, round(share * N)); UserError for a share that is not above 0 or asks for more keys than tokens."""
    if not 0 < share <= 1:
        raise UserError(
            f"key_share = {share} asks for {round(share * tokens)} of N = {tokens} keys. Choose a share above 0 and up "
            "to 1 (dense attention)"
        )
    return max(1, round(share * tokens))


class Border(NamedTuple):
    """Where the k largest of each row end: rows (R, N), the k-th largest of each (R, 1), and what is too many.

    In the rows `tied` (T,) more than k numbers reach the border; the first of the equal ones are kept, those that
    `surplus` (T, N) marks are not.
    """

    rows: torch.Tensor
    lowest: torch.Tensor
    tied: torch.Tensor
    surplus: torch.Tensor


def border(weight: torch.Tensor, k: int) -> Border | None:
    """The border of the k largest in the last axis of a weight (..., N). ValueError for k > N.

    By NumPy's sort, which takes a fraction of the time of torch's; None where torch must do: on another device than a
    CPU, and where something is not a number. Not by its topk, which of equal numbers takes any.
    """
    tokens = weight.shape[-1]
    if k > tokens:
        raise ValueError(f"k = {k} keys of N = {tokens} tokens, expected k <= N")
    if not weight.is_cpu:
        return None
    rows = weight.detach().reshape(-1, tokens)  # (..., N) -> (R, N)
    ordered = np.sort(rows.numpy(), axis=-1)
    if np.isnan(ordered[:, -1]).any():  # sorted last
        return None
    lowest = torch.from_numpy(ordered[:, -k, None])
    tied = np.flatnonzero(ordered[:, -k - 1] == ordered[:, -k]) if k < tokens else np.empty(0, int)
    some, least = rows[tied], lowest[tied]
    equal = some == least
    surplus = equal & (equal.cumsum(1) > k - (some > least).sum(1, keepdim=True))
    return Border(rows, lowest, torch.from_numpy(tied), surplus)


def among(weight: torch.Tensor, k: int) -> torch.Tensor:
    """Which of each row (..., N) are its k largest, of equal ones the first; one pass of a GPU after another, no sort.

    Something that is not a number counts as the largest, as in a sort.
    """
    weight = weight.nan_to_num(torch.inf, posinf=torch.inf, neginf=-torch.inf)
    lowest = weight.topk(k, -1).values[..., -1:]
    above, equal = weight > lowest, weight == lowest
    return above | (equal & (equal.cumsum(-1, dtype=torch.int32) <= k - above.sum(-1, keepdim=True)))


def keep(weight: torch.Tensor, k: int) -> torch.Tensor:
    """What Equation 15 adds to scores: 0 for the k keys of largest weight of each query, elsewhere what makes exp 0.

    weight: (..., N), which may be overwritten by the mask that is returned. Of equal ones the first are kept.
    ValueError for k > N.
    """
    found = border(weight, k)
    if found is None:
        return torch.full_like(weight, -FAR).masked_fill_(among(weight, k), 0)
    mask = found.rows.sub_(found.lowest).sign_().clamp_(max=0).mul_(FAR)
    if len(found.tied):
        mask[found.tied] = mask[found.tied].masked_fill(found.surplus, -FAR)
    return mask.view_as(weight)


def top_keys(weight: torch.Tensor, k: int) -> torch.Tensor:
    """The k keys of largest weight for each query: (..., N) -> (..., k) int64, ascending, of equal ones the first.

    ValueError for k > N.
    """
    if k == 1:
        return weight.argmax(-1, keepdim=True)
    found = border(weight, k)
    if found is None:
        return among(weight, k).to(torch.uint8).topk(k, -1).indices.sort(-1).values
    kept = found.rows.numpy() >= found.lowest.numpy()  # (R, N)
    kept[found.tied.numpy()] &= ~found.surplus.numpy()
    flat = torch.from_numpy(np.flatnonzero(kept)).view(-1, k)  # (R k,) -> (R, k)
    start = torch.arange(0, kept.size, weight.shape[-1])[:, None]  # of each row
    return (flat - start).view(*weight.shape[:-1], k)  # (R, k) -> (..., k)


def pieces(features: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Features (B, P, h, N, d) in parts, of so many images that their maps of N x N together take little memory."""
    most = CHUNK if features.is_cpu else 100 * CHUNK
    return features.split(max(1, most // (features[0, ..., 0].numel() * features.shape[-2])))


@torch.no_grad()
def choose(
    features: torch.Tensor,
    k: int,
    guidance: torch.Tensor | None,
    share: Share,
    pick: Callable[[torch.Tensor, int], torch.Tensor] = keep,
    fusion: str = "abs_mix",
    alpha: float = ALPHA,
    tau: float = TAU,
) -> torch.Tensor:
    """Equations 13 and 14: the k keys of each query, (B, P, h, N, .), by `keep` or `top_keys`; without derivative.

    features: (B, P, h, N, d), or (B, 1, 1, N, .) for keys shared by all, as the result then is; guidance:
    (B, P, h, N, N), a teacher's gradient that weighs `share` against the simulated one.
    """
    guidance = None if exactly(share, 0) else guidance
    if guidance is not None and features.shape[1:3] == (1, 1):  # each map counts alike, whatever its scale
        guidance = standardise(guidance).mean((1, 2), keepdim=True)  # (B, P, h, N, N) -> (B, 1, 1, N, N)
    kept, begin = [], 0
    for part in pieces(features):
        if guidance is None and fusion == "code":  # SELU rises and changes no order
            weight = correlate(part)
        else:
            given = None if guidance is None else guidance[begin : begin + len(part)]
            if fusion == "magnitude":
                weight = magnitudes(given, part, share)
            else:
                weight = ranking(mix(given, part, share), fusion, alpha, tau)
        kept.append(pick(weight, k))
        begin += len(part)
    return torch.cat(kept) if len(kept) > 1 else kept[0]


def random_map(positions: int, heads: int, tokens: int, block: int, drawn: int) -> torch.Tensor:
    """A map that knows nothing, one for all images: (1, P, h, N, N) normal numbers, fixed by block and `drawn`."""
    generator = torch_generator("screening", "random keys", drawn, block, tokens)
    return torch.randn(positions, heads, tokens, tokens, generator=generator)[None]


@lru_cache(maxsize=32)
def random_keys(
    groups: tuple[int, int], tokens: int, block: int, drawn: int, k: int, pick: Callable, device: torch.device
) -> torch.Tensor:
    """The k keys of a `random_map` of (P, h) `groups`, as `keep` or `top_keys` picks them: (1, P, h, N, .).

    Made once for all steps, so nobody may change it.
    """
    with torch.inference_mode(False):  # else a first use while scoring would keep them from training
        return pick(random_map(*groups, tokens, block, drawn).to(device), k)


class SparseAttention(Attention):
    """Attention in which each query sees its chosen keys only."""

    def forward(self, x: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """(B, P, N, C) -> (B, P, N, C); kept: as in `attend_to`, None for dense attention."""
        if kept is None:
            return super().forward(x)
        q, k, v = (split_heads(part) for part in self.queries_keys_values(x).chunk(3, dim=-1))
        return self.out(merge_heads(self.attend_to(q, k, v, kept)))

    @staticmethod
    def attend_to(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Equation 15: softmax over the chosen keys of q k^T / sqrt(d), all others weigh 0.

        q, k, v: (B, P, h, N, d); kept: a mask of `keep` or keys of `top_keys`, (B, P, h, N, .), or (B, 1, 1, N, .)
        for all heads and positions alike. Returns (B, P, h, N, d). A mask needs all scores, keys need theirs alone,
        but derivatives go through more than one key only with a mask.
        """
        if not kept.is_floating_point():
            return v.gather(-2, kept.expand_as(v)) if kept.shape[-1] == 1 else gather(q, k, v, kept)
        flat = (x.flatten(0, 1) for x in (q, k, v))  # (B, P, h, N, d) -> (B P, h, N, d)
        mask = kept.expand(-1, POSITIONS, -1, -1, -1).flatten(0, 1)  # (B, ., ., N, N) -> (B P, ., N, N)
        return functional.scaled_dot_product_attention(*flat, attn_mask=mask).unflatten(0, q.shape[:2])


def gather(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Equation 15 from the chosen keys alone, as in `SparseAttention.attend_to`; without derivatives.

    Where m = P h heads and positions share keys, their parts of a key are fetched as one row of m d numbers, and a
    matrix of zeros and ones adds up, or repeats, what belongs to each. With keys of their own, m = 1, fetching is the
    slower way, which the bench measures.
    """
    shared, (tokens, d), few = keys.shape[1:3] == (1, 1), q.shape[3:], keys.shape[-1]
    m = q.shape[1:3].numel() if shared else 1
    # (B, P, h, N, d) -> (B, N, P, h, d) -> (B N, m d); unless shared -> (B P h N, d)
    queries, rows, values = ((x.movedim(3, 1) if shared else x).reshape(-1, m * d) for x in (q, k, v))
    start = torch.arange(0, len(rows), tokens, device=q.device)[:, None]  # of each sequence of tokens in `rows`
    chosen = (keys.reshape(len(start), -1) + start).reshape(-1, few)  # -> (B g, N k) -> (B g N, k)
    each = torch.eye(m, dtype=q.dtype, device=q.device).repeat_interleave(d, 0)  # (m d, m)
    size, found = max(1, CACHED // (few * m * d)), torch.empty_like(queries)
    for some, those, result in zip(*(x.split(size) for x in (queries * d**-0.5, chosen, found)), strict=True):
        row, form = those.flatten(), those.shape  # (R, k)
        products = rows.index_select(0, row).unflatten(0, form).mul_(some[:, None])  # (R, k, m d)
        weights = (products.flatten(0, 1) @ each).unflatten(0, form).softmax(1)  # (R k, m) -> (R, k, m)
        weighted = (weights.flatten(0, 1) @ each.T).mul_(values.index_select(0, row))  # (R k, m d)
        torch.sum(weighted.unflatten(0, form), 1, out=result)  # (R, k, m d) -> (R, m d)
    return found.reshape(len(q), tokens, *q.shape[1:3], d).movedim(1, 3) if shared else found.reshape(q.shape)
