"""SG-CycleGAN (Methods, "SG-CycleGAN"): a shared encoder (MAFE) before two private branches, Equations 2 to 9.

G = H_us(E(x)) and F = H_mri(E(y)). E, the modality-agnostic feature extractor, gives a full-size feature image; a
domain classifier behind a gradient reversal makes it forget the modality, a consistency term keeps the anatomy.
What the released code does otherwise is in `released`, off by default.
"""

from typing import ClassVar

import torch
from torch import nn

from ecsupport.translation import budget, losses
from ecsupport.translation.blocks import Patches
from ecsupport.translation.interface import Cache, Share, Terms, Translator, noise_of_fakes
from ecsupport.translation.settings import Settings


class DomainClassifier(nn.Module):
    """D_phi of Equation 6: features (N, C, H, W) to one logit (N, 1): its sigmoid is p, of ultrasound."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.patches = Patches(inputs, width, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Mean of the patches' logits."""
        return self.patches(features).mean(dim=(2, 3))


class SGCycleGAN(Translator):
    """Structure-guided CycleGAN: translations through features that both modalities share.

    Weights: Equation 9 with lambda_1 = 10 and lambda_2 = 5, as printed.
    """

    REVISION: ClassVar = 1  # Equation 9
    WEIGHTS: ClassVar = {"gan": 1.0, "cycle": 10.0, "feature": 10.0, "domain": 5.0, "identity": 5.0}

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.encoder, self.to_us = budget.structure_guided(settings)
        _, self.to_mri = budget.structure_guided(settings)
        self.classifier = DomainClassifier(settings.width // 2, settings.width)

    def path(self, direction: str) -> tuple[nn.Module, ...]:
        """Encoder, then the branch of the target domain."""
        return self.encoder, self.to_us if direction == "mri_to_us" else self.to_mri

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The modality-agnostic features E(x): (N, 1, H, W) to (N, width / 2, H, W) in [-1, 1]."""
        return self.encoder(images)

    def auxiliary_parameters(self) -> list[nn.Parameter]:
        """Those of the domain classifier."""
        return list(self.classifier.parameters())

    def generator_step(
        self, mri: torch.Tensor, us: torch.Tensor, progress: Share, source: torch.Generator | None = None
    ) -> tuple[torch.Tensor, Terms, Cache]:
        """Equation 9 on one batch. Domain features are those of the real images only."""
        sizes = len(mri), len(us)
        noise = noise_of_fakes(sizes, source)
        with self.judged(self.classifier):
            features = self.encoder(torch.cat([mri, us]))
            mri_features, us_features = features.split(sizes)
            fake_us, us_same = self.to_us(features, noise[0]).split(sizes)
            mri_same, fake_mri = self.to_mri(features, noise[1]).split(sizes)
            fake_us_features, fake_mri_features = self.encoder(torch.cat([fake_us, fake_mri])).split(sizes)
            mri_again, us_again = self.to_mri(fake_us_features), self.to_us(fake_mri_features)
            reversed_features = losses.reverse_gradient(features, losses.reversal_weight(progress))
            terms = {
                "gan": self.generator_adversarial(fake_us, fake_mri),
                "cycle": losses.cycle(mri, mri_again, us, us_again),
                "feature": losses.feature_consistency(mri_features, fake_us_features, us_features, fake_mri_features),
                "domain": losses.domain(*self.classifier(reversed_features).split(sizes)),
                "identity": losses.identity(mri, mri_same, us, us_same),
            }
        cache = Cache(fake_us.detach(), fake_mri.detach(), mri_features.detach(), us_features.detach())
        return self.total(terms), terms, cache

    def auxiliary_step(self, cache: Cache) -> tuple[torch.Tensor, Terms]:
        """Equations 6 and 7 for the classifier itself, on the features as the generator step left them."""
        logits = self.classifier(torch.cat([cache.mri_features, cache.us_features]))
        loss = losses.domain(logits[: len(cache.mri_features)], logits[len(cache.mri_features) :])
        return loss, {"classifier": loss}


class Unguided(SGCycleGAN):
    """The same networks without structure guidance: feature consistency and domain terms count nothing.

    What its encoder does is what sharing alone brings; the difference to SG-CycleGAN is what guidance adds.
    """

    WEIGHTS: ClassVar = {**SGCycleGAN.WEIGHTS, "feature": 0.0, "domain": 0.0}
