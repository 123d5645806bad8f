"""What a network costs: by hand for single layers, against torch's own counter for whole networks."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ecsupport.core.training import torch_generator
from ecsupport.screening import comparators, cost
from ecsupport.screening.lsnet import NAMES, build

PRINTED = {
    "mobilenet_v2_released": 730_500,
    "mobilenet_v2": 730_500,
    "mobilenet_v2_wide": 1_013_000,
    "efficientnet": 204_500,
    "mobilevit": 294_500,
}
PAPER_SIDE = 320


def network(name, **options):
    return build(name, torch_generator("test"), **options)


def test_a_convolution_and_a_linear_layer_by_hand():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.filter = nn.Conv2d(1, 6, 3, stride=2, padding=1, groups=1)
            self.classify = nn.Linear(6, 2)

        def forward(self, x):
            return self.classify(self.filter(x).mean((2, 3)))

    found = cost.table(Two(), 8).set_index("stage")
    assert found.loc["filter", "parameters"] == 6 * 9 + 6
    assert found.loc["filter", "layers"] * cost.SCALE == 6 * 9 * 4 * 4
    assert found.loc["classify", "layers"] * cost.SCALE == 6 * 2


@pytest.mark.parametrize(("name", "variant"), [*((name, "described") for name in NAMES), ("lsnet", "shared")])
def test_torch_counts_as_many(name, variant):
    """Two operations a multiply-accumulate. With all keys, since of few those alone are counted."""
    counted = network(name, key_share=1.0, variant=variant).eval()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        counted(torch.zeros(1, 1, 128, 128))
    ours = cost.total(counted, 128)[list(cost.KINDS)].sum() * cost.SCALE
    assert 2 * ours == pytest.approx(counter.get_total_flops(), rel=1e-9)


def test_torch_counts_what_is_masked_too():
    counted = network("lsnet", key_share=1 / 10).eval()  # of one key nothing is computed
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        counted(torch.zeros(1, 1, PAPER_SIDE, PAPER_SIDE))
    ours = cost.total(counted, PAPER_SIDE)[[*cost.KINDS, cost.MASKED]].sum() * cost.SCALE
    assert 2 * ours == pytest.approx(counter.get_total_flops(), rel=1e-9)


@pytest.mark.parametrize("share", [1, 1 / 10, 1 / 25, 1 / 50])
def test_attention_costs_as_many_products_as_it_keeps_keys(share):
    dense = cost.table(network("lsnet", key_share=1.0), PAPER_SIDE).set_index("stage")["attention"]
    sparse = cost.table(network("lsnet", key_share=share), PAPER_SIDE).set_index("stage")["attention"]
    for block, tokens in (("blocks.0", 400), ("blocks.1", 100), ("blocks.2", 25)):
        assert sparse[block] / dense[block] == pytest.approx(max(1, round(share * tokens)) / tokens)


def test_the_student_stays_within_the_printed_budget():
    """0.289 G as the paper counts, and the released number of parameters."""
    found = cost.total(network("lsnet"), PAPER_SIDE)
    assert found["layers"] == pytest.approx(0.253, abs=5e-4)
    assert found["layers"] <= 0.289
    assert found["parameters"] == 381_488  # at most the 401,232 of the released network
    dense = cost.total(network("lsnet_dense"), PAPER_SIDE)
    assert found[list(cost.KINDS)].sum() < dense[list(cost.KINDS)].sum()


def test_every_parameter_of_the_student_is_used():
    """No dead layers, but that one key of 25 tokens, the released choice for block 3, leaves no softmax to learn."""
    student = network("lsnet").train()
    selections = []
    student(torch.randn(2, 1, 320, 320, generator=torch_generator("test")), selections=selections).sum().backward()
    sum(s.simulated.sum() for s in selections).backward()
    assert [s.keys.shape[-1] for s in selections] == [16, 4, 1]
    assert [name for name, p in student.named_parameters() if p.grad is None] == []
    for name, p in student.named_parameters():
        if name.endswith("queries_keys_values.weight"):
            queries_and_keys, values = p.grad[: 2 * len(p) // 3], p.grad[2 * len(p) // 3 :]
            assert values.abs().max() > 0
            assert bool(queries_and_keys.abs().max() > 0) != name.startswith("blocks.2.")


@pytest.mark.parametrize("name", comparators.NAMES)
def test_a_comparator_has_about_the_printed_parameters_and_learns_without_chance(name):
    counted = network(name, stem_stride=1)
    assert sum(p.numel() for p in counted.parameters()) == pytest.approx(PRINTED[name], rel=0.05)
    images = torch.randn(4, 1, 64, 64, generator=torch_generator("test"))
    before = torch.get_rng_state()
    assert counted.train()(images).shape == (4, 2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "lives"), [("mobilenet_v2", True), (comparators.RELEASED, False)])
def test_the_hidden_layer_of_mobilenet_outlives_a_high_rate_by_its_norm(name, lives):
    """Inputs that are never negative, labels without sense, the rate of `laptop`: units fall silent for good."""
    head, noise = network(name, stem_stride=2).train().classifier, torch_generator("noise")
    optimiser = torch.optim.AdamW(head.parameters(), 0.01)
    for _ in range(60):
        features, labels = (
            torch.rand(32, head[0].in_features, generator=noise),
            torch.randint(2, (32,), generator=noise),
        )
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(features), labels).backward()
        optimiser.step()
    hidden = head.eval()[:-1](torch.rand(256, head[0].in_features, generator=noise))
    answering = float((hidden > 0).any(0).float().mean())
    assert answering > 0.9 if lives else answering < 0.2


def test_stages_follow_the_order_of_computation():
    assert cost.stages(network("lsnet"))[:4] == ["stem", "stages.0", "blocks.0", "stages.1"]
    assert sum(cost.table(network("lsnet"), 128)["parameters"]) == cost.total(network("lsnet"), 128)["parameters"]
