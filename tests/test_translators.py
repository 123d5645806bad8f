"""Translators: the terms of Equation 9 are all there and are the paper's; no step touches the gradients of another."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ecsupport.core import profiles
from ecsupport.core.errors import UserError
from ecsupport.core.training import torch_generator
from ecsupport.translation import blocks, losses
from ecsupport.translation.blocks import Patches, halvings, initialise, parameters
from ecsupport.translation.inference import to_grey, to_tensor, translate
from ecsupport.translation.interface import DIRECTIONS, Translator
from ecsupport.translation.losses import GAN_MODES, ImagePool, reversal_weight, reverse_gradient
from ecsupport.translation.models import MODELS, build, known
from ecsupport.translation.settings import Settings

SIZE = 16
EVERY_TERM = [(model, term) for model, kind in known().items() for term, weight in kind.WEIGHTS.items() if weight]


def small(**others):
    sizes = {"image_size": SIZE, "width": 4, "downsamplings": 1, "residual_blocks": 1, "batch": 2, "steps": 10}
    return Settings(**(sizes | others))


def make(model, **others):
    return build(model, small(**others), torch_generator("test", model))


def pictures(word, count=2, size=SIZE):
    return torch.rand((count, 1, size, size), generator=torch_generator("test", word)) * 2 - 1


def gradients(translator, loss):
    translator.zero_grad()
    loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in translator.named_parameters()}


def l1(one, other):
    return float(np.abs(one.detach().numpy() - other.detach().numpy()).mean())


# What a translator is


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("model", known())
@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (3, 1, 20, 36)])
def test_a_translation_has_the_shape_of_the_image_and_its_range(model, direction, shape):
    images = torch.rand(shape, generator=torch_generator("test")) * 2 - 1
    translated = make(model).translate(images, direction, torch_generator("noise"))
    assert translated.shape == shape
    assert translated.abs().max() <= 1
    assert translated.std() > 0
    assert not translated.requires_grad


@pytest.mark.parametrize("model", known())
def test_the_directions_are_two_different_mappings(model):
    translator, images = make(model), pictures("x")
    assert not torch.equal(*(translator.translate(images, direction) for direction in DIRECTIONS))


@pytest.mark.parametrize("model", known())
def test_a_translation_depends_on_its_seed_alone(model):
    translator, images = make(model), pictures("x")
    one, same, other = (translator.translate(images, "mri_to_us", torch_generator("noise", s)) for s in (1, 1, 2))
    silent = translator.translate(images, "mri_to_us")
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, silent)
    assert torch.equal(silent, translator.translate(images, "mri_to_us"))


def test_a_size_that_cannot_be_halved_is_one_message():
    with pytest.raises(UserError, match=r"18 pixels cannot be halved 2 times.*multiple of 4"):
        small(image_size=18, downsamplings=2)
    with pytest.raises(UserError, match=r"16 x 17 pixels.*multiples of 2"):
        make("sg_cyclegan").translate(torch.zeros(1, 1, 16, 17), "mri_to_us")
    with pytest.raises(ValueError, match=r"direction 'a_to_b'"):
        make("cyclegan").translate(pictures("x"), "a_to_b")
    with pytest.raises(UserError, match=r"gan_mode 'hinge'"):
        small(gan_mode="hinge")
    with pytest.raises(UserError, match=r"unknown translator 'pix2pix'. Choose one of: cyclegan, unit, munit, dclgan"):
        make("pix2pix")


def test_features_are_images_of_full_size():
    features = make("sg_cyclegan", width=8).features(pictures("x"))
    assert features.shape == (2, 4, SIZE, SIZE)
    assert features.abs().max() <= 1


def test_weights_come_from_the_generator_and_leave_torch_s_own_alone():
    before = torch.get_rng_state()
    one, same = make("sg_cyclegan", width=16), make("sg_cyclegan", width=16)
    assert torch.equal(torch.get_rng_state(), before)
    for (name, p), q in zip(one.named_parameters(), same.parameters(), strict=True):
        assert torch.equal(p, q)
        if name.endswith("bias"):
            assert not p.any()
    weights = torch.cat([p.flatten() for name, p in one.named_parameters() if name.endswith("weight")])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert abs(weights.mean().item()) < 1e-3
    with pytest.raises(ValueError, match=r"no start is known for weight of BatchNorm2d"):
        initialise(torch.nn.BatchNorm2d(3), torch_generator("test"))


@pytest.mark.parametrize("profile", profiles.names())
def test_all_translators_have_about_as_many_parameters(profile):
    settings = Settings.of(profiles.load(profile).translation)
    with torch.device("meta"):
        report = pd.DataFrame({name: kind(settings).parameter_report() for name, kind in MODELS.items()})
    for direction in DIRECTIONS:
        assert report.loc[direction].max() < 1.1 * report.loc[direction].min()
    assert report.loc["discriminators"].nunique() == 1
    assert report.loc["shared", ["cyclegan", "munit", "dclgan"]].eq(0).all()
    assert report.loc["shared", ["unit", "sg_cyclegan"]].gt(0).all()


def test_the_report_counts_what_is_shared_once():
    translator = make("sg_cyclegan")
    report = translator.parameter_report()
    assert report["shared"] == parameters(translator.encoder) > 0
    assert report["total"] == sum(p.numel() for p in translator.generator_parameters())
    assert report["total"] + report["training only"] == sum(p.numel() for p in translator.parameters())
    assert report["mri_to_us"] + report["us_to_mri"] == report["total"] + report["shared"]


@pytest.mark.parametrize("model", known())
def test_every_parameter_is_trained_by_exactly_one_step(model):
    translator = make(model)
    kinds = (
        translator.generator_parameters(),
        translator.discriminator_parameters(),
        translator.auxiliary_parameters(),
    )
    assert sum(map(len, kinds)) == len({p for kind in kinds for p in kind}) == len(list(translator.parameters()))


@pytest.mark.parametrize(("size", "times", "seen"), [(32, 2, 34), (64, 3, 70), (256, 3, 70)])
def test_a_logit_of_the_discriminator_sees_a_patch(monkeypatch, size, times, seen):
    assert halvings(size) == times
    monkeypatch.setattr(blocks, "normalise", lambda x: x)  # which looks at the whole image
    discriminator = Patches(1, 2, halvings(size))
    initialise(discriminator, torch_generator("test"))
    image = torch.zeros(1, 1, 256, 256, requires_grad=True)
    logits = discriminator(image)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    assert len(image.grad[0, 0].abs().sum(0).nonzero()) == seen


@pytest.mark.parametrize("profile", [*profiles.names(), ""])
@pytest.mark.parametrize("model", MODELS)
def test_discriminators_are_as_wide_as_the_settings_say(model, profile):
    """At the paper's size they are CycleGAN's: 64, 128, 256 and 512 channels, then one logit a patch."""
    settings = Settings.of(profiles.load(profile or "laptop").translation)
    if not profile:  # then as wide as the generators
        settings = dataclasses.replace(settings, discriminator_width=0)
    with torch.device("meta"):
        judge = MODELS[model](settings).discriminators["us"]
    channels = [layer.out_channels for layer in judge.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert channels[0] == (settings.discriminator_width or settings.width)
    assert profile != "paper" or channels == [64, 128, 256, 512, 1]
    assert all(after == 2 * before for before, after in pairwise(channels[:-1]))


def test_a_bare_discriminator_sees_what_normalisation_takes_away():
    """Half the contrast and another brightness: other logits, and a start at which they neither vanish nor explode."""
    image = pictures("x")
    for normalised, differs in ((True, False), (False, True)):
        judge = Patches(1, 16, 2, normalised)
        initialise(judge, torch_generator("test"))
        with torch.no_grad():
            judge.trunk[0].bias.zero_()
            bright, dull = judge(image), judge(image / 2)
        change = (bright - dull).std() / bright.std()
        assert change > 0.3 if differs else change < 0.1
    assert 0.1 < bright.std() < 10


def test_noise_varies_how_bright_a_whole_image_is():
    """Behind an instance normalisation alone all translations would have one mean grey."""
    images = pictures("x")[:1].expand(64, -1, -1, -1)
    translator = make("cyclegan")
    with torch.no_grad():
        for layer in translator.to_us.modules():
            if isinstance(layer, blocks.Noise):
                layer.scale.zero_()
        spread = translator.translate(images, "mri_to_us", torch_generator("noise")).mean((1, 2, 3)).std()
        for layer in translator.to_us.modules():
            if isinstance(layer, blocks.Noise):
                layer.level.zero_()
        silent = translator.translate(images, "mri_to_us", torch_generator("noise")).mean((1, 2, 3)).std()
    assert silent < 1e-6
    assert spread > 1e-4


def test_the_adversarial_term_counts_as_the_settings_say():
    x, y = pictures("x"), pictures("y")
    for model in MODELS:
        plain, loud = make(model), make(model, adversarial=5.0)
        loud.load_state_dict(plain.state_dict())
        total, terms, _ = plain.generator_step(x, y, 0.5, torch_generator("noise"))
        louder = loud.generator_step(x, y, 0.5, torch_generator("noise"))[0]
        assert torch.isclose(louder - total, 4 * plain.weights["gan"] * terms["gan"], rtol=1e-4)


def test_normalise_is_instance_normalisation():
    x = torch.randn((2, 3, 8, 8), generator=torch_generator("test"))
    torch.testing.assert_close(blocks.normalise(x), torch.nn.functional.instance_norm(x))


# The losses


@pytest.mark.parametrize("mode", GAN_MODES)
def test_sg_cyclegan_s_terms_are_equations_2_to_8_by_hand(mode):
    translator = make("sg_cyclegan", gan_mode=mode)
    x, y, progress = pictures("x"), pictures("y"), 0.3
    encode, to_us, to_mri, judge = (
        translator.encoder, translator.to_us, translator.to_mri, translator.discriminators
    )  # fmt: skip

    def g(image):
        return to_us(encode(image))

    def f(image):
        return to_mri(encode(image))

    def wants_real(logits):
        logits = logits.detach().numpy().astype(float)
        return float(((logits - 1) ** 2).mean() if mode == "lsgan" else np.log1p(np.exp(-logits)).mean())

    def chance_of_us(image):
        return 1 / (1 + np.exp(-translator.classifier(encode(image)).detach().numpy().astype(float)))

    expected = {
        "gan": wants_real(judge["us"](g(x))) + wants_real(judge["mri"](f(y))),
        "cycle": l1(f(g(x)), x) + l1(g(f(y)), y),
        "feature": l1(encode(x), encode(g(x))) + l1(encode(y), encode(f(y))),
        "domain": float(-np.log(1 - chance_of_us(x)).mean() - np.log(chance_of_us(y)).mean()),
        "identity": l1(g(y), y) + l1(f(x), x),
    }
    loss, terms, _ = translator.generator_step(x, y, progress)
    assert {name: float(term.detach()) for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)
    weights = {"gan": 1, "cycle": 10, "feature": 10, "domain": 5, "identity": 5}  # Equation 9
    assert float(loss.detach()) == pytest.approx(sum(weights[name] * expected[name] for name in expected), rel=1e-5)


@pytest.mark.parametrize(("model", "term"), EVERY_TERM)
def test_a_removed_loss_term_changes_the_gradient(model, term):
    whole, without = make(model), make(model, weights={term: 0.0})
    x, y = pictures("x"), pictures("y")
    found = [gradients(t, t.generator_step(x, y, 0.5, torch_generator("noise"))[0]) for t in (whole, without)]
    trained = [name for name, p in whole.named_parameters() if found[0][name] is not None]
    assert any(found[1][name] is None or not torch.allclose(found[0][name], found[1][name]) for name in trained)


@pytest.mark.parametrize("model", known())
def test_the_loss_is_the_weighted_sum_of_the_terms_that_have_a_weight(model):
    translator = make(model, weights={"gan": 0.25})
    loss, terms, _ = translator.generator_step(pictures("x"), pictures("y"), 0.5)
    assert list(terms) == list(translator.WEIGHTS)
    weights = translator.WEIGHTS | {"gan": 0.25}
    assert float(loss.detach()) == pytest.approx(sum(weights[n] * float(t.detach()) for n, t in terms.items()))
    with pytest.raises(UserError, match=rf"{type(translator).__name__} has no term 'colour'. Its terms are: gan, "):
        make(model, weights={"colour": 1.0})


@pytest.mark.parametrize("model", known())
def test_the_adversarial_term_reaches_the_generators_of_both_directions(model):
    translator = make(model)
    _, terms, cache = translator.generator_step(pictures("x"), pictures("y"), 0.5)
    found = gradients(translator, terms["gan"])
    for direction in DIRECTIONS:
        learning = (found.get(name) for name in translator.names(direction))
        assert any(g is not None and g.any() for g in learning)
    assert torch.equal(cache.fake_us, translator.translate(pictures("x"), "mri_to_us"))
    assert torch.equal(cache.fake_mri, translator.translate(pictures("y"), "us_to_mri"))


def test_noise_enters_the_fakes_and_nothing_that_should_come_back_unchanged():
    x, y = pictures("x"), pictures("y")
    for model in MODELS:
        translator = make(model)
        silent, noisy = (translator.generator_step(x, y, 0.5, source) for source in (None, torch_generator("noise")))
        assert not torch.allclose(silent[2].fake_us, noisy[2].fake_us)
        assert not torch.allclose(silent[2].fake_mri, noisy[2].fake_mri)
        if "identity" in silent[1]:  # UNIT and MUNIT have other noise in their latent map, and reconstruct
            torch.testing.assert_close(silent[1]["identity"], noisy[1]["identity"])


def test_discrimination_by_hand():
    real, fake = torch.tensor([[0.5], [2.0]]), torch.tensor([[-1.0], [0.0]])
    assert float(losses.discrimination(real, fake)) == pytest.approx(0.5 * ((0.25 + 1) / 2 + (1 + 0) / 2))
    real_chance, fake_chance = 1 / (1 + np.exp([-0.5, -2.0])), 1 / (1 + np.exp([1.0, 0.0]))
    expected = -0.5 * (np.log(real_chance).mean() + np.log(1 - fake_chance).mean())  # Equation 2, halved
    assert float(losses.discrimination(real, fake, "vanilla")) == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"mode 'hinge'"):
        losses.adversarial(real, True, "hinge")


@pytest.mark.parametrize("mode", GAN_MODES)
@pytest.mark.parametrize("model", known())
def test_both_discriminators_are_asked_about_their_own_domain(model, mode):
    translator = make(model, gan_mode=mode)
    x, y = pictures("x"), pictures("y")
    _, _, cache = translator.generator_step(x, y, 0.5)
    loss, terms = translator.discriminator_step(x, y, cache)
    judge = translator.discriminators
    expected = {
        "discriminator_mri": losses.discrimination(judge["mri"](x), judge["mri"](cache.fake_mri), mode),
        "discriminator_us": losses.discrimination(judge["us"](y), judge["us"](cache.fake_us), mode),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    torch.testing.assert_close(loss, sum(expected.values()))


# Who learns from what


@pytest.mark.parametrize("model", known())
def test_no_step_touches_the_gradients_of_another(model):
    translator, x, y = make(model), pictures("x"), pictures("y")
    groups = {
        "generators": translator.generator_parameters(),
        "discriminators": translator.discriminator_parameters(),
        "auxiliary": translator.auxiliary_parameters(),
    }

    def touched():
        found = {name for name, group in groups.items() if any(p.grad is not None for p in group)}
        translator.zero_grad()
        return found

    loss, _, cache = translator.generator_step(x, y, 0.5, torch_generator("noise"))
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in groups["generators"])
    assert touched() == {"generators"}
    assert all(p.requires_grad for p in translator.parameters())
    translator.discriminator_step(x, y, cache)[0].backward()
    assert all(p.grad is not None for p in groups["discriminators"])
    assert touched() == {"discriminators"}
    auxiliary = translator.auxiliary_step(cache)
    assert (auxiliary is not None) == (model in ("sg_cyclegan", "unguided"))
    if auxiliary:
        auxiliary[0].backward()
        assert touched() == {"auxiliary"}


@examples(deadline=None, max_examples=20)
@given(weight=st.floats(0, 3), value=st.floats(-2, 2))
def test_reversal_changes_the_gradient_and_not_the_value(weight, value):
    x = torch.tensor([value], requires_grad=True)
    y = reverse_gradient(x, weight)
    assert torch.equal(x, y)
    (5 * y).sum().backward()
    assert x.grad.item() == pytest.approx(-5 * weight)


def test_both_sides_of_the_feature_consistency_learn():
    translator, x, y = make("sg_cyclegan"), pictures("x"), pictures("y")
    found = gradients(translator, translator.generator_step(x, y, 0.4)[1]["feature"])
    real = translator.features(torch.cat([x, y]))
    fakes = torch.cat([translator.to_us(real[:2]), translator.to_mri(real[2:])])
    expected = gradients(translator, 2 * (real - translator.features(fakes)).abs().mean())
    for name in found:
        if expected[name] is not None:  # noise has no part in it
            torch.testing.assert_close(found[name], expected[name])


def test_the_encoder_unlearns_what_the_classifier_learns():
    translator, x, y = make("sg_cyclegan"), pictures("x"), pictures("y")
    reversed_gradient = gradients(translator, translator.generator_step(x, y, 0.4)[1]["domain"])
    plain = losses.domain(*translator.classifier(translator.features(torch.cat([x, y]))).split([2, 2]))
    straight = gradients(translator, plain)
    for name in reversed_gradient:
        if name.startswith("encoder"):
            torch.testing.assert_close(reversed_gradient[name], -reversal_weight(0.4) * straight[name])
            assert straight[name].any()
        else:  # domain features are those of real images: no branch has a part in them
            assert reversed_gradient[name] is None


def test_the_classifier_s_own_step_lowers_its_loss_on_detached_features():
    translator, x, y = make("sg_cyclegan"), pictures("x"), pictures("y")
    _, terms, cache = translator.generator_step(x, y, 0.4)
    loss, own = translator.auxiliary_step(cache)
    torch.testing.assert_close(loss, terms["domain"])
    assert own["classifier"] is loss
    loss.backward()
    with torch.no_grad():
        for p in translator.auxiliary_parameters():
            p.sub_(0.005 * p.grad)
    assert translator.auxiliary_step(cache)[0] < loss


def test_the_reversal_grows_from_nothing_to_nearly_one():
    assert reversal_weight(0) == 0
    assert reversal_weight(0.5) == pytest.approx(math.tanh(1.25))  # 2 / (1 + e^-2.5) - 1
    assert reversal_weight(1) == pytest.approx(0.98661, abs=1e-5)
    assert reversal_weight(1, gamma=10) == pytest.approx(0.99991, abs=1e-5)


# The pool and the noise


@examples(deadline=None, max_examples=20)
@given(size=st.integers(0, 6), batches=st.integers(1, 8), seed=st.integers(0, 1000))
def test_the_pool_gives_only_what_it_was_given_and_keeps_no_more_than_its_size(size, batches, seed):
    pool, generator = ImagePool(size), torch_generator("pool", seed)
    put, got = [], []
    for number in range(batches):
        fakes = torch.arange(3.0).view(3, 1, 1, 1) + 3 * number  # (3) -> (3, 1, 1, 1)
        put += fakes.flatten().tolist()
        got += pool(fakes, generator).flatten().tolist()
        assert len(pool.images) == min(size, len(put))
    assert set(got) <= set(put)
    assert {float(image) for image in pool.images} <= set(put)


def test_the_pool_first_fills_and_then_swaps_every_second_image():
    pool, generator = ImagePool(50), torch_generator("pool")
    first = torch.arange(50.0).view(50, 1, 1, 1)  # (50) -> (50, 1, 1, 1)
    assert torch.equal(pool(first, generator), first)
    fakes = torch.arange(50.0, 1050.0).view(1000, 1, 1, 1)  # (1000) -> (1000, 1, 1, 1)
    own = (pool(fakes, generator) == fakes).float().mean().item()
    assert abs(own - 0.5) < 4.5 * math.sqrt(0.25 / 1000)
    assert len(pool.images) == 50


def test_what_the_pool_keeps_is_no_part_of_the_graph():
    fakes = torch.zeros(2, 1, 4, 4, requires_grad=True) + 1
    pool = ImagePool(1)
    assert not pool(fakes, torch_generator("pool")).requires_grad
    assert not pool.images[0].requires_grad


@examples(deadline=None, max_examples=6)
@given(batch=st.integers(1, 6))
def test_translation_of_a_set_does_not_depend_on_the_batch(batch):
    translator = make("sg_cyclegan")
    images = np.random.default_rng(0).integers(256, size=(5, SIZE, SIZE), dtype=np.uint8)
    whole = translate(translator, images, ("test", 1))
    assert np.array_equal(translate(translator, images, ("test", 1), batch=batch), whole)
    assert not np.array_equal(translate(translator, images, ("test", 2)), whole)
    same_image = translate(translator, images[[0, 0]], ("test", 1))
    assert not np.array_equal(*same_image)  # each place in the set has noise of its own
    assert translate(translator, images[:0], ("test", 1)).shape == (0, SIZE, SIZE)


def test_generators_must_be_as_many_as_images():
    with pytest.raises(ValueError, match=r"1 generators for 2 images"):
        make("cyclegan").translate(pictures("x"), "mri_to_us", [torch_generator("noise")])


def test_grey_levels_survive_the_way_there_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)  # (256) -> (1, 16, 16)
    assert np.array_equal(to_grey(to_tensor(levels)), levels)
    assert to_tensor(levels).min() == -1
    assert to_tensor(levels).max() == 1


def test_a_translator_cannot_be_half_a_translator():
    class Half(Translator):
        def path(self, direction):
            return ()

    with pytest.raises(TypeError, match=r"generator_step"):
        Half(small())
