"""Table 2's classifiers as jobs: each arm reads the images that its name says, and depends on nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from test_experiments import TINY

from ecsupport.cohort import images
from ecsupport.core import jobs
from ecsupport.core.profiles import Run
from ecsupport.experiments import catalogue, cohort, downstream, networks, translators
from ecsupport.instruments.acceptance import match_histogram
from ecsupport.screening import arms, training

RUN = Run(replace(TINY, downstream=replace(TINY.downstream, real_positives=12, real_negatives=20)))
SETS = downstream.sets(RUN)
JOBS = downstream.classifiers(RUN)


def of_pools(labelled):
    """Rows of the images by the pool that they stand in."""
    pool, row = labelled.images.T
    return {downstream.POOLS[number]: row[pool == number] for number in np.unique(pool)}


def everything_behind(job):
    return {job.name} | {name for one in job.inputs.values() for name in everything_behind(one)}


@pytest.mark.parametrize(("arm", "seed"), SETS)
def test_an_arm_holds_the_images_that_its_name_says(arm, seed):
    real, added = SETS[arm, seed]
    rows = cohort.pool(RUN, "ultrasound")
    kept = rows.iloc[of_pools(real)["ultrasound"]]
    assert set(kept["split"]) == {"train"}
    np.testing.assert_array_equal(kept["label"], real.label)
    pools = of_pools(added)
    assert set(pools) == (
        set() if arm == arms.REAL_ONLY
        else {"ultrasound"} if arm in (arms.NEW, arms.DUPLICATED)
        else {"mri", "extra"} if arm == "+ MRI, both classes"
        else {"matched"} if "histogram" in arm
        else {"translations"}
    )  # fmt: skip
    both = arm.endswith("both classes")
    assert set(added.label) == ({0, 1} if both else set() if arm == arms.REAL_ONLY else {1})
    assert len(added.label) == (0 if arm == arms.REAL_ONLY else 8 if both else 4)
    if arm == arms.NEW:
        new = rows.iloc[pools["ultrasound"]]
        assert (new["label"] == 1).all()
        assert set(new["patient_id"]).isdisjoint(kept["patient_id"])


def test_translated_and_untranslated_arms_are_of_the_same_mri_whom_no_translator_has_seen():
    of = translators.sources(RUN, "training")
    untranslated = of_pools(SETS["+ MRI, both classes", 42][1])
    for pool, rows in of.items():
        np.testing.assert_array_equal(untranslated[pool], rows)
    learnt = cohort.pool(RUN, "mri").iloc[translators.halves(RUN)[0]]["patient_id"]
    assert set(cohort.pool(RUN, "mri").iloc[untranslated["mri"]]["patient_id"]).isdisjoint(learnt)
    made = translators.translations(RUN, "cyclegan", 42, "training").given["rows"]
    np.testing.assert_array_equal(made["label"], SETS["+ MRI, both classes", 42][1].label)


def test_an_arm_depends_on_its_own_translator_alone(monkeypatch):
    for (arm, _), job in JOBS.items():
        behind = {name for name in everything_behind(job) if name.startswith("translator/")}
        named = [model for model, name in downstream.NAMES.items() if name in arm.replace(",", " ").split()]
        assert behind == {f"translator/{model}/42" for model in named}, arm
    before = {key: job.key for key, job in JOBS.items()}
    monkeypatch.setattr("ecsupport.translation.training.REVISION", 99)
    after = {key: job.key for key, job in downstream.classifiers(RUN).items()}
    same = {arm for arm, seed in before if before[arm, seed] == after[arm, seed]}
    assert same == {
        arms.REAL_ONLY, arms.NEW, arms.DUPLICATED, *(f"+ {name}, both classes" for name in downstream.UNTRANSLATED)
    }  # fmt: skip


def test_seeds_are_those_of_the_translators():
    of = {}
    for arm, seed in downstream.sets(Run.open("laptop")):
        of.setdefault(arm, []).append(seed)
    assert len(of["+ SG-CycleGAN"]) == len(of["+ CycleGAN, both classes"]) == len(of[arms.REAL_ONLY]) == 5
    assert len(of[arms.NEW]) == 5
    assert len(of["+ UNIT"]) == len(of["as printed: SG-CycleGAN"]) == 3
    assert len(of["+ MRI, both classes"]) == 3
    assert len(of[downstream.ONCE]) == 1


def test_a_seed_moves_the_draw_of_scarce_positives_and_the_translator():
    laptop = Run.open("laptop")
    draws = {}
    for (arm, seed), (few, _) in downstream.sets(laptop).items():
        if not arm.startswith("as printed"):
            draws.setdefault(seed, few.images)
            assert np.array_equal(draws[seed], few.images), arm  # the arms of one seed share their real images
    assert len({images.tobytes() for images in draws.values()}) == 5
    for seed in draws:
        job = downstream.classifiers(laptop)["+ SG-CycleGAN", seed]
        assert job.inputs["translations"].name == f"translations/sg_cyclegan/{seed}/training"


def test_where_nothing_can_be_translated_real_images_are_left():
    size = replace(RUN.profile.translation, batch=10_000)
    none = Run(replace(RUN.profile, translation=size))
    assert {arm for arm, _ in downstream.sets(none)} == {arms.REAL_ONLY}
    assert [job.name for job in downstream.read(none)] == ["downstream/real-only/42", "scores/downstream/real-only/42"]


def test_a_classifier_is_trained_on_those_pixels_and_scored_by_both_rules(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    arm = "+ MRI, ultrasound's histogram, both classes"
    catalogue.make(RUN, ["scores/downstream/mri-ultrasound-s-histogram-both-classes"])
    job = JOBS[arm, 42]
    arrays = downstream.arrays(job)
    pools = {name: cohort.open_pool(cohort.pixels(RUN, name, 64).folder) for name in ("ultrasound", "mri", "extra")}
    real, _ = SETS[arm, 42]
    scarce = pools["ultrasound"].images[real.images[:, 1]]
    np.testing.assert_array_equal(arrays["image"][arrays["real"]], scarce)
    mri = [pools[name].images[rows] for name, rows in translators.sources(RUN, "training").items()]
    np.testing.assert_array_equal(arrays["image"][~arrays["real"]], match_histogram(np.concatenate(mri), scarce))
    assert len(arrays["label"]) == len(arrays["image"]) == len(arrays["real"])
    found = networks.read_scores(downstream.scores(RUN, job))
    assert set(found) == {f"{part}_{rule}" for part in ("test", "extended") for rule in downstream.RULES}
    for part in ("test", "extended"):
        shown = images.read(networks.patients(RUN, part), 64)
        for rule in downstream.RULES:
            again = training.predict(training.restore(job.folder, rule=rule), shown)
            np.testing.assert_allclose(found[f"{part}_{rule}"], again, atol=2**-11)
    assert jobs.record(job.folder)["recipe"]["settings"]["rules"] == list(downstream.RULES)
