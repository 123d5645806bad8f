"""The one trainer of all translators: Algorithm 1, resumable, on a CPU to the bit (Methods, "SG-CycleGAN").

Data order, augmentation and noise are pure functions of seed and step, so that a checkpoint holds no generator.
"""

import csv
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ecsupport.core import jobs, progress, replay
from ecsupport.core.errors import UserError
from ecsupport.core.pixels import demand_grey
from ecsupport.core.training import (
    Unreadable,
    demand_finite,
    load_weights,
    reproducible,
    resumed,
    save,
    save_weights,
    seed_of,
    torch_generator,
)
from ecsupport.core.training import device as find_device
from ecsupport.translation.inference import to_tensor, translate
from ecsupport.translation.interface import Cache, Share, Terms, Translator
from ecsupport.translation.losses import ImagePool
from ecsupport.translation.models import build
from ecsupport.translation.settings import Settings

REVISION = 2  # Algorithm 1: batches, augmentation, image pool, Adam and its schedule; since 2 in two files
LOG_EVERY = 10  # steps
CHECKPOINTS = 20  # in a run
GENERATOR, WEIGHTS = "mri_to_us.safetensors", "weights.safetensors"  # what turns MRI into ultrasound; all else


def restore(folder: Path, untrained: bool = False, generator_alone: bool = False) -> Translator:
    """The translator of a made job, on the cpu; `untrained` gives the weights that it started from.

    generator_alone: with trained weights for MRI to ultrasound only, which is all that an archive holds.
    """
    recipe = jobs.record(folder)["recipe"]
    translator = start(recipe["model"], Settings.from_json(recipe["settings"]), recipe["seed"])
    if not untrained:
        weights = load_weights(folder / GENERATOR) | ({} if generator_alone else load_weights(folder / WEIGHTS))
        if generator_alone and set(weights) != set(translator.names("mri_to_us")):
            raise Unreadable(f"{folder / GENERATOR} holds other weights than {recipe['model']} has. Remove {folder}")
        translator.load_state_dict(weights, strict=not generator_alone)
    return translator


def start(model: str, settings: Settings, seed: int) -> Translator:
    """The translator from which a run of this seed starts."""
    alike = "sg_cyclegan" if model == "unguided" else model  # the same networks, so the same weights to start from
    return build(model, settings, torch_generator("translation", alike, seed, "weights")).eval()


def train(
    folder: Path,
    images: Mapping[str, np.ndarray],
    *,
    model: str,
    data: str,
    settings: Mapping[str, Any],
    seed: int,
    device: str,
    revision: Mapping[str, int],
) -> None:
    """Algorithm 1: train a translator on unpaired images, mri, us and show, (N, H, W) uint8 each.

    data names the images, revision each part of the arithmetic: a checkpoint belongs to these too.

    Leaves mri_to_us.safetensors, weights.safetensors with all other weights, losses.csv (step, one column a term) and
    snapshots.npy, (times, K, H, W) uint8: the ultrasound images into which the K MRI of `show` are translated at
    `settings.snapshot_steps()`.

    For every batch of MRI x and ultrasound y, with p the share of the run that is done:
    1. Discriminators and domain classifier frozen: translate x and y, translate back, pass each through the generator
       of its own domain; one step of the generators and the shared encoder on Equation 9, the gradient of the domain
       term reversed with the weight of p.
    2. One step of each discriminator, Equations 2 and 3, on real images and on fakes from its image pool.
    3. One step of the domain classifier, Equations 6 and 7, on the features that step 1 left, detached.
    The learning rate falls after `settings.decay_from` of the run. A checkpoint stands in `folder` while the run
    lasts; with it a killed run ends in the same bits as one that was never stopped, on a GPU up to rounding.
    TrainingError at the first NaN (on a GPU where a loss is next looked at), UserError for images that do not suit the
    settings.
    """
    s = Settings.from_json(settings)
    check_images(images, s)
    configuration = {"model": model, "data": data, "settings": s.to_json(), "seed": seed, "revision": revision}
    configuration["device"] = device
    checkpoint = folder / "checkpoint.pt"
    with reproducible(1):
        run = TranslatorTraining(start(model, s, seed).to(find_device(device)), images, seed)
        if state := resumed(checkpoint, configuration, device):
            run.set_state(state)
        for step in progress.bar(range(run.step, s.steps), f"{model} {seed}", total=s.steps, done=run.step):
            if step == 0:
                run.take_snapshot()
            demand_finite(run.take_step(), step + 1, checkpoint)
            if run.step in s.snapshot_steps():
                run.take_snapshot()
            if run.step % max(1, s.steps // CHECKPOINTS) == 0 or run.step == s.steps:
                demand_finite(
                    {"weights": sum(p.abs().sum() for p in run.translator.parameters())}, step + 1, checkpoint
                )
                save(checkpoint, configuration, run.state())
    weights, to_us = run.translator.to("cpu").state_dict(), run.translator.names("mri_to_us")
    save_weights(folder / GENERATOR, {name: weights[name] for name in to_us})
    save_weights(folder / WEIGHTS, {name: value for name, value in weights.items() if name not in to_us})
    with (folder / "losses.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(run.losses[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(run.losses)
    np.save(folder / "snapshots.npy", np.stack([picture.numpy() for picture in run.snapshots]))
    checkpoint.unlink()


class TranslatorTraining:
    """A training run between two steps: networks, optimisers, pools, and what has been recorded so far."""

    def __init__(self, translator: Translator, images: Mapping[str, np.ndarray], seed: int) -> None:
        self.translator, self.images, self.seed = translator, images, seed
        self.settings = translator.settings
        self.device = next(translator.parameters()).device
        groups = {
            "generators": translator.generator_parameters(),
            "discriminators": translator.discriminator_parameters(),
            "auxiliary": translator.auxiliary_parameters(),
        }
        s = self.settings
        self.optimisers = {
            name: replay.adaptive(torch.optim.Adam, [{"params": group}], s.learning_rate, self.device, betas=s.betas)
            for name, group in groups.items()
            if group
        }
        self.noise = torch.Generator(self.device)
        self.generate = replay.Replay(self._generate, self.device, self.noise)
        self.judge = replay.Replay(self._judge, self.device)
        self.pools = {name: ImagePool(s.pool) for name in translator.domains}
        self.step, self.losses, self.snapshots = 0, [], []

    def take_step(self) -> dict[str, float]:
        """One step of Algorithm 1; returns its unweighted terms, means over the parts of an accumulated step.

        On a GPU they are looked at, and returned, every `LOG_EVERY` steps only: to look is to wait for it.
        """
        s = self.settings
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                replay.set_rate(group, s.rate(self.step))
        logged = self.step == 0 or (self.step + 1) % LOG_EVERY == 0
        parts = [self._take_part(part, logged or self.device.type == "cpu") for part in range(s.accumulation)]
        self.step += 1
        values = {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
        if logged:
            self.losses.append({"step": self.step, **values})
        return values

    def _take_part(self, part: int, look: bool) -> dict[str, float]:
        """Gradients of one batch; the last part of a step moves the weights. Returns its terms if one is to `look`."""
        s, number = self.settings, self.step * self.settings.accumulation + part
        words = ("translation", self.seed, number)
        mri, us = (x.to(self.device) for x in batch(self.images["mri"], self.images["us"], s, self.seed, number))
        self.noise.manual_seed(seed_of(*words, "noise"))
        place = (part == 0, part == s.accumulation - 1)
        terms, cache = self.generate(place, mri, us, self.step / s.steps)
        remembered = torch_generator(*words, "pool")
        fakes = [self.pools[name](fake, remembered) for name, fake in (("us", cache.fake_us), ("mri", cache.fake_mri))]
        features = (f for f in (cache.mri_features, cache.us_features) if f is not None)
        others = self.judge(place, mri, us, *fakes, *features)
        return _floats(terms | others) if look else {}

    def _generate(self, first: bool, last: bool, mri: torch.Tensor, us: torch.Tensor, done: Share) -> tuple:
        """The generators' part of a step, whose `done` share of the run is over: terms, and the cache for `_judge`."""
        with self._precision():
            loss, terms, cache = self.translator.generator_step(mri, us, done, self.noise)
        self._descend("generators", loss, first, last)
        return {name: term.detach() for name, term in terms.items()}, cache

    def _judge(self, first: bool, last: bool, mri: torch.Tensor, us: torch.Tensor, *cached: torch.Tensor) -> Terms:
        """The discriminators' and the domain classifier's part of a step; cached: the fields of a `Cache`."""
        cache = Cache(*cached)
        with self._precision():
            loss, terms = self.translator.discriminator_step(mri, us, cache)
        self._descend("discriminators", loss, first, last)
        with self._precision():
            auxiliary = self.translator.auxiliary_step(cache)
        if auxiliary:
            self._descend("auxiliary", auxiliary[0], first, last)
            terms = terms | auxiliary[1]
        return {name: term.detach() for name, term in terms.items()}

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16")

    def _descend(self, name: str, loss: torch.Tensor, first: bool, last: bool) -> None:
        if first:  # parts of a step that are recorded apart add to gradients at one address
            self.optimisers[name].zero_grad(set_to_none=self.settings.accumulation == 1)
        loss.backward()
        if last:
            self.optimisers[name].step()

    def take_snapshot(self) -> None:
        """Translate the followed images as they are translated now; their noise is the same every time."""
        pictures = translate(self.translator, self.images["show"], ("translation", self.seed, "snapshot"))
        self.snapshots.append(torch.from_numpy(pictures))

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, and the records."""
        return {
            "step": self.step,
            "networks": self.translator.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "pools": {name: list(pool.images) for name, pool in self.pools.items()},
            "losses": self.losses,
            "snapshots": self.snapshots,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go back to where `state` was taken."""
        self.translator.load_state_dict(state["networks"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        for name, pool in self.pools.items():
            pool.images = list(state["pools"][name])
        self.step, self.losses = state["step"], list(state["losses"])
        self.snapshots = [picture.cpu() for picture in state["snapshots"]]


def batch(
    mri: np.ndarray, us: np.ndarray, settings: Settings, seed: int, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The unpaired batch of a step, a pure function of seed and step: two of (batch, 1, S, S) in [-1, 1].

    The larger domain goes by in shuffled order, each image once an epoch; the other is drawn uniformly.
    """
    generator = torch_generator("translation", seed, step, "batch")
    count, larger = settings.batch, max(len(mri), len(us))
    places = [divmod(item, larger) for item in range(step * count, (step + 1) * count)]
    in_order = [_order(seed, epoch, larger)[place] for epoch, place in places]
    drawn = torch.randint(min(len(mri), len(us)), (count,), generator=generator).tolist()
    chosen = (in_order, drawn) if len(mri) >= len(us) else (drawn, in_order)
    size = settings.image_size
    return tuple(
        augment(images[rows], size, generator, settings.enlarged)
        for images, rows in zip((mri, us), chosen, strict=True)
    )


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> list[int]:
    return torch.randperm(count, generator=torch_generator("translation", seed, "order", epoch)).tolist()


def augment(images: np.ndarray, size: int, generator: torch.Generator, enlarged: float) -> torch.Tensor:
    """Enlarge (bicubic), crop at random, flip every second image: (N, H, W) uint8 to (N, 1, size, size)."""
    side = round(enlarged * size)
    large = functional.interpolate(to_tensor(images), (side, side), mode="bicubic", align_corners=False).clamp(-1, 1)
    draws = torch.randint(side - size + 1, (len(images), 2), generator=generator).tolist()
    flips = torch.rand(len(images), generator=generator).lt(0.5).tolist()
    cropped = [image[:, top : top + size, left : left + size] for image, (top, left) in zip(large, draws, strict=True)]
    return torch.stack([crop.flip(-1) if flip else crop for crop, flip in zip(cropped, flips, strict=True)])


def check_images(images: Mapping[str, np.ndarray], settings: Settings) -> None:
    """UserError where the images are no grey levels of 8 bits, not of the settings' size, or fewer than a batch."""
    for name in ("mri", "us", "show"):
        if name not in images:
            raise UserError(f"there is no array {name!r}. Give mri, us and show")
        found = demand_grey(images[name], settings.image_size, name)
        if name != "show" and len(found) < settings.batch:
            raise UserError(
                f"{name}: {len(found)} images are fewer than a batch of {settings.batch}. Add images, or lower batch"
            )


def _floats(terms: Terms) -> dict[str, float]:
    return dict(zip(terms, torch.stack([term.float() for term in terms.values()]).tolist(), strict=True))
