"""UNIT, MUNIT and DCLGAN: each term by hand; what the released code does otherwise, switch by switch."""

import numpy as np
import pytest
import torch
from skimage import exposure

from ecsupport.core.training import torch_generator
from ecsupport.translation import losses, munit, released
from ecsupport.translation.blocks import parameters
from ecsupport.translation.dclgan import draw_places
from ecsupport.translation.models import build
from ecsupport.translation.settings import Settings

SIZE = 16


def make(model, **others):
    sizes = {"image_size": SIZE, "width": 4, "downsamplings": 1, "residual_blocks": 2, "batch": 2, "steps": 10}
    return build(model, Settings(**(sizes | others)), torch_generator("test", model))


def pictures(word, count=2):
    return torch.rand((count, 1, SIZE, SIZE), generator=torch_generator("test", word)) * 2 - 1


def l1(one, other):
    return float((one - other).abs().mean().detach())


def values(terms):
    return {name: float(term.detach()) for name, term in terms.items()}


# UNIT


def test_unit_s_terms_by_hand_where_the_latent_map_has_no_noise():
    t, x, y = make("unit"), pictures("x"), pictures("y")

    def latent(encoder, image):
        return t.shared(encoder(image), None)

    of_x, of_y = latent(t.from_mri, x), latent(t.from_us, y)
    fake_us, fake_mri = t.to_us(of_x), t.to_mri(of_y)
    again_x, again_y = latent(t.from_us, fake_us), latent(t.from_mri, fake_mri)
    _, terms, cache = t.generator_step(x, y, 0.5)
    found = values(terms)
    assert torch.equal(cache.fake_us, fake_us.detach())
    assert found["reconstruction"] == pytest.approx(l1(t.to_mri(of_x), x) + l1(t.to_us(of_y), y), rel=1e-5)
    assert found["cycle"] == pytest.approx(l1(t.to_mri(again_x), x) + l1(t.to_us(again_y), y), rel=1e-5)
    for name, maps in (("latent", (of_x, of_y)), ("cycle_latent", (again_x, again_y))):
        assert found[name] == pytest.approx(sum(float(z.detach().square().mean()) for z in maps), rel=1e-5)


def test_unit_s_latent_map_has_noise_of_unit_variance_in_training_alone():
    t, x, y = make("unit"), pictures("x"), pictures("y")
    seen = []
    t.to_mri.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    for source in (None, torch_generator("noise")):
        t.generator_step(x, y, 0.5, source)
    silent, noisy = seen[0], seen[2]
    assert (noisy - silent).std().item() == pytest.approx(1, abs=0.1)
    seen.clear()
    t.translate(y, "us_to_mri", torch_generator("noise"))
    torch.testing.assert_close(seen[0], silent[2:])


def test_unit_s_domains_share_one_block():
    t = make("unit")
    assert t.parameter_report()["shared"] == parameters(t.shared) > 0


# MUNIT


def test_munit_s_terms_by_hand():
    t, x, y = make("munit"), pictures("x"), pictures("y")
    middle = torch.zeros(2, munit.STYLE)  # what is drawn without a generator
    content_x, content_y, style_x, style_y = t.mri_content(x), t.us_content(y), t.mri_style(x), t.us_style(y)
    fake_us, fake_mri = t.to_us(content_x, None, middle), t.to_mri(content_y, None, middle)
    _, terms, cache = t.generator_step(x, y, 0.5)
    found = values(terms)
    assert torch.equal(cache.fake_us, fake_us.detach())
    again_x, again_y = t.us_content(fake_us), t.mri_content(fake_mri)
    expected = {
        "reconstruction": l1(t.to_mri(content_x, None, style_x), x) + l1(t.to_us(content_y, None, style_y), y),
        "style": l1(t.us_style(fake_us), middle) + l1(t.mri_style(fake_mri), middle),
        "content": l1(again_x, content_x) + l1(again_y, content_y),
        "cycle": l1(t.to_mri(again_x, None, style_x), x) + l1(t.to_us(again_y, None, style_y), y),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_the_style_changes_the_picture_and_a_generator_draws_it():
    t, x = make("munit"), pictures("x", 4)
    generators = [torch_generator("style", i) for i in range(4)]
    drawn = munit.draw_styles(4, generators, x)
    assert drawn.std() > 0.5
    one = munit.draw_styles(1, [torch_generator("style", 2)], x)
    assert torch.equal(one[0], drawn[2])
    assert not munit.draw_styles(2, None, x).any()
    content = t.mri_content(x)
    assert not torch.allclose(t.to_us(content, None, drawn), t.to_us(content, None, -drawn))


def test_a_style_of_no_scale_and_shift_is_plain_instance_normalisation():
    block = make("munit").to_us.blocks[0]
    x = torch.randn((2, 8, 8, 8), generator=torch_generator("x"))
    neutral = torch.zeros(2, 2, 2, 8, 1, 1)
    inner = torch.nn.functional.instance_norm(block.first(x)).relu()
    torch.testing.assert_close(block(x, neutral, None), torch.nn.functional.instance_norm(block.second(inner)) + x)


# DCLGAN


def test_the_contrast_is_the_cross_entropy_of_finding_one_s_own_place():
    rng = np.random.default_rng(5)
    q, k = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in rng.normal(size=(2, 3, 7, 4)))
    expected = []
    for image in range(3):
        for place in range(7):
            similar = np.exp(k[image] @ q[image, place] / 0.07)
            expected.append(-np.log(similar[place] / similar.sum()))
    assert float(losses.contrast(torch.tensor(q), torch.tensor(k))) == pytest.approx(np.mean(expected))
    perfect = torch.eye(7)[None]
    assert float(losses.contrast(perfect, perfect)) < 1e-4
    assert float(losses.contrast(torch.ones(1, 7, 1), torch.ones(1, 7, 1))) == pytest.approx(np.log(7))


def test_the_contrast_asks_the_translation_and_takes_the_source_as_it_is():
    t, x = make("dclgan"), pictures("x").requires_grad_()
    fake = t.to_us(x.detach(), torch_generator("noise"))
    t._contrast(x, "mri", t.to_us, fake, "us", t.to_mri, None).backward()
    for learns in (t.heads["us"], t.to_mri.encoder, t.to_us):
        assert any(p.grad is not None and p.grad.any() for p in learns.parameters())
    assert all(p.grad is None for p in t.heads["mri"].parameters())
    assert x.grad is None


def test_places_are_drawn_without_repetition_and_are_the_same_for_both_sides():
    maps = [torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 4, 4)]
    first, second = draw_places(maps, torch_generator("places"))
    assert len(set(first.tolist())) == 64
    assert sorted(second.tolist()) == list(range(16))
    assert not torch.equal(first, draw_places(maps, torch_generator("others"))[0])


# What the released code does otherwise


def test_a_dynamic_region_multiplies_each_pixel_by_the_kernel_of_its_region():
    layer = released.DynamicRegionConvolution(4, regions=3)
    for p in layer.parameters():
        torch.nn.init.normal_(p, generator=torch_generator("test", p.numel()))
    x = torch.randn((2, 4, 5, 6), generator=torch_generator("x"))
    found = layer(x)
    region = layer.guide(x).argmax(1)
    kernels = layer.kernels(layer.pooled(x.mean((2, 3), keepdim=True)).sigmoid()).reshape(2, 3, 4, 4)
    expected = torch.stack([
        torch.stack([
            torch.stack([kernels[n, region[n, i, j]] @ x[n, :, i, j] for j in range(6)], dim=-1) for i in range(5)
        ], dim=1)
        for n in range(2)
    ])  # fmt: skip
    torch.testing.assert_close(found, expected)
    assert len(region.unique()) > 1
    found.square().mean().backward()
    assert layer.guide.weight.grad.any()  # through the softmax: an argmax sends nothing


def test_the_released_region_convolution_has_the_counted_parameters():
    with torch.device("meta"):
        assert parameters(released.DynamicRegionConvolution(512)) == pytest.approx(18.9e6, rel=0.01)


def test_the_switches_are_off_by_default_and_all_on_as_released():
    plain, as_released = make("sg_cyclegan"), make("sg_cyclegan", **released.SETTINGS)
    assert plain.to_us.encoder.regions is None
    assert as_released.to_us.encoder.regions is not None
    assert as_released.encoder.encoder.regions is None  # in the private branches only
    assert (plain.weights["feature"], as_released.weights["feature"]) == (10, 5)
    assert (plain.weights["domain"], as_released.weights["domain"]) == (5, 2.5)  # one mean over both domains
    assert as_released.to_us.encoder.regions.guide.kernel_size == (1, 1)
    x, y = pictures("x"), pictures("y")
    for t, touched in ((plain, False), (as_released, True)):
        t.generator_step(x, y, 0.5)[0].backward()
        judges = [*t.discriminators.parameters(), *t.classifier.parameters()]
        assert all((p.grad is not None) == touched for p in judges)


def test_enhancement_stretches_the_histogram_and_keeps_type_and_size():
    rng = np.random.default_rng(2)
    flat = (100 + 20 * rng.random((3, 32, 48))).astype(np.uint8)
    found = released.enhance(flat)
    assert (found.shape, found.dtype) == (flat.shape, flat.dtype)
    assert (found.std(axis=(1, 2)) > 3 * flat.std(axis=(1, 2))).all()
    assert not exposure.is_low_contrast(found[0])
    assert np.array_equal(found[:1], released.enhance(flat[:1]))  # one image at a time
    with pytest.raises(ValueError, match="7 x 48 pixels do not make 8 x 8 tiles"):
        released.enhance(flat[:, :7])


def test_enhancement_brightens_and_sharpens_against_all_eight_neighbours(monkeypatch):
    monkeypatch.setattr(released.exposure, "equalize_adapthist", lambda image, *_: image)
    monkeypatch.setattr(released.ImageOps, "equalize", lambda picture: picture)
    image = np.tile(np.uint8([0, 255]), (1, 32, 16))
    image[0, 4:29, 3:29] = 100
    image[0, 16, 16] = 104
    found = released.enhance(image)[0].astype(int)
    grey, dot = (round(255 * (value / 255) ** (1 / 1.2)) for value in (100, 104))
    assert grey > 100
    assert found[10, 10] == grey
    assert found[16, 16] == 9 * dot - 8 * grey
    assert {found[16 + i, 16 + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j} == {2 * grey - dot}
