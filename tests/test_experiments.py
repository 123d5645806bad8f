"""What is trained, by name: one small run from pixels to scores, and what each job is made from."""

from dataclasses import replace

import numpy as np
import pytest

from ecsupport.core import jobs
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run, load
from ecsupport.experiments import catalogue, cohort, networks, translators

SMOKE = load("smoke")
TINY = replace(
    SMOKE,
    name="tiny",
    seeds=(42,),
    cohort=replace(
        SMOKE.cohort, carcinoma_patients=24, carcinoma_images=48, control_patients=24, control_images=48,
        mri_patients=9, mri_images=18, extra_patients=3, extra_images=6, instrument_patients=6, instrument_images=12,
    ),
    translation=replace(SMOKE.translation, width=4, residual_blocks=1, steps=2),
    downstream=replace(SMOKE.downstream, added=4),
    screening=replace(SMOKE.screening, mixed_steps=3, real_steps=2, batch=4, validate_every=2, instrument_steps=2),
)  # fmt: skip
RUN = Run(TINY)


@pytest.fixture(scope="module")
def every():
    return catalogue.by_name(RUN)


def test_every_training_has_a_name_and_each_job_comes_after_its_inputs(every):
    names = list(every)
    assert {"translator/sg_cyclegan/42", "screening/lsnet/42", "screening/no-synthetic-images/42"} <= set(names)
    for name, job in every.items():
        assert all(names.index(one.name) < names.index(name) for one in job.inputs.values())
        assert job.minutes > 0
        assert job.key == catalogue.by_name(RUN)[name].key
    # Table 3's LSNet and Table 4's full model are one job
    assert networks.table_3(RUN)["lsnet", 42].key == networks.arms(RUN)["LSNet", 42].key


def test_translators_learn_from_one_half_of_the_training_patients_and_translate_the_other():
    mri, us = cohort.pool(RUN, "mri"), cohort.pool(RUN, "ultrasound")
    learnt, kept = (mri.iloc[rows] for rows in translators.halves(RUN))
    assert set(learnt["patient_id"]).isdisjoint(kept["patient_id"])
    assert set(learnt["split"]) == set(kept["split"]) == set(us.iloc[translators.ultrasound(RUN)]["split"]) == {"train"}
    made = translators.translations(RUN, "cyclegan", 42, "training").given["rows"]
    assert set(made["patient_id"]).isdisjoint(learnt["patient_id"])
    assert made["label"].value_counts().to_dict() == {1: 4, 0: 4}


def test_editing_one_room_leaves_the_jobs_of_others_alone(monkeypatch, every):
    """A revision raised in screening changes no translator; one in translation no job without synthetic images."""
    monkeypatch.setattr("ecsupport.screening.training.REVISION", 99)
    changed = {name for name, job in catalogue.by_name(RUN).items() if job.key != every[name].key}
    assert changed == {name for name in every if "screening/" in name}
    monkeypatch.undo()
    monkeypatch.setattr("ecsupport.translation.training.REVISION", 99)
    changed = {name for name, job in catalogue.by_name(RUN).items() if job.key != every[name].key}
    assert {name.split("/")[0] for name in changed} == {"translator", "translations", "screening", "scores"}
    assert not {name for name in changed if "no-synthetic-images" in name}


def test_from_pixels_to_scores_the_same_bytes_twice(tmp_path, monkeypatch):
    names, found = ["scores/screening/lsnet", "scores/screening/efficientnet", "instrument/extractor"], []
    for folder in ("one", "two"):
        monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / folder))
        catalogue.make(RUN, names)
        assert jobs.lacking(catalogue.find(RUN, names)) == []
        made = {file.relative_to(tmp_path / folder): file for file in (tmp_path / folder).rglob("*") if file.is_file()}
        found.append({name: file.read_bytes() for name, file in made.items()})
    assert found[0] == found[1]
    scores = np.load(catalogue.by_name(RUN)["scores/screening/lsnet/42"].file("scores.npz"))
    assert set(scores) == {
        "test",
        "instrument",
        "validation",
        "teacher_test",
        "teacher_instrument",
        "teacher_validation",
    }
    for name in ("test", "instrument", "validation"):
        assert len(scores[name]) == len(networks.patients(RUN, name))
        assert ((scores[name] >= 0) & (scores[name] <= 1)).all()


def test_students_of_one_teacher_are_trained_together_and_end_as_alone(tmp_path, monkeypatch):
    names = ["screening/lsnet/42", "screening/all-keys/42"]
    weights = []
    for together in (True, False):
        monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / str(together)))
        of = catalogue.find(RUN, names)
        told: list[list[str]] = []
        for part in [of] if together else [[job] for job in of]:
            jobs.make(part, lambda group, told=told: told.append([job.name for job in group]))
        assert (names in told) == together
        weights.append([job.file("weights.safetensors").read_bytes() for job in of])
    assert weights[0] == weights[1]


def test_the_images_of_a_pool_are_those_of_its_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    catalogue.make(RUN, ["pixels/extra/64"])
    pool = cohort.open_pool(catalogue.by_name(RUN)["pixels/extra/64"].folder)
    version, patient, modality, index = pool.rows["image"].iloc[2].split("/")
    assert pool.images.shape == (6, 64, 64)
    np.testing.assert_array_equal(pool.images[2], cohort.phantom.render(version, patient, int(index), modality, 64))


def test_a_mistyped_name_is_told_its_neighbours():
    with pytest.raises(UserError, match="'screening/lsent'.*Near it: screening/lsnet/42"):
        catalogue.find(RUN, ["screening/lsent"])


def test_the_list_names_every_job_and_what_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    catalogue.make(RUN, ["pixels"])
    lines = catalogue.listing(RUN)
    assert len([line for line in lines if " made " in line]) == 4
    assert lines[-1].startswith(f"{len(lines) - 1} jobs, {len(lines) - 5} lacking")
