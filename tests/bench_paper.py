"""What a training step of the profile `paper` computes, for each image of a batch, counted on a CPU (make bench)."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from ecsupport.bench import Measure, measure
from ecsupport.core import profiles
from ecsupport.core.training import reproducible
from ecsupport.experiments import networks, translators
from ecsupport.screening.batches import Batches
from ecsupport.screening.settings import Settings
from ecsupport.screening.training import ScreeningTraining
from ecsupport.translation import training
from ecsupport.translation.settings import Settings as TranslatorSettings

PAPER = profiles.load("paper")
BATCH = 2


def grey(size: int) -> np.ndarray:
    """A few images of noise: what is counted does not depend on pixels."""
    return np.random.default_rng(0).integers(0, 256, (2 * BATCH, size, size), np.uint8)


def screening(settings: Settings, size: int) -> float:
    """TFLOP of a step of a network, with its teacher where it has one, for each image."""
    images, label = grey(size), np.tile([0, 1], BATCH)
    arrays = {"image": images, "label": label, "real": label >= 0}
    arrays |= {"validation_image": images, "validation_label": label}
    settings = replace(settings, batch=BATCH)
    with reproducible(1), tempfile.TemporaryDirectory() as folder:
        run, batch = ScreeningTraining(Path(folder), settings, arrays, 1, "cpu"), Batches(arrays, settings, 1).at(0)
        with FlopCounterMode(display=False) as counted:
            run.step(0, batch, run.teach(0, batch, {settings.gradient_of}))
    return counted.get_total_flops() / BATCH / 1e12


def translator(model: str) -> float:
    """TFLOP of a step of a translator and its discriminators, for each image of a domain."""
    size = replace(PAPER.translation, batch=BATCH)
    images = grey(size.image_size)
    with reproducible(1):
        start = training.start(model, TranslatorSettings.of(size), 1)
        run = training.TranslatorTraining(start, {"mri": images, "us": images, "show": images[:1]}, 1)
        with FlopCounterMode(display=False) as counted:
            run.take_step()
    return counted.get_total_flops() / BATCH / 1e12


@measure("paper")
def steps() -> Iterator[Measure]:
    """Every kind of training whose cost `experiments.work` sums."""
    of_table_2 = Settings.downstream(PAPER)
    yield Measure("downstream", screening(of_table_2, PAPER.translation.image_size), "TFLOP")
    for name in (*networks.COMPARED, "lsnet_dense"):
        yield Measure(f"screening/{name}", screening(Settings.of(PAPER, name), PAPER.image_size), "TFLOP")
    for model in (*translators.NAMES, translators.UNGUIDED):
        yield Measure(f"translator/{model}", translator(model), "TFLOP")
