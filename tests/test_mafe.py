"""What is measured once in SG-CycleGAN's extractor: one small run beside the same numbers, found in another way."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ecsupport.cohort import export, phantom
from ecsupport.core.profiles import Run, load
from ecsupport.core.seeds import generator
from ecsupport.core.training import torch_generator
from ecsupport.evaluation.probes import pixel_probe
from ecsupport.experiments import catalogue, cohort, mafe, translators
from ecsupport.reporting import translation_plots
from ecsupport.translation import training
from ecsupport.translation.inference import to_tensor

SMOKE = load("smoke")
TINY = replace(
    SMOKE,
    name="tiny",
    cohort=replace(
        SMOKE.cohort, carcinoma_patients=24, carcinoma_images=48, control_patients=24, control_images=48,
        mri_patients=9, mri_images=18, extra_patients=3, extra_images=6, instrument_patients=6, instrument_images=12,
    ),
    translation=replace(SMOKE.translation, residual_blocks=1, steps=2),
)  # fmt: skip
RUN = Run(TINY)
MEASURED = {
    "examples/translations/42", "mafe/maps/42", "mafe/modality/42", "mafe/junctional_zone/42", "mafe/released/42",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The jobs of the small run, made; its workspace is that of every test here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        catalogue.make(RUN, ["mafe", "examples"])
        yield catalogue.by_name(RUN)


@pytest.fixture(scope="module")
def pools(made):
    return {name: cohort.open_pool(made[f"pixels/{name}/64"].folder) for name in ("mri", "ultrasound")}


def extractor(made, model="sg_cyclegan", untrained=False):
    return training.restore(made[f"translator/{model}/42"].folder, untrained).encoder


def seen(encoder, images):
    """Features of images one at a time, (N, C, S, S)."""
    with torch.no_grad():
        return np.stack([encoder(to_tensor(images[i : i + 1]))[0].numpy() for i in range(len(images))])


def test_the_notebook_reads_no_job_that_an_archive_lacks(made):
    read = {job.name: job for job in mafe.read(RUN)}
    assert set(read) >= MEASURED
    assert not [name for name in read if name.startswith("translations")]
    assert all(made[name].archived == ("*",) for name in MEASURED)
    assert all(job.archived for name, job in read.items() if not name.startswith("pixels"))


def test_examples_are_the_images_of_their_pools(made, pools):
    job = made["examples/translations/42"]
    found = mafe.arrays(job, "examples")
    assert set(found) == {"mri", *translators.COMPARED, "ultrasound"}
    places, patients = translators.shown(RUN, mafe.SHOWN), pools["mri"].rows["patient_id"].to_numpy()[job.given["mri"]]
    assert len(set(patients)) == len(patients) == len(places) == min(mafe.SHOWN, 3)
    np.testing.assert_array_equal(found["mri"], pools["mri"].images[job.given["mri"]])
    for model in translators.COMPARED:
        translated = cohort.open_pool(made[f"translations/{model}/42/test"].folder)
        np.testing.assert_array_equal(found[model], translated.images[places])
        assert translated.rows["patient_id"].iloc[places].tolist() == list(patients)
    others = pools["ultrasound"].rows.iloc[job.given["ultrasound"]]
    assert others["patient_id"].is_unique
    assert set(others["split"]) == {"test"}
    assert set(others["label"]) == {1}


def test_the_channels_shown_vary_most_in_both_images(made, pools):
    found = mafe.arrays(made["mafe/maps/42"], "maps")
    encoder, given = extractor(made), made["mafe/maps/42"].given
    maps = {name: seen(encoder, pools[name].images[given[name]])[0] for name in given}
    varies = [min(maps[name][channel].std() for name in maps) for channel in range(8)]
    assert found["channels"].tolist() == sorted(range(8), key=lambda channel: -varies[channel])[:4]
    for name in maps:
        np.testing.assert_allclose(found[name], maps[name][found["channels"]], atol=1e-5)
    pictures = {name: pools[name].images[given[name]][0] for name in given}
    _, drawn = translation_plots.feature_maps(pictures, {name: found[name] for name in given}, found["channels"])
    assert drawn["channel"].tolist() == 2 * found["channels"].tolist()
    assert drawn["mean"].iloc[0] == pytest.approx(maps["mri"][found["channels"][0]].mean(), abs=1e-5)


def test_modality_is_scored_for_patients_that_no_probe_was_fitted_to(made, pools):
    scores, given = mafe.table(made["mafe/modality/42"], "scores"), made["mafe/modality/42"].given
    patients = [pools[name].rows["patient_id"].iloc[given[f"learnt_{name}"]] for name in ("mri", "ultrasound")]
    assert set(scores["patient_id"]).isdisjoint(pd.concat(patients))
    assert scores["ultrasound"].tolist() == [0] * len(given["mri"]) + [1] * len(given["ultrasound"])
    trained = [extractor(made), extractor(made, "unguided"), extractor(made, untrained=True)]
    learnt = np.repeat([0.0, 1.0], [len(of) for of in patients])
    for name, encoder in zip(mafe.EXTRACTORS, trained, strict=True):
        fitted, unseen = (
            np.concatenate([_moments(encoder, pools[of].images[given[part + of]]) for of in ("mri", "ultrasound")])
            for part in ("learnt_", "")
        )
        mean, sd = fitted.mean(axis=0), fitted.std(axis=0)
        probe = LogisticRegression(max_iter=2000).fit((fitted - mean) / sd, learnt)
        np.testing.assert_allclose(scores[name], probe.decision_function((unseen - mean) / sd), rtol=0.02, atol=0.02)


def _moments(encoder, images):
    maps = seen(encoder, images)
    return np.concatenate([maps.mean(axis=(2, 3)), maps.std(axis=(2, 3))], axis=1)


def test_the_junctional_zone_is_that_of_the_phantoms(made, pools):
    job = made["mafe/junctional_zone/42"]
    table = mafe.table(job, "dice")
    assert table["patient_id"].tolist() == pools["ultrasound"].rows["patient_id"].iloc[job.given["ultrasound"]].tolist()
    assert table["patient_id"].value_counts().max() <= mafe.PER_PATIENT
    zones, maps = {}, {}
    for name, rows in job.given.items():
        names = [image.split("/") for image in pools[name].rows["image"].iloc[rows]]
        truths = [phantom.truth(version, who, int(index), modality, 64) for version, who, modality, index in names]
        zones[name] = np.stack([truth.mask("junctional_zone") for truth in truths])
        maps[name] = seen(extractor(made, untrained=True), pools[name].images[rows])
    called = pixel_probe([maps["mri"]], zones["mri"], [maps["ultrasound"]], generator("02", "pixels"))
    both = (called & zones["ultrasound"]).sum(axis=(1, 2))
    wanted = 2 * both / (called.sum(axis=(1, 2)) + zones["ultrasound"].sum(axis=(1, 2)))
    np.testing.assert_allclose(table["start"], wanted, atol=0.01)


def test_released_steps_add_the_generators_gradient(made, pools):
    found = mafe.table(made["mafe/released/42"], "released")["value"]
    given = made["mafe/released/42"].given
    network = training.restore(made["translator/sg_cyclegan/42"].folder)
    network.settings = replace(network.settings, gan_mode="lsgan")  # as released, whatever the run trains with
    mri, us = (to_tensor(pools[name].images[given[name]]) for name in ("mri", "ultrasound"))
    *_, cache = network.generator_step(mri, us, 1.0, torch_generator("02", "released"))
    judges = network.discriminator_parameters()
    fooled = network.generator_adversarial(cache.fake_us, cache.fake_mri)
    own = network.discriminator_step(mri, us, cache)[0]
    added, own = (torch.cat([g.flatten() for g in torch.autograd.grad(loss, judges)]) for loss in (fooled, own))
    cosine = torch.nn.functional.cosine_similarity(4 * own + 3 * added, own, dim=0)
    assert found[:2].tolist() == pytest.approx([float(added.norm() / own.norm()), float(cosine)], rel=1e-3)
    assert found[2] > 1


def test_nothing_is_measured_where_nothing_is_translated():
    none = Run(replace(TINY, translation=replace(TINY.translation, batch=10_000)))
    assert mafe.read(none) == []
    assert [
        of(none) for of in (mafe.examples, mafe.maps, mafe.modality, mafe.junctional_zone, mafe.released_steps)
    ] == [None] * 5


def test_of_own_images_no_anatomy_is_asked(tmp_path, monkeypatch):
    """And without MRI of test patients trainings alone can be shown."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "w"))
    rows = cohort.rows(RUN).query("source == 'phantom'")
    names = []
    for folder, kept in (("all", rows), ("few", rows[(rows["modality"] == "us") | (rows["split"] == "train")])):
        own = replace(
            RUN, cohort=export.export(kept, tmp_path / folder, 64).rename(tmp_path / folder / f"{folder}.csv")
        )
        cohort.note(own)
        names.append({job.name for job in mafe.read(own)} & MEASURED)
    assert names == [MEASURED - {"mafe/junctional_zone/42"}, {"mafe/released/42"}]


def test_rows_of_images_leave_empty_what_is_lacking():
    rows = {"many": np.full((3, 8, 8), 7, np.uint8), "one\nline": np.full((1, 8, 8), 9, np.uint8)}
    figure, drawn = translation_plots.rows_of_images(rows, 3, (3, 2), titles=["t2", "t1"])
    assert drawn["row"].tolist() == ["many"] * 3 + ["one line"]
    assert drawn["mean_grey"].tolist() == [7, 7, 7, 9]
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 1, 1, 0, 0]
    assert [axis.get_title() for axis in figure.axes[:3]] == ["t2", "t1", ""]
