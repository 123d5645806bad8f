"""What the released networks put out, as numbers: `data/released.json` holds them, ours must come to the same."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ecsupport.core.training import torch_generator
from ecsupport.screening.distillation import raw_simulation_loss
from ecsupport.screening.lsnet import build
from ecsupport.screening.released import ReleasedAttention
from ecsupport.screening.sparse_attention import simulate

RELEASED = json.loads((Path(__file__).parent / "data" / "released.json").read_text())
NETWORKS = {"student": ("lsnet", {"variant": "released"}), "teacher": ("teacher", {})}
SIDE = 320
TOLERANCE = 1e-6  # ours in double precision, so that it is the same on every processor; theirs was single


def waves(shift, count):
    """Numbers in [-1, 1] that look like chance."""
    x = np.sin(12.9898 * np.arange(count) + shift) * 43758.5453
    return 2 * (x - np.floor(x)) - 1


def images():
    n = np.arange(2 * SIDE**2)
    b, y, x = np.unravel_index(n, (2, SIDE, SIDE))
    smooth = 0.5 * np.sin(0.05 * y * (b + 1) + 0.3) * np.cos(0.031 * x * (2 - b) + 0.1)
    return torch.from_numpy((smooth + 0.5 * waves(0, len(n))).astype(np.float32)).view(2, 1, SIDE, SIDE)


def filled(role):
    """Our network with the weights of the released one."""
    name, options = NETWORKS[role]
    network = build(name, torch_generator("parity"), **options)
    state = network.state_dict()
    tensors = RELEASED[role]["tensors"]
    assert [[name, list(value.shape)] for name, value in state.items() if value.is_floating_point()] == [
        [name, shape] for _, name, shape in tensors
    ]
    for number, name, shape in tensors:
        wave, last = waves(78.233 * (number + 1), math.prod(shape)), name.split(".")[-1]
        if len(shape) > 1:
            wave *= math.sqrt(3 / math.prod(shape[1:]))
        else:
            middle, spread = {"weight": (1, 0.3), "running_var": (1, 0.5)}.get(last, (0, 0.1))
            wave = middle + spread * wave
        state[name].copy_(torch.from_numpy(wave).view(shape))
    return network


@pytest.fixture(scope="module")
def student():
    return filled("student").eval().double()


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("role", NETWORKS)
def test_logits_are_those_of_the_released_networks(role, mode):
    network = filled(role).train(mode == "train").double()
    with torch.no_grad():
        found = network(images().double())
    expected = torch.tensor(RELEASED[role][mode], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("block", "tokens", "width"), [(0, 400, 40), (1, 100, 48), (2, 25, 56)])
def test_simulated_maps_are_those_of_the_released_simulators(student, block, tokens, width):
    x = np.sin(0.37 * np.arange(4 * tokens * width) + block).astype(np.float32).astype(np.float64)
    with torch.no_grad():
        features = student.blocks[block].simulator(torch.from_numpy(x).view(1, 4, tokens, width), math.isqrt(tokens))
    found, expected = simulate(features), RELEASED["student"]["simulated"][block]
    assert list(found.shape) == expected["shape"]
    assert float(found.mean()) == pytest.approx(expected["mean"], abs=TOLERANCE)
    assert float(found.std()) == pytest.approx(expected["sd"], abs=TOLERANCE)
    for place, name in (((0, 1, 2, 3), "[0,1,2,3,:8]"), ((0, 3, 1, tokens - 1), "[0,3,1,n-1,:8]")):
        torch.testing.assert_close(
            found[place][:8], torch.tensor(expected[name], dtype=torch.float64), rtol=0, atol=TOLERANCE
        )


def test_a_pixel_s_value_reaches_its_whole_patch_and_no_other_whatever_is_chosen():
    attention = ReleasedAttention(16, 16)
    x = torch.randn(1, 4, 9, 16, generator=torch_generator("parity"))
    y = x.clone()
    y[0, 1, 5] += 1
    for kept in (None, torch.zeros(1, 4, 4, 9, 1, dtype=torch.int64)):  # None: all keys, or a single token
        with torch.no_grad():
            touched = (attention(x, kept) - attention(y, kept)).abs().amax(-1)[0] > 1e-6  # (P, N)
        assert touched[:, 5].all()
        assert touched.sum() == 4
    with torch.no_grad():
        torch.testing.assert_close(attention(x), attention(x, kept))
        torch.testing.assert_close(attention(x)[:, :, 5:6], attention(x[:, :, 5:6]))


def test_the_simulation_loss_reaches_the_tokens_as_released_alone():
    for variant, reaches in (("described", False), ("released", True)):
        network, selections = build("lsnet", torch_generator("parity"), stem_stride=1, variant=variant), []
        network(images()[..., :64, :64], selections=selections)
        simulated = [s.simulated for s in selections]
        raw_simulation_loss(simulated, [torch.zeros_like(s) for s in simulated]).backward()
        assert (network.stem[0].weight.grad is not None) == reaches


def test_small_images_keep_at_least_one_key_as_released():
    network, selections = build("lsnet", torch_generator("parity"), variant="released").eval(), []
    with torch.no_grad():
        assert network(images()[..., :128, :128], selections=selections).isfinite().all()  # 64, 16 and 4 tokens
    assert [s.keys.shape[-1] for s in selections] == [3, 1, 1]
