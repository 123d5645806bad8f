"""What a GPU can repeat: steps that wait for no number, do the same kernels every time, and read their tensors anew."""

from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ecsupport.core import own_methods, profiles, replay
from ecsupport.experiments import networks  # noqa: F401 - its rooms import one another in this order
from ecsupport.screening import ablations, sparse_attention
from ecsupport.screening.batches import Batches
from ecsupport.screening.settings import Settings
from ecsupport.screening.training import ScreeningTraining
from ecsupport.translation import models
from ecsupport.translation import training as translation
from ecsupport.translation.settings import Settings as TranslatorSettings

SIDE, CPU = 64, torch.device("cpu")
RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 255, (16, SIDE, SIDE), dtype=np.uint8)
ARRAYS = {
    "image": IMAGES, "label": np.arange(16) % 2, "real": np.ones(16, bool),
    "validation_image": IMAGES, "validation_label": np.arange(16) % 2,
}  # fmt: skip
SMOKE = profiles.load("smoke")


class Recorded(TorchDispatchMode):
    """Names every operation; refuses what a recording cannot hold: waiting for a number, shapes that numbers decide."""

    REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "lift_fresh", "bincount", "equal.default")

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        name = str(operation)
        if any(word in name for word in self.REFUSED):
            raise AssertionError(f"{name} waits for a number, or makes a tensor of one, in a recorded step")
        chosen = arguments[1] if name.startswith(("aten.index.", "aten.index_put")) else ()
        if any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in chosen):
            raise AssertionError(f"{name} selects by a mask, whose number of places decides a shape")
        self.names.append(name)
        return operation(*arguments, **(options or {}))


class Watched(replay.Replay):
    """Calls the function with tensors for numbers, as on a GPU, and keeps the operations of each call by key."""

    made: ClassVar[list["Watched"]] = []

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.calls: dict[tuple, list[list[str]]] = {}
        self.made.append(self)

    def __call__(self, key, *inputs):
        given = [x if isinstance(x, torch.Tensor) else torch.tensor(float(x)) for x in inputs]
        with Recorded() as recorded:
            outputs = self.function(*key, *given)
        self.calls.setdefault(key, []).append(recorded.names)
        return outputs


@pytest.fixture
def watched(monkeypatch):
    """Steps are watched as a GPU would record them; keys are chosen as it does, without NumPy."""
    monkeypatch.setattr(Watched, "made", [])
    monkeypatch.setattr(replay, "Replay", Watched)
    monkeypatch.setattr(sparse_attention, "border", lambda *_: None)
    sparse_attention.random_keys.cache_clear()
    return Watched.made


def repeats(made: list[Watched]) -> int:
    """How many recordings there are, each the same whenever it was called but for the first calls."""
    keys = [calls[replay.WARM_UP :] for one in made for calls in one.calls.values() if len(calls) > replay.WARM_UP]
    for calls in keys:
        assert all(one == other for one, other in pairwise(calls))
    return len(keys)


@pytest.mark.parametrize("model", models.known())
def test_a_translators_step_can_be_recorded(model, watched):
    settings = TranslatorSettings.of(SMOKE.translation, image_size=SIDE, steps=8, batch=2)
    run = translation.TranslatorTraining(
        translation.start(model, settings, 1), {"mri": IMAGES, "us": IMAGES, "show": IMAGES[:1]}, 1
    )
    for _ in range(7):
        run.take_step()
    assert repeats(watched) == 2  # generators, discriminators


def test_parts_of_an_accumulated_step_add_to_gradients_at_one_address():
    settings = TranslatorSettings.of(SMOKE.translation, image_size=SIDE, steps=8, batch=2, accumulation=4)
    run = translation.TranslatorTraining(
        translation.start("sg_cyclegan", settings, 1), {"mri": IMAGES, "us": IMAGES, "show": IMAGES[:1]}, 1
    )
    run.take_step()
    places = {name: p.grad.data_ptr() for name, p in run.translator.named_parameters() if p.grad is not None}
    run.take_step()
    assert places == {name: p.grad.data_ptr() for name, p in run.translator.named_parameters() if p.grad is not None}


ARMS = [name for name, arm in ablations.arms(SMOKE).items() if arm.settings.variant != "released"]


@pytest.mark.parametrize(
    "name", [*ARMS, "efficientnet", "mobilenet_v2_wide", "mobilevit", *own_methods.methods().networks]
)
def test_a_screening_step_can_be_recorded(name, watched, tmp_path):
    chosen = ablations.arms(SMOKE)[name].settings if name in ARMS else Settings.of(SMOKE, name)
    chosen = replace(chosen, batch=4, mixed_steps=40, real_steps=0, validate_every=50, shared_start=None)
    run = ScreeningTraining(tmp_path, chosen, ARRAYS, 1, "cpu")
    batches = Batches(ARRAYS, chosen, 1)
    for step in [*range(5), *range(14, 20), *range(33, 38)]:  # guided, handing over, alone
        batch = batches.at(step)
        run.step(step, batch, run.teach(step, batch, {chosen.gradient_of}))
    guided = chosen.guidance == "teacher" and chosen.handover == "described"
    assert repeats(watched) == (chosen.taught + (3 if guided else 1))


def test_a_share_that_is_a_tensor_weighs_as_the_number_does():
    guidance, features = torch.randn(2, 4, 4, 9, 9), torch.randn(2, 4, 4, 9, 8)
    for mixed in (sparse_attention.mix, sparse_attention.magnitudes):
        one, other = (mixed(guidance, features, share) for share in (0.3, torch.tensor(0.3)))
        torch.testing.assert_close(one, other)


def test_on_a_cpu_a_function_is_simply_called():
    seen = []
    called = replay.Replay(lambda key, x, share: seen.append((key, share)) or x + share, CPU)
    assert called(("a",), torch.ones(2), 0.5).tolist() == [1.5, 1.5]
    assert seen == [("a", 0.5)]
