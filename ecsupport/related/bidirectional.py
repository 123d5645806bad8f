"""Bidirectional distillation between a multi-modal and a single-modal branch, and what it is compared with.

Published (arXiv 2401.01553): knowledge flows both ways. Our reconstruction: the losses,
    L = CE(M) + CE(S) + ramp to_single [mse(h_S, sg h_M) + T^2 KL(sg p_M || p_S)] + ramp to_multi mse(u_M, sg u_S),
with h the fused state, u the image token's output, p the probabilities, sg a stopped gradient, and mse the mean over
patients and entries. The ramp rises from 0 to 1 over the first tenth of the steps. The branches share encoder and
transformer layer: a stopped gradient spares what the teaching branch alone has, and what its own pass would change.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from ecsupport.related.fusion import Fusion

REVISION = 1
TEMPERATURE = 2.0
RAMP = 0.1  # of the steps
DROPPED = 0.1  # share of values that every multi-modal branch does without while it learns, for its missing tokens


@dataclass(frozen=True)
class Arm:
    """What is trained and compared: which branches learn, and how.

    multi, single: the branches.  to_single, to_multi: weights of the two directions.  records: share of whole records
    that the multi-modal branch does without while it learns (modality dropout).  shuffled: whether each patient has
    another patient's covariates, which tell nothing of her.  readings: names under which its scores are read, with what
    stands for a missing value; a patient without any value is the single-modal branch's where there is one
    """

    multi: bool = True
    single: bool = True
    to_single: float = 0.0
    to_multi: float = 0.0
    records: float = 0.0
    shuffled: bool = False
    readings: tuple[tuple[str, str], ...] = ()

    def read_as(self, name: str) -> tuple[tuple[str, str], ...]:
        """Names of readings, with their `fill`."""
        return self.readings or ((name, "token"),)


BOTH, IMAGES = "bidirectional", "images alone"
ONE_WAY, NONE, DROPOUT = "multi-modal to single-modal only", "no distillation", "modality dropout"
MULTI, ZERO, MEAN, SHUFFLED = "multi-modal alone", "zero fill", "mean fill", "shuffled covariates"
ARMS = {
    BOTH: Arm(to_single=1.0, to_multi=1.0),
    ONE_WAY: Arm(to_single=1.0),
    NONE: Arm(),
    DROPOUT: Arm(single=False, records=0.5),
    MULTI: Arm(single=False, readings=((MULTI, "token"), (ZERO, "zero"), (MEAN, "mean"))),
    IMAGES: Arm(multi=False),
    SHUFFLED: Arm(to_single=1.0, to_multi=1.0, shuffled=True),
}
READINGS = tuple(reading for name, arm in ARMS.items() for reading, _ in arm.read_as(name))


def losses(
    network: Fusion, arm: Arm, bags: torch.Tensor, values: torch.Tensor, labels: torch.Tensor, done: float
) -> dict[str, torch.Tensor]:
    """The terms of an arm's loss by name, weighed: their sum is what is minimised.

    bags: (B, n, 1, S, S);  values: (B, K), NaN where missing;  labels: (B,) int64;  done: share of the steps, in [0, 1]
    """
    image, ramp = network.embed(bags), min(1.0, done / RAMP)
    multi = network.multi(image, values) if arm.multi else None
    single = network.single(image) if arm.single else None
    terms = {}
    if multi:
        terms["multi"] = functional.cross_entropy(multi.logits, labels)
    if single:
        terms["single"] = functional.cross_entropy(single.logits, labels)
    if multi and single and arm.to_single:
        taught = functional.mse_loss(single.fused, multi.fused.detach())
        soft = (branch.logits / TEMPERATURE for branch in (single, multi))
        log_single, log_multi = (logits.log_softmax(dim=-1) for logits in soft)
        divergence = functional.kl_div(log_single, log_multi.detach(), reduction="batchmean", log_target=True)
        terms["to_single"] = ramp * arm.to_single * (taught + TEMPERATURE**2 * divergence)
    if multi and single and arm.to_multi:
        terms["to_multi"] = ramp * arm.to_multi * functional.mse_loss(multi.image, single.image.detach())
    return terms


def thinned(values: torch.Tensor, arm: Arm, generator: torch.Generator) -> torch.Tensor:
    """Values (B, K) of a training step, some of them missing: single ones, and of modality dropout whole records."""
    single = torch.rand(values.shape, generator=generator) < DROPPED
    whole = torch.rand(len(values), 1, generator=generator) < arm.records
    return values.masked_fill((single | whole).to(values.device), torch.nan)
