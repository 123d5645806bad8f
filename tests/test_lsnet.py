"""Sparse attention and distillation: the equations against hand-written ones, what guidance and each loss term do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from torch.nn import functional

from ecsupport.backbone.mobilevit import initialise
from ecsupport.core import profiles
from ecsupport.core.errors import UserError
from ecsupport.core.training import torch_generator
from ecsupport.screening import distillation as module
from ecsupport.screening.distillation import (
    Distillation,
    Signature,
    Targets,
    distillation_loss,
    learn,
    raw_simulation_loss,
    row_simulation_loss,
    score_gradients,
    simulation_loss,
    teach,
    weights,
)
from ecsupport.screening.gradients import lessons
from ecsupport.screening.lsnet import NAMES, build
from ecsupport.screening.settings import Settings
from ecsupport.screening.sparse_attention import (
    ALPHA,
    TAU,
    Simulator,
    SparseAttention,
    importance,
    keep,
    magnitudes,
    number_of_keys,
    random_map,
    ranking,
    simulate,
    standardise,
    top_keys,
)

BATCH, SIZE = 4, 64


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch_generator("test", seed))


def images(seed=0):
    return noise(BATCH, 1, SIZE, SIZE, seed=seed)


def student(seed=0, **options):
    return build("lsnet", torch_generator("student", seed), stem_stride=1, **{"key_share": 0.1, **options})


def teacher(seed=0):
    return build("teacher", torch_generator("teacher", seed), stem_stride=1, teacher_width=0.1)


def maps(seed=0, batch=BATCH):
    return [noise(batch, 4, 4, n, n, seed=f"{seed} {n}") for n in (64, 16, 4)]


def gradients_of(network):
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


# sparse attention


def test_all_keys_give_dense_attention():
    attention = initialise(SparseAttention(16, 16), torch_generator("test"))
    x = noise(2, 4, 9, 16)
    every = keep(noise(2, 4, 4, 9, 9, seed=1), 9)
    torch.testing.assert_close(attention(x, every), attention(x), rtol=0, atol=1e-6)
    sparse, dense = student(key_share=1.0).eval(), build("lsnet_dense", torch_generator("test"), stem_stride=1).eval()
    dense.load_state_dict(sparse.state_dict(), strict=False)
    torch.testing.assert_close(sparse(images(), maps(), 1.0), dense(images()), rtol=0, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), tokens=st.integers(1, 8), data=st.data())
def test_a_query_attends_to_its_keys_alone(seed, tokens, data):
    """Equation 15 query by query, and its gradients, from the keys gathered."""
    k = data.draw(st.integers(1, tokens))
    parts = [noise(2, 4, 4, tokens, 3, seed=f"{seed} {part}").requires_grad_() for part in "qkv"]
    weight = noise(2, 4, 4, tokens, tokens, seed=seed)
    keys, mask = top_keys(weight, k), keep(weight, k)
    places = keys[..., None].expand(2, 4, 4, tokens, k, 3)
    own_keys, own_values = (x.unsqueeze(-3).expand(2, 4, 4, tokens, tokens, 3).gather(-2, places) for x in parts[1:])
    weight = ((parts[0].unsqueeze(-2) * own_keys).sum(-1) / 3**0.5).softmax(-1)
    by_hand = (weight.unsqueeze(-1) * own_values).sum(-2)
    for kept in [mask, keys] if k == 1 else [mask]:
        found = SparseAttention.attend_to(*parts, kept)
        torch.testing.assert_close(found, by_hand)
        for one, other in zip(
            *(
                torch.autograd.grad(x.square().sum(), parts, retain_graph=True, allow_unused=True)
                for x in (found, by_hand)
            ),
            strict=True,
        ):
            torch.testing.assert_close(torch.zeros_like(other) if one is None else one, other, rtol=1e-4, atol=1e-5)


def test_simulated_gradient_is_the_self_correlation_of_each_head():
    simulator = initialise(Simulator(8), torch_generator("test")).eval()
    x = noise(2, 4, 12, 8)  # a grid of 3 rows and 4 columns
    found = simulate(simulator(x, 3))
    image = x[1, 2].T.reshape(1, 8, 3, 4)  # (N, C) -> (1, C, rows, columns)
    features = simulator.layers(image)[0].flatten(1).T  # -> (N, C)
    for head in range(4):
        f = features[:, 2 * head : 2 * head + 2]
        torch.testing.assert_close(found[1, 2, head], functional.selu(f @ f.T))
    torch.testing.assert_close(found, found.transpose(-1, -2))


def test_a_changed_token_reaches_its_neighbours_in_the_simulated_gradient_and_no_other():
    simulator = initialise(Simulator(8), torch_generator("test")).eval()
    x = noise(1, 4, 36, 8)
    moved = x.clone()
    moved[0, 1, 14] += 1  # row 2, column 2 of 6 x 6
    changed = (simulate(simulator(moved, 6)) - simulate(simulator(x, 6)))[0].abs().amax(
        1
    ) > 1e-6  # over heads: (P, N, N)
    near = torch.zeros(36, dtype=torch.bool)
    near[[7, 8, 9, 13, 14, 15, 19, 20, 21]] = True
    assert changed[1].any()
    assert not changed[1][~near][:, ~near].any()
    assert not changed[[0, 2, 3]].any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-9, 3e-7, 1.0, 1e6]))
def test_importance_ignores_the_scale_of_a_row(seed, scale):
    gradients = noise(1, 1, 1, 5, 30, seed=seed)
    torch.testing.assert_close(importance(gradients * scale), importance(gradients), rtol=1e-4, atol=1e-6)
    rows = standardise(gradients * scale)
    torch.testing.assert_close(rows.mean(-1), torch.zeros(1, 1, 1, 5), rtol=0, atol=1e-5)
    torch.testing.assert_close(rows.std(-1, correction=0), torch.ones(1, 1, 1, 5))
    assert not standardise(torch.full((2, 3), 1e-7)).any()


def test_importance_by_hand():
    row = torch.tensor([1.0, -1.0, 1.0, -1.0])  # mean 0 and deviation 1 already
    e, f = torch.e**2, torch.e**-2
    large, small = e / (2 * e + 2 * f), f / (2 * e + 2 * f)
    expected = {
        "abs_mix": [0.7 * large + 0.3 * small, 0.7 * small + 0.3 * large],
        "code": [0.7 * large + 0.3 * (1 - small), 0.7 * small + 0.3 * (1 - large)],
        "magnitude": [1.0, 1.0],
    }
    for fusion, (up, down) in expected.items():
        torch.testing.assert_close(importance(row, fusion), torch.tensor([up, down, up, down]))
    of_others = 0.9 * (4 * row).softmax(-1) + 0.1 * (-4 * row).softmax(-1)
    torch.testing.assert_close(importance(3 * row, alpha=0.9, tau=0.25), of_others)
    with pytest.raises(ValueError, match="fusion 'sum' is unknown"):
        importance(row, "sum")
    assert torch.equal(ranking(row, "code"), row)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 20))
def test_the_released_fusion_chooses_what_the_gradient_alone_would(seed, k):
    gradients = noise(1, 2, 2, 10, 20, seed=seed)
    own, fused = (top_keys(x, k).sort(-1).values for x in (gradients, importance(gradients, "code")))
    assert torch.equal(own, fused)


def test_large_gradients_of_either_sign_are_chosen_by_the_default_fusion():
    row = torch.tensor([0.1, -0.1, 3.0, 0.0, -2.9, 0.05, -0.05, 0.02])
    assert set(top_keys(importance(row), 2).tolist()) == {2, 4}
    assert set(top_keys(importance(row, "code"), 2).tolist()) == {0, 2}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    tokens=st.sampled_from([2, 25, 64, 400, 3000]),
    power=st.sampled_from([1, 3, 9]),
    alpha=st.sampled_from([0.5, ALPHA, 0.9]),
    tau=st.sampled_from([TAU, 2.0]),
)
def test_keys_are_ranked_as_their_weights_are(seed, tokens, power, alpha, tau):
    """The distance from one centre a row orders keys as alpha P+ + (1 - alpha) P- does, here in logarithms."""
    gradients = noise(2, 2, 2, 3, tokens, seed=seed).double() ** power
    x = (standardise(gradients) / tau).numpy()
    sums = [logsumexp(sign * x, axis=-1, keepdims=True) for sign in (1, -1)]
    of = [
        np.log(share) + sign * x - total for share, sign, total in zip((alpha, 1 - alpha), (1, -1), sums, strict=True)
    ]
    best = torch.from_numpy(np.logaddexp(*of)).argsort(-1, descending=True)[..., : tokens // 2]
    ranked = ranking(gradients, alpha=alpha, tau=tau)
    chosen = ranked.gather(-1, best)
    assert bool((chosen[..., :-1] >= chosen[..., 1:] - 1e-9 * chosen[..., :1].abs()).all())
    left = ranked.scatter(-1, best, -torch.inf).amax(-1)
    assert bool((left <= chosen[..., -1] + 1e-9 * chosen[..., 0].abs()).all())


@pytest.mark.parametrize(
    ("options", "blind"),
    [({}, False), ({"fusion": "code"}, False), ({"alpha": 0.5}, True), ({"fusion": "magnitude"}, True)],
)
def test_of_the_sign_and_so_of_the_label_only_some_choices_know_nothing(options, blind):
    """Two classes: the gradients of one label's loss are those of the other's with the sign turned."""
    network = teacher().eval()
    found = []
    for label in (0, 1):
        scores = []
        loss = functional.cross_entropy(network(images(), scores), torch.full((BATCH,), label))
        found.append(score_gradients(loss, scores)[0])
    cosine = functional.cosine_similarity(*(g.flatten(1) for g in found))
    torch.testing.assert_close(cosine, -torch.ones(BATCH), rtol=0, atol=1e-4)
    one, turned = (top_keys(ranking(g, **options), 6) for g in (found[0], -found[0]))
    assert torch.equal(one, turned) == blind
    selections, x = [], images()
    for guidance in (maps(3), [-g for g in maps(3)]):
        student(**options).eval()(x, guidance, 1.0, selections)
    assert torch.equal(selections[0].keys, selections[3].keys) == blind


@pytest.mark.parametrize(
    ("options", "blind"), [({"alpha": 0.5}, False), ({"fusion": "magnitude"}, True), ({"fusion": "code"}, False)]
)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_while_the_teacher_hands_over_only_magnitudes_hide_the_sign(options, blind, share):
    """Signed maps are added before the choice: where they agree in sign the sum is large."""
    selections, x = [], images()
    for guidance in (maps(3), [-g for g in maps(3)]):
        student(**options).eval()(x, guidance, share, selections)
    assert torch.equal(selections[0].keys, selections[3].keys) == blind


def test_magnitudes_are_mixed_by_hand():
    guidance, features = noise(1, 4, 4, 9, 9, seed=1), noise(1, 4, 4, 9, 4, seed=2)
    own, of_teacher = standardise(simulate(features)).abs(), standardise(guidance).abs()
    torch.testing.assert_close(magnitudes(guidance, features, 0.3), 0.3 * of_teacher + 0.7 * own)
    assert torch.equal(magnitudes(guidance, features, 1.0), of_teacher)
    assert torch.equal(magnitudes(None, features, 0.0), own)


def test_all_that_two_students_both_have_starts_alike():
    full, dense, blind = (
        Settings.of(profiles.load("laptop"), **changes).build(name, 7).state_dict()
        for name, changes in (
            ("lsnet", {"network": "lsnet"}),
            ("lsnet_dense", {"network": "lsnet_dense"}),
            ("lsnet", {"network": "lsnet", "guidance": "random"}),
        )
    )
    for fewer in (dense, blind):
        assert {name for name in full if name not in fewer} == {name for name in full if "simulator" in name}
        assert all(torch.equal(full[name], fewer[name]) for name in fewer)


def test_number_of_keys_is_a_share_and_never_none():
    assert [number_of_keys(n, 1 / 25) for n in (400, 100, 25)] == [16, 4, 1]
    assert [number_of_keys(n, 0.1) for n in (64, 16, 4)] == [6, 2, 1]
    for share in (1.5, 0.0, -1.0):
        with pytest.raises(UserError, match="of N = 64 keys. Choose a share"):
            number_of_keys(64, share)
    with pytest.raises(ValueError, match="k = 5 keys of N = 4 tokens"):
        top_keys(noise(1, 1, 1, 4, 4), 5)


# the student


def test_guidance_changes_the_keys_and_the_output():
    network, x = student().eval(), images()
    one, other = maps(1), maps(2)
    assert not torch.allclose(network(x, one, 1.0), network(x, other, 1.0))
    assert torch.equal(network(x, one, 0.0), network(x))
    selections = []
    network(x, one, 1.0, selections)
    for selection, guidance in zip(selections, one, strict=True):
        expected = top_keys(importance(guidance), selection.keys.shape[-1])
        assert torch.equal(selection.keys.sort(-1).values, expected.sort(-1).values)


def test_queries_and_keys_learn():
    network = student()
    functional.cross_entropy(network(images()), torch.tensor([0, 1, 0, 1])).backward()
    for block in list(network.blocks)[:2]:  # the third has a single key a query, whose weight is always 1
        for layer in block.layers:
            queries, keys, values = layer.attention.queries_keys_values.weight.grad.chunk(3)
            assert min(part.abs().amax() for part in (queries, keys, values)) > 0


def test_a_block_of_one_token_has_nothing_to_choose():
    network, selections = student(), []
    x = noise(2, 1, 32, 32)  # 16, 4 and 1 tokens
    network(x, selections=selections)
    assert [s is None for s in selections] == [False, False, True]
    scores = []
    loss = functional.cross_entropy(teacher()(x, scores), torch.tensor([0, 1]))
    gradients = score_gradients(loss, scores)
    assert [g is None for g in gradients] == [False, False, True]
    labels = ids = torch.tensor([0, 1])
    result = learn(student(), teach(teacher(), x, labels), distillation(2), x, labels, ids, weights(0.1))
    assert all(torch.isfinite(term) for term in result.terms.values())


def test_random_keys_are_the_same_for_every_image_and_others_for_another_network():
    found = {}
    for name, seed, shown in (("one", 1, images()), ("again", 1, images(5)), ("other", 9, images())):
        student(seed=seed, keys="random")(shown, selections=found.setdefault(name, []))
    for s in found["one"]:
        assert torch.equal(s.keys[0], s.keys[3])
    assert all(torch.equal(a.keys, b.keys) for a, b in zip(found["one"], found["again"], strict=True))
    assert not torch.equal(found["one"][0].keys, found["other"][0].keys)
    assert not torch.equal(random_map(4, 4, 16, 0, 1), random_map(4, 4, 16, 1, 1))


def test_every_network_gives_two_logits_and_unknown_names_are_refused():
    for name in NAMES:
        assert build(name, torch_generator("test"), stem_stride=1, teacher_width=0.1)(images()).shape == (BATCH, 2)
    with pytest.raises(ValueError, match="network 'vgg' is unknown"):
        build("vgg", torch_generator("test"))
    with pytest.raises(ValueError, match="keys 'best' is unknown"):
        build("lsnet", torch_generator("test"), keys="best")


# the teacher's gradients


def test_score_gradients_are_those_of_a_hand_written_transformer():
    q, k, v = (noise(2, 4, 4, 5, 3, seed=part).double() for part in "qkv")
    target = torch.tensor([0, 1])

    def loss_of(scores):
        pooled = (scores.softmax(-1) @ v).mean(dim=(1, 2, 3))  # (B, 3)
        return functional.cross_entropy(pooled[:, :2], target, reduction="none")

    scores = (q @ k.transpose(-1, -2)).requires_grad_()
    found = score_gradients(loss_of(scores * 1.0).mean() * 1.0, [scores])[0]
    step = 1e-6
    for place in ((0, 1, 2, 3, 4), (1, 3, 0, 2, 2)):  # by differences, of each image's own loss
        up, down = (scores.detach().clone() for _ in range(2))
        up[place] += step
        down[place] -= step
        slope = (loss_of(up) - loss_of(down))[place[0]] / (2 * step)
        assert found[place] == pytest.approx(float(slope), rel=1e-5)


def test_teacher_gradients_come_with_the_parameters_own_and_rows_sum_to_zero():
    network, labels = teacher().eval(), torch.tensor([0, 1, 1, 0])
    scores = []
    found = score_gradients(functional.cross_entropy(network(images(), scores), labels), scores)
    watched = gradients_of(network)
    network.zero_grad()
    again = []
    loss = functional.cross_entropy(network(images(), again), labels)
    for g, h in zip(found, torch.autograd.grad(loss, again, retain_graph=True), strict=True):
        torch.testing.assert_close(g, BATCH * h)
        assert (g.sum(-1).abs() <= 1e-5 * g.abs().sum(-1) + 1e-12).all()
        assert g.abs().amax() > 0
        assert not torch.allclose(g, g.transpose(-1, -2), rtol=0.1, atol=0)
    loss.backward()
    for name, p in network.named_parameters():
        torch.testing.assert_close(watched[name], p.grad)


def test_gradients_of_the_predicted_class_know_no_label_and_leave_the_teacher_s_own_alone():
    network, x, labels = teacher().eval(), images(), torch.tensor([0, 1, 1, 0])
    lesson = teach(network, x, labels, ("label", "prediction"))
    watched = gradients_of(network)
    right = lesson.logits.argmax(-1) == labels
    assert 0 < right.sum() < BATCH
    network.zero_grad()
    of_others = teach(network, x, 1 - labels, ("prediction",)).gradients["prediction"]
    network.zero_grad()
    plain = teach(network, x, labels)
    for shown, own, again in zip(*(lesson.gradients[of] for of in ("prediction", "label")), of_others, strict=True):
        torch.testing.assert_close(shown, again)
        torch.testing.assert_close(shown[right], own[right])
        cosine = functional.cosine_similarity(shown.flatten(1), own.flatten(1))
        torch.testing.assert_close(cosine, torch.where(right, 1.0, -1.0), rtol=0, atol=1e-4)
    rules, ids = replace(distillation(), gradient_of="prediction"), torch.arange(BATCH)
    result = learn(student(), lesson, rules, x, labels, ids, weights(0.1))
    for selection, g in zip(result.selections, lesson.gradients["prediction"], strict=True):
        assert torch.equal(selection.keys, top_keys(ranking(g), selection.keys.shape[-1]))
    assert set(plain.gradients) == {"label"}
    assert all(torch.equal(watched[name], g) for name, g in gradients_of(network).items())


# the loss


def distillation(count=BATCH, guidance=True, knowledge=True, simulation="features", smoothing=0.7):
    return Distillation(guidance, knowledge, simulation, Signature(), Targets(count, smoothing))


@pytest.mark.parametrize(
    ("p", "m", "w", "kd"),
    [(0, 1, 1, 1), (0.3, 1, 1, 0.7), (0.5, 0.5, 1, 0.5), (0.7, 0, 1, 0.3), (0.85, 0, 0.5, 0.15), (1, 0, 0, 0)],
)
def test_schedules(p, m, w, kd):
    assert weights(p) == pytest.approx((m, w, kd))
    assert weights(p, "released") == (0, 1, 1)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), smoothing=st.floats(0.5, 1.0))
def test_targets_follow_the_recursion_of_each_image(seed, smoothing):
    targets, expected, last = Targets(5, smoothing), {}, {}
    for step in range(6):
        ids = torch.randperm(5, generator=torch_generator(seed, step))[:2]
        new = noise(2, 3, 128, seed=f"{seed} {step}")
        moved = {"raw": [], "smooth": []}
        for i, value in zip(ids.tolist(), new, strict=True):
            before = expected.get(i)
            expected[i] = value if before is None else smoothing * value + (1 - smoothing) * before
            if before is not None:
                moved["raw"].append(float((value - last[i]).norm() / value.norm()))
                moved["smooth"].append(float((expected[i] - before).norm() / expected[i].norm()))
            last[i] = value
        found, change = targets.update(ids, new)
        torch.testing.assert_close(found, torch.stack([expected[i] for i in ids.tolist()]))
        for name, values in moved.items():
            mean = sum(values) / len(values) if values else float("nan")
            assert change[name] == pytest.approx(mean, rel=1e-4, abs=1e-6, nan_ok=True)


def test_signatures_ignore_scale_and_see_positions():
    signature, a = Signature(), noise(2, 4, 4, 16, 16)
    torch.testing.assert_close(signature(a * 1e-7), signature(a), rtol=0, atol=1e-5)
    torch.testing.assert_close(signature(a).norm(dim=1), torch.ones(2))
    order = torch.randperm(16, generator=torch_generator("order"))
    assert (signature(a[..., order]) - signature(a)).norm(dim=1).min() > 0.1
    assert torch.equal(Signature().projection, signature.projection)
    for tokens in (4, 64, 100):
        assert signature(noise(1, 4, 4, tokens, tokens)).shape == (1, 128)


@pytest.mark.parametrize("mean", [0, 3, -100])
def test_signatures_are_those_of_rows_standardised_one_by_one(mean):
    """In double precision by hand, also of rows whose mean is far above their deviation."""
    signature, maps = Signature(), noise(2, 4, 4, 16, 16) + mean
    rows = maps.double()
    rows = (rows - rows.mean(-1, keepdim=True)) / rows.std(-1, correction=0, keepdim=True)
    torch.testing.assert_close(signature(maps), signature(rows.float()), rtol=0, atol=5e-4)


def test_a_row_of_equal_numbers_does_not_make_noise_of_rounding():
    signature, maps = Signature(), noise(2, 4, 4, 100, 100)
    one, none = maps.clone(), maps.clone()
    one[..., 0, :] = torch.linspace(0.1, 0.9, 32).view(2, 4, 4, 1)  # their means are not exact
    none[..., 0, :] = 0
    found = signature(one.requires_grad_())
    torch.testing.assert_close(found, signature(none), rtol=0, atol=5e-4)
    found.sum().backward()
    assert one.grad.isfinite().all()


def test_raw_simulation_is_the_mean_square_of_each_block():
    one, other = maps(1), [*maps(2)[:2], None]
    expected = sum(float((a - b).square().sum() / a.numel()) for a, b in zip(one[:2], other[:2], strict=True))
    assert float(raw_simulation_loss(one, other)) == pytest.approx(expected, rel=1e-5)


def test_the_released_distance_forgets_how_sure_the_networks_are():
    own, theirs = noise(3, 2, seed=1).requires_grad_(), noise(3, 2, seed=2).requires_grad_()
    distillation_loss(own, theirs, "cosine").backward()
    assert theirs.grad is None
    own, theirs = own.detach(), theirs.detach()
    assert float(distillation_loss(own, 5 * own, "cosine")) == pytest.approx(0, abs=1e-6)
    assert float(distillation_loss(own, -own, "cosine")) == pytest.approx(4)
    assert float(distillation_loss(own, 5 * own)) > 0.1


def test_soft_labels_pull_the_student_alone_and_vanish_at_the_teachers_logits():
    own, theirs = noise(3, 2, seed=1).requires_grad_(), noise(3, 2, seed=2).requires_grad_()
    loss = distillation_loss(own, theirs)
    loss.backward()
    assert theirs.grad is None
    soft = [(x / 3).softmax(-1) for x in (own, theirs)]
    torch.testing.assert_close(loss, 9 * (soft[1] * (soft[1] / soft[0]).log()).sum(-1).mean())
    assert float(distillation_loss(theirs.detach(), theirs)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("simulation", ["features", "raw"])
@pytest.mark.parametrize(("progress", "handover"), [(0.1, "described"), (0.8, "described"), (0.1, "released")])
def test_a_step_is_the_gradient_of_the_written_out_sum(simulation, progress, handover):
    """Fails as soon as a term is left out, has another weight, or reaches the other network."""
    one, two = student(), teacher()
    x, labels, ids = images(), torch.tensor([0, 1, 1, 0]), torch.arange(BATCH)
    rules = distillation(simulation=simulation)
    rules.targets.update(ids, noise(BATCH, 3, 128, seed="before"))
    before = rules.targets.state["smooth"].clone()
    result = learn(one, teach(two, x, labels), rules, x, labels, ids, weights(progress, handover))
    found, theirs = gradients_of(one), gradients_of(two)

    two.zero_grad()
    scores = []
    logits = two(x, scores)
    expected = torch.autograd.grad(functional.cross_entropy(logits, labels), [*scores, *two.parameters()])
    for parameter, g in zip(two.named_parameters(), expected[3:], strict=True):
        torch.testing.assert_close(theirs[parameter[0]], g)
    guidance = [BATCH * g for g in expected[:3]]

    m, kd = (0, 1) if handover == "released" else {0.1: (1, 0.9), 0.8: (0, 0.2)}[progress]
    selections = []
    own = one(x, guidance, m, selections)
    simulated = [s.simulated for s in selections]
    sign = Signature()
    if simulation == "raw":
        sim = sum((s - g).square().mean() for s, g in zip(simulated, guidance, strict=True))
    else:
        smooth = 0.7 * torch.stack([sign(g) for g in guidance], 1) + 0.3 * before
        sim = sum((sign(s) - smooth[:, n]).square().sum(-1).mean() for n, s in enumerate(simulated))
    terms = {"student": functional.cross_entropy(own, labels), "simulation": sim}
    terms["distillation"] = distillation_loss(own, logits)
    for name, value in terms.items():
        torch.testing.assert_close(result.terms[name], value.detach(), msg=name)
    weigh = {"student": 1.0, "distillation": kd, "simulation": 1.0}  # w(p) is the simulator's learning rate's
    parameters = [p for _, p in one.named_parameters()]
    sums = {}
    for name, value in terms.items():
        parts = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for g, p in zip(parts, parameters, strict=True)]
        assert max(float(g.abs().amax()) for g in parts) > 1e-4, f"{name} teaches nothing"
        sums = {i: sums.get(i, 0) + weigh[name] * g for i, g in enumerate(parts)}
    for (name, _), total in zip(one.named_parameters(), sums.values(), strict=True):
        torch.testing.assert_close(found[name], total, rtol=1e-3, atol=1e-4, msg=name)


def test_the_loss_of_rows_is_two_less_twice_their_correlation():
    one, other = maps(1), maps(2)
    by_hand = 0.0
    for a, b in zip(one, other, strict=True):
        pairs = zip(a.flatten(0, -2).numpy(), b.flatten(0, -2).numpy(), strict=True)
        by_hand += np.mean([2 - 2 * np.corrcoef(*pair)[0, 1] for pair in pairs])
    assert float(row_simulation_loss(one, other)) == pytest.approx(by_hand, rel=1e-4)
    scaled = [1e-7 * g + 3e-7 for g in other]  # as small as a teacher's
    assert float(row_simulation_loss(one, [*scaled[:2], None])) == pytest.approx(
        float(row_simulation_loss(one[:2], other[:2])), rel=1e-3
    )


def test_standardised_rows_teach_the_order_of_keys_and_random_features_the_map_alone():
    """From targets within reach: both losses fall, the second below that against another image's target."""
    shown = np.random.default_rng(0).integers(0, 255, (8, SIZE, SIZE), dtype=np.uint8)
    before = student().state_dict()
    one = student()
    rows, features = (lessons(one, student(5), shown, name, 40) for name in ("rows", "features"))
    for found in (rows, features):
        first, last = (found[found["step"] == n].set_index("block") for n in (0, 39))
        assert (last["simulation"] < 0.8 * first["simulation"]).all()
    assert (last["simulation"] < 0.8 * last["elsewhere"]).all()
    gain = {
        name: of.pivot(index="step", columns="block", values="agreement")
        for name, of in (("rows", rows), ("features", features))
    }
    assert (gain["rows"].loc[39] > gain["rows"].loc[0] + 0.1).all()
    assert gain["rows"].loc[39, 1] > gain["features"].loc[39, 1] + 0.1
    assert all(torch.equal(before[name], value) for name, value in one.state_dict().items())
    small = shown[:, :32, :32]  # a single token in block 3
    assert set(lessons(one, student(5), small, "features", 2)["block"]) == {1, 2}


def test_ablations_leave_out_their_term_alone():
    x, labels, ids = images(), torch.tensor([0, 1, 1, 0]), torch.arange(BATCH)
    expected = {
        (True, True): {"teacher", "student", "distillation", "simulation"},
        (True, False): {"teacher", "student", "simulation"},
        (False, True): {"teacher", "student", "distillation"},
    }
    for (guidance, knowledge), terms in expected.items():
        rules = distillation(guidance=guidance, knowledge=knowledge)
        one = student()
        result = learn(one, teach(teacher(), x, labels), rules, x, labels, ids, weights(0.2))
        assert set(result.terms) == terms
        taught = any("simulator" in name for name in gradients_of(one))
        assert taught == guidance
    plain = learn(student(), None, None, x, labels, ids, weights(0.2))
    assert set(plain.terms) == {"student"}
    with pytest.raises(ValueError, match="expected both or neither"):
        learn(student(), None, distillation(), x, labels, ids, weights(0.2))


def test_the_simulator_learns_what_it_is_shown():
    network, rules = student(), distillation()
    network.eval()
    x, gradients, ids = images(), maps(3), torch.arange(BATCH)
    optimiser = torch.optim.Adam([p for b in network.blocks for p in b.simulator.parameters()], 1e-2)
    losses = []
    for _ in range(8):
        selections = []
        network(x, gradients, 1.0, selections)
        loss, _ = rules.simulate(selections, gradients, ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1
    assert module.SMOOTHING > 0.5
    assert float(simulation_loss(torch.ones(2, 3, 128), torch.zeros(2, 3, 128))) == 3 * 128
