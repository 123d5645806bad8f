"""A fresh network finds what sets translations apart, and nothing where nothing does; nobody both trains and judges."""

import numpy as np
import pytest
from scipy import ndimage

from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.experiments import passing as experiments
from ecsupport.instruments import passing
from ecsupport.screening.selection import area
from ecsupport.translation.models import MODELS

SIDE = 32


def speckle(word, patients=30, each=4, blur=0.0):
    """Smooth tissue with multiplicative grain (N, 32, 32) uint8, and whose it is (N,)."""
    rng = np.random.default_rng(sum(map(ord, word)))
    tissue = ndimage.gaussian_filter(rng.normal(size=(patients * each, SIDE, SIDE)), (0, 4, 4)) * 200 + 128
    grain = ndimage.gaussian_filter(1 + 0.3 * rng.normal(size=tissue.shape), (0, blur, blur))
    return (tissue * grain).clip(0, 255).astype(np.uint8), np.repeat([f"{word}{n:02d}" for n in range(patients)], each)


def told(real, translated, steps=120):
    label, score, patient = passing.told_apart(*real, *translated, seed=1, steps=steps)
    return area(score[label == 1], score[label == 0]), label, patient


def test_images_of_one_kind_are_not_told_apart():
    assert 0.35 < told(speckle("a"), speckle("b"))[0] < 0.65


def test_a_slightly_smoother_grain_is_found():
    assert told(speckle("a"), speckle("b", blur=0.6))[0] > 0.95


def test_every_second_patient_judges_and_no_judge_has_trained(monkeypatch):
    trained = {}
    train = passing.features.train
    monkeypatch.setattr(
        passing.features,
        "train",
        lambda folder, content, *a, **k: (trained.update(content), train(folder, content, *a, **k)),
    )
    real, translated = speckle("a", patients=5), speckle("b", patients=4, blur=0.6)
    _, label, patient = told(real, translated, steps=1)
    assert set(patient) == {"a01", "a03", "b01", "b03"}
    assert np.array_equal(label == 1, [name[0] == "b" for name in patient])
    seen = np.concatenate(
        [real[0][np.isin(real[1], ["a00", "a02", "a04"])], translated[0][np.isin(translated[1], ["b00", "b02"])]]
    )
    assert np.array_equal(trained["image"], seen)


def test_one_patient_cannot_both_train_and_judge():
    with pytest.raises(UserError, match="at least two patients"):
        told(speckle("a"), speckle("b", patients=1))


def test_the_jobs_judge_test_patients_and_the_control_compares_disjoint_ones():
    run = Run.open("smoke")
    us, mri = (experiments.cohort.pool(run, name) for name in ("ultrasound", "mri"))
    judged = experiments.judged(run)
    assert {model for model, _ in judged} == {*MODELS, experiments.UNTRANSLATED, experiments.REAL}
    for (name, _), job in judged.items():
        assert set(us["split"].iloc[job.given["real"]]) == {"test"}
        assert set(us["label"].iloc[job.given["real"]]) == {1}
        if name != experiments.REAL:
            assert set(job.given["patient"]) <= set(mri.loc[mri["split"] == "test", "patient_id"])
    control = judged[experiments.REAL, 0].given
    assert set(control["patient"]).isdisjoint(control["real_patient"])
    assert list(us["patient_id"].iloc[control["places"]]) == list(control["patient"])
