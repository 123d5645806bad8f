"""The translators by name: those that Table 1 compares."""

import torch

from ecsupport.core.errors import UserError
from ecsupport.translation.blocks import initialise
from ecsupport.translation.cyclegan import CycleGAN
from ecsupport.translation.interface import Translator
from ecsupport.translation.settings import Settings
from ecsupport.translation.sg_cyclegan import SGCycleGAN

MODELS: dict[str, type[Translator]] = {"cyclegan": CycleGAN, "sg_cyclegan": SGCycleGAN}


def build(name: str, settings: Settings, generator: torch.Generator) -> Translator:
    """An untrained translator whose weights come from `generator` (on the cpu); UserError for an unknown name."""
    if name not in MODELS:
        raise UserError(f"unknown translator {name!r}. Choose one of: {', '.join(MODELS)}")
    with torch.device("meta"):  # without numbers: torch would draw them from its global generator
        translator = MODELS[name](settings)
    translator.to_empty(device="cpu")
    initialise(translator, generator)
    return translator
