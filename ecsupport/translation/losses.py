"""The loss terms of the translators, Equations 2 to 8, gradient reversal, and the pool of remembered fakes.

x is an MRI, y an ultrasound image; G: mri -> us, F: us -> mri, E the shared encoder (MAFE), D the discriminators.
All terms are means over images, pixels or patches, and are returned unweighted.
"""

import math
from typing import Any

import torch
from torch.nn import functional

GAN_MODES = ("lsgan", "vanilla")


def adversarial(logits: torch.Tensor, real: bool, mode: str = "lsgan") -> torch.Tensor:
    """One expectation of Equations 2 and 3: how far logits are from calling the images `real`, or not.

    `vanilla` is the logarithm of the equations; a generator asks for real=True on its fakes (the non-saturating
    form, same fixed point). `lsgan` is the squared distance to 1 or 0, as in the paper's code.
    """
    if mode == "lsgan":
        return functional.mse_loss(logits, torch.full_like(logits, float(real)))
    if mode == "vanilla":
        return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
    raise ValueError(f"mode {mode!r}, expected one of {GAN_MODES}")


def discrimination(real: torch.Tensor, fake: torch.Tensor, mode: str = "lsgan") -> torch.Tensor:
    """Equations 2 and 3 as one discriminator minimises them: half the sum over logits of real and fake images."""
    return 0.5 * (adversarial(real, True, mode) + adversarial(fake, False, mode))


def cycle(mri: torch.Tensor, mri_again: torch.Tensor, us: torch.Tensor, us_again: torch.Tensor) -> torch.Tensor:
    """Equation 4: mean |F(G(x)) - x| plus mean |G(F(y)) - y|."""
    return functional.l1_loss(mri_again, mri) + functional.l1_loss(us_again, us)


def feature_consistency(
    mri: torch.Tensor, fake_us: torch.Tensor, us: torch.Tensor, fake_mri: torch.Tensor
) -> torch.Tensor:
    """Equation 5: mean |E(x) - E(G(x))| plus mean |E(y) - E(F(y))|, of features (N, C, H, W)."""
    return functional.l1_loss(fake_us, mri) + functional.l1_loss(fake_mri, us)


def domain(mri: torch.Tensor, us: torch.Tensor) -> torch.Tensor:
    """Equations 6 and 7: cross-entropy of the domain classifier, MRI being 0 and ultrasound 1.

    mri, us: logits (N, 1) whose sigmoid is the probability p of Equation 6.
    """
    return functional.softplus(mri).mean() + functional.softplus(-us).mean()  # -log(1 - p) and -log p


def identity(mri: torch.Tensor, mri_same: torch.Tensor, us: torch.Tensor, us_same: torch.Tensor) -> torch.Tensor:
    """Equation 8: mean |G(y) - y| plus mean |F(x) - x|."""
    return functional.l1_loss(us_same, us) + functional.l1_loss(mri_same, mri)


def contrast(queries: torch.Tensor, keys: torch.Tensor, temperature: float = 0.07) -> torch.Tensor:
    """InfoNCE of patches (Park et al., ECCV 2020, section 3): how surely each query finds the key of its own place.

    queries, keys: (N, P, D) of length 1; the other P - 1 places of the same image are the wrong answers. The default
    temperature is that source's and DCLGAN's.
    """
    logits = queries @ keys.transpose(1, 2) / temperature  # (N, P, D) @ (N, D, P) -> (N, P, P)
    right = torch.arange(queries.shape[1], device=queries.device).expand(len(queries), -1)
    return functional.cross_entropy(logits.flatten(0, 1), right.flatten())  # (N, P, P) -> (N P, P)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor, weight: float | torch.Tensor) -> torch.Tensor:
        context.weight = weight
        return x.view_as(x)  # any shape to the same: autograd needs another tensor

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -context.weight * gradient, None


def reverse_gradient(x: torch.Tensor, weight: float | torch.Tensor) -> torch.Tensor:
    """`x` itself, but the gradient that comes back is multiplied by -weight.

    What the domain classifier would learn from, the encoder unlearns.
    """
    return _Reverse.apply(x, weight)


def reversal_weight(progress: float | torch.Tensor, gamma: float = 5.0) -> float | torch.Tensor:
    """Weight of the reversal, 2 / (1 + exp(-gamma p)) - 1: 0 at the start of training (p = 0), nearly 1 at its end."""
    exp = torch.exp if isinstance(progress, torch.Tensor) else math.exp
    return 2 / (1 + exp(-gamma * progress)) - 1


class ImagePool:
    """The last fakes, up to `size` of them: a discriminator that sees old ones too does not chase the newest."""

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self.images: list[torch.Tensor] = []

    def __call__(self, fakes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """For each fake, with even odds, itself or an older one whose place it takes. (N, 1, H, W) to the same."""
        given = []
        for fake in fakes.detach():
            if len(self.images) < self.size:
                self.images.append(fake.clone())  # a view would keep its whole batch
                given.append(fake)
                continue
            keep, place = torch.rand(2, generator=generator).tolist()
            if self.size and keep < 0.5:
                index = int(place * self.size)
                given.append(self.images[index])
                self.images[index] = fake.clone()
            else:
                given.append(fake)
        return torch.stack(given)
