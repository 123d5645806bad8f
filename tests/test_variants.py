"""LSNet's attention as described, with shared keys, and as released: what guidance and Q and K do in each."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecsupport.backbone.mobilevit import ConvolutionalFeedForward, initialise
from ecsupport.core.training import torch_generator
from ecsupport.screening import sparse_attention
from ecsupport.screening.distillation import Distillation, Signature, Targets
from ecsupport.screening.lsnet import KEY_SOURCES, VARIANTS, build
from ecsupport.screening.released import ReleasedAttention, ReleasedFeedForward
from ecsupport.screening.sparse_attention import (
    FUSIONS,
    Simulator,
    SparseAttention,
    choose,
    correlate,
    importance,
    keep,
    simulate,
    top_keys,
)

SIZE = 64


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch_generator("test", seed))


def student(variant, **options):
    sizes = {"stem_stride": 1, "key_share": 0.1}
    return build("lsnet", torch_generator("student"), variant=variant, **sizes | options)


def maps(seed):
    return [noise(2, 4, 4, n, n, seed=f"{seed} {n}") for n in (64, 16, 4)]


def queries_and_keys(network):
    """Gradients of the weights that make queries and keys, over all layers."""
    for block in network.blocks:
        for layer in block.layers:
            gradient = layer.attention.queries_keys_values.weight.grad
            yield gradient[: len(gradient) * 2 // 3]


@pytest.mark.parametrize("variant", VARIANTS)
def test_guidance_changes_what_is_computed_but_not_as_released(variant):
    network, images = student(variant).eval(), noise(2, 1, SIZE, SIZE)
    with torch.no_grad():
        one, other = (network(images, maps(seed), 1.0) for seed in (1, 2))
    assert torch.equal(one, other) == (variant == "released")


@pytest.mark.parametrize("variant", VARIANTS)
def test_queries_and_keys_learn_but_not_as_released(variant):
    network = student(variant, key_share=0.5).train()  # of a single key the weight is 1, whatever the query
    network(noise(2, 1, SIZE, SIZE), maps(1), 1.0).square().sum().backward()
    largest = [float(gradient.abs().max()) for gradient in queries_and_keys(network)]
    values = [float(layer.attention.out.weight.grad.abs().max()) for block in network.blocks for layer in block.layers]
    if variant == "released":
        assert max(largest) < 1e-6 * min(values)  # nought but for rounding
    else:
        assert min(largest) > 1e-4 * min(values)


def test_as_released_every_token_sees_itself_alone():
    q, k, v = (noise(2, 4, 4, 9, 5, seed=part) for part in "qkv")
    keys = top_keys(noise(2, 4, 4, 9, 9), 4)
    torch.testing.assert_close(ReleasedAttention.attend_to(q, k, v, keys), v)
    assert not torch.allclose(SparseAttention.attend_to(q, k, v, keys), v)


@pytest.mark.parametrize(("kind", "near"), [(ConvolutionalFeedForward, True), (ReleasedFeedForward, False)])
def test_a_token_reaches_its_neighbours_but_as_released_tokens_far_away(kind, near):
    """On a grid of 10 x 10 one token changes; the batch norm is in eval mode, so that nothing else mixes tokens."""
    layer = initialise(kind(48), torch_generator("test")).eval()
    x = noise(1, 4, 100, 48)
    y = x.clone()
    y[0, 0, 55] += 1
    with torch.no_grad():
        touched = (layer(x, 10) != layer(y, 10)).any(-1)  # (1, 4, 100)
    assert not touched[0, 1:].any()
    assert (touched.sum() <= 9) == near
    if not near:
        assert touched.sum() > 50


@pytest.mark.parametrize("cached", [1, 1000, sparse_attention.CACHED])
def test_shared_keys_are_each_head_s_keys_where_all_agree(cached, monkeypatch):
    """Masked or gathered, in whatever pieces."""
    monkeypatch.setattr(sparse_attention, "CACHED", cached)
    q, k, v = (noise(2, 4, 4, 9, 5, seed=part) for part in "qkv")
    weight = noise(2, 1, 1, 9, 9)
    keys, mask = top_keys(weight, 3), keep(weight, 3)
    expected, *others = (
        SparseAttention.attend_to(q, k, v, kept)
        for kept in (mask.expand(-1, 4, 4, -1, -1), mask, keys, keys.expand(-1, 4, 4, -1, -1))
    )
    for found in others:
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("keys", KEY_SOURCES)
def test_shared_keys_mean_the_same_with_derivatives_and_without(keys):
    network, image = student("shared", key_share=0.2, keys=keys).eval(), noise(2, 1, SIZE, SIZE)
    with torch.no_grad():
        without = network(image)
    torch.testing.assert_close(without, network(image).detach())


def test_the_shared_map_is_the_mean_over_heads_of_the_mean_over_pixels():
    each, shared = (initialise(Simulator(8, shared), torch_generator("test")).eval() for shared in (False, True))
    x = noise(2, 1, 12, 8).expand(2, 4, 12, 8)
    expected = correlate(each(x, 3)).mean((1, 2), keepdim=True)
    torch.testing.assert_close(correlate(shared(x, 3)), expected)
    apart = torch.tensor([3.0, -1.0, -1.0, -1.0])[:, None, None]
    torch.testing.assert_close(correlate(shared(x + apart, 3)), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_was_chosen_has_one_form(variant):
    selections = []
    student(variant).eval()(noise(2, 1, SIZE, SIZE), selections=selections)
    assert [tuple(s.simulated.shape) for s in selections] == [(2, 4, 4, n, n) for n in (64, 16, 4)]
    assert [tuple(s.keys.shape) for s in selections] == [(2, 4, 4, n, k) for n, k in ((64, 6), (16, 2), (4, 1))]


@pytest.mark.parametrize("variant", ["described", "shared"])
def test_without_guidance_the_printed_fusion_is_not_needed_to_find_its_keys(variant):
    features = student(variant).eval().blocks[0].simulator(noise(2, 4, 64, 40), 8)
    slowly = keep(importance(simulate(features), "code").detach(), 6)
    assert torch.equal(choose(features, 6, None, 0.0, fusion="code"), slowly)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_image_by_image_the_same_is_chosen_and_learnt(monkeypatch, fusion):
    features = noise(3, 4, 4, 16, 5).requires_grad_()
    taught = Distillation(True, False, "features", Signature(), Targets(3))
    found = []
    for numbers in (10**9, 1):
        monkeypatch.setattr(sparse_attention, "CHUNK", numbers)
        assert len(sparse_attention.pieces(features)) == (3 if numbers == 1 else 1)
        sign = taught.sign(features)
        (gradient,) = torch.autograd.grad(sign[:, :7].sum(), features)
        found.append((choose(features, 3, noise(3, 4, 4, 16, 16, seed=1), 0.5, fusion=fusion), sign.detach(), gradient))
    assert torch.equal(found[0][0], found[1][0])
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(one, other)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), tokens=st.integers(1, 40), data=st.data())
def test_the_largest_of_each_row_are_found_the_first_of_equal_ones(seed, tokens, data):
    k = data.draw(st.integers(1, tokens))
    x = noise(2, 3, tokens, seed=seed)
    x = (x * 2).round() if data.draw(st.booleans()) else x
    mask, found = keep(x.clone(), k), top_keys(x, k)
    assert set(mask.exp().unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(mask == 0, torch.zeros_like(x).scatter(-1, found, 1).bool())
    assert torch.equal(found, (-x).sort(dim=-1, stable=True).indices[..., :k].sort(-1).values)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), tokens=st.integers(2, 80), levels=st.integers(1, 4), data=st.data())
def test_of_equal_weights_another_device_keeps_the_same_keys(seed, tokens, levels, data):
    """What runs where NumPy does not, on numbers of which few differ, here by the same processor."""
    k = data.draw(st.integers(1, tokens))
    x = torch.randint(levels, (4, 5, tokens), generator=torch_generator(seed)).float()
    here = top_keys(x, k), keep(x.clone(), k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_attention, "border", lambda *_: None)
        there = top_keys(x, k), keep(x.clone(), k)
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))


def test_what_is_not_a_number_still_gives_k_keys():
    assert top_keys(torch.tensor([[0.0, torch.nan, 2, 1]] * 2), 3).shape == (2, 3)


@pytest.mark.parametrize("option", ["keys", "variant"])
def test_an_unknown_option_is_named(option):
    with pytest.raises(ValueError, match=f"{option} 'mine' is unknown"):
        build("lsnet", torch_generator("student"), **{option: "mine"})
