"""Study designs: what each lets a classifier see, and what its patients are."""

import numpy as np
import pandas as pd
import pytest

from ecsupport.cohort import phantom, population
from ecsupport.cohort.ultrasound import CENTRES
from ecsupport.core import jobs, profiles
from ecsupport.core.profiles import Run
from ecsupport.experiments import catalogue, cohort, design_jobs, designs

RUN = Run(profiles.load("smoke"))
FIRST, SECOND = RUN.profile.design.seeds
STUDY = designs.Study(RUN, FIRST)


def patients(of, study=STUDY):
    """Numbers of the patients of the real images of a set."""
    return set(study.patient[of.images[of.images[:, 0] == 0, 1]])


@pytest.mark.parametrize("name", designs.DESIGNS)
@pytest.mark.parametrize("seed", [FIRST, SECOND])
def test_all_learn_from_both_classes_and_none_from_a_tested_patient_but_by_design(name, seed):
    study = designs.Study(RUN, seed)
    learnt, validation, test = designs.DESIGNS[name](study)
    overlap = patients(learnt, study) & patients(test, study)
    assert bool(overlap) == name.startswith("by-image")
    for of in (learnt, validation, test):
        assert set(of.label) == {0, 1}
        assert len(np.unique(of.images, axis=0)) == len(of.images)
    number = RUN.profile.design.images
    for value in (1, 0):
        if name != "synthetic" or value == 0:
            assert len(learnt.of(value).label) == pytest.approx(number, abs=population.STUDY_IMAGES)


def test_where_images_are_split_no_image_stands_twice_and_patients_do():
    for images in (4, 8, 16):
        sets = designs.by_image(images)(STUDY)
        every = np.concatenate([of.images for of in sets])
        assert len(np.unique(every, axis=0)) == len(every)
        _, count = np.unique(STUDY.patient[every[:, 1]], return_counts=True)
        assert set(count) == {images}
        seen = patients(sets.learnt) & patients(sets.test)
        assert len(seen) > 0.6 * len(patients(sets.test))


def test_folds_divide_patients_and_every_finding_alike_and_seeds_test_other_patients():
    by_patient = pd.DataFrame({"patient": STUDY.patient, "fold": STUDY.fold, "finding": STUDY.finding})
    assert (by_patient.groupby("patient")["fold"].nunique() == 1).all()
    count = by_patient.drop_duplicates("patient").groupby(["finding", "fold"]).size().unstack(fill_value=0)
    assert (count.max(axis=1) - count.min(axis=1) <= 1).all()
    assert list(count) == list(range(designs.FOLDS))
    first, second = (patients(designs.sound(designs.Study(RUN, seed)).test) for seed in (FIRST, SECOND))
    assert first.isdisjoint(second)


def test_each_design_shows_the_findings_that_it_names():
    def found(design, value):
        learnt = design(STUDY).learnt
        return set(STUDY.finding[learnt.images[learnt.label == value, 1]])

    assert found(designs.sound, 1) == set(population.CARCINOMA)
    assert found(designs.sound, 0) == set(population.CONTROL)
    assert found(designs.without_findings, 0) == {"normal"}
    assert found(designs.invasion, 1) == set(population.INVASIVE)
    assert "carcinoma without invasion" in found(designs.invasion, 0)


@pytest.mark.parametrize("percent", [75, 90, 100])
def test_a_class_has_its_share_of_patients_from_centres_of_its_own(percent):
    """Of all study patients, in all folds; thinning is by chance."""
    run = Run(profiles.load("laptop"))
    study = designs.Study(run, 42)
    sets = designs.bound(percent / 100)(study)
    for value in (1, 0):
        rows = np.concatenate([of.images[of.label == value, 1] for of in sets])
        one = np.unique(study.patient[rows], return_index=True)[1]
        of_positives = np.isin(study.centre[rows[one]], designs.OF_POSITIVES).mean()
        share = of_positives if value else 1 - of_positives
        assert share == pytest.approx(percent / 100, abs=4 * np.sqrt(0.75 * 0.25 / len(one)))
        assert percent < 100 or share == 1


def test_the_centre_that_is_left_out_is_tested_and_nowhere_else():
    for seed, centre in zip((FIRST, SECOND), CENTRES, strict=False):
        study = designs.Study(RUN, seed)
        learnt, validation, test = designs.centre_left_out(study)
        assert set(study.centre[test.images[:, 1]]) == {centre}
        for of in (learnt, validation):
            assert centre not in study.centre[of.images[:, 1]]


def test_shuffled_labels_are_the_sound_ones_in_another_order_and_validation_is_as_it_was():
    sound, shuffled = designs.sound(STUDY), designs.shuffled(STUDY)
    np.testing.assert_array_equal(sound.learnt.images, shuffled.learnt.images)
    assert sound.learnt.label.sum() == shuffled.learnt.label.sum()
    assert np.mean(sound.learnt.label == shuffled.learnt.label) < 0.75
    np.testing.assert_array_equal(sound.validation.label, shuffled.validation.label)


def test_synthetic_positives_are_all_positives_there_are():
    for of in designs.synthetic(STUDY):
        assert (of.images[of.label == 1, 0] > 0).all() and (of.images[of.label == 0, 0] == 0).all()


def test_the_classifiers_of_a_shared_checkpoint_differ_from_independent_ones_in_the_first_phase_alone():
    every = design_jobs.classifiers(RUN)
    shared, independent = every[design_jobs.SHARED, SECOND], every[design_jobs.INDEPENDENT, SECOND]
    assert shared.recipe["settings"]["shared_start"] == FIRST
    assert independent.recipe["settings"]["shared_start"] is None
    assert {name: job.key for name, job in shared.inputs.items()} == {n: j.key for n, j in independent.inputs.items()}
    assert all(np.array_equal(shared.given[name], independent.given[name]) for name in shared.given)


def test_a_run_on_own_images_tries_the_same_phantoms_without_synthetic_ones(tmp_path):
    (tmp_path / "own.csv").touch()
    own = design_jobs.read(Run(RUN.profile, tmp_path / "own.csv"))
    of_phantoms = {job.name: job.key for job in design_jobs.read(RUN)}
    assert {job.name: job.key for job in own}.items() <= of_phantoms.items()
    assert {name.split("/")[-2] for name in of_phantoms.keys() - {job.name for job in own}} == {"synthetic"}


def test_laptop_and_paper_try_the_same_designs_but_for_the_translator():
    laptop, paper = (design_jobs.classifiers(Run(profiles.load(name))) for name in ("laptop", "paper"))
    assert laptop.keys() == paper.keys()
    assert {
        name for name, _ in laptop if any(laptop[name, s].key != paper[name, s].key for n, s in laptop if n == name)
    } == {"synthetic"}


def test_the_watched_scores_are_those_of_the_network_at_that_validation(tmp_path, monkeypatch):
    """The last validation's are those of the weights in the end, where these were chosen there; at the chosen step."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    job = design_jobs.classifiers(RUN)["sound", FIRST]
    scores = design_jobs.scores(RUN, job)
    jobs.make([scores])
    history = pd.read_csv(job.file("history.csv")).dropna(subset=["auc"])
    watched = np.load(job.file("watched.npy"))
    assert watched.shape == (len(history), len(job.given["watched_image"]))
    of_test = {tuple(image): place for place, image in enumerate(job.given["test_image"])}
    places = [of_test[tuple(image)] for image in job.given["watched_image"]]
    assert set(STUDY.number[job.given["watched_image"][:, 1]]) == set(range(design_jobs.WATCHED))
    from ecsupport.experiments.networks import read_scores  # noqa: PLC0415

    found = read_scores(scores)
    chosen = watched[history["chosen_auc"].to_numpy()][0].astype(float)
    np.testing.assert_allclose(1 / (1 + np.exp(-chosen)), found["test_auc"][places], atol=2e-3)
    assert len(found["population_dual"]) == len(cohort.pool(RUN, "population"))


def test_population_and_study_have_one_mix_within_a_class_and_no_patient_in_common():
    size = profiles.load("laptop").design
    people = population.population("phantom-v1", size.population_patients)
    study = population.study("phantom-v1", size.study_carcinomas, size.study_controls)
    assert set(people["patient_id"]).isdisjoint(study["patient_id"])
    for label in (0, 1):
        shares = [
            population.finding(rows[rows["label"] == label]).value_counts(normalize=True) for rows in (people, study)
        ]
        assert (shares[0] - shares[1]).abs().max() < 0.002
    count = population.finding(people).value_counts(normalize=True)
    assert count.to_dict() == pytest.approx(population.MIX)


@pytest.mark.parametrize("version", ["phantom-v1", "phantom-v2-easy"])
def test_patients_have_the_finding_that_their_pool_gives(version):
    rows = population.study(version, 60, 60).drop_duplicates("patient_id")
    low, high = (getattr(phantom.load(version), f"depth_{word}") for word in ("superficial", "deep"))
    for finding, name in zip(population.finding(rows), rows["patient_id"], strict=True):
        who = phantom.patient(version, name)
        uterus, depth = who.uterus, who.uterus.invasion_depth
        assert who.carcinoma == (finding in population.CARCINOMA)
        assert bool(uterus.tongues) == (finding in population.INVASIVE)
        if finding in population.INVASIVE:
            least, most = low if finding.startswith("superficial") else high
            assert least <= depth <= most
        if finding in ("hyperplasia", "polyp"):
            assert who.diagnosis == finding
        if finding in ("normal", "fibroid"):
            assert who.diagnosis == "normal" and bool(uterus.fibroids) == (finding == "fibroid")


def test_the_graph_knows_them():
    assert {job.name.split("/")[0] for job in catalogue.of_notebook(RUN, "11_design_on_trial")} == {"design", "scores"}
