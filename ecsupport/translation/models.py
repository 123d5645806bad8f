"""The translators by name: the five that Table 1 compares, and SG-CycleGAN without its guidance."""

import torch

from ecsupport.core.errors import UserError
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


def build(name: str, settings: Settings, generator: torch.Generator) -> Translator:
    """An untrained translator whose weights come from `generator` (on the cpu); UserError for an unknown name."""
    if name not in MODELS:
        raise UserError(f"unknown translator {name!r}. Choose one of: {', '.join(MODELS)}")
    with torch.device("meta"):  # without numbers: torch would draw them from its global generator
        translator = MODELS[name](settings)
    translator.to_empty(device="cpu")
    initialise(translator, generator)
    return translator
