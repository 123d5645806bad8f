"""What a teacher's gradient tells the student of the label that it is of (Equations 10, 13 and 14).

With s = z1 - z0 the class loss is log(1 + exp(-s)) for label 1 and log(1 + exp(s)) for label 0. For any score A,

    dL1/dA = -p0 ds/dA,   dL0/dA = p1 ds/dA:

one map, its sign turned; standardised, the rows differ in nothing else. So it is of each image in eval mode. In
training, batch norm adds the derivatives of the other images' losses, whose labels stay as they are. And while the
teacher hands over, its signed map is added to the simulated one: a choice that treats signs alike then tells the label
too, unless magnitudes are mixed (`sparse_attention.magnitudes`).
"""

import copy
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from sklearn.kernel_ridge import KernelRidge
from torch import nn
from torch.nn import functional

from ecsupport.screening.distillation import Maps, teach
from ecsupport.screening.lsnet import Selection, Student
from ecsupport.screening.sparse_attention import ALPHA, choose, number_of_keys, top_keys

REVISION = 1  # batches, maps of given labels, overlap, decoder
CHOICES: Mapping[str, tuple[str, float]] = {  # fusion and alpha; the last two keep the same keys of a map and of -map
    "α = 0.7": ("abs_mix", ALPHA),
    "code": ("code", ALPHA),
    "α = 0.5": ("abs_mix", 0.5),
    "|G|": ("magnitude", ALPHA),
}
PENALTY = 0.1  # of the decoder, times the mean squared length of a centred mask


def batches(label: np.ndarray, half: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Places of at most `most` images in batches of `half` positives, then `half` negatives: (batches, 2 half) int64.

    label: (N,) 1 or 0; no image comes twice. Where a class has fewer than `half`, one batch of as many of each.
    """
    drawn = [rng.permutation(np.flatnonzero(label == value)) for value in (1, 0)]
    fewest = min(*map(len, drawn), most // 2)
    half = min(half, fewest)
    number = fewest // half
    return np.concatenate([of[: number * half].reshape(number, half) for of in drawn], axis=1)  # (n half,) -> (n, half)


def gradients(
    teacher: nn.Module, images: torch.Tensor, labels: torch.Tensor, classes: Collection[str] = ("label",)
) -> dict[str, Maps]:
    """`distillation.teach` for any labels, by the teacher in its present mode; it stays as it was.

    images: (B, 1, S, S) float32 in [-1, 1]; labels: (B,) int64; classes: of `distillation.CLASSES`. By class one
    (B, P, h, N, N) map a block, None for a single token.
    """
    return teach(copy.deepcopy(teacher), images, labels, classes).gradients


def features(student: Student, images: torch.Tensor) -> list[torch.Tensor | None]:
    """The simulators' features (B, P, h, N, d) of a student in its present mode, one a block; it stays as it was."""
    selections: list[Selection | None] = []
    with torch.no_grad():
        copy.deepcopy(student)(images, selections=selections)
    return [None if s is None else s.features for s in selections]


def keys_by(
    own: Sequence[torch.Tensor | None], maps: Maps | None, guidance: float, share: float, fusion: str, alpha: float
) -> list[torch.Tensor]:
    """The keys (B, P, h, N, k) that a student keeps in each block that has any choice, by `sparse_attention.choose`.

    own: of `features`; maps: of a teacher, weighing `guidance` in the choice, None for the student alone; share:
    of the keys.
    """
    kept = []
    for f, g in zip(own, maps or [None] * len(own), strict=True):
        if f is not None:
            k = number_of_keys(f.shape[-2], share)
            kept.append(choose(f, k, g, 0.0 if maps is None else guidance, top_keys, fusion, alpha))
    return kept


def mask_of(keys: torch.Tensor, tokens: int) -> torch.Tensor:
    """Keys (B, P, h, N, k) as what a student sees of them: (B, P h N N) bool, true where a key is kept."""
    kept = torch.zeros(*keys.shape[:-1], tokens, dtype=torch.bool, device=keys.device)
    return kept.scatter_(-1, keys, True).flatten(1)  # (B, P, h, N, N) -> (B, P h N N)


def overlap(one: torch.Tensor, other: torch.Tensor) -> np.ndarray:
    """Which share of the keys of one choice the other keeps too: two of (B, P, h, N, k) -> (B,) float64."""
    common = (one[..., :, None] == other[..., None, :]).any(-1)  # (B, P, h, N, k)
    return common.double().mean((1, 2, 3, 4)).cpu().numpy()


def cosine(one: torch.Tensor, other: torch.Tensor) -> np.ndarray:
    """Cosine of two maps (B, P, h, N, N), image by image: (B,) float64."""
    return functional.cosine_similarity(one.flatten(1).double(), other.flatten(1).double()).cpu().numpy()


def decode(masks: np.ndarray, label: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """What a linear decoder, ridge regression of the label (1 or 0), reads from masks that it was not fitted to.

    masks: (N, d) bool; label: (N,); fitted: (N,) bool, the rows it is fitted to. Returns scores of the others (M,).
    """
    known = masks[fitted].astype(np.float32)
    mean = known.mean(0)
    known -= mean
    target = label[fitted] - label[fitted].mean()
    penalty = PENALTY * float(np.square(known).sum(1).mean()) + 1e-6  # masks may be all alike
    return KernelRidge(alpha=penalty).fit(known, target).predict(masks[~fitted].astype(np.float32) - mean)
