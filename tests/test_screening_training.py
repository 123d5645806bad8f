"""The trainer: which weights it keeps, what it refuses, and that a killed run ends in the same bits."""

import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from making import arguments, fit, student
from sklearn.metrics import roc_auc_score

from ecsupport.backbone.inputs import augment, to_input
from ecsupport.backbone.learner import Learner
from ecsupport.core import jobs, profiles
from ecsupport.core.errors import UserError
from ecsupport.core.training import TrainingError, torch_generator
from ecsupport.screening import distillation, gradients, lsnet, training
from ecsupport.screening.batches import Batches
from ecsupport.screening.selection import RULES, all_positive, area, select, validate
from ecsupport.screening.settings import Settings
from ecsupport.screening.training import predict, restore

SIZE = 32
CPU = torch.device("cpu")
TINY = Settings(
    network="lsnet",
    stem_stride=1,
    teacher_width=0.1,
    batch=4,
    mixed_steps=4,
    real_steps=4,
    validate_every=2,
    guidance="teacher",
    knowledge=True,
    key_share=0.25,
    rules=RULES,
)


def pictures(count, seed=0, easy=False):
    """Noise, with a bright disc in the positive half if easy; half positive, a third synthetic."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 2
    image = rng.integers(0, 160, (count, SIZE, SIZE)).astype(np.uint8)
    if easy:
        image[label == 1, 8:24, 8:24] += 80
    return image, label.astype(np.int64), np.arange(count) % 3 > 0


def training_set(count=18, easy=False, **changes):
    image, label, real = pictures(count, 0, easy)
    seen, truth, _ = pictures(12, 1, easy)
    found = {"image": image, "label": label, "real": real, "validation_image": seen, "validation_label": truth}
    return {**found, **changes}


@pytest.fixture(scope="module")
def trained():
    return fit(student(TINY, training_set(), 42))


# which weights are kept


def history(*rows):
    return pd.DataFrame(rows, columns=["step", "sensitivity", "specificity", "auc"])


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([(1, 0.80, 0.9, 0.9), (2, 0.90, 0.5, 0.8), (3, 0.85, 0.9, 0.9)], 2),  # below .95: sensitivity alone counts
        ([(1, 0.96, 0.6, 0.9), (2, 0.97, 0.7, 0.9), (3, 0.99, 0.5, 0.9)], 2),  # from .95 on: specificity alone
        ([(1, 0.96, 0.2, 0.9), (2, 0.94, 0.9, 0.9)], 1),  # a later .94 never takes the place of .96
        ([(1, 0.94, 0.9, 0.9), (2, 0.95, 0.2, 0.9)], 2),  # .95 itself is enough
        ([(1, 0.90, 0.5, 0.9), (2, 0.90, 0.6, 0.8)], 2),  # ties: the other rate,
        ([(1, 0.90, 0.5, 0.8), (2, 0.90, 0.5, 0.9)], 2),  # the area,
        ([(1, 0.90, 0.5, 0.8), (2, 0.90, 0.5, 0.8)], 1),  # the earlier step
        ([(1, np.nan, np.nan, np.nan), (2, 0.1, 0.5, 0.5)], 2),
    ],
)
def test_the_rule_of_two_thresholds(rows, kept):
    assert select(history(*rows)) == kept
    assert select(history(*rows[::-1])) == kept


@pytest.mark.parametrize("rows", [[(1, 1.0, 0.0, 0.5), (2, 0.96, 0.9, 0.8), (3, 1.0, 0.6, 0.7), (4, 0.9, 0.9, 0.8)]])
def test_rules_of_one_rate_take_the_first_of_the_highest(rows):
    rows = history(*rows)
    assert {rule: select(rows, rule) for rule in RULES} == {"dual": 2, "sensitivity": 1, "auc": 2}
    assert {rule: select(rows[::-1], rule) for rule in RULES} == {"dual": 2, "sensitivity": 1, "auc": 2}
    with pytest.raises(ValueError, match="rule 'loss' is unknown, expected one of dual, sensitivity, auc"):
        select(rows, "loss")


def test_the_area_is_scikit_learns_with_ties_too():
    rng = np.random.default_rng(0)
    for _ in range(20):
        label, score = rng.permutation([0, 1, *rng.integers(0, 2, 30)]), rng.integers(0, 8, 32) / 8
        assert area(score[label == 1], score[label == 0]) == pytest.approx(roc_auc_score(label, score), abs=1e-12)


def test_rules_look_at_validations_of_their_own():
    settings = replace(TINY, mixed_steps=100, real_steps=40)
    assert [settings.selectable_after(rule) for rule in RULES] == [120, 0, 104]
    settings = replace(TINY, mixed_steps=101, real_steps=0)
    assert [settings.selectable_after(rule) for rule in RULES] == [50, 0, 10]


def test_networks_that_call_all_images_positive_are_counted():
    rows = history((1, 1.0, 0.0, 0.5), (2, 0.9, 0.9, 0.9)), history((1, 1.0, 0.1, 0.5), (2, 1.0, 0.0, 0.9))
    kept = [of.assign(chosen_sensitivity=[True, False], chosen=[False, True]) for of in rows]
    assert all_positive(kept, "sensitivity") == 1
    assert all_positive(kept, "dual") == 1
    assert all_positive(kept[:1], "dual") == 0


def test_a_history_without_validation_selects_nothing():
    with pytest.raises(ValueError, match="no validation"):
        select(history((1, np.nan, np.nan, np.nan)))


def test_validation_by_hand():
    found = validate(np.array([1, 1, 1, 0, 0]), np.array([0.9, 0.5, 0.2, 0.4, 0.6]))
    assert found == pytest.approx({"sensitivity": 2 / 3, "specificity": 1 / 2, "auc": 3 / 6})


# what a run leaves


def test_runs_that_share_their_start_differ_in_the_second_phase_alone(trained):
    sharing = replace(TINY, shared_start=42)
    assert (
        student(sharing, training_set(), 42).key == student(TINY, training_set(), 42).key
    )  # the run whose first phase it is
    own, other = (
        pd.read_csv(folder / "history.csv") for folder in (trained, fit(student(sharing, training_set(), 142)))
    )
    first = own["phase"] == 1
    pd.testing.assert_frame_equal(other[first], own[first])
    assert not (other.loc[~first, "student"] == own.loc[~first, "student"]).any()


def test_a_run_leaves_the_chosen_weights_and_its_history(trained):
    names = {f.name for f in trained.iterdir()} - {jobs.PROVENANCE}
    others = {f"{role}_{rule}.safetensors" for role in ("weights", "teacher") for rule in ("sensitivity", "auc")}
    assert names == {"weights.safetensors", "teacher.safetensors", "history.csv"} | others
    table = pd.read_csv(trained / "history.csv")
    assert table["step"].tolist() == list(range(1, 9))
    assert table["phase"].tolist() == [1] * 4 + [2] * 4
    assert table["auc"].notna().tolist() == [False, True] * 4
    assert table[["teacher", "student", "distillation", "simulation"]].notna().all(axis=None)
    image, label, _ = pictures(12, 1)
    columns = {"dual": "chosen", "sensitivity": "chosen_sensitivity", "auc": "chosen_auc"}
    for rule, column in columns.items():
        chosen = table[table[column]]
        assert chosen["step"].tolist() == [select(table[table["step"] > TINY.selectable_after(rule)], rule)]
        again = validate(label, predict(restore(trained, rule=rule), image))
        assert again == pytest.approx(chosen.iloc[0][list(again)].to_dict(), abs=1e-5)
    by_default, dual = (restore(trained, **rule).state_dict() for rule in ({}, {"rule": "dual"}))
    assert all(torch.equal(by_default[name], dual[name]) for name in dual)
    steps = {column: table.loc[table[column], "step"].item() for column in columns.values()}
    assert len(set(steps.values())) > 1  # else the test above could not tell one rule's weights from another's


def test_every_rule_selects_by_its_own_criterion_while_training(monkeypatch):
    scripted = iter([(1.0, 0.0, 0.5), (0.5, 0.5, 0.9), (0.96, 0.9, 0.8), (0.97, 0.2, 0.6)])
    names = ("sensitivity", "specificity", "auc")
    monkeypatch.setattr(training.selection, "validate", lambda *_: dict(zip(names, next(scripted), strict=True)))
    settings = replace(TINY, network="mobilenet_v2", guidance="none", knowledge=False, mixed_steps=8, real_steps=0)
    table = pd.read_csv(fit(student(settings, training_set(), 77)) / "history.csv")
    chosen = {name: table.loc[table[name], "step"].tolist() for name in table if name.startswith("chosen")}
    assert chosen == {"chosen": [6], "chosen_sensitivity": [2], "chosen_auc": [4]}


def test_a_rule_keeps_its_weights_alone():
    small = replace(TINY, network="mobilenet_v2", guidance="none", knowledge=False)
    names = {
        rules: {f.name for f in fit(student(replace(small, rules=rules), training_set(), 1)).glob("w*.safetensors")}
        for rules in (("dual",), ("auc", "sensitivity"))
    }
    assert names == {
        ("dual",): {"weights.safetensors"},
        ("auc", "sensitivity"): {"weights_auc.safetensors", "weights_sensitivity.safetensors"},
    }
    folder = fit(student(replace(small, rules=("auc", "sensitivity")), training_set(), 1))
    first, auc = (restore(folder, **rule).state_dict() for rule in ({}, {"rule": "auc"}))
    assert all(torch.equal(first[name], auc[name]) for name in auc)
    with pytest.raises(UserError, match="weights.safetensors holds no weights as safetensors"):
        restore(folder, rule="dual")


def test_shares_of_the_teacher_follow_the_progress(trained):
    table = pd.read_csv(trained / "history.csv")
    assert table["teacher_share"].iloc[0] == table["simulation_weight"].iloc[0] == 1
    assert table["teacher_share"].iloc[-1] == table["simulation_weight"].iloc[-1] == 0
    assert table["teacher_share"].is_monotonic_decreasing


def test_the_student_alone_predicts_what_it_did_with_its_teacher(trained, monkeypatch):
    image, _, _ = pictures(12, 1)
    student, teacher = restore(trained), restore(trained, "teacher")
    maps = gradients.teacher_maps(teacher, image)
    with torch.no_grad():  # as at the last step of training
        beside = student(to_input(image), maps, distillation.weights(1.0).guidance).softmax(-1)[:, 1].double().numpy()
    (trained / "teacher.safetensors").rename(trained / "away.safetensors")
    try:
        assert np.array_equal(predict(restore(trained), image), beside)
    finally:
        (trained / "away.safetensors").rename(trained / "teacher.safetensors")
    assert beside.shape == (12,)
    assert ((beside > 0) & (beside < 1)).all()
    monkeypatch.setattr(training, "SCORED", 5 * SIZE**2)
    assert training.at_a_time(student, SIZE) == 5
    assert np.allclose(predict(student, image), beside, atol=1e-6)


def test_maps_for_a_test_image_are_those_of_the_predicted_class(trained):
    image, _, _ = pictures(6, 1)
    student, teacher = restore(trained), restore(trained, "teacher")
    maps = gradients.teacher_maps(teacher, image)
    assert all(p.grad is None for p in teacher.parameters())
    called = predict(teacher, image) > 0.5
    for target in (0, 1):
        scores = []
        loss = torch.nn.functional.cross_entropy(teacher(to_input(image), scores), torch.full((6,), target))
        for shown, own in zip(maps, distillation.score_gradients(loss, scores), strict=True):
            if shown is not None:
                same = [torch.equal(a, b) for a, b in zip(shown, own, strict=True)]
                assert same == (called == target).tolist()
    selections = gradients.student_maps(student, image)
    assert [None if s is None else s.keys.shape[-1] for s in selections] == [4, 1, None]
    assert -1 <= gradients.agreement(selections, maps) <= 1


def test_rank_correlation_knows_order_alone():
    a = torch.randn(3, 9, generator=torch_generator("ranks"))
    assert gradients.rank_correlation(a, a.exp()).tolist() == pytest.approx([1, 1, 1])
    assert gradients.rank_correlation(a, -a).tolist() == pytest.approx([-1, -1, -1])


# the revision


OF_LSNET = {"training", "distillation", "mobilevit", "sparse_attention"}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, OF_LSNET),
        ({"variant": "released"}, OF_LSNET | {"released"}),
        ({"knowledge": False, "guidance": "simulator"}, OF_LSNET - {"distillation"}),
        ({"network": "lsnet_dense", "guidance": "none"}, OF_LSNET - {"sparse_attention"}),
        ({"network": "efficientnet", "guidance": "none", "knowledge": False}, {"training", "configuration"}),
        ({"network": "mobilevit", "guidance": "none", "knowledge": False}, {"training", "configuration", "mobilevit"}),
    ],
)
def test_a_raised_revision_makes_another_job_of_all_that_use_it_and_of_no_other(monkeypatch, changes, parts):
    settings = replace(TINY, **changes)
    before = student(settings, training_set(), 42)
    assert set(before.recipe["revision"]) == parts
    modules = {"training": training, "distillation": distillation, "mobilevit": lsnet.mobilevit}
    modules |= {"sparse_attention": lsnet.sparse_attention, "released": lsnet.released}
    for name, module in modules.items():
        with monkeypatch.context() as patch:
            patch.setattr(module, "REVISION", module.REVISION + 1)
            after = student(settings, training_set(), 42)
        assert (after.key != before.key) == (name in parts), name
        assert after.together == before.together
    patch = dict.fromkeys(lsnet.comparators.REVISIONS, 2)
    monkeypatch.setattr(lsnet.comparators, "REVISIONS", patch)
    assert (student(settings, training_set(), 42).key != before.key) == ("configuration" in parts)


def test_a_checkpoint_of_an_older_revision_is_refused(tmp_path):
    one = student(TINY, training_set(), 42)
    older = {k: v for k, v in arguments(one).items() if k != "settings"}
    older["revision"] = {**older["revision"], "training": 0}
    training.ScreeningTraining(tmp_path, TINY, training_set(), **older).keep()
    with pytest.raises(UserError, match="checkpoint of another configuration: revision was {.*'training': 0"):
        one.make(tmp_path, one)


# the run


def test_seeds_differ_in_weights_images_and_crops():
    arrays = training_set()
    runs = [training.ScreeningTraining(None, TINY, arrays, seed, "cpu") for seed in (1, 2)]
    for role in ("network", "teacher"):
        pairs = zip(*(run.learners[role].network.parameters() for run in runs), strict=True)
        assert not any(torch.equal(a, b) for a, b in pairs if a.ndim > 1)
    one, again, two = (Batches(arrays, TINY, seed) for seed in (1, 1, 2))
    assert one.draw(0).tolist() != two.draw(0).tolist()
    assert all(torch.equal(a, b) for a, b in zip(one.at(5), again.at(5), strict=True))
    for other in (two.at(0).images, one.at(1).images):
        assert not torch.equal(one.at(0).images, other)


def test_phase_two_sees_real_images_alone_and_batches_are_balanced():
    arrays = training_set(60)
    run = Batches(arrays, replace(TINY, mixed_steps=50, real_steps=50, batch=6), 1)
    drawn = {phase: np.concatenate([run.draw(s) for s in range(a, a + 50)]) for phase, a in ((1, 0), (2, 50))}
    assert arrays["real"][drawn[2]].all()
    assert not arrays["real"][drawn[1]].all()
    for ids in drawn.values():
        assert arrays["label"][ids].mean() == 0.5
    assert len(np.unique(drawn[1])) == 60


def test_a_share_of_each_class_is_drawn_from_its_synthetic_images():
    arrays = training_set(60)
    synthetic, label = ~arrays["real"], arrays["label"]
    settings = replace(TINY, mixed_steps=50, real_steps=50, batch=14, synthetic_share=0.25)
    run = Batches(arrays, settings, 1)
    for step in range(50):
        ids = run.draw(step)
        assert [(synthetic[ids] & (label[ids] == value)).sum() for value in (0, 1)] == [2, 2]  # 1.75 of 7
        assert label[ids].sum() == 7
        assert not synthetic[run.draw(50 + step)].any()
    drawn = np.concatenate([run.draw(step) for step in range(50)])
    assert set(drawn) == set(range(60))


def test_a_class_of_one_source_is_drawn_from_it_whatever_the_share():
    real = pictures(60)[2] | (pictures(60)[1] == 0)
    arrays = training_set(60, real=real)
    shared, free = (Batches(arrays, replace(TINY, batch=8, synthetic_share=share), 1) for share in (0.5, None))
    for step in range(4):
        ids = shared.draw(step)
        assert arrays["real"][ids].tolist() == [True, True, False, False] + 4 * [True]
        assert arrays["label"][free.draw(step)].tolist() == [1] * 4 + [0] * 4


def test_without_a_second_phase_a_class_may_be_synthetic_alone():
    label = pictures(18)[1]
    changes = {"network": "mobilenet_v2", "guidance": "none", "knowledge": False, "mixed_steps": 2}
    data = training_set(real=label == 0)
    assert (fit(student(replace(TINY, **changes, real_steps=0), data, 1)) / "weights.safetensors").is_file()
    with pytest.raises(UserError, match="no positive real training image"):
        fit(student(replace(TINY, **changes), data, 1))


def test_without_a_second_phase_the_weights_of_the_first_are_kept():
    one_phase = replace(TINY, network="mobilenet_v2", guidance="none", knowledge=False, real_steps=0)
    table = pd.read_csv(fit(student(one_phase, training_set(), 42)) / "history.csv")
    assert set(table["phase"]) == {1}
    assert table.loc[table["chosen"], "step"].tolist() == [select(table[table["step"] > one_phase.mixed_steps / 2])]


def test_learning_rate_rises_and_falls_in_each_phase():
    settings = replace(TINY, mixed_steps=100, real_steps=50, rate_mixed=1.0, rate_real=0.1)
    rates = [settings.rate(step) for step in range(150)]
    assert max(rates[:100]) == 1.0
    assert max(rates[100:]) == pytest.approx(0.1)
    assert np.argmax(rates[:100]) == 9
    assert rates[99] < 0.01
    assert min(rates) > 0


@pytest.mark.parametrize("name", ["lsnet", "teacher", "mobilenet_v2", "efficientnet"])
def test_weight_decay_draws_kernels_and_matrices_and_neither_norms_nor_biases(name):
    network = lsnet.build(name, torch_generator("decay"), teacher_width=0.1)
    learner = Learner(network, TINY.rate_mixed, 0.1, CPU)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    learner.begin()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    learner.set_rate(0.5)
    learner.update()
    for part, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[part] * (0.95 if parameter.ndim > 1 else 1.0), msg=part)


def test_half_of_the_rate_moves_simulators_half_as_far_and_all_else_as_before():
    moved = {}
    for share in (1.0, 0.5, 0.0):
        learner = Learner(lsnet.build("lsnet", torch_generator("rest")), TINY.rate_mixed, TINY.weight_decay, CPU)
        before = {name: p.detach().clone() for name, p in learner.network.named_parameters()}
        learner.begin()
        for parameter in learner.network.parameters():
            parameter.grad = torch.ones_like(parameter)
        learner.set_rate(0.01, share)
        learner.update()
        moved[share] = {name: p.detach() - before[name] for name, p in learner.network.named_parameters()}
    for name, whole in moved[1.0].items():
        for share in (0.5, 0.0):
            expected = share * whole if "simulator" in name else whole
            torch.testing.assert_close(moved[share][name], expected, rtol=1e-3, atol=1e-6)


def test_at_the_end_the_simulators_rest_while_all_else_learns(tmp_path):
    arrays = training_set()
    run, batches = training.ScreeningTraining(tmp_path, TINY, arrays, 1, "cpu"), Batches(arrays, TINY, 1)
    for step in range(TINY.steps):
        before = {name: p.detach().clone() for name, p in run.student.network.named_parameters()}
        run.step(step, batches.at(step), run.teach(step, batches.at(step), {"label"}))
    rests = {name: torch.equal(p, before[name]) for name, p in run.student.network.named_parameters()}
    assert {name for name, still in rests.items() if still} == {name for name in rests if "simulator" in name}


def test_the_published_schedule_of_table_2():
    settings = Settings.published(profiles.load("paper"), 20_000, rules=("sensitivity",))
    assert settings.steps == settings.mixed_steps == 7 * 20_000 / 16 == profiles.load("paper").downstream.steps
    assert (settings.network, settings.batch, settings.rules) == ("mobilenet_v2_released", 16, ("sensitivity",))
    assert {settings.rate(step) for step in (0, 1, 4000, settings.steps - 1)} == {1e-5} == {settings.weight_decay}
    assert settings.steps / settings.validate_every == 7
    assert Settings.published(profiles.load("smoke"), 17).steps == 14


def test_augmentation_keeps_size_and_range_and_comes_from_its_generator():
    x = to_input(pictures(8)[0])
    assert x.min() == -1
    assert x.max() == pytest.approx(159 / 127.5 - 1)
    one, same, other = (augment(x, torch_generator("crop", s)) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == x.shape
    assert one.abs().max() <= 1
    ramp = torch.linspace(-0.7, 0.7, SIZE).expand(200, 1, SIZE, SIZE)
    steps = augment(ramp, torch_generator("ramp"))[:, 0, 16].diff(dim=1)[:, 14:18].mean(1) / (1.4 / (SIZE - 1))
    assert 0.3 < (steps < 0).float().mean() < 0.7  # left to right or not
    assert steps.abs().min() >= 0.8 * 0.8 - 0.01
    assert steps.abs().max() <= 1.2 + 0.01


def test_a_learnable_task_is_learnt_and_noise_is_not():
    settings = Settings.of(profiles.load("smoke"), "lsnet_dense", stem_stride=1, batch=8, mixed_steps=40, real_steps=20)
    # 40 + 40 images: by chance the area lies within three standard errors of one half, .3 to .7
    for easy, low, high in ((True, 0.9, 1.0), (False, 0.3, 0.7)):
        network = restore(fit(student(settings, training_set(40, easy=easy), 1)))
        image, label, _ = pictures(80, 7, easy)
        assert low <= validate(label, predict(network, image))["auc"] <= high


# ablations and comparators


def test_profiles_give_settings_for_every_network():
    for name in profiles.names():
        profile = profiles.load(name)
        for network in lsnet.NAMES:
            settings = Settings.of(profile, network)
            assert settings.taught == (network == "lsnet")
            assert settings.steps == profile.screening.mixed_steps + profile.screening.real_steps
    assert Settings.of(profiles.load("paper")).key_share == 1 / 25
    assert Settings.of(profiles.load("smoke")).key_share == 1 / 10


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance": "simulator", "knowledge": False},
        {"guidance": "random", "knowledge": True},
        {"network": "lsnet_dense", "guidance": "none", "knowledge": True},
        {"network": "mobilenet_v2", "guidance": "none", "knowledge": False},
        {"key_share": 1.0, "fusion": "code", "simulation": "raw", "smoothing": 1.0},
    ],
)
def test_every_ablation_trains(changes):
    settings = replace(TINY, mixed_steps=1, real_steps=1, **changes)
    folder = fit(student(settings, training_set(), 1))
    assert (folder / "teacher.safetensors").is_file() == settings.taught
    terms = pd.read_csv(folder / "history.csv").dropna(axis=1, how="all").columns
    assert ("distillation" in terms) == settings.knowledge
    assert ("simulation" in terms) == (settings.guidance == "teacher")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "vgg"}, "network 'vgg' is unknown"),
        ({"guidance": "best"}, "guidance 'best' is unknown"),
        ({"guidance": "none"}, "guidance 'none' does not go with the network 'lsnet'"),
        ({"network": "lsnet_dense"}, "guidance 'teacher' does not go with the network 'lsnet_dense'"),
        ({"fusion": "sum"}, "fusion 'sum' is unknown"),
        ({"gradient_of": "patient"}, "gradient_of 'patient' is unknown, expected one of label, prediction"),
        ({"alpha": 1.0}, "alpha is 1.0 and tau 0.5, expected 0 < alpha < 1"),
        ({"tau": 0.0}, "tau 0.0, expected"),
        ({"rules": ("dual", "loss")}, "rules are \\('dual', 'loss'\\), expected some of dual, sensitivity, auc"),
        ({"rules": ()}, "rules are \\(\\), expected some"),
        ({"synthetic_share": 1.0}, "synthetic_share is 1.0, expected None or a share between 0 and 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


# faults


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.arange(18) % 3}, "a training image has the label 2"),
        ({"validation_label": np.arange(12) - 1}, "a validation image has the label -1"),
        ({"label": np.zeros(18, int)}, "no positive training image"),
        ({"real": np.arange(18) % 2 == 0}, "no positive real training image"),
        ({"validation_label": np.ones(12, int)}, "no negative validation image"),
        (
            {"image": np.zeros((18, 40, 40), np.uint8), "validation_image": np.zeros((12, 40, 40), np.uint8)},
            "40 x 40 pixels .* Resize them to 32 or 64",
        ),
        ({"image": np.zeros((18, 64, 64), np.uint8)}, r"validation images: uint8 of shape \(12, 32, 32\).* at 64 x 64"),
        ({"image": np.zeros((18, 32, 32))}, "training images: float64 .*Scale them to 0 to 255"),
        ({"validation_image": np.zeros((12, 32, 32), bool)}, "validation images: bool .*Scale them to 0 to 255"),
        ({"label": np.arange(17) % 2}, "17 values in label for 18 in image. Give one an image"),
        ({"validation_label": np.arange(13) % 2}, "13 values in validation_label for 12 in validation_image"),
        ({"real": np.ones(20, bool)}, "20 values in real for 18 in image"),
    ],
)
def test_unusable_images_are_refused_with_one_message(changes, message):
    with pytest.raises(UserError, match=message):
        fit(student(TINY, training_set(**changes), 1))


def test_more_keys_than_tokens_are_refused():
    with pytest.raises(UserError, match="key_share = 2.0 asks for 32 of N = 16 keys"):
        fit(student(replace(TINY, key_share=2.0), training_set(), 1))


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_checkpoint(tmp_path, monkeypatch):
    learn = training.distillation.learn
    calls = []

    def faulty(*arguments):
        calls.append(1)
        result = learn(*arguments)
        if len(calls) == 4:
            result.terms["simulation"].fill_(torch.nan)
        return result

    monkeypatch.setattr(training.distillation, "learn", faulty)
    one = student(TINY, training_set(), 3)
    with pytest.raises(TrainingError, match=r"'simulation' is nan at step 4. The last good checkpoint is .*last.pt"):
        one.make(tmp_path, one)
    assert torch.load(tmp_path / "last.pt")["state"]["done"] == 2


KILLED = """
import os, signal
from making import fit, student
from test_screening_training import TINY, training_set
from ecsupport.screening import training
step = training.ScreeningTraining.step
def dying(self, number, *rest):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, number, *rest)
training.ScreeningTraining.step = dying
fit(student(TINY, training_set(), 42))
"""


def test_a_killed_run_ends_in_the_same_bits(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    killed = subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert killed.returncode == -signal.SIGKILL
    (standing,) = tmp_path.rglob("last.pt")
    assert torch.load(standing)["state"]["done"] == 4
    resumed = content(fit(student(TINY, training_set(), 42)))
    assert len(resumed) == 7
    assert resumed == content(trained)
    assert not list(tmp_path.rglob("last.pt"))


def test_a_truncated_checkpoint_makes_the_training_begin_anew(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    run = student(TINY, training_set(), 42)
    torn = run.place.with_suffix(".making") / "last.pt"
    torn.parent.mkdir(parents=True)
    torn.write_bytes((trained / "weights.safetensors").read_bytes()[:1000])
    again = fit(run)
    assert capsys.readouterr().err == f"{torn} was truncated or altered, so this training begins anew\n"
    assert (again / "weights.safetensors").read_bytes() == (trained / "weights.safetensors").read_bytes()


STUDENTS = {
    "described": TINY,
    "all keys": replace(TINY, key_share=1.0),
    "random": replace(TINY, guidance="random"),
    "untaught": replace(TINY, guidance="simulator"),
    "raw": replace(TINY, simulation="raw"),
    "prediction": replace(TINY, gradient_of="prediction"),
    "shared": replace(TINY, variant="shared"),
    "dense": replace(TINY, network="lsnet_dense", guidance="none"),
}


def content(folder):
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.name != jobs.PROVENANCE}


@pytest.fixture(scope="module")
def alone():
    """What each student leaves that was taught alone."""
    return [content(fit(one)) for one in students()]


def students(seed=42):
    return [student(settings, training_set(), seed) for settings in STUDENTS.values()]


@pytest.fixture
def elsewhere(alone, tmp_path, monkeypatch):
    """The jobs of the students, in a workspace where none of them stands."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    return students()


def made(wanted):
    jobs.make(wanted)
    return [content(one.folder) for one in wanted]


def test_students_of_one_teacher_learn_as_if_alone(alone, elsewhere, monkeypatch):
    lessons, teach = [], training.distillation.teach
    monkeypatch.setattr(training.distillation, "teach", lambda *given: lessons.append(1) or teach(*given))
    assert made(elsewhere) == alone
    assert len(lessons) == TINY.steps  # one teacher for all


def test_several_groups_and_a_divided_one_end_in_the_same_bits(alone, elsewhere):
    told = []
    jobs.make([elsewhere[0], students(43)[0]], told.append)
    assert [len(group) for group in told] == [1, 1]
    assert content(elsewhere[0].folder) == alone[0]
    assert made(elsewhere[1:3]) == alone[1:3]


def test_students_that_were_killed_at_different_steps_end_in_the_same_bits(alone, elsewhere, tmp_path, monkeypatch):
    keep, kept = training.ScreeningTraining.keep, []
    lessons, teach = [], training.distillation.teach

    def dying(run):
        if len(kept) == len(STUDENTS) + 2:  # before the second checkpoint of the third student
            raise KeyboardInterrupt
        kept.append(run.done)
        keep(run)

    with monkeypatch.context() as patch:
        patch.setattr(training.ScreeningTraining, "keep", dying)
        with pytest.raises(KeyboardInterrupt):
            jobs.make(elsewhere)
    done = [torch.load(path)["state"]["done"] for path in tmp_path.rglob("last.pt")]
    assert sorted(done) == [2] * (len(STUDENTS) - 2) + [4, 4]
    monkeypatch.setattr(training.distillation, "teach", lambda *given: lessons.append(1) or teach(*given))
    assert made(elsewhere) == alone
    assert len(lessons) == TINY.steps - 2  # those ahead have waited for the others


def test_a_student_that_diverges_leaves_the_others_alone(alone, elsewhere, monkeypatch):
    learn, calls = training.distillation.learn, []

    def faulty(*arguments):
        calls.append(1)
        result = learn(*arguments)
        if len(calls) == len(STUDENTS) + 1:  # whoever learns first, in the second step
            result.terms["student"].fill_(torch.nan)
        return result

    monkeypatch.setattr(training.distillation, "learn", faulty)
    with pytest.raises(TrainingError, match=r"'student' is nan at step 2.*The student: {'network': 'lsnet"):
        jobs.make(elsewhere)
    states = [one.state for one in elsewhere]
    assert sorted(states) == ["lacking"] + ["made"] * (len(elsewhere) - 1)
    for one, state, files in zip(elsewhere, states, alone, strict=True):
        assert state == "lacking" or content(one.folder) == files


OTHER = {
    "network": "lsnet_dense", "guidance": "simulator", "knowledge": False, "key_share": 1.0, "fusion": "code",
    "alpha": 0.5, "tau": 1.0, "gradient_of": "prediction",
    "simulation": "raw", "smoothing": 1.0, "variant": "shared", "distance": "cosine", "handover": "released",
    "rules": ("auc",), "stem_stride": 2, "teacher_width": 0.2, "batch": 6, "mixed_steps": 5, "real_steps": 5,
    "validate_every": 4, "shared_start": 7, "rate_mixed": 1e-3, "rate_real": 1e-3, "rate_teacher": 0.5,
    "constant_rate": True,
    "weight_decay": 0.1, "synthetic_share": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_leaves_the_rules_something_to_choose_from(name):
    for settings in (Settings.of(profiles.load(name)), Settings.downstream(profiles.load(name))):
        steps = [n for n in range(1, settings.steps + 1) if n % settings.validate_every == 0 or n == settings.steps]
        for rule in settings.rules:
            assert sum(n > settings.selectable_after(rule) for n in steps) > 1, rule


def test_runs_without_a_teacher_are_trained_alone(tmp_path):
    untaught = replace(TINY, guidance="simulator", knowledge=False)
    wanted = [(tmp_path / str(seed), arguments(student(untaught, training_set(), seed))) for seed in (1, 2)]
    with pytest.raises(ValueError, match="or none"):
        next(training.train_together(wanted, training_set()))


@pytest.mark.parametrize("field", [field.name for field in fields(Settings)])
def test_students_share_a_teacher_unless_it_would_be_another(field):
    dense = {"guidance": "none"} if field == "network" else {}
    settings = replace(TINY, **{field: OTHER[field]}, **dense)
    one, other = student(TINY, training_set(), 42), student(settings, training_set(), 42)
    assert (one.together == other.together) == (field in training.STUDENTS_OWN)
    if field not in training.STUDENTS_OWN:
        with pytest.raises(ValueError, match="different teachers"):
            list(training.train_together([(Path(), arguments(job)) for job in (one, other)], training_set()))


def test_other_seeds_and_images_have_other_teachers_and_who_has_none_is_in_no_group():
    groups = [student(TINY, data, seed).together for data in (training_set(), training_set(20)) for seed in (42, 43)]
    assert len(set(groups)) == 4
    assert student(replace(TINY, guidance="simulator", knowledge=False), training_set(), 42).together == ""


def test_random_keys_are_restored_where_runs_share_their_start():
    folder = fit(student(replace(STUDENTS["random"], shared_start=42, rules=("dual",)), training_set(), 142))
    table = pd.read_csv(folder / "history.csv")
    image, label, _ = pictures(12, 1)
    seen = validate(label, predict(restore(folder), image))
    assert seen == pytest.approx(table.loc[table["chosen"], list(seen)].iloc[0].to_dict(), abs=1e-5)
    first, own = (STUDENTS["random"].build("lsnet", seed).blocks[0].drawn for seed in (42, 142))
    assert restore(folder).blocks[0].drawn == first != own


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    one = arguments(student(TINY, training_set(), 42))
    training.ScreeningTraining(tmp_path, **{**one, "settings": TINY}, arrays=training_set()).keep()
    with pytest.raises(UserError, match="checkpoint of another configuration: seed was 42 and is now 43"):
        training.train(tmp_path, training_set(), **{**one, "seed": 43})
