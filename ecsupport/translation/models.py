"""The translators by name: the five that Table 1 compares, SG-CycleGAN without its guidance, and one's own."""

import torch

from ecsupport.core import own_methods
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


def known() -> dict[str, type[Translator]]:
    """All translators by name; UserError for one's own that is none, or that has a name which is taken."""
    own_methods.refuse_taken("translators", MODELS)
    own = own_methods.methods().translators
    for name, found in own.items():
        if not (isinstance(found, type) and issubclass(found, Translator)):
            raise UserError(f"{own_methods.file()}: the translator {name!r} is no subclass of Translator. Derive it")
        if missing := [word for word in ("WEIGHTS", "REVISION") if not hasattr(found, word)]:
            raise UserError(f"{own_methods.file()}: the translator {name!r} has no {missing[0]}. Say what it is")
    return MODELS | own


def kind(name: str) -> type[Translator]:
    """The class of a translator; UserError for an unknown name."""
    if name not in known():
        raise UserError(f"unknown translator {name!r}. Choose one of: {', '.join(known())}")
    return known()[name]


def revisions(name: str, settings: Settings) -> dict[str, int | str]:
    """The revision of each part of what a translator computes; UserError for an unknown name."""
    switched: dict[str, int | str] = {"released": released.REVISION} if settings.dynamic_regions else {}
    if name not in MODELS:
        switched["own"] = own_methods.methods().digest
    return {"translator": kind(name).REVISION, "blocks": blocks.REVISION, **switched}


def build(name: str, settings: Settings, generator: torch.Generator) -> Translator:
    """An untrained translator whose weights come from `generator` (on the cpu); UserError for an unknown name."""
    make = kind(name)
    with torch.device("meta"):  # without numbers: torch would draw them from its global generator
        translator = make(settings)
    translator.to_empty(device="cpu")
    initialise(translator, generator)
    return translator
