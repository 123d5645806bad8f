"""The translators by name: the five that Table 1 compares, and SG-CycleGAN without its guidance."""

import torch

from ecsupport.core.errors import UserError
from ecsupport.translation import blocks, released
from ecsupport.translation.blocks import initialise
from ecsupport.translation.cyclegan import CycleGAN
from ecsupport.translation.dclgan import DCLGAN
from ecsupport.translation.interface import Translator
from ecsupport.translation.munit import MUNIT
from ecsupport.translation.settings import Settings
from ecsupport.translation.sg_cyclegan import SGCycleGAN, Unguided
from ecsupport.translation.unit import UNIT

MODELS: dict[str, type[Translator]] = {
    "cyclegan": CycleGAN,
    "unit": UNIT,
    "munit": MUNIT,
    "dclgan": DCLGAN,
    "sg_cyclegan": SGCycleGAN,
    "unguided": Unguided,
}


def kind(name: str) -> type[Translator]:
    """The class of a translator; UserError for an unknown name."""
    if name not in MODELS:
        raise UserError(f"unknown translator {name!r}. Choose one of: {', '.join(MODELS)}")
    return MODELS[name]


def revisions(name: str, settings: Settings) -> dict[str, int]:
    """The revision of each part of what a translator computes; UserError for an unknown name."""
    switched = {"released": released.REVISION} if settings.dynamic_regions else {}
    return {"translator": kind(name).REVISION, "blocks": blocks.REVISION, **switched}


def build(name: str, settings: Settings, generator: torch.Generator) -> Translator:
    """An untrained translator whose weights come from `generator` (on the cpu); UserError for an unknown name."""
    make = kind(name)
    with torch.device("meta"):  # without numbers: torch would draw them from its global generator
        translator = make(settings)
    translator.to_empty(device="cpu")
    initialise(translator, generator)
    return translator
