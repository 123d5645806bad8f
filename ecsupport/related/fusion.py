"""A bag of ultrasound images and clinical covariates, fused: a multi-modal branch, and one that sees images alone.

Published (Zhang et al., BIBM 2023, arXiv 2401.01553): the two parallel branches, and a learnable prompt that stands in
for the clinical data in the single-modal one. Our reconstruction: all else, since only the abstract was to be had. The
image encoder is LSNet's student with dense attention; images of a bag are pooled by gated attention (Ilse et al., ICML
2018); one transformer layer, which both branches share, mixes the image token with a token for each covariate.
"""

from typing import NamedTuple

import torch
from torch import nn

from ecsupport.backbone.mobilevit import STUDENT, Attention, Layer, MobileViT, initialise

REVISION = 1
DIM = 64  # of a token
POOLED = 64  # units of the gated attention
SPREAD = DIM**-0.5  # standard deviation of the first tokens
FILLS = ("token", "zero", "mean")


class Branch(NamedTuple):
    """What a branch gives: logits (B, 2), class 1 positive; fused state and the image token's output, (B, DIM) each."""

    logits: torch.Tensor
    fused: torch.Tensor
    image: torch.Tensor


class GatedAttention(nn.Module):
    """Weighted mean of a bag: a_n = softmax_n w^T (tanh(V h_n) * sigmoid(U h_n))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(width, POOLED), nn.Linear(width, POOLED)
        self.weight = nn.Linear(POOLED, 1, bias=False)

    def forward(self, bags: torch.Tensor) -> torch.Tensor:
        """(B, n, C) -> (B, C)."""
        attention = self.weight(self.value(bags).tanh() * self.gate(bags).sigmoid()).softmax(dim=1)  # (B, n, 1)
        return (attention * bags).sum(dim=1)


class Fusion(nn.Module):
    """Encoder, pooling, clinical tokens, prompt, shared transformer layer, and a head for each branch."""

    def __init__(self, covariates: int, stem_stride: int = 2) -> None:
        super().__init__()
        width = STUDENT.channels[-1]
        self.encoder = MobileViT(STUDENT, stem_stride)
        self.encoder.classifier = nn.Identity()
        self.pool = GatedAttention(width)
        self.project = nn.Linear(width, DIM)
        self.slope, self.offset, self.absent, self.prompt = (
            nn.Parameter(torch.zeros(covariates, DIM)) for _ in range(4)
        )
        self.mix, self.norm = Layer(DIM, DIM, 2, Attention), nn.LayerNorm(DIM)
        self.multi_head, self.single_head = nn.Linear(DIM, 2), nn.Linear(DIM, 2)
        self.register_buffer("centre", torch.zeros(covariates))
        self.register_buffer("scale", torch.ones(covariates))
        self.register_buffer("learnt", torch.ones(covariates, dtype=torch.bool))

    def standardise(self, values: torch.Tensor) -> None:
        """Learn mean and standard deviation of the training patients' values (P, K), NaN left out.

        A covariate of which they have no value, or all the same, counts as missing in everybody from then on.
        """
        known = ~values.isnan()
        count = known.sum(dim=0).clamp(min=1)
        self.centre = values.nan_to_num().sum(dim=0) / count
        spread = torch.where(known, values - self.centre, 0.0).square().sum(dim=0) / count
        self.learnt = spread > 0
        self.scale = torch.where(self.learnt, spread.sqrt(), 1.0)

    def usable(self, values: torch.Tensor) -> torch.Tensor:
        """Values (B, K) of covariates of which something was learnt, NaN in place of the others."""
        return values.masked_fill(~self.learnt, torch.nan)

    def embed(self, bags: torch.Tensor) -> torch.Tensor:
        """Image token (B, DIM) of bags (B, n, 1, S, S) float32 in [-1, 1]."""
        features = self.encoder(bags.flatten(0, 1))  # (B, n, 1, S, S) -> (B n, 1, S, S) -> (B n, C)
        return self.project(self.pool(features.unflatten(0, bags.shape[:2])))  # (B n, C) -> (B, n, C) -> (B, DIM)

    def tokens(self, values: torch.Tensor, fill: str = "token") -> torch.Tensor:
        """Clinical tokens (B, K, DIM) of values (B, K), NaN where missing.

        fill: what stands for a missing value: a `token` of its own, learnt as what is added to that of the mean; a
        token of zeros (`zero`); or the token of the training patients' `mean`. ValueError for another word.
        """
        if fill not in FILLS:
            raise ValueError(f"fill {fill!r} is unknown, expected one of {', '.join(FILLS)}")
        values = self.usable(values)
        missing = values.isnan()[..., None]  # (B, K, 1)
        standard = ((values - self.centre) / self.scale).nan_to_num()[..., None]  # (B, K, 1)
        known = self.offset + self.slope * standard  # (B, K, DIM), of a missing value the mean's
        if fill == "mean":
            return known
        return torch.where(missing, self.offset + self.absent if fill == "token" else 0.0, known)

    def multi(self, image: torch.Tensor, values: torch.Tensor, fill: str = "token") -> Branch:
        """The multi-modal branch, of image tokens (B, DIM) and values (B, K) as in `tokens`."""
        return self._branch(image, self.tokens(values, fill), self.multi_head)

    def single(self, image: torch.Tensor) -> Branch:
        """The single-modal branch: the prompt stands in for the clinical data."""
        return self._branch(image, self.prompt.expand(len(image), -1, -1), self.single_head)

    def _branch(self, image: torch.Tensor, tokens: torch.Tensor, head: nn.Module) -> Branch:
        x = torch.cat([image[:, None], tokens], dim=1)  # (B, 1 + K, DIM)
        x = self.norm(self.mix(x[:, None], 1)[:, 0])  # (B, 1, 1 + K, DIM) and back: one pixel position
        return Branch(head(x.mean(dim=1)), x.mean(dim=1), x[:, 0])


def build(covariates: int, stem_stride: int, generator: torch.Generator) -> Fusion:
    """The network with weights from `generator`; missing tokens start as those of the mean."""
    with torch.random.fork_rng(devices=[]):  # torch's layers draw weights when built; these are drawn anew below
        network = Fusion(covariates, stem_stride)
    initialise(network, generator)
    for tokens in (network.slope, network.offset, network.prompt):
        nn.init.normal_(tokens, std=SPREAD, generator=generator)
    return network.to(memory_format=torch.channels_last)
