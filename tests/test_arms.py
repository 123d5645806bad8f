"""The arms of Table 2: who is in them, that they differ in one thing alone, and why the printed protocol misleads."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecsupport.core.seeds import generator
from ecsupport.screening import arms
from ecsupport.screening.arms import (
    DUPLICATED,
    NEW,
    REAL_ONLY,
    Labelled,
    contents,
    printed,
    scarce,
    unconfounded,
)
from ecsupport.screening.baseline import fit_and_score
from ecsupport.screening.batches import Batches
from ecsupport.screening.settings import Settings

SIDE = 2
CLASSIFIER = Settings(
    network="mobilenet_v2", stem_stride=1, teacher_width=0.1, batch=16, mixed_steps=100, real_steps=0, validate_every=50
)


def labelled(label, first=0):
    """Images whose grey level is their number, from `first` on."""
    number = first + np.arange(len(label))
    return Labelled(np.broadcast_to(number[:, None, None], (len(label), SIDE, SIDE)).astype(np.uint8), np.array(label))


def numbers(images):
    return images.images[:, 0, 0].tolist()


REAL = labelled([1] * 3 + [0] * 9)
NEW_POSITIVES = labelled([1] * 12, 20)
MRI = labelled([1] * 7 + [0] * 5, 40)
ONE, OTHER, MATCHED = (labelled(MRI.label, first) for first in (60, 80, 100))
VALIDATION = labelled([1, 0], 200)


def build(translated=None, mri=None, new=NEW_POSITIVES):
    translated = {"CycleGAN": ONE, "SG-CycleGAN": OTHER} if translated is None else translated
    mri = {"MRI": MRI, "matched MRI": MATCHED} if mri is None else mri
    return unconfounded(REAL, new, translated, mri, generator("arms"))


# the scarce set


cohorts = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 6)), min_size=1, max_size=20)


@settings(deadline=None)
@given(cohorts, st.integers(0, 15), st.integers(0, 15), st.integers(0, 10))
def test_the_scarce_set_has_the_numbers_wanted_of_whole_patients_but_one(cohort, positives, negatives, seed):
    patient = np.concatenate([[f"P{n}"] * images for n, (_, images) in enumerate(cohort)])
    label = np.concatenate([[value] * images for value, images in cohort])
    order = generator("shuffled", seed).permutation(len(label))
    patient, label = patient[order], label[order]
    chosen, pool = scarce(label, patient, positives, negatives, generator("scarce", seed))
    assert (np.diff(chosen) > 0).all()
    for value, wanted in ((1, positives), (0, negatives)):
        of = chosen[label[chosen] == value]
        assert len(of) == min(wanted, (label == value).sum())
        drawn, seen = np.unique(patient[of], return_counts=True)
        assert sum(seen < [(patient == name).sum() for name in drawn]) <= 1
    assert not set(patient[pool]) & set(patient[chosen])
    assert set(pool) | set(np.flatnonzero(np.isin(patient, patient[chosen]))) >= set(np.flatnonzero(label == 1))
    assert (label[pool] == 1).all()


def test_patients_are_drawn_and_not_images():
    """By image, a patient of many images would nearly always be in; by patient she is as likely as any other."""
    label, patient = np.ones(60, int), np.array(["large"] * 50 + [f"small {n}" for n in range(10)])
    firsts = [scarce(label, patient, 1, 0, generator("draw", n))[0][0] for n in range(300)]
    assert np.mean(np.array(firsts) < 50) == pytest.approx(1 / 11, abs=0.05)


def test_a_patient_with_images_of_both_classes_gives_none_to_the_pool():
    label, patient = np.array([1, 0, 1, 0]), np.array(["a", "a", "b", "b"])
    chosen, pool = scarce(label, patient, 0, 2, generator("both"))
    assert chosen.tolist() == [1, 3]
    assert pool.tolist() == []


# the arms


def test_arms_have_these_names_and_numbers():
    found = contents({arm: (REAL, added) for arm, added in build().items()})
    expected = {
        REAL_ONLY: (3, 9, 0, 0),
        "+ CycleGAN": (3, 9, 7, 0),
        "+ SG-CycleGAN": (3, 9, 7, 0),
        "+ CycleGAN, both classes": (3, 9, 7, 5),
        "+ SG-CycleGAN, both classes": (3, 9, 7, 5),
        "+ MRI, both classes": (3, 9, 7, 5),
        "+ matched MRI, both classes": (3, 9, 7, 5),
        DUPLICATED: (3, 9, 7, 0),
        NEW: (3, 9, 7, 0),
    }
    assert {arm: tuple(row) for arm, row in zip(found.index, found.to_numpy(), strict=True)} == expected


def test_arms_hold_the_images_that_their_names_say():
    added = build()
    assert numbers(added["+ CycleGAN"]) == numbers(ONE)[:7]
    assert numbers(added["+ SG-CycleGAN, both classes"]) == numbers(OTHER)
    assert numbers(added["+ MRI, both classes"]) == numbers(MRI)
    assert numbers(added[DUPLICATED]) == [0, 1, 2, 0, 1, 2, 0]
    assert set(numbers(added[NEW])) < set(numbers(NEW_POSITIVES))
    assert len(set(numbers(added[NEW]))) == 7


def test_sources_of_other_patients_are_refused():
    other = labelled([1] * 6 + [0] * 6)
    with pytest.raises(ValueError, match="labels of 'MRI' are not those of 'CycleGAN', expected the same MRI"):
        build({"CycleGAN": ONE}, {"MRI": other})
    with pytest.raises(ValueError, match="expected the same MRI"):
        printed(REAL, {"CycleGAN": ONE, "UNIT": other}, generator("printed"))
    with pytest.raises(ValueError, match="3 images and 2 labels"):
        Labelled(REAL.images[:3], REAL.label[:2])


def test_what_is_missing_leaves_its_arms_out():
    positives = MRI.of(1)
    assert list(build({"CycleGAN": positives}, {"MRI": positives})) == [REAL_ONLY, "+ CycleGAN", DUPLICATED, NEW]
    assert list(build({}, {"MRI": MRI})) == [REAL_ONLY, "+ MRI, both classes", DUPLICATED, NEW]
    assert list(build({}, {})) == [REAL_ONLY]
    assert NEW not in build(new=NEW_POSITIVES.take([]))
    assert len(build(new=NEW_POSITIVES.take([3, 4]))[NEW].label) == 2
    assert printed(REAL, {}, generator("printed"))[1] == {}


# what a training draws


def drawn(real, added, **changes):
    """Label and source (1 = added) of all images drawn in a hundred steps."""
    arrays = {
        "image": np.concatenate([real.images, added.images]),
        "label": np.concatenate([real.label, added.label]),
        "real": np.arange(len(real.label) + len(added.label)) < len(real.label),
        "validation_image": VALIDATION.images,
        "validation_label": VALIDATION.label,
    }
    batches = Batches(arrays, replace(CLASSIFIER, **changes), 1)
    places = np.concatenate([batches.draw(step) for step in range(100)])
    return arrays["label"][places], 1 - arrays["real"][places].astype(int), arrays["image"][places, 0, 0]


def test_with_both_classes_and_half_of_each_drawn_synthetic_the_source_tells_nothing():
    both = build()["+ CycleGAN, both classes"]
    label, source, _ = drawn(REAL, both, synthetic_share=0.5)
    assert np.histogram2d(label, source, 2)[0].tolist() == [[400, 400], [400, 400]]
    label, source, _ = drawn(REAL, both)  # left to chance, 7 of 10 positives are synthetic and 5 of 14 negatives
    assert source[label == 1].mean() > source[label == 0].mean() + 0.2


def test_with_positives_alone_synthetic_tells_positive():
    label, source, _ = drawn(REAL, build()["+ CycleGAN"], synthetic_share=0.5)
    assert np.histogram2d(label, source, 2)[0].tolist() == [[800, 0], [400, 400]]


def test_copies_change_no_images_chance_and_new_ones_are_drawn_as_synthetic_ones_are():
    added = build()
    label, _, number = drawn(REAL, added[DUPLICATED].take(range(6)), synthetic_share=0.5)
    assert np.bincount(number[label == 1]) / 800 == pytest.approx([1 / 3] * 3, abs=0.05)
    _, source, _ = drawn(REAL, added[NEW], synthetic_share=0.5)
    assert source.mean() == 0.25


def test_the_printed_protocol_confounds_class_and_source():
    whole = labelled([1] * 3 + [0] * 30)
    kept, added = printed(whole, {"CycleGAN": ONE, "UNIT": OTHER}, generator("printed"))
    assert contents({arm: (kept, images) for arm, images in added.items()}).to_numpy().tolist() == [[0, 7, 7, 0]] * 2
    assert set(numbers(kept)) <= set(range(3, 33))
    assert (np.array(numbers(added["UNIT"])) - numbers(added["CycleGAN"]) == 20).all()
    label, source, _ = drawn(kept, added["CycleGAN"])
    assert (label == source).all()
    fewer, of = printed(whole, {"CycleGAN": ONE}, generator("printed"), 4)
    assert (len(fewer.label), len(of["CycleGAN"].label)) == (4, 4)
    assert arms.PRINTED_NUMBER == 10_000


def test_in_the_printed_protocol_real_positives_pass_for_negatives():
    """Positives have a disc; synthetic images are striped, as a translator's are now and then, the stronger sign."""
    rng = generator("confounded")

    def draw(count, disc, stripes):
        image = rng.integers(60, 120, (count, 32, 32))
        image[:, 12:20, 12:20] += 40 * disc
        image[:, ::2] += 60 * stripes
        return Labelled(image.astype(np.uint8), np.full(count, disc))

    def join(*parts):
        return Labelled(np.concatenate([p.images for p in parts]), np.concatenate([p.label for p in parts]))

    translated = join(draw(60, 1, 1), draw(60, 0, 1))
    real, test = (join(draw(count, 1, 0), draw(60, 0, 0)) for count in (20, 60))
    kept, synthetic = printed(real, {"X": translated}, generator("printed"))
    both = unconfounded(real, real.take([]), {"X": translated}, {}, generator("arms"))["+ X, both classes"]
    called = []
    for train in (join(kept, synthetic["X"]), join(real, both)):
        patients = np.arange(len(train.label))
        score = fit_and_score(train.images, train.label, patients, test.images, generator("fit"))
        called.append((score > 0.5)[test.label == 1].mean())
    assert called[0] < 0.1
    assert called[1] > 0.9
