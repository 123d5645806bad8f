"""The one interface of all translators (Equation 1), and the step that all of them share: the discriminators'.

A translator maps G: mri -> us and F: us -> mri. It gives losses and never steps an optimiser: `training` does.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ecsupport.core.errors import UserError
from ecsupport.translation.blocks import Patches, Source, halvings, parameters
from ecsupport.translation.losses import adversarial, discrimination
from ecsupport.translation.settings import Settings

DIRECTIONS = ("mri_to_us", "us_to_mri")
Terms = dict[str, torch.Tensor]
Share = float | torch.Tensor  # of the training that is done; a tensor () in a step that a GPU repeats


@dataclass(frozen=True)
class Cache:
    """What a generator step leaves for the steps after it, detached from the graph.

    fake_us, fake_mri: (N, 1, H, W);  mri_features, us_features: (N, C, H, W) of the real images, or None
    """

    fake_us: torch.Tensor
    fake_mri: torch.Tensor
    mri_features: torch.Tensor | None = None
    us_features: torch.Tensor | None = None


class Translator(nn.Module, ABC):
    """Two generators and two discriminators; images are (N, 1, H, W) float32 in [-1, 1] throughout.

    Unless the settings say otherwise, discriminators are as wide as the generators: 64 channels beside 64 in the
    released code and in the sources of all four peers.
    A subclass says which networks make up each direction, and what its generators minimise: its terms and, in
    `WEIGHTS`, what each counts. Its `REVISION` is raised whenever it computes something else. UserError where the
    settings weigh a term that it does not have.
    """

    domains = ("mri", "us")
    WEIGHTS: ClassVar[dict[str, float]]
    REVISION: ClassVar[int]

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        if unknown := sorted(set(settings.weights) - set(self.WEIGHTS)):
            raise UserError(
                f"weights: {type(self).__name__} has no term {unknown[0]!r}. Its terms are: {', '.join(self.WEIGHTS)}"
            )
        self.weights = {**self.WEIGHTS, **settings.weights}
        self.weights["gan"] *= settings.adversarial
        s = settings
        size = (s.discriminator_width or s.width, halvings(s.image_size), s.normalised_discriminators)
        self.discriminators = nn.ModuleDict({name: Patches(1, *size) for name in self.domains})

    @abstractmethod
    def path(self, direction: str) -> tuple[nn.Module, ...]:
        """The networks of a direction, in the order in which an image passes them."""

    def names(self, direction: str) -> list[str]:
        """Names, in the state dictionary, of the weights of a direction."""
        passed = [name for name, module in self.named_modules() if any(module is one for one in self.path(direction))]
        return [name for name in self.state_dict() if name.startswith(tuple(f"{one}." for one in passed))]

    @abstractmethod
    def generator_step(
        self, mri: torch.Tensor, us: torch.Tensor, progress: Share, source: torch.Generator | None = None
    ) -> tuple[torch.Tensor, Terms, Cache]:
        """What the generators minimise on one unpaired batch, its unweighted terms, and what later steps need.

        progress: share of the training done, 0 to 1;  source: where noise comes from, None for none.
        Discriminators and auxiliary networks are frozen: backward leaves their gradients as they are (but see
        `released`).
        """

    def judged(self, *others: nn.Module) -> contextlib.AbstractContextManager:
        """Within, discriminators and `others` judge and do not learn; unless the settings leave them unfrozen."""
        return contextlib.nullcontext() if self.settings.unfrozen else frozen(self.discriminators, *others)

    def generator_adversarial(self, fake_us: torch.Tensor, fake_mri: torch.Tensor) -> torch.Tensor:
        """The generators' side of Equations 2 and 3: how far the fakes are from being taken for real."""
        asked = (("us", fake_us), ("mri", fake_mri))
        return sum(adversarial(self.discriminators[name](fake), True, self.settings.gan_mode) for name, fake in asked)

    def total(self, terms: Terms) -> torch.Tensor:
        """The weighted sum of the terms; Equation 9 in SG-CycleGAN."""
        return sum(self.weights[name] * term for name, term in terms.items())

    def discriminator_step(self, mri: torch.Tensor, us: torch.Tensor, cache: Cache) -> tuple[torch.Tensor, Terms]:
        """What the discriminators minimise, Equations 2 and 3: real images against the fakes of `cache`."""
        terms = {}
        for name, real, fake in (("mri", mri, cache.fake_mri), ("us", us, cache.fake_us)):
            logits = self.discriminators[name](torch.cat([real, fake]))
            terms[f"discriminator_{name}"] = discrimination(
                logits[: len(real)], logits[len(real) :], self.settings.gan_mode
            )
        return terms["discriminator_mri"] + terms["discriminator_us"], terms

    def auxiliary_step(self, cache: Cache) -> tuple[torch.Tensor, Terms] | None:
        """What the auxiliary networks minimise, on detached features; None for a translator without any."""
        return None

    def auxiliary_parameters(self) -> list[nn.Parameter]:
        """Parameters that the auxiliary step trains."""
        return []

    def discriminator_parameters(self) -> list[nn.Parameter]:
        """Parameters that the discriminator step trains."""
        return list(self.discriminators.parameters())

    def generator_parameters(self) -> list[nn.Parameter]:
        """Parameters that the generator step trains: all others."""
        others = {*self.discriminator_parameters(), *self.auxiliary_parameters()}
        return [p for p in self.parameters() if p not in others]

    @torch.no_grad()
    def translate(self, images: torch.Tensor, direction: str, generator: Source = None) -> torch.Tensor:
        """Equation 1: G(x) for `mri_to_us`, F(y) for `us_to_mri`. (N, 1, H, W) in [-1, 1] to the same.

        The same generator state gives the same images; None leaves the noise out. ValueError for another direction,
        UserError for a size that the networks cannot halve.
        """
        self.check(images, direction)
        for network in self.path(direction):
            images = network(images, generator)
        return images

    def check(self, images: torch.Tensor, direction: str) -> None:
        """ValueError for an unknown direction, UserError for a size that the networks cannot halve, or to one pixel."""
        if direction not in DIRECTIONS:
            raise ValueError(f"direction {direction!r}, expected one of {DIRECTIONS}")
        step, sides = 2**self.settings.downsamplings, images.shape[-2:]
        if any(side % step or side < 2 * step for side in sides):  # one value, normalised, is zero whatever it was
            raise UserError(
                f"images of {sides[0]} x {sides[1]} pixels: the translator needs multiples of {step} from {2 * step}. "
                "Resize them"
            )

    def parameter_report(self) -> dict[str, int]:
        """Numbers of parameters: each direction, both together, what they share, what only training needs.

        The last counts discriminators, which stand beside it on their own, and whatever else does not translate.
        """
        one, other = (self.path(direction) for direction in DIRECTIONS)
        report = {"mri_to_us": parameters(*one), "us_to_mri": parameters(*other), "total": parameters(*one, *other)}
        report["shared"] = report["mri_to_us"] + report["us_to_mri"] - report["total"]
        translating = {p for direction in DIRECTIONS for network in self.path(direction) for p in network.parameters()}
        report["training only"] = sum(p.numel() for p in self.parameters() if p not in translating)
        return {**report, "discriminators": parameters(self.discriminators)}


def noise_of_fakes(sizes: tuple[int, int], source: torch.Generator | None) -> tuple[Source, Source]:
    """Noise for a batch of `sizes` MRI, ultrasound images on its way to ultrasound, and to MRI: for fakes alone.

    What should come back unchanged (Equations 4 and 8) has no noise: an L1 distance would teach it to be silent.
    """
    mri, us = sizes
    return [source] * mri + [None] * us, [None] * mri + [source] * us


def noise_like(x: torch.Tensor, source: torch.Generator | None) -> torch.Tensor:
    """Standard normal noise of the shape of `x` from a generator; zeros without one."""
    if source is None:
        return torch.zeros_like(x)
    return torch.randn(x.shape, generator=source, device=source.device).to(x)


@contextlib.contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """What is computed within leaves no gradient in the modules' parameters; it passes through them all the same."""
    kept = [(p, p.requires_grad) for module in modules for p in module.parameters()]
    for parameter, _ in kept:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, before in kept:
            parameter.requires_grad_(before)
