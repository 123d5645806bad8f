"""What every screening network keeps, LSNet, its comparators and one's own: the contract of `screening.lsnet.build`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from making import fit, student

from ecsupport.backbone.inputs import to_input
from ecsupport.core import profiles, training
from ecsupport.core.training import load_weights, torch_generator
from ecsupport.screening import cost, lsnet
from ecsupport.screening.batches import Batches
from ecsupport.screening.settings import Settings
from ecsupport.screening.training import ScreeningTraining, predict, restore

NAMES = lsnet.names()
SIZE = 64  # pixels
SHORT = {"batch": 4, "mixed_steps": 6, "real_steps": 2, "validate_every": 2}


def build(name, *words, stem_stride=2):
    return lsnet.build(name, torch_generator("test", name, *words), stem_stride=stem_stride)


def pictures(count, size=SIZE):
    return torch.rand((count, 1, size, size), generator=torch_generator("test", count, size)) * 2 - 1


def grey(count):
    """Noise, each image of another brightness."""
    noise = np.random.default_rng(count).integers(0, 128, (count, SIZE, SIZE))
    return (noise + np.linspace(0, 127, count).astype(int)[:, None, None]).astype(np.uint8)


def arrays():
    label = np.tile([0, 1], 8)
    there = {"image": grey(16), "label": label, "real": np.arange(16) < 12}
    return there | {"validation_image": grey(8), "validation_label": label[:8]}


def settings(name):
    return replace(Settings.of(profiles.load("smoke"), name), **SHORT, rules=("auc",))


@pytest.mark.parametrize("size", [SIZE, 320])
@pytest.mark.parametrize("name", NAMES)
def test_an_image_gives_two_logits_at_every_size_of_a_profile(name, size):
    for stride in {profiles.load(profile).screening.stem_stride for profile in profiles.names()}:
        with torch.inference_mode():
            logits = build(name, stem_stride=stride).eval()(pictures(2, size))
        assert logits.shape == (2, 2) and logits.dtype == torch.float32
        assert logits.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_first_weights_are_the_generator_s_and_leave_torch_s_own_alone(name):
    before = torch.get_rng_state()
    one, same, other = (build(name, word).state_dict() for word in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[part], same[part]) for part in one)
    assert any(not torch.equal(one[part], other[part]) for part in one)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_that_of_the_image_alone(name):
    network = build(name)
    for _ in range(30):
        network.train()(to_input(grey(3)))  # norms as training leaves them
    scores = predict(network, grey(3))
    assert scores.shape == (3,) and scores.dtype == np.float64
    np.testing.assert_allclose(predict(network, grey(3)[1:]), scores[1:], rtol=1e-4)
    assert len(set(scores)) == 3
    assert predict(network, grey(3)[:0]).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_and_no_layer_draws_random_numbers(name):
    """Simulators learn from a loss of their own; queries and keys of a single kept key have no softmax to learn."""
    network, before = build(name).train(), torch.get_rng_state()
    network(pictures(4)).square().sum().backward()
    assert torch.equal(torch.get_rng_state(), before)
    assert [part for part, p in network.named_parameters() if p.grad is None and "simulator" not in part] == []


@pytest.mark.parametrize("name", NAMES)
def test_its_parameters_and_operations_can_be_counted(name):
    network = build(name)
    counted = cost.total(network, SIZE)
    assert counted["parameters"] == sum(p.numel() for p in network.parameters())
    assert counted["layers"] > 0


@pytest.mark.parametrize("name", [name for name in NAMES if name != "teacher"])
def test_a_training_that_was_killed_goes_on_to_the_same_bits_and_is_restored(name, tmp_path):
    given, chosen = arrays(), settings(name)
    folder = fit(student(chosen, given, 1))
    whole = load_weights(folder / "weights_auc.safetensors")
    batches = Batches(given, chosen, 1)
    with training.reproducible():
        for end in (4, 8):  # a checkpoint stands after every second step
            run = ScreeningTraining(tmp_path, chosen, given, 1, "cpu")
            run.resume()
            for step in range(run.done, end):
                batch = batches.at(step)
                run.step(step, batch, run.teach(step, batch, {chosen.gradient_of}))
    run.finish()
    again = load_weights(tmp_path / "weights_auc.safetensors")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[part], again[part]) for part in whole)
    restored = restore(folder).state_dict()
    assert all(torch.equal(whole[part], restored[part]) for part in whole)
