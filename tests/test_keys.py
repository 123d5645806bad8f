"""What is measured once with LSNet's gradients and keys: one small run beside the same numbers by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from test_experiments import TINY

from ecsupport.cohort import manifest, phantom
from ecsupport.cohort.anatomy import TISSUES
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.experiments import baseline, catalogue, cohort, keys, networks, tested
from ecsupport.paper.published import load_numbers
from ecsupport.reporting import screening_tables
from ecsupport.screening import gradients, training
from ecsupport.screening.baseline import fit_and_score
from ecsupport.screening.batches import Batches
from ecsupport.screening.settings import Settings

MORE = replace(TINY.cohort, extended_patients=16)
RUN = Run(replace(TINY, cohort=MORE, screening=replace(TINY.screening, ablation_seeds=(42,))))
MADE = ["keys", "maps", "floor", "scores/screening/lsnet", "scores/screening/mobilevit"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The jobs of the small run, made; its workspace is that of every test here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        patch.setattr(keys, "LESSON_STEPS", 3)
        catalogue.make(RUN, [*MADE, "lessons"])
        yield catalogue.by_name(RUN)


@pytest.fixture(scope="module")
def networks_of(made):
    folder = made["screening/lsnet/42"].folder
    images = cohort.open_pool(made["pixels/ultrasound/64"].folder).images
    return training.restore(folder), training.restore(folder, "teacher"), images


def test_the_notebooks_read_what_is_measured_and_the_archive_keeps_all_of_it(made):
    read = {job.name for job in keys.read(RUN)}
    wanted = {"keys/screening/lsnet/42", "maps/screening/lsnet/42", "lessons", "floor/42", "pixels/ultrasound/64"}
    assert wanted <= read
    assert {"floor/42", "scores/screening/all-keys/42"} <= {job.name for job in keys.read_ablations(RUN)}
    assert all(made[name].archived == ("*",) for name in wanted if not name.startswith("pixels"))


def test_agreement_is_that_of_the_restored_networks(made, networks_of):
    network, teacher, images = networks_of
    found = keys.table(made["keys/screening/lsnet/42"], "by_image")
    test = images[networks.patients(RUN, "test").index]
    assert found["image"].tolist() == list(range(len(test)))
    selections, true = gradients.student_maps(network, test[:2]), gradients.teacher_maps(teacher, test[:2])
    by_hand = []
    for place in range(2):
        blocks = [
            np.mean(gradients.rank_correlation(s.simulated[place], g[place]).numpy())
            for s, g in zip(selections, true, strict=True)
            if g is not None
        ]
        by_hand.append(np.mean(blocks))
    np.testing.assert_allclose(found["taught"][:2], by_hand, atol=0.02)  # near ties turn with the sums' order
    assert found["taught"].between(-1, 1).all()
    assert (found["apart"] == 0).all()


def test_untaught_simulators_are_the_first_ones_in_the_trained_network(made, networks_of):
    network, _, images = networks_of
    job = made["keys/screening/lsnet/42"]
    settings = Settings(**job.inputs["trained"].recipe["settings"])
    before, first = keys.untaught(network, settings, job, images), settings.build("lsnet", 42)
    trained = network.state_dict()
    for name, weight in before.state_dict().items():
        if "running" in name or "num_batches" in name:
            continue
        origin = first.state_dict() if "simulator" in name else trained
        assert torch.equal(weight, origin[name]), name
    assert not before.training
    norms = [name for name in before.state_dict() if "simulator" in name and "running_mean" in name]
    assert any(not torch.equal(before.state_dict()[name], first.state_dict()[name]) for name in norms)


def test_no_test_image_sets_the_norms_of_an_untaught_simulator(made, networks_of):
    network, _, images = networks_of
    job = made["keys/screening/lsnet/42"]
    settings = Settings(**job.inputs["trained"].recipe["settings"])
    others = np.array(images)
    others[networks.patients(RUN, "test").index] = 0
    for one, other in zip(
        keys.untaught(network, settings, job, images).parameters(),
        keys.untaught(network, settings, job, others).parameters(),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_zones_are_the_anatomy_of_the_test_images(made):
    placed = keys.on_zones(made["keys/screening/lsnet/42"])
    rows = networks.patients(RUN, "test")
    assert set(placed["chooser"]) == {"LSNet", "untaught simulator", "teacher's gradient"}
    assert len(placed) == 3 * 2 * 3 * len(rows)
    version, patient, modality, index = rows["image"].iloc[0].split("/")
    labels = phantom.truth(version, patient, int(index), modality, 64).labels
    here = placed[(placed["image"] == 0) & (placed["zone"] == "junctional zone")]["chance"]
    np.testing.assert_allclose(here, (labels == list(TISSUES).index("junctional_zone")).mean(), rtol=1e-5)
    table = screening_tables.keys_on_anatomy(placed, rows["patient_id"].to_numpy())
    assert len(table) == 18
    assert (table["low"] <= table["estimate"]).all()
    np.testing.assert_allclose(table["estimate"], table["share"] - table["elsewhere"], atol=1e-12)


def test_where_the_anatomy_is_not_known_no_zone_is_measured(made, tmp_path):
    job = made["keys/screening/lsnet/42"]
    own = replace(job, recipe={**job.recipe, "anatomy": None})
    own.make(tmp_path, own)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["by_image.csv", "own.csv"]
    for name in ("by_image.csv", "own.csv"):
        assert (tmp_path / name).read_bytes() == job.file(name).read_bytes()
    assert keys.table(job, "own")["share"].between(0, 1).all()


def test_maps_are_of_two_patients_of_each_class(made):
    shown = keys.shown(RUN)
    assert shown["label"].value_counts().to_dict() == {1: 2, 0: 2}
    assert shown["patient_id"].nunique() == 4
    mapped = keys.table(made["maps/screening/lsnet/42"], "maps")
    assert mapped.groupby(["image", "map"]).size().eq(16).all()
    kept = mapped[mapped["map"] == "keys kept"].groupby("image")["value"].sum()
    assert np.allclose(kept, kept.iloc[0])  # every query keeps as many


def test_a_lesson_has_a_row_a_step_block_and_loss(made):
    learnt = keys.table(made["lessons"], "lessons")
    assert learnt.groupby("loss")["step"].nunique().to_dict() == {"features": 3, "rows": 3}
    assert learnt["simulation"].notna().all()


def test_the_floor_is_the_logistic_model_of_training_patients(made):
    rows = cohort.pool(RUN, "ultrasound")
    images = cohort.open_pool(made["pixels/ultrasound/64"].folder).images
    train, test = (np.flatnonzero(rows["split"] == name) for name in ("train", "test"))
    label, patient = manifest.target(rows, TINY.task).to_numpy()[train], rows["patient_id"].to_numpy()[train]
    further = cohort.open_pool(made["pixels/extended/64"].folder).images
    for name, of in (("test", images[test]), ("extended", further)):
        wanted = fit_and_score(images[train], label, patient, of, generator("baseline", 42))
        np.testing.assert_allclose(baseline.scores(RUN, 42, name), wanted, atol=2**-11)


def test_the_share_of_images_seen_before_is_that_of_the_batches_drawn(made):
    job = made["screening/lsnet/42"]
    settings = Settings(**job.recipe["settings"])
    batches = Batches(networks.arrays(job), settings, 42)
    seen: set[int] = set()
    again = count = 0
    for step in range(settings.steps):
        for place in batches.draw(step):
            again, count = again + (int(place) in seen), count + 1
            seen.add(int(place))
    assert keys.seen_before(job) == pytest.approx(again / count)


def test_scores_open_as_one_row_a_run_in_the_order_of_the_test(made):
    trained = {which: job for which, job in networks.table_3(RUN).items() if which[0] in ("lsnet", "mobilevit")}
    found = tested.opened(RUN, trained, screening_tables.NETWORKS)
    assert list(found.scores) == ["LSNet", "MobileViT"]
    assert found.scores["LSNet"][0].dtype == float
    assert len(found.truth) == len(found.scores["LSNet"][0]) == len(found.patients)
    areas = screening_tables.unseen_areas(RUN, trained)
    assert set(areas["network"]) == {"LSNet", "MobileViT", "LSNet's teacher"}
    assert set(areas["patients"]) == {"test", "extended"}
    decided = tested.opened(RUN, trained, screening_tables.NETWORKS, networks.deciding(RUN))
    assert decided.described == "16 unseen phantom patients" and decided.number == 16
    assert set(decided.patients).isdisjoint(found.patients) and found.described == "the test set"
    line = areas[(areas["network"] == "MobileViT") & (areas["patients"] == "extended")].iloc[0]
    assert line["roc_auc"] == pytest.approx(roc_auc_score(decided.truth, decided.scores["MobileViT"][0]))
    could = screening_tables.at_published_size(decided, load_numbers())
    assert set(could["less"]) == {"MobileViT"} and len(could) == 4
    assert (could["positive_patients"] == decided.rows.groupby("label")["patient_id"].nunique()[1] // 2).all()


def test_a_draw_has_the_published_numbers():
    """Results, "Data": 651 and 7,300 patients, split 8:1:1, 336 test images of each class."""
    patients = np.repeat(np.arange(1800), 4)
    truth = (patients < 200).astype(int)
    rng = generator("published")
    scores = {name: [rng.random(len(truth))] for name in ("LSNet", "MobileViT")}
    decided = tested.Tested(pd.DataFrame({"patient_id": patients}), truth, scores)
    could = screening_tables.at_published_size(decided, load_numbers()).set_index(["drawn", "metric"])
    counted = could[["positive_patients", "negative_patients", "positive_images", "negative_images"]]
    for what, wanted in (("patients", [65, 730, 260, 336]), ("images", [84, 730, 336, 336])):
        for metric in ("roc_auc", "sensitivity"):
            assert counted.loc[(f"published number of {what}", metric)].tolist() == wanted


def test_groups_of_patients_cover_those_with_carcinoma():
    rows = pd.DataFrame(
        {
            "patient_id": list("abcdefgh"), "centre": ["x"] * 6 + ["y"] * 2, "visible": [True] * 8,
            "invasion_depth": [0.2, 0.8, 0.3, 0.9, 0.6, 0.7, None, None],
        }
    )  # fmt: skip
    truth = np.array([1] * 6 + [0] * 2)
    score = np.array([0.9, 0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9])
    tail = screening_tables.sensitivity_by_group(tested.Tested(rows, truth, {"LSNet": [score]})).set_index("group")
    assert tail.loc["all", "estimate"] == pytest.approx(5 / 6)
    assert tail.loc["half or more", ["images", "estimate"]].tolist() == [4, 0.75]
    assert tail.loc["half or more", ["low", "high"]].isna().all()  # fewer than five patients
    assert "y" not in tail.index
