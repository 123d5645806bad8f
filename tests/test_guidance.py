"""Guidance and the label: the identity behind it, what kept keys tell, and what guided students make of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from test_experiments import TINY
from torch.nn import functional

from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import torch_generator
from ecsupport.experiments import catalogue, cohort, guidance, networks
from ecsupport.reporting import guidance_plots, guidance_tables
from ecsupport.screening import ablations, distillation, guided, label_leak, training
from ecsupport.screening.lsnet import build
from ecsupport.screening.sparse_attention import number_of_keys, standardise

BATCH, SIDE = 4, 64
LONGER = replace(TINY.screening, mixed_steps=7, real_steps=3, ablation_seeds=(42,))
RUN = Run(replace(TINY, screening=LONGER))


def teacher(seed, training=False):
    """A random network in double precision."""
    network = build("teacher", torch_generator("test", "teacher", seed), teacher_width=0.25).double()
    return network.train(training)


def inputs(seed, number=BATCH):
    return torch.randn(number, 1, SIDE, SIDE, dtype=torch.float64, generator=torch_generator("test", "inputs", seed))


def maps(network, images, *labels):
    """Maps of the blocks that have any, for each of some labels of all images."""
    every = [label_leak.gradients(network, images, torch.as_tensor(y).expand(len(images)))["label"] for y in labels]
    return [[g for g in of if g is not None] for of in every]


@settings(max_examples=4)
@given(seed=st.integers(0, 10**6))
def test_the_maps_of_both_labels_are_one_with_its_sign_turned(seed):
    network, images = teacher(seed), inputs(seed)
    probability = network(images).softmax(-1).detach()
    factor = -(probability[:, 1] / probability[:, 0])[:, None, None, None, None]
    for zero, one in zip(*maps(network, images, 0, 1), strict=True):
        torch.testing.assert_close(zero, factor * one, rtol=1e-9, atol=1e-14 * float(one.abs().max()))
        torch.testing.assert_close(standardise(zero), -standardise(one), rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(label_leak.cosine(zero, one), -1, atol=1e-12)


@settings(max_examples=4)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.1, 0.25, 0.5]))
def test_only_choices_that_treat_signs_alike_keep_the_same_keys_for_both_labels(seed, share):
    network, images = teacher(seed), inputs(seed)
    zero, one = maps(network, images, 0, 1)
    student = build("lsnet", torch_generator("test", seed), key_share=share).double().eval()
    own = [of for of in label_leak.features(student, images) if of is not None]
    for choice, how in label_leak.CHOICES.items():
        for guidance_share in (1.0, 0.5):
            keys = (label_leak.keys_by(own, of, guidance_share, share, *how) for of in (zero, one))
            shared = [label_leak.overlap(*pair).mean() for pair in zip(*keys, strict=True)]
            if choice == "|G|" or (choice == "α = 0.5" and guidance_share == 1):
                assert min(shared) > 0.99  # near ties may turn with the last digit
            elif choice == "code" and guidance_share == 1:
                assert max(shared) == 0  # the k largest and the k smallest of at least 2 k
            else:
                assert shared[0] < 0.95


def test_another_images_label_moves_a_map_through_batch_norm_alone():
    images, labels = inputs(3), torch.tensor([1, 1, 0, 0])
    other = torch.tensor([1, 1, 0, 1])
    for in_training in (False, True):
        found = [label_leak.gradients(teacher(3, in_training), images, y)["label"][0] for y in (labels, other)]
        moved = float((found[0][0] - found[1][0]).abs().max() / found[0][0].abs().max())
        assert (moved > 1e-3) == in_training


def test_measuring_leaves_networks_as_they_were():
    network, student = teacher(1, True), build("lsnet", torch_generator("test"), key_share=0.2).double().train()
    before = [{k: v.clone() for k, v in of.state_dict().items()} for of in (network, student)]
    labels, told = torch.tensor([1, 1, 0, 0]), torch.tensor([0, 1, 0, 1])
    of = guided.maps_given(network, inputs(1), labels, told, torch_generator("test"))
    guided.score(student, inputs(1), of[guided.OWN], 0.5)
    label_leak.features(student, inputs(1))
    for now, then in zip((network, student), before, strict=True):
        assert all(torch.equal(v, then[k]) for k, v in now.state_dict().items())
        assert all(p.grad is None for p in now.parameters())


def test_overlap_and_masks_are_those_of_sets_of_keys():
    rng = np.random.default_rng(0)
    one, other = (np.array([rng.choice(9, 3, replace=False) for _ in range(2 * 4 * 4 * 9)]) for _ in range(2))
    found = label_leak.overlap(*(torch.from_numpy(of.reshape(2, 4, 4, 9, 3)) for of in (one, other)))
    by_hand = np.array([len(set(a) & set(b)) / 3 for a, b in zip(one, other, strict=True)]).reshape(2, -1).mean(1)
    np.testing.assert_allclose(found, by_hand)
    mask = label_leak.mask_of(torch.from_numpy(one.reshape(2, 4, 4, 9, 3)), 9).reshape(-1, 9).numpy()
    assert all(set(np.flatnonzero(row)) == set(keys) for row, keys in zip(mask, one, strict=True))


def test_the_decoder_is_ridge_regression_and_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(1)
    masks, label = rng.random((300, 60)) < 0.3, rng.integers(0, 2, 300)
    fitted = np.arange(300) < 150
    blind = label_leak.decode(masks, label, fitted)
    assert abs(roc_auc_score(label[~fitted], blind) - 0.5) < 0.15
    penalty = label_leak.PENALTY * np.square(masks[fitted] - masks[fitted].mean(0)).sum(1).mean()
    direct = Ridge(penalty).fit(masks[fitted].astype(float), label[fitted]).predict(masks[~fitted].astype(float))
    np.testing.assert_allclose(blind, direct - label[fitted].mean(), atol=1e-4)
    masks[:, 7] = label == 1
    assert roc_auc_score(label[~fitted], label_leak.decode(masks, label, fitted)) > 0.95
    assert np.ptp(label_leak.decode(np.ones_like(masks), label, fitted)) == 0


@settings(max_examples=30)
@given(positive=st.integers(1, 40), negative=st.integers(1, 40), half=st.integers(1, 9), most=st.integers(2, 60))
def test_batches_hold_each_image_once_and_positives_first(positive, negative, half, most):
    label = np.random.default_rng(0).permutation(np.repeat([1, 0], [positive, negative]))
    found = label_leak.batches(label, half, most, np.random.default_rng(1))
    width = found.shape[1] // 2
    assert (label[found[:, :width]] == 1).all()
    assert (label[found[:, width:]] == 0).all()
    assert len(np.unique(found)) == found.size <= most
    assert 1 <= width <= half


def test_exchanged_maps_are_of_the_class_that_they_are_named_for():
    labels, told = torch.tensor([1, 1, 0, 0]), torch.tensor([0, 1, 0, 1])
    network = teacher(2)
    of = {k: m and m[0] for k, m in guided.maps_given(network, inputs(2), labels, told, torch_generator("t")).items()}
    own = of[guided.OWN]
    assert torch.equal(of[guided.SAME], own[[1, 0, 3, 2]])
    assert torch.equal(of[guided.OTHER], own[[2, 3, 0, 1]])
    turned = functional.cosine_similarity(of[guided.TOLD].flatten(1), own.flatten(1))
    torch.testing.assert_close(turned, torch.where(told == labels, 1.0, -1.0).double())
    assert of[guided.NONE] is None
    assert tuple(of) == guided.GIVEN


def test_a_student_whose_keys_are_random_does_not_see_a_map_and_a_guided_one_does():
    images, noise = inputs(4).float(), torch_generator("test", "noise")
    given_maps = [torch.randn(BATCH, 4, 4, n, n, generator=noise) for n in (16, 4)] + [None]
    for keys, moves in (("random", False), ("simulator", True)):
        student = build("lsnet", torch_generator("test"), key_share=0.2, keys=keys).train()
        one, none = guided.score(student, images, given_maps, 1.0), guided.score(student, images)
        assert torch.equal(one, none) != moves


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The jobs of a small run, made; its workspace is that of every test below."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        catalogue.make(RUN, ["masks", "screening/guided"])
        yield catalogue.by_name(RUN)


def test_a_job_of_magnitudes_has_a_revision_of_its_own():
    kinds = {"alpha": 0.5}, {"fusion": "magnitude"}
    of = [networks.network(RUN, "x", replace(ablations.arms(TINY)[ablations.FULL].settings, **k), 42) for k in kinds]
    assert [("magnitude" in job.recipe["revision"]) for job in of] == [False, True]


def test_no_patient_both_fits_the_decoder_and_is_read(made):
    given_to = made["masks/screening/lsnet/42"].given
    label, patient = given_to["training_label"], given_to["training_patient"]
    recipe = {"half": 4, "most": 40}
    places, fitted = guidance._halves(label, patient, recipe, generator("test"))
    flat = places.ravel()
    assert set(patient[flat[fitted]]).isdisjoint(patient[flat[~fitted]])
    assert (fitted.reshape(places.shape).all(1) | ~fitted.reshape(places.shape).any(1)).all()  # (n B,) -> (n, B)
    rows = cohort.pool(RUN, "ultrasound")
    assert set(rows["split"].iloc[given_to["training"][flat]]) == {"train"}


def test_masks_say_what_both_labels_keep_in_the_trained_teacher(made):
    told = guidance_tables.in_guidance({42: made["masks/screening/lsnet/42"]})
    overlap = told[told["measure"] == "overlap"].set_index(["when", "choice", "block"])["value"]
    cosine = told[told["measure"] == "cosine"].set_index("when")["value"]
    assert np.allclose(cosine[[guidance.ALONE, guidance.HANDING]], -1, atol=1e-5)
    assert cosine[guidance.BATCH].max() > -0.999
    assert overlap[guidance.ALONE][["α = 0.5", "|G|"]].min() > 0.97
    assert overlap[guidance.HANDING]["|G|"].min() > 0.97
    assert overlap[guidance.HANDING]["α = 0.5"].max() < 0.7
    assert overlap[guidance.ALONE]["code"].max() < 0.03
    areas = told[told["measure"] == "auc"]
    assert set(areas["given"]) == {guidance.TRUE, guidance.TOLD, guidance.PREDICTED, guidance.SIMULATED}
    assert areas["value"].between(0, 1).all()
    assert len(guidance_plots.in_guidance(told).axes) == 3


def test_half_trained_students_are_those_of_the_whole_training(made):
    whole = networks.table_3(RUN)["lsnet", 42]
    found = guidance_tables.courses(made["screening/guided/42"])
    assert set(found) == {(arm, 42) for arm in guidance.ARMS}
    steps = round(
        guidance.UNTIL * RUN.profile.screening.mixed_steps + guidance.UNTIL * RUN.profile.screening.real_steps
    )
    by_hand = pd.read_csv(whole.file("history.csv")).head(steps)
    own = found[ablations.FULL, 42]
    for column in ("step", "teacher", "student", "simulation", "teacher_share"):
        np.testing.assert_allclose(own[column], by_hand[column], rtol=1e-5)
    assert len({of["teacher"].to_numpy().tobytes() for of in found.values()}) == 1
    assert not list(made["screening/guided/42"].folder.rglob("*.pt"))


def test_a_killed_half_training_goes_on_to_the_same_bytes(made, monkeypatch, tmp_path):
    job = made["screening/guided/42"]
    step = training.ScreeningTraining.step
    left = [9]  # steps of students until it is killed

    def killed(self, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training.ScreeningTraining, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            job.make(tmp_path, job)
    assert list(tmp_path.rglob("last.pt"))
    job.make(tmp_path, job)
    for name in ("history.csv", "training.npz", "test.npz"):
        assert (tmp_path / name).read_bytes() == job.file(name).read_bytes()


def test_the_table_of_guided_students_is_what_their_scores_give(made):
    job = made["screening/guided/42"]
    table = guidance_tables.guided_students(RUN, job, 50)
    assert (table[table["given"] == guided.NONE]["less"] == 0).all()
    assert table["follows"].notna().sum() <= 6
    assert table.groupby("arm").size().to_dict() == {
        name: 2 if name == ablations.RANDOM else 14 for name in guidance.ARMS
    }
    with np.load(job.file("training.npz")) as found:
        score, truth, row = torch.from_numpy(found["scores"]).double(), found["truth"], found["row"]
    logits = torch.stack([torch.zeros_like(score[0, 0]), score[0, 0]], -1)
    loss = functional.cross_entropy(logits, torch.from_numpy(truth), reduction="none").numpy()
    of_patient = pd.Series(loss).groupby(cohort.pool(RUN, "ultrasound")["patient_id"].to_numpy()[row]).mean()
    first = table.iloc[0]
    assert (first["arm"], first["images"], first["given"]) == (ablations.FULL, "training", guided.OWN)
    assert first["loss"] == pytest.approx(of_patient.mean())
    assert len(guidance_plots.guided_students(table).axes) == 3


def test_phases_are_those_of_the_teachers_share():
    chosen = replace(ablations.arms(TINY)[ablations.FULL].settings, mixed_steps=101, real_steps=0)
    progress = np.arange(101) / 100
    share = np.array([distillation.weights(p).guidance for p in progress])
    student = np.where(share == 1, 0.5, np.where(share > 0, 2.0, 3.0))
    history = pd.DataFrame({"step": np.arange(1, 102), "teacher": 1.0, "student": student})
    found = guidance_tables.by_phase({("LSNet", 1): history}, {"LSNet": chosen}).set_index("phase")
    assert found["less"].to_dict() == {"guided": -0.5, "handing over": 1.0, "alone": 2.0}
    assert found["steps"].sum() == 101


def test_arms_of_guidance_are_attempted_where_few_others_are():
    every = ablations.arms(TINY)
    assert {every[name].priority for name in ablations.GUIDED} == {1, 2, 4}
    assert every[ablations.EITHER_SIGN].settings.alpha == 0.5
    assert every[ablations.MAGNITUDE].settings.fusion == "magnitude"
    assert every[ablations.PREDICTED].settings.gradient_of == "prediction"
    assert every[ablations.RANDOM].settings.guidance == "random"
    assert number_of_keys(16, every[ablations.FULL].settings.key_share) < 16
