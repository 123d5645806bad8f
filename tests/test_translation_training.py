"""The trainer: it learns, it goes on where it was killed to the same bits, it stops at the first NaN."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from making import fit, translator

from ecsupport.core import jobs, profiles
from ecsupport.core import training as core_training
from ecsupport.core.errors import UserError
from ecsupport.core.training import TrainingError, load_weights, torch_generator
from ecsupport.translation import blocks, released, training
from ecsupport.translation.inference import to_tensor, translate
from ecsupport.translation.models import MODELS, known
from ecsupport.translation.settings import Settings

SIZE = 16
FIVE = [model for model in known() if model != "unguided"]  # which is SG-CycleGAN with other weights


def small(**others):
    sizes = {"image_size": SIZE, "width": 4, "downsamplings": 1, "residual_blocks": 1, "batch": 2, "steps": 20}
    return Settings(**(sizes | others))


def pictures(seed, count, size=SIZE):
    """Smooth blobs, brighter or darker than what is around them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    centre, sign = rng.uniform(0.3, 0.7, (count, 2, 1, 1)), rng.choice([-90, 90], (count, 1, 1))
    blobs = np.exp(-((x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2) / 0.05)
    return (128 + sign * blobs + rng.normal(0, 5, (count, size, size))).clip(0, 255).astype(np.uint8)


IMAGES = {"mri": pictures(1, 7), "us": pictures(2, 5), "show": pictures(3, 3)}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A workspace of its own."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a short run of each model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path_factory.mktemp("trained")))
        return {model: fit(translator(model, IMAGES, small(), 3)) for model in FIVE}


# What a training leaves


@pytest.mark.parametrize("model", FIVE)
def test_a_training_leaves_weights_losses_and_snapshots(trained, model):
    made = {"mri_to_us.safetensors", "weights.safetensors", "losses.csv", "snapshots.npy"}
    assert {f.name for f in trained[model].iterdir()} == made | {jobs.PROVENANCE}
    losses = pd.read_csv(trained[model] / "losses.csv")
    assert losses["step"].tolist() == [1, 10, 20]
    others = {"step", "discriminator_mri", "discriminator_us"} | ({"classifier"} if "domain" in losses else set())
    assert set(losses) == others | set(known()[model].WEIGHTS)
    assert np.isfinite(losses).all(axis=None)


@pytest.mark.parametrize("model", FIVE)
def test_snapshots_run_from_the_untrained_network_to_the_restored_one(trained, model):
    folder = trained[model]
    snapshots, show = np.load(folder / "snapshots.npy"), pictures(3, 3)
    assert snapshots.shape == (len(small().snapshot_steps()), 3, SIZE, SIZE)
    assert snapshots.dtype == np.uint8
    words = ("translation", 3, "snapshot")
    start, end = training.restore(folder, untrained=True), training.restore(folder)
    assert np.array_equal(snapshots[0], translate(start, show, words))
    assert np.array_equal(snapshots[-1], translate(end, show, words))
    assert not np.array_equal(snapshots[0], snapshots[-1])
    assert not end.training


@pytest.mark.parametrize("model", FIVE)
def test_the_generator_alone_translates_as_the_whole_does(trained, tmp_path, model):
    """An archive keeps the file of that direction, and no discriminator."""
    for name in (jobs.PROVENANCE, training.GENERATOR):
        shutil.copy(trained[model] / name, tmp_path)
    alone, whole = training.restore(tmp_path, generator_alone=True), training.restore(trained[model])
    show = pictures(3, 3)
    np.testing.assert_array_equal(translate(alone, show, ("alone",)), translate(whole, show, ("alone",)))
    counted = sum(value.numel() for value in load_weights(tmp_path / training.GENERATOR).values())
    assert counted >= whole.parameter_report()["mri_to_us"]
    assert not [name for name in load_weights(tmp_path / training.GENERATOR) if "discriminators" in name]


def test_the_same_run_twice_is_the_same_bytes_and_another_seed_is_not(trained, store):
    folder = trained["cyclegan"]
    again, other = (fit(translator("cyclegan", IMAGES, small(), seed)) for seed in (3, 4))
    for name in ("mri_to_us.safetensors", "weights.safetensors", "losses.csv", "snapshots.npy"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
        assert (other / name).read_bytes() != (folder / name).read_bytes()


@pytest.mark.parametrize("model", FIVE)
def test_losses_fall_on_two_images(model):
    settings = small(width=8, steps=80, learning_rate=2e-3)
    two = {"mri": pictures(4, 2), "us": pictures(5, 2), "show": pictures(4, 1)}
    with core_training.reproducible():
        run = training.TranslatorTraining(training.start(model, settings, 1), two, 1)
        values = pd.DataFrame([run.take_step() for _ in range(settings.steps)])
    kept = {name: weight for name, weight in run.translator.weights.items() if name not in ("gan", "domain")}
    values["kept"] = sum(weight * values[name] for name, weight in kept.items())
    for term in ("kept", "discriminator_mri", "discriminator_us"):
        assert values[term].tail(10).mean() < 0.75 * values[term].head(5).mean(), term


@pytest.mark.parametrize("model", FIVE)
def test_a_resumed_run_is_the_uninterrupted_one(model, tmp_path):
    images = {"mri": pictures(4, 5), "us": pictures(5, 4), "show": pictures(4, 1)}

    def run(steps, before=None):
        made = training.TranslatorTraining(training.start(model, small(), 1), images, 1)
        if before:
            made.set_state(core_training.load(before, {}))
        for _ in range(steps):
            made.take_step()
        return made

    with core_training.reproducible():
        whole = run(9).state()
        core_training.save(tmp_path / "half.pt", {}, run(4).state())
        halves = run(5, tmp_path / "half.pt").state()
    for key, value in whole["networks"].items():
        assert torch.equal(value, halves["networks"][key]), key


def gradient_of_discriminators(images, monkeypatch, **others):
    """What a step left in the discriminators' gradients, and its generator's loss for them, part by part."""
    run = training.TranslatorTraining(training.start("sg_cyclegan", small(accumulation=3, **others), 1), images, 1)
    monkeypatch.setattr(run.optimisers["discriminators"], "step", lambda: None)
    run.take_step()
    return torch.cat([p.grad.flatten() for p in run.translator.discriminator_parameters()])


def test_discriminators_that_are_not_frozen_also_learn_from_the_generators_term(monkeypatch):
    """The released loop: cleared in the first part alone, they keep the generators' gradient of the other parts."""
    images = {"mri": pictures(4, 6), "us": pictures(5, 6), "show": pictures(4, 1)}
    clean, spoilt = (gradient_of_discriminators(images, monkeypatch, unfrozen=on) for on in (False, True))
    run = training.TranslatorTraining(training.start("sg_cyclegan", small(accumulation=3, unfrozen=True), 1), images, 1)
    added = torch.zeros_like(clean)
    for part in (1, 2):
        mri, us = training.batch(images["mri"], images["us"], run.settings, 1, part)
        noise = torch_generator("translation", 1, part, "noise")
        run.translator.zero_grad()
        run.translator.generator_step(mri, us, 0.0, noise)[0].backward()
        added += torch.cat([p.grad.flatten() for p in run.translator.discriminator_parameters()])
    torch.testing.assert_close(spoilt - clean, added, atol=1e-6, rtol=1e-3)
    assert added.norm() > 0.1 * clean.norm()


def test_an_accumulated_step_moves_the_weights_once_on_all_its_batches():
    images = {"mri": pictures(4, 6), "us": pictures(5, 6), "show": pictures(4, 1)}
    run = training.TranslatorTraining(training.start("cyclegan", small(accumulation=2, steps=10), 1), images, 1)
    parts = [training.batch(images["mri"], images["us"], run.settings, 1, n) for n in (0, 1)]
    t = run.translator
    for n, (mri, us) in enumerate(parts):
        t.generator_step(mri, us, 0.0, torch_generator("translation", 1, n, "noise"))[0].backward()
    expected = [p.grad.clone() for p in t.generator_parameters()]
    run.take_step()
    for p, gradient in zip(t.generator_parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient)


@pytest.mark.parametrize("model", FIVE)
def test_mixed_precision_computes_nearly_the_same(model):
    images = {"mri": pictures(4, 2), "us": pictures(5, 2), "show": pictures(4, 1)}
    whole, mixed = (
        training.TranslatorTraining(training.start(model, small(precision=precision), 1), images, 1).take_step()
        for precision in ("float32", "bfloat16")
    )
    assert whole != mixed
    assert mixed == pytest.approx(whole, rel=0.05, abs=0.02)


@pytest.mark.parametrize("part", ["generators", "discriminators", "auxiliary"])
def test_every_optimiser_moves_its_own_networks(part):
    images = {"mri": pictures(4, 2), "us": pictures(5, 2), "show": pictures(4, 1)}
    run = training.TranslatorTraining(training.start("sg_cyclegan", small(), 1), images, 1)
    before = [p.detach().clone() for group in run.optimisers[part].param_groups for p in group["params"]]
    run.take_step()
    run.take_step()  # in the first, the domain term weighs nothing
    after = [p for group in run.optimisers[part].param_groups for p in group["params"]]
    assert all(not torch.equal(p, q) for p, q in zip(before, after, strict=True))


def test_discriminators_see_fakes_of_the_pool(monkeypatch):
    images = {"mri": pictures(4, 2), "us": pictures(5, 2), "show": pictures(4, 1)}
    run = training.TranslatorTraining(training.start("cyclegan", small(pool=2), 1), images, 1)
    for pool in run.pools.values():
        pool.images = [torch.full((1, SIZE, SIZE), 0.25)] * 2
    seen = []
    step = run.translator.discriminator_step

    def watched(mri, us, cache):
        seen.append(cache)
        return step(mri, us, cache)

    monkeypatch.setattr(run.translator, "discriminator_step", watched)
    for _ in range(4):
        run.take_step()
    fakes = torch.cat([image for cache in seen for image in (cache.fake_us, cache.fake_mri)])
    old = (fakes == 0.25).all(dim=(1, 2, 3)).sum()
    assert 1 <= old <= 4


# Data order, augmentation, learning rate


def test_each_image_of_the_larger_domain_goes_by_once_an_epoch():
    mri = np.arange(6, dtype=np.uint8)[:, None, None] + np.zeros((1, SIZE, SIZE), np.uint8)
    us = np.arange(100, 104, dtype=np.uint8)[:, None, None] + np.zeros((1, SIZE, SIZE), np.uint8)
    for first, second, larger in ((mri, us, 0), (us, mri, 1)):
        epochs = []
        for epoch in range(8):
            steps = [training.batch(first, second, small(), 9, 3 * epoch + step)[larger] for step in range(3)]
            epochs.append(((torch.cat(steps)[:, 0, 0, 0] + 1) * 127.5).round().int().tolist())
        assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1  # in a new order
    smaller = [training.batch(mri, us, small(), 9, step)[1] for step in range(100)]
    drawn = ((torch.cat(smaller)[:, 0, 0, 0] + 1) * 127.5).round().int() - 100
    assert (np.bincount(drawn.numpy(), minlength=4) > 25).all()  # 50 expected, standard deviation 6


def test_augmentation_crops_an_enlarged_image_and_flips_half():
    ramp = np.tile(np.linspace(0, 255, 50).astype(np.uint8), (400, 50, 1))
    shown = training.augment(ramp, 50, torch_generator("test"), enlarged=1.12)
    assert shown.shape == (400, 1, 50, 50)
    assert shown.abs().max() <= 1
    rising = (shown[:, 0, :, -1] > shown[:, 0, :, 0]).all(dim=1)
    assert abs(rising.float().mean().item() - 0.5) < 4.5 * np.sqrt(0.25 / 400)
    width = (shown[rising][:, 0, 0, -1] - shown[rising][:, 0, 0, 0]).mean().item()
    assert width == pytest.approx(2 / 1.12, rel=0.03)  # of the whole ramp, 50 / 56 is in sight
    assert len((shown[rising][:, 0, 0, 0] * 1e4).round().unique()) == 7  # places for a crop of 50 in 56
    same = training.augment(ramp[:4], 50, torch_generator("test"), enlarged=1.0)
    assert all(
        torch.equal(one, to_tensor(ramp[:1])[0]) or torch.equal(one.flip(-1), to_tensor(ramp[:1])[0]) for one in same
    )


def test_the_learning_rate_is_constant_and_then_falls_to_nothing():
    settings = small(steps=300)
    assert settings.rate(0) == settings.rate(50) == 2e-4
    assert settings.rate(175) == pytest.approx(1e-4)
    assert settings.rate(299) == pytest.approx(2e-4 / 250)
    images = {"mri": pictures(4, 2), "us": pictures(5, 2), "show": pictures(4, 1)}
    run = training.TranslatorTraining(training.start("cyclegan", small(), 1), images, 1)
    run.step = 12
    run.take_step()
    used = {group["lr"] for optimiser in run.optimisers.values() for group in optimiser.param_groups}
    assert used == {small().rate(12)}


@pytest.mark.parametrize("profile", profiles.names())
def test_settings_come_from_the_profile_and_survive_json(profile):
    size = profiles.load(profile).translation
    settings = Settings.of(size)
    for name in ("image_size", "width", "downsamplings", "residual_blocks", "batch", "steps"):
        assert getattr(settings, name) == getattr(size, name)
    assert settings.learning_rate == pytest.approx(2e-4 * 64 / size.width)
    assert Settings.of(size, learning_rate=1e-3).learning_rate == 1e-3
    assert Settings.from_json(settings.to_json()) == settings
    as_released = Settings.of(size, **released.SETTINGS)
    assert Settings.from_json(as_released.to_json()) == as_released
    steps = settings.snapshot_steps()
    assert (len(steps), steps[0], steps[-1]) == (6, 0, size.steps)


# Faults

KILLED = """
import os, signal
from making import fit, translator
from test_translation_training import IMAGES, small
from ecsupport.translation import training
step = training.TranslatorTraining.take_step
def dying(self):
    if self.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self)
training.TranslatorTraining.take_step = dying
fit(translator("sg_cyclegan", IMAGES, small(steps=40), 3))
"""


def test_a_killed_training_ends_in_the_same_bits_as_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "whole"))
    run = translator("sg_cyclegan", IMAGES, small(steps=40), 3)
    whole = fit(run)
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "killed"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    killed = subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert killed.returncode == -signal.SIGKILL
    standing = run.place.with_suffix(".making") / "checkpoint.pt"
    state = torch.load(standing, weights_only=True)["state"]
    assert state["step"] == 4  # one in two is kept
    (standing.parent / ".checkpoint-torn.pt").write_bytes(b"half")  # as if it had been writing the next
    taken = []
    step = training.TranslatorTraining.take_step
    monkeypatch.setattr(training.TranslatorTraining, "take_step", lambda run: taken.append(run.step) or step(run))
    resumed = fit(run)
    assert taken[0] == state["step"]
    assert {f.name for f in resumed.iterdir()} == {f.name for f in whole.iterdir()}
    for name in ("mri_to_us.safetensors", "weights.safetensors", "losses.csv", "snapshots.npy"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_a_truncated_checkpoint_makes_the_training_begin_anew(trained, store, capsys):
    run, folder = translator("cyclegan", IMAGES, small(), 3), trained["cyclegan"]
    torn = run.place.with_suffix(".making") / "checkpoint.pt"
    torn.parent.mkdir(parents=True)
    torn.write_bytes((folder / "weights.safetensors").read_bytes()[:1000])
    again = fit(run)
    assert capsys.readouterr().err == f"{torn} was truncated or altered, so this training begins anew\n"
    assert (again / "weights.safetensors").read_bytes() == (folder / "weights.safetensors").read_bytes()


def poison_weights(monkeypatch, step):
    original = training.TranslatorTraining.take_step

    def poisoned(run):
        if run.step == step:
            with torch.no_grad():
                run.translator.generator_parameters()[0].fill_(float("nan"))
        return original(run)

    monkeypatch.setattr(training.TranslatorTraining, "take_step", poisoned)


def poison_images(monkeypatch, step):
    original = training.batch

    def poisoned(mri, us, settings, seed, now):
        x, y = original(mri, us, settings, seed, now)
        return (x * float("nan") if now == step else x), y

    monkeypatch.setattr(training, "batch", poisoned)


@pytest.mark.parametrize("poison", [poison_weights, poison_images])
def test_a_nan_stops_the_training_and_the_last_good_checkpoint_stands(store, monkeypatch, poison):
    run = translator("sg_cyclegan", IMAGES, small(), 3)
    with monkeypatch.context() as patch:
        poison(patch, 11)
        with pytest.raises(TrainingError, match=r"loss term 'gan' is nan at step 12.*checkpoint is .*checkpoint.pt"):
            fit(run)
    state = torch.load(run.place.with_suffix(".making") / "checkpoint.pt", weights_only=True)["state"]
    assert state["step"] == 11
    assert all(p.isfinite().all() for p in state["networks"].values())
    assert (fit(run) / "weights.safetensors").is_file()  # without the poison it goes on


def test_weights_that_became_nan_after_the_last_loss_are_not_saved(store, monkeypatch):
    original = training.TranslatorTraining.take_step

    def poisoned(run):
        values = original(run)
        if run.step == 20:
            with torch.no_grad():
                run.translator.generator_parameters()[0].fill_(float("nan"))
        return values

    monkeypatch.setattr(training.TranslatorTraining, "take_step", poisoned)
    with pytest.raises(TrainingError, match=r"'weights' is nan at step 20"):
        fit(translator("cyclegan", IMAGES, small(), 3))


@pytest.mark.parametrize("model", MODELS)
def test_a_raised_revision_makes_another_job_of_all_that_use_it_and_of_no_other(monkeypatch, model):
    def key(**switches):
        return translator(model, IMAGES, small(**switches), 3).key

    before, with_regions = key(), key(dynamic_regions=True)
    for name, kind in MODELS.items():
        with monkeypatch.context() as patch:
            patch.setattr(kind, "REVISION", kind.REVISION + 1)
            assert (key() != before) == issubclass(MODELS[model], kind), name
    for module in (training, blocks, released):
        with monkeypatch.context() as patch:
            patch.setattr(module, "REVISION", module.REVISION + 1)
            assert (key() != before) == (module is not released)
            assert key(dynamic_regions=True) != with_regions


def test_a_checkpoint_of_another_configuration_is_one_message(tmp_path):
    state = training.TranslatorTraining(training.start("cyclegan", small(), 3), IMAGES, 3).state()
    configuration = {"model": "cyclegan", "data": "some", "settings": small().to_json(), "seed": 4, "revision": {}}
    core_training.save(tmp_path / "checkpoint.pt", configuration, state)
    with pytest.raises(UserError, match=r"checkpoint of another configuration: seed was 4 and is now 3. Remove it"):
        training.train(tmp_path, IMAGES, device="cpu", **configuration | {"seed": 3})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mri": pictures(1, 4).astype(float)}, r"mri: float64 of shape \(4, 16, 16\), expected uint8.*Scale"),
        ({"us": pictures(1, 1)}, r"us: 1 images are fewer than a batch of 2"),
        ({"us": pictures(1, 4, size=20)}, r"us: uint8 of shape \(4, 20, 20\), .* \(N, 16, 16\)"),
        ({"show": pictures(1, 4)[:, :8]}, r"show: uint8 of shape \(4, 8, 16\)"),
        ({"show": None}, r"no array 'show'"),
    ],
)
def test_unsuitable_images_are_one_message(store, wrong, message):
    arrays = {"mri": pictures(1, 4), "us": pictures(2, 4), "show": pictures(3, 1)} | wrong
    given = {key: array for key, array in arrays.items() if array is not None}
    with pytest.raises(UserError, match=message):
        fit(translator("cyclegan", given, small(), 1))


def test_a_snapshot_does_not_change_what_is_learnt(store):
    often = dataclasses.replace(small(), snapshots=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0))
    found = [fit(translator("cyclegan", IMAGES, settings, 3)) for settings in (small(), often)]
    one, other = (training.restore(folder).state_dict() for folder in found)
    assert all(torch.equal(one[key], other[key]) for key in one)
