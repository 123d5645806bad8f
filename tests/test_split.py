"""The patient-level split: properties on random cohorts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecsupport.cohort import manifest, split
from ecsupport.core.errors import UserError


def cohort(rng, n_patients=120, share=0.3, largest=9, modality="us"):
    """A random cohort: patients of any centre and class with 1 to `largest` images."""
    rows = []
    for p in range(n_patients):
        label, centre = int(rng.random() < share), f"centre_{rng.integers(5)}"
        rows += [
            (f"{modality}{p}/{i}", f"{modality}{p}", centre, modality, label)
            for i in range(rng.integers(1, largest + 1))
        ]
    frame = pd.DataFrame(rows, columns=["image", "patient_id", "centre", "modality", "label"])
    return frame.assign(split="", invasion_depth=np.nan)


cohorts = st.builds(
    lambda seed, n, share, largest: cohort(np.random.default_rng(seed), n, share, largest),
    st.integers(0, 10**6), st.integers(100, 250), st.floats(0.2, 0.6), st.integers(1, 30),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(cohorts, st.integers(0, 1000))
def test_properties_hold_on_any_cohort(images, seed):
    done = split.assign(images, task="cohort", rng=np.random.default_rng(seed))
    assert set(done["split"]) <= set(manifest.SPLITS)
    placed = done[done["split"] != "unused"]
    assert placed.groupby("patient_id")["split"].nunique().max() == 1  # no patient in two splits
    for name in split.BALANCED:
        part = done[done["split"] == name]
        assert part["label"].sum() * 2 == len(part) > 0  # balanced one to one
    drawn = done.copy()  # before balancing, every class stands as 8:1:1 in patients
    for label in (0, 1):
        patients = drawn[drawn["label"] == label].groupby("patient_id")["split"].agg(set)
        share = patients.map(lambda s: "train" in s).mean()
        assert abs(share - 0.8) <= 1.01 / len(patients) + 1e-9
    dropped = done[done["split"] == "unused"]
    for patient in dropped["patient_id"].unique():  # only balancing leaves images over, and never from training
        assert "train" not in set(done.loc[done["patient_id"] == patient, "split"])


@settings(max_examples=20, deadline=None)
@given(cohorts, st.integers(0, 1000))
def test_row_order_does_not_matter(images, seed):
    rows = np.random.default_rng(seed).permutation(len(images))
    first = split.assign(images, task="cohort", rng=np.random.default_rng(seed)).set_index("image")["split"]
    second = split.assign(images.iloc[rows], task="cohort", rng=np.random.default_rng(seed)).set_index("image")["split"]
    pd.testing.assert_series_equal(first.sort_index(), second.sort_index())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_every_centre_with_enough_patients_is_in_every_split(seed):
    """A centre with 24 patients of a class cannot fall between evenly spaced draws of one in ten."""
    rng = np.random.default_rng(seed)
    images = cohort(rng, 400, 0.5, 1)
    done = split.assign(images, task="cohort", rng=rng)
    for (centre, label), group in images.groupby(["centre", "label"]):
        if len(group) >= 24:
            here = done[(done["centre"] == centre) & (done["label"] == label)]
            assert {"train"} < set(here["split"]), (centre, label)
            assert here["split"].isin(["validation", "unused"]).any() and here["split"].isin(["test", "unused"]).any()


@settings(max_examples=20, deadline=None)
@given(cohorts, st.integers(0, 1000))
def test_exact_counts_are_hit_or_refused(images, seed):
    total = int(images["label"].sum())
    wanted = {"validation": max(total // 10, 1), "test": max(total // 9, 1)}
    try:
        done = split.assign(images, task="cohort", rng=np.random.default_rng(seed), positives=wanted)
    except UserError as error:
        assert "is the nearest found" in str(error) or "no image of one class" in str(error)
        return
    drawn = split.split(
        images, images["label"], split.ULTRASOUND, rng=np.random.default_rng(seed), exact=wanted, balance=()
    )
    for name, count in wanted.items():
        assert images["label"][drawn == name].sum() == count
    assert done["split"].eq("train").any()


def test_mri_patients_follow_their_ultrasound():
    """A test patient's MRI never trains a translator, whichever modality she was split by."""
    rng = np.random.default_rng(3)
    us = cohort(rng, 80)
    mri = us.assign(modality="mri", image=us["image"] + "m")
    done = split.assign(pd.concat([us, mri], ignore_index=True), task="cohort", rng=rng)
    place = (
        done[(done["modality"] == "us") & done["split"].isin(split.ULTRASOUND)].groupby("patient_id")["split"].first()
    )
    for patient, where in done[done["modality"] == "mri"].groupby("patient_id")["split"].first().items():
        if patient in place:
            assert where == place[patient]


def test_half_filled_splits_are_completed_by_patient():
    """Who has one image in a split has all of them there; the rest is drawn as ever."""
    images = cohort(np.random.default_rng(5))
    first = images.drop_duplicates("patient_id").index[:3]
    images.loc[first, "split"] = "test"
    done = split.assign(images, task="cohort", rng=np.random.default_rng(0))
    chosen = set(images.loc[first, "patient_id"])
    assert set(done.loc[done["patient_id"].isin(chosen), "split"]) == {"test"}
    assert set(done["split"]) == set(manifest.SPLITS)


def test_too_small_a_class_is_refused():
    images = cohort(np.random.default_rng(0), 60, 0.0)
    images.loc[images["patient_id"] == "us3", "label"] = 1
    with pytest.raises(UserError, match="would hold no image of one class"):
        split.assign(images, task="cohort", rng=np.random.default_rng(0))


def test_invasion_task_needs_depths():
    images = cohort(np.random.default_rng(0))
    with pytest.raises(UserError, match="row 1: no invasion_depth.*task = cohort"):
        split.assign(images, task="invasion", rng=np.random.default_rng(0))
