"""What the translators' training costs: SG-CycleGAN against CycleGAN, and the trainer against a bare loop."""

import numpy as np
import torch

from ecsupport.bench import Measure, interleaved, measure
from ecsupport.core import profiles
from ecsupport.core.seeds import generator
from ecsupport.core.training import reproducible
from ecsupport.translation import training
from ecsupport.translation.models import MODELS
from ecsupport.translation.settings import Settings

SG_CYCLEGAN, TRAINER, MIXED = 1.35, 1.05, 1.6


def images(side, count=32):
    rng = generator("bench", "translation", side)
    return {name: rng.integers(0, 256, (count, side, side), dtype=np.uint8) for name in ("mri", "us", "show")}


def bare(run, mri, us):
    """The same networks and optimisers without trainer: no pool, no augmentation, no record, no check."""
    t, optimisers = run.translator, run.optimisers

    def step():
        loss, _, cache = t.generator_step(mri, us, 0.5, run_noise)
        optimisers["generators"].zero_grad()
        loss.backward()
        optimisers["generators"].step()
        loss, _ = t.discriminator_step(mri, us, cache)
        optimisers["discriminators"].zero_grad()
        loss.backward()
        optimisers["discriminators"].step()

    run_noise = torch.Generator(mri.device).manual_seed(1)
    return step


@measure("translation")
def iteration():
    """One step at the sizes of `laptop`, on one thread, as it is trained."""
    settings = Settings.of(profiles.load("laptop").translation)
    data = images(settings.image_size)

    def run(model):
        made = training.TranslatorTraining(training.start(model, settings, 1), data, 1)
        return made, lambda: training.demand_finite(made.take_step(), 1)

    with reproducible(1):
        runs = {model: run(model) for model in MODELS if model != "unguided"}
        batch = training.batch(data["mri"], data["us"], settings, 1, 0)
        naked = bare(training.TranslatorTraining(training.start("cyclegan", settings, 1), data, 1), *batch)
        seconds = interleaved(*(step for _, step in runs.values()), naked)
    of = dict(zip([*runs, "bare"], seconds, strict=True))
    yield Measure("CycleGAN, one step", float(np.median(of["cyclegan"])) * 1000, "ms")
    yield Measure.ratio("SG-CycleGAN over CycleGAN", of["sg_cyclegan"], of["cyclegan"], SG_CYCLEGAN)
    for model in ("unit", "munit", "dclgan"):
        yield Measure.ratio(f"{model} over CycleGAN", of[model], of["cyclegan"])
    yield Measure.ratio("CycleGAN over a bare loop", of["cyclegan"], of["bare"], TRAINER)


@measure("translation")
def mixed_precision():
    """On a GPU at 256 pixels: bfloat16 with channels-last against TF32. Elsewhere nothing is measured, and said so."""
    if not torch.cuda.is_available():
        print("mixed precision: no GPU here, not measured")
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    size, steps = profiles.load("paper").translation, []
    for precision, order in (("float32", torch.contiguous_format), ("bfloat16", torch.channels_last)):
        settings = Settings.of(size, precision=precision)
        translator = training.start("sg_cyclegan", settings, 1).to("cuda", memory_format=order)
        made = training.TranslatorTraining(translator, images(settings.image_size), 1)
        steps.append(lambda made=made: (made.take_step(), torch.cuda.synchronize()))
    whole, mixed = interleaved(*steps)
    yield Measure.ratio("SG-CycleGAN, 256 px: TF32 over bfloat16", whole, mixed, MIXED, at_least=True)
