"""The backbone: patches and tokens are the same pixels, attention sees a set, sizes and parameters are the released."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecsupport.backbone import mobilevit
from ecsupport.backbone.mobilevit import (
    POSITIONS,
    STUDENT,
    TEACHER,
    Attention,
    ConvolutionalFeedForward,
    fold,
    from_grid,
    initialise,
    merge_heads,
    split_heads,
    to_grid,
    tokens,
    unfold,
)
from ecsupport.core import profiles
from ecsupport.core.errors import UserError
from ecsupport.core.training import torch_generator
from ecsupport.screening.lsnet import build

EVEN = st.integers(1, 5).map(lambda n: 2 * n)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch_generator("test", seed))


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 3), channels=st.integers(1, 5), height=EVEN, width=EVEN)
def test_folding_undoes_unfolding(batch, channels, height, width):
    x = noise(batch, channels, height, width)
    assert unfold(x).shape == (batch, POSITIONS, height * width // 4, channels)
    assert torch.equal(fold(unfold(x), height, width), x)
    grid = to_grid(unfold(x), height // 2)
    assert grid.shape == (batch * POSITIONS, channels, height // 2, width // 2)
    assert torch.equal(from_grid(grid), unfold(x))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), height=EVEN, width=EVEN)
def test_one_pixel_is_one_token_of_one_position(data, height, width):
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    x = torch.zeros(2, 3, height, width)
    x[1, :, row, column] = torch.tensor([1.0, 2.0, 3.0])
    found = unfold(x)
    token, position = (row // 2) * (width // 2) + column // 2, 2 * (row % 2) + column % 2
    assert found[1, position, token].tolist() == [1, 2, 3]
    assert found.count_nonzero() == 3
    grid = to_grid(found, height // 2)
    assert grid[POSITIONS + position, :, row // 2, column // 2].tolist() == [1, 2, 3]


def test_heads_are_consecutive_channels():
    x = noise(2, 4, 6, 12)
    heads = split_heads(x)
    assert heads.shape == (2, 4, mobilevit.HEADS, 6, 3)
    assert torch.equal(heads[:, :, 2, 5], x[:, :, 5, 6:9])
    assert torch.equal(merge_heads(heads), x)


def test_attention_sees_tokens_as_a_set():
    attention = initialise(Attention(16, 32), torch_generator("test", "attention"))
    x, order = noise(2, 4, 9, 16), torch.randperm(9, generator=torch_generator("test", "order"))
    torch.testing.assert_close(attention(x[:, :, order]), attention(x)[:, :, order])
    moved = x.clone()
    moved[0, 1, 3] += 1
    changed = (attention(moved) - attention(x)).abs().amax(-1) > 1e-7  # (B, P, N)
    assert changed[0, 1].all()  # every token of the position looks at the changed one
    assert changed.sum() == 9  # and none of another position or image does


def test_handing_out_the_scores_changes_nothing():
    attention = initialise(Attention(16, 32), torch_generator("test", "attention"))
    x, scores = noise(2, 4, 9, 16), []
    torch.testing.assert_close(attention(x, scores), attention(x))
    q, k, _ = attention.queries_keys_values(x).chunk(3, -1)
    for head in range(4):
        own = slice(8 * head, 8 * head + 8)
        by_hand = q[1, 2, :, own] @ k[1, 2, :, own].T / 8**0.5
        torch.testing.assert_close(scores[0][1, 2, head], by_hand)


def test_the_convolutional_feed_forward_reaches_the_eight_neighbours():
    layer = initialise(ConvolutionalFeedForward(8), torch_generator("test", "feed-forward")).eval()
    x = noise(1, 4, 30, 8)  # a grid of 5 rows and 6 columns
    moved = x.clone()
    moved[0, 2, 14] += 1  # row 2, column 2
    changed = (layer(moved, 5) - layer(x, 5)).abs().amax(-1) > 1e-7
    assert changed[0, 2].nonzero().flatten().tolist() == [7, 8, 9, 13, 14, 15, 19, 20, 21]
    assert changed.sum() == 9


def test_parameters_are_the_released_ones():
    teacher, student = (build(name, torch_generator("test"), stem_stride=2) for name in ("teacher", "lsnet"))
    grey = 2 * 9 * 16  # one input channel in place of three
    assert parameters(teacher) == 6_713_104 - grey
    never_called = 19_456  # feed-forward layers in the released simulators
    assert parameters(student) == 401_232 - never_called - grey
    assert sum(parameters(block.simulator) for block in student.blocks) == 28_368 - never_called
    assert parameters(build("lsnet_dense", torch_generator("test"))) == parameters(student) - 28_368 + never_called
    assert [parameters(block) for block in teacher.blocks] == [871_424, 2_388_480, 2_845_824]


@pytest.mark.parametrize("width", [0.1, 0.25, 0.5, 0.77, 1.0])
def test_any_width_splits_into_heads(width):
    small = TEACHER.scaled(width)
    assert all(n % 8 == 0 and n >= 8 for n in (*small.channels, *small.dims))
    assert TEACHER.scaled(1.0) == TEACHER
    build("teacher", torch_generator("test"), teacher_width=width)


def test_number_of_tokens():
    assert tokens(320, 2) == (400, 100, 25)
    assert tokens(64, 1) == (64, 16, 4)
    assert tokens(64, 2) == (16, 4, 1)
    for size, stride in ((96, 1), (128, 2)):
        scores = []
        network = build("lsnet_dense", torch_generator("test"), stem_stride=stride)
        assert network(noise(1, 1, size, size), scores).shape == (1, 2)
        assert tuple(s.shape[-1] for s in scores) == tokens(size, stride)


@pytest.mark.parametrize(
    ("size", "stride", "message"),
    [
        (100, 1, "100 x 100 pixels .* multiple of 32. Resize them to 96 or 128"),
        (96, 2, "96 x 96 pixels .* multiple of 64. Resize them to 64 or 128"),
        (16, 1, "16 x 16 pixels .* multiple of 32. Resize them to 32$"),
    ],
)
def test_a_size_that_cannot_be_cut_into_patches_is_refused(size, stride, message):
    with pytest.raises(UserError, match=message):
        tokens(size, stride)
    for name in ("lsnet", "lsnet_dense"):
        with pytest.raises(UserError, match=message):
            build(name, torch_generator("test"), stem_stride=stride)(noise(1, 1, size, size))


def test_weights_come_from_the_generator_alone():
    before = torch.random.get_rng_state()
    for name in ("teacher", "lsnet", "mobilenet_v2"):
        one, same, other = (build(name, torch_generator("test", s), teacher_width=0.25) for s in (1, 1, 2))
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
        matrices = [(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True) if a.ndim > 1]
        assert not any(torch.equal(a, b) for a, b in matrices)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_student_is_the_smaller_network_everywhere():
    pairs = zip(STUDENT.channels + STUDENT.dims, TEACHER.channels + TEACHER.dims, strict=True)
    assert all(s <= t for s, t in pairs)


@pytest.mark.parametrize("name", [name for name in profiles.names() if profiles.load(name).ranks])
def test_where_networks_are_ranked_the_teacher_is_the_larger_one_in_every_block(name):
    teacher = TEACHER.scaled(profiles.load(name).screening.teacher_width)
    assert all(s < t for s, t in zip(STUDENT.dims, teacher.dims, strict=True))
    assert all(s <= t for s, t in zip(STUDENT.channels[1:], teacher.channels[1:], strict=True))  # but for the stem
