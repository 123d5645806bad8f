"""What is trained, by name: one small run from pixels to scores, and what each job is made from."""

import os
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import expit

from ecsupport.cohort import export, images
from ecsupport.core import artefacts, jobs
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run, load
from ecsupport.evaluation.calibration import slope_and_intercept
from ecsupport.evaluation.classification import metrics
from ecsupport.experiments import archive, catalogue, clinical, cohort, difficulty, networks, translators
from ecsupport.screening import training as screening
from ecsupport.translation import training as translation
from ecsupport.translation.inference import translate

SMOKE = load("smoke")
TINY = replace(
    SMOKE,
    name="tiny",
    seeds=(42,),
    cohort=replace(
        SMOKE.cohort, carcinoma_patients=24, carcinoma_images=48, control_patients=24, control_images=48,
        mri_patients=9, mri_images=18, extra_patients=3, extra_images=6, instrument_patients=6, instrument_images=12,
        extended_patients=5,
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


def test_a_seed_moves_weights_batches_and_the_translator_whose_images_a_network_sees():
    laptop = Run.open("laptop")
    for (name, seed), job in {**networks.table_3(laptop), **networks.arms(laptop)}.items():
        begun = job.recipe["settings"]["shared_start"] or seed
        if "translations" in job.inputs:
            assert job.inputs["translations"].name == f"translations/sg_cyclegan/{begun}/training", name
    few = Run(replace(TINY, seeds=(42, 142, 242)))  # fewer translators than trainings: they take turns
    assert [translators.seed_for(few, seed) for seed in few.profile.seeds] == [42, 42, 42]


def test_translators_learn_from_one_half_of_the_training_patients_and_translate_the_other():
    mri, us = cohort.pool(RUN, "mri"), cohort.pool(RUN, "ultrasound")
    learnt, kept = (mri.iloc[rows] for rows in translators.halves(RUN))
    assert set(learnt["patient_id"]).isdisjoint(kept["patient_id"])
    assert set(learnt["split"]) == set(kept["split"]) == set(us.iloc[translators.ultrasound(RUN)]["split"]) == {"train"}
    made = translators.translations(RUN, "cyclegan", 42, "training").given["rows"]
    assert set(made["patient_id"]).isdisjoint(learnt["patient_id"])
    assert made["label"].value_counts().to_dict() == {1: 4, 0: 4}


def behind(job):
    """Names of a job and of all that it is made from."""
    return {job.name}.union(*(behind(one) for one in job.inputs.values()))


@pytest.mark.parametrize(
    ("method", "kinds"),
    [
        ("screening", {"screening", "downstream", "design", "difficulty"}),
        ("translation", {"translator"}),
    ],
)
def test_editing_one_room_leaves_the_jobs_of_others_alone(monkeypatch, every, method, kinds):
    """A revision raised in screening changes no translator; one in translation no job without synthetic images."""
    monkeypatch.setattr(f"ecsupport.{method}.training.REVISION", 99)
    changed = {name for name, job in catalogue.by_name(RUN).items() if job.key != every[name].key}
    of_method = {name for name, job in every.items() if kinds & {of.split("/")[0] for of in behind(job)}}
    assert changed == of_method
    untouched = every.keys() - changed
    if method == "screening":
        assert {"translator/sg_cyclegan/42", "translations/sg_cyclegan/42/training", "anatomy/real"} <= untouched
    else:
        assert {"screening/no-synthetic-images/42", "downstream/real-only/42", "floor/42"} <= untouched


def test_from_pixels_to_scores_the_same_bytes_twice(tmp_path, monkeypatch):
    names, found = ["scores/screening/lsnet", "scores/screening/efficientnet", "instrument/extractor"], []
    for folder in ("one", "two"):
        monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / folder))
        catalogue.make(RUN, names)
        assert jobs.lacking(catalogue.find(RUN, names)) == []
        made = {file.relative_to(tmp_path / folder): file for file in (tmp_path / folder).rglob("*") if file.is_file()}
        found.append({name: file.read_bytes() for name, file in made.items()})
    assert found[0] == found[1]
    trained = catalogue.by_name(RUN)["screening/lsnet/42"]
    scores = networks.read_scores(networks.scores(RUN, trained))
    parts = ("test", "extended", "validation")
    assert set(scores) == {prefix + part for prefix in ("", "teacher_") for part in parts}
    for prefix, role in (("", "network"), ("teacher_", "teacher")):
        network = screening.restore(trained.folder, role)
        for part in parts:
            rows = networks.patients(RUN, part)
            assert ((scores[prefix + part] >= 0) & (scores[prefix + part] <= 1)).all()
            again = screening.predict(network, images.read(rows, SMOKE.image_size))
            np.testing.assert_allclose(scores[prefix + part], again, atol=1e-3)


def test_nothing_is_trained_or_selected_on_the_patients_who_decide(every):
    """Their pixels reach jobs that score, and nothing else: neither a training nor what reads one."""
    assert len([name for name in every if name.startswith("pixels/") and "extended" in name]) == 4
    of_designs = {name for name in every if name.startswith("scores/design/")}
    decide(every, "pixels/population/64", of_designs)
    elsewhere = of_designs.copy()
    for which in difficulty.VERSIONS:
        of_one = {name for name in every if name.startswith("scores/difficulty/") and f"-{which}/" in name}
        if which == clinical.HARDER:
            of_one |= {name for name in every if name.startswith("scores/clinical/")}
        decide(every, f"pixels/{which}-extended/64", of_one)
        elsewhere |= of_one
    decide(every, "pixels/extended/64", {n for n in every if n.startswith(("scores/", "floor/"))} - elsewhere)


def decide(every, pixels, expected):
    readers = {name for name, job in every.items() if pixels in {one.name for one in job.inputs.values()}}
    assert readers == expected
    for name, job in every.items():
        if name not in readers | {pixels}:
            assert pixels not in behind(job), name
        if "trained" in job.inputs:
            assert pixels not in behind(job.inputs["trained"]), name
    assert set(cohort.pool(RUN, "extended")["patient_id"]).isdisjoint(cohort.rows(RUN)["patient_id"])
    floor = every["floor/42"].given
    assert set(cohort.pool(RUN, "ultrasound").iloc[floor["train"]]["split"]) == {"train"}
    assert len(floor["label"]) == len(floor["train"])


def test_stored_scores_give_the_metrics_of_unrounded_ones(tmp_path):
    """Logits of 16 bits, of as many images as decide, against the same in 32 bits; six metrics and calibration."""
    rng = np.random.default_rng(20)
    for spread, shift in ((0.3, 0.2), (2.0, 3.0), (6.0, 9.0)):  # networks that know little, much, and are too sure
        truth = rng.integers(2, size=8000)
        exact = expit(rng.normal(size=8000) * spread + (truth - 0.5) * shift).astype(np.float32).astype(float)
        networks.write_scores(tmp_path, {"extended": exact})
        stored = networks.read_scores(SimpleNamespace(file=lambda name: tmp_path / name))["extended"]
        one, other = metrics(truth, exact), metrics(truth, stored)
        for metric, value in one.items():
            assert other[metric] == pytest.approx(value, abs=1e-4), metric
        assert (np.argsort(stored[np.argsort(exact)], kind="stable") == np.arange(8000)).all()  # no pair changes places
        np.testing.assert_allclose(stored, exact, atol=2**-11)
        np.testing.assert_allclose(
            slope_and_intercept(truth, stored), slope_and_intercept(truth, exact), rtol=1e-3, atol=1e-4
        )
    assert (tmp_path / networks.SCORES).stat().st_size < 2.1 * 8000


def test_a_persons_own_test_set_decides(tmp_path):
    own = Run(TINY, tmp_path / "manifest.csv")
    with cohort.asked(own, cohort.rows(RUN)):
        assert networks.deciding(own) == "test"
        inputs, given = networks.scored(own, own.profile.image_size)
        assert list(inputs) == ["ultrasound"] and list(given) == ["test"]
        assert "pixels/extended/64" not in catalogue.by_name(own)
    assert networks.deciding(RUN) == "extended"


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


def test_a_job_that_is_named_is_found_without_planning_the_notebooks_after_its_own(monkeypatch):
    """Each process of a run looks for its jobs by name, and at `laptop` planning all takes longer than starting."""
    monkeypatch.setattr(catalogue, "READ", {"02_sg_cyclegan_training": "mafe.read", "later": "nowhere.read"})
    (job,) = catalogue.find(RUN, ["translator/sg_cyclegan/42"])
    assert job.name == "translator/sg_cyclegan/42"
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        catalogue.find(RUN, ["translator/sg_cyclegan"])  # no job's name: any notebook may have some of those


def test_a_mistyped_name_is_told_its_neighbours():
    with pytest.raises(UserError, match="'screening/lsent'.*Near it: screening/lsnet/42"):
        catalogue.find(RUN, ["screening/lsent"])


def test_the_list_names_every_job_and_what_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    catalogue.make(RUN, ["pixels"])
    lines = catalogue.listing(RUN)
    made = [line.split()[0] for line in lines if " made " in line]
    assert made == [name for name in catalogue.by_name(RUN) if name.startswith("pixels/")]
    assert lines[-1].startswith(f"{len(lines) - 1} jobs, {len(lines) - 1 - len(made)} lacking")


# --- the archive ----------------------------------------------------------------------------------------------------


@pytest.fixture
def archived(tmp_path, monkeypatch):
    """A made and archived run whose store is gone."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "store"))
    monkeypatch.setenv("ECSUPPORT_NOTEBOOKS", str(tmp_path / "repository" / "notebooks"))
    catalogue.make(RUN, ["scores/screening/efficientnet"])
    archive.keep(RUN, catalogue.by_name(RUN).values())
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "empty"))
    return tmp_path


def test_what_is_archived_is_read_without_any_training(archived):
    jobs_ = catalogue.by_name(RUN)
    network, scores = (jobs_[f"{name}efficientnet/42"] for name in ("screening/", "scores/screening/"))
    assert [network.state, scores.state] == ["archived", "archived"]
    assert jobs.lacking([network, scores]) == []
    assert network.file("history.csv").is_file()
    assert not list(archive.place(RUN).rglob("weights.safetensors"))  # no picture shows this network
    assert len(networks.read_scores(scores)["test"])
    assert jobs_["translator/sg_cyclegan/42"].state == "archived"  # its losses are
    assert {jobs_[name].state for name in jobs_ if name.startswith(("pixels", "translations"))} == {"lacking"}
    assert not (archived / "empty" / "store").exists()


def test_a_repeated_training_takes_the_place_of_the_archived_one(archived, monkeypatch):
    name = "screening/efficientnet/42"
    old = catalogue.by_name(RUN)[name].key
    monkeypatch.setattr("ecsupport.screening.training.REVISION", 99)
    assert catalogue.by_name(RUN)[name].state == "lacking"
    catalogue.make(RUN, [name])
    archive.keep(RUN, catalogue.find(RUN, [name]))
    assert old[:20] not in {folder.name for folder in (archive.place(RUN) / name).iterdir()}


def test_an_archive_above_its_budget_is_refused_whole(archived, monkeypatch):
    monkeypatch.setattr(archive, "BUDGET", 1000)
    catalogue.make(RUN, ["instrument/extractor"])
    with pytest.raises(UserError, match="0 MB are its budget"):
        archive.keep(RUN, catalogue.find(RUN, ["instrument/extractor"]))
    assert not (archive.place(RUN) / "instrument").exists()


def test_own_images_never_enter_the_archive(tmp_path):
    with pytest.raises(UserError, match="own images are not kept"):
        archive.keep(replace(RUN, cohort=tmp_path / "manifest.csv"), [])


def test_commands_list_make_and_archive(tmp_path, ecsupport):
    own = {"ECSUPPORT_WORKSPACE": tmp_path / "w", "ECSUPPORT_NOTEBOOKS": tmp_path / "notebooks"}
    made = ecsupport("make", "pixels/extra/64", **own)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("[1/1] pixels/extra/64 (about ")
    listed = ecsupport("jobs", **own)
    assert listed.returncode == 0
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("pixels/extra/64")]
    assert line.split()[1] == "made"
    wrong = ecsupport("make", "screening/lsent", **own)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("no job of smoke is named 'screening/lsent'. Near it: screening/lsnet/")
    nothing = ecsupport("archive", "screening/lsnet", **own)
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    assert "none of these jobs is made" in nothing.stderr


# --- own images, and what notebooks train ---------------------------------------------------------------------------


def test_own_images_are_the_same_jobs_on_other_rows(tmp_path, monkeypatch):
    """The phantoms as files: the same pixels and splits as they stand in the manifest, keyed by the files' content."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "w"))
    file = export.export(cohort.rows(RUN).query("source == 'phantom'"), tmp_path / "own", 64)
    own = replace(RUN, cohort=file)
    with pytest.raises(UserError, match="were not looked at yet"):
        catalogue.by_name(own)
    cohort.note(own)
    names = ["pixels/ultrasound/64", "pixels/instrument/64", "scores/screening/efficientnet/42"]
    catalogue.make(own, names)
    made = catalogue.by_name(own)
    catalogue.make(RUN, names[:1])
    drawn = cohort.open_pool(catalogue.by_name(RUN)[names[0]].folder)
    read = cohort.open_pool(made[names[0]].folder)
    np.testing.assert_array_equal(read.images, drawn.images)
    assert read.rows["patient_id"].tolist() == drawn.rows["patient_id"].tolist()
    assert set(cohort.open_pool(made["pixels/instrument/64"].folder).rows["source"]) == {"instrument"}  # phantoms
    picture = file.parent / read.rows["image"].iloc[0]
    picture.write_bytes((file.parent / read.rows["image"].iloc[1]).read_bytes())
    with pytest.raises(UserError, match="the image has changed since it was listed"):
        monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "new"))
        (tmp_path / "new" / "runs").mkdir(parents=True)
        shutil.copytree(tmp_path / "w" / "runs", tmp_path / "new" / "runs", dirs_exist_ok=True)
        catalogue.make(own, names[:1])


def test_a_first_look_at_own_images_says_what_more_would_cost(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "w"))
    own = replace(RUN, cohort=export.export(cohort.rows(RUN).query("source == 'phantom'"), tmp_path / "own", 64))
    cohort.note(own)
    head, *lines = catalogue.costs(own, cohort.rows(own))
    assert head.startswith("tiny-manifest is a first look")
    found = [re.fullmatch(r"  PROFILE=(\w+): (\d+) jobs, about ([\d,.]+) h of one core", line) for line in lines]
    assert [one[1] for one in found] == ["laptop", "paper"]
    hours = [float(one[3].replace(",", "")) for one in found]
    assert 1 < hours[0] < hours[1]


def test_replaced_pictures_are_noticed_and_manifests_of_one_name_are_not_mixed(tmp_path, monkeypatch):
    """The other picture has the size and the time of the first, as `cp -p` and `rsync -t` leave it."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "w"))
    files = [export.export(cohort.rows(RUN).query("source == 'phantom'"), tmp_path / name, 64) for name in "ab"]
    own, same_name = (replace(RUN, cohort=file) for file in files)
    cohort.note(own)
    note, keys = own.notebooks / cohort.NOTE, [catalogue.by_name(own)["pixels/mri/64"].key]
    before = note.stat().st_mtime_ns
    cohort.note(own)
    assert note.stat().st_mtime_ns == before  # nothing changed: Snakemake has nothing to do
    picture = files[0].parent / cohort.pool(own, "mri")["image"].iloc[0]
    with Image.open(picture) as image:
        turned = image.transpose(Image.Transpose.ROTATE_180)
    turned.save(picture)
    os.utime(picture, (10**9, 10**9))
    cohort.note(own)
    keys.append(catalogue.by_name(own)["pixels/mri/64"].key)
    assert keys[0] != keys[1]
    cohort.note_once(own, cohort.rows(own))
    amidst = cohort.rows(own).assign(centre="another")
    with pytest.raises(UserError, match="changed since they were looked at"):
        cohort.note_once(own, amidst)
    with pytest.raises(UserError, match=r"belongs to .*a.manifest\.csv\. Rename your manifest"):
        cohort.note(same_name)


def test_jobs_train_on_the_images_that_they_name(tmp_path, monkeypatch):
    """The same weights and pictures to the bit as by the trainers themselves, on arrays read anew."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    catalogue.make(RUN, ["screening/lsnet/42"])
    made = catalogue.by_name(RUN)
    mri, extra, us = (cohort.pool(RUN, name) for name in ("mri", "extra", "ultrasound"))
    learnt, job = images.read(mri.iloc[translators.halves(RUN)[0]], 64), made["translator/sg_cyclegan/42"]
    given = {"mri": learnt, "us": images.read(us.iloc[translators.ultrasound(RUN)], 64), "show": learnt[:1]}
    translation.train(tmp_path, given, data="the same", device="cpu", **job.recipe)
    for name in ("weights.safetensors", "losses.csv", "snapshots.npy"):
        assert (tmp_path / name).read_bytes() == job.file(name).read_bytes()

    of, network = translators.sources(RUN, "training"), translation.restore(job.folder)
    sources = pd.concat([mri.iloc[of["mri"]], extra.iloc[of["extra"]]], ignore_index=True)
    halves = (images.read(rows, 64) for rows in (mri.iloc[of["mri"]], extra.iloc[of["extra"]]))
    pictures = np.concatenate([translate(network, half, ("synthetic", 42)) for half in halves])
    pool = cohort.open_pool(made["translations/sg_cyclegan/42/training"].folder)
    np.testing.assert_array_equal(pool.images, pictures)
    kept = ["patient_id", "centre", "sequence", "diagnosis", "invasion_depth", "visible", "label", "split"]
    pd.testing.assert_frame_equal(pool.rows[kept], sources[kept])  # those of the MRI
    assert (set(pool.rows["modality"]), set(pool.rows["source"])) == ({"us"}, {"synthetic"})
    assert pool.rows["hash"].tolist() == [artefacts.sha256(picture.tobytes()) for picture in pictures]
    assert pool.rows["image"].is_unique

    real, validation = (us[us["split"] == name] for name in ("train", "validation"))
    added, job = pictures[: len(of["mri"])], made["screening/lsnet/42"]
    given = {
        "image": np.concatenate([images.read(real, 64), added]),
        "label": np.r_[real["label"], np.ones(len(added))].astype(np.int64),
        "real": np.arange(len(real) + len(added)) < len(real),
        "validation_image": images.read(validation, 64),
        "validation_label": validation["label"].to_numpy(np.int64),
    }
    screening.train(tmp_path, given, data="the same", device="cpu", **job.recipe)
    for name in ("weights.safetensors", "teacher.safetensors", "history.csv"):
        assert (tmp_path / name).read_bytes() == job.file(name).read_bytes()
