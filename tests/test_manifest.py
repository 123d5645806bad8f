"""Manifests of phantoms: generated, frozen and hashed; a phantom written as a file is the same picture."""

import runpy

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ecsupport.cohort import images, manifest, own_manifest, phantom
from ecsupport.core import profiles
from ecsupport.core.paths import MANIFESTS


def test_files_and_phantoms_load_alike(tmp_path):
    """A phantom written as PNG and read back through a manifest is the same picture."""
    rows = manifest.phantoms(profiles.load("smoke").cohort).iloc[[0, 1, 700, 1300]]
    pixels = images.read(rows, 64)
    assert pixels.shape == (4, 64, 64) and pixels.dtype == np.uint8
    names = [f"{i}.png" for i in range(4)]
    for name, picture in zip(names, pixels, strict=True):
        Image.fromarray(picture).save(tmp_path / name)
    own = rows.assign(image=names).drop(columns=["source", "hash"])
    own.to_csv(tmp_path / "own.csv", index=False)
    frame = own_manifest.read(tmp_path / "own.csv")
    np.testing.assert_array_equal(images.read(frame, 64, tmp_path / "own.csv"), pixels)


def test_images_come_in_the_order_of_rows_in_memory_as_in_a_file(tmp_path):
    rows = manifest.phantoms(profiles.load("smoke").cohort).iloc[[1300, 0, 700, 0]]
    images.write(tmp_path / "images.npy", rows, 32)
    pixels = images.read(rows, 32)
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy", mmap_mode="r"), pixels)
    np.testing.assert_array_equal(pixels, [images.render(name, 32) for name in rows["image"]])


def test_pools_are_disjoint_and_counted():
    size = profiles.load("smoke").cohort
    frame = manifest.phantoms(size)
    assert len(frame) == (size.carcinoma_images + size.control_images + size.mri_images + size.extra_images
                          + size.instrument_images)  # fmt: skip
    owners = frame.groupby("patient_id")["source"].nunique()
    assert owners.max() == 1
    us = set(frame.loc[(frame["modality"] == "us") & (frame["source"] == "phantom"), "patient_id"])
    assert not us & set(frame.loc[(frame["modality"] == "mri") & (frame["source"] != "instrument"), "patient_id"])
    assert set(frame.loc[frame["source"] == "phantom_extra", "label"]) == {0}


@pytest.mark.parametrize("name", profiles.names())
def test_frozen_cohort_is_the_committed_one(name):
    """Every profile's manifest with its split has the committed digest; `paper` has the published counts."""
    freeze = runpy.run_path(str(MANIFESTS / "phantom" / "freeze.py"))["frozen"]
    done, row = freeze(name)
    committed = pd.read_csv(MANIFESTS / "phantom" / "digests.csv", index_col="profile").loc[name]
    assert row == {"profile": name, **committed.to_dict()}
    if name == "smoke":
        assert manifest.to_csv(done) == (MANIFESTS / "phantom" / "smoke.csv").read_text()
    if name == "paper":  # Results, "Data"
        assert committed[["train_carcinoma", "validation_carcinoma", "test_carcinoma"]].tolist() == [2698, 320, 336]
        assert committed[["validation_control", "test_control"]].tolist() == [320, 336]
        us = done[(done["source"] == "phantom") & (done["modality"] == "us")]
        assert us.groupby("label").size().to_dict() == {0: 33189, 1: 3354}
        assert us.groupby("label")["patient_id"].nunique().to_dict() == {0: 7300, 1: 651}
        mri = done[(done["source"] == "phantom") & (done["modality"] == "mri")]
        assert len(mri) == 34214
        assert mri.groupby("split")["patient_id"].nunique().to_dict() == {"train": 332, "test": 166}
        assert not set(mri["patient_id"]) & set(us["patient_id"])


@pytest.mark.parametrize("name", profiles.names())
@pytest.mark.parametrize("pool", ["extended", "population", "study"])
def test_the_patients_outside_the_cohort_are_the_committed_ones(name, pool):
    """A pure function of the version: their digest is frozen, and all of them stand in the columns of the test set."""
    freeze = runpy.run_path(str(MANIFESTS / "phantom" / "freeze.py"))["further"]
    committed = pd.read_csv(MANIFESTS / "phantom" / "digests.csv", index_col="profile").loc[f"{name}, {pool}"]
    assert freeze(name, pool) == {"profile": f"{name}, {pool}", **committed.to_dict()}
    if name != "smoke" and pool == "extended":
        assert committed[["patients", "images"]].tolist() == [2000, 8000]
        share = committed["test_carcinoma"] / committed["images"]
        assert abs(share - 0.5) < 2 * np.sqrt(0.25 / 2000)


@pytest.mark.parametrize("version", ["phantom-v1-easier", "phantom-v1-harder"])
def test_easier_and_harder_phantoms_are_the_committed_ones(version):
    freeze = runpy.run_path(str(MANIFESTS / "phantom" / "freeze.py"))
    committed = pd.read_csv(MANIFESTS / "phantom" / "digests.csv", index_col="profile")
    name = f"laptop, {version}"
    assert freeze["frozen"]("laptop", version)[1] == {"profile": name, **committed.loc[name].to_dict()}
    name = f"{name}, extended"
    assert freeze["further"]("laptop", "extended", version) == {"profile": name, **committed.loc[name].to_dict()}


def test_the_patients_who_decide_stand_outside_the_cohort():
    size = profiles.load("laptop").cohort
    frame, cohort = manifest.extended(size), manifest.phantoms(size)
    assert set(frame["patient_id"]).isdisjoint(cohort["patient_id"])
    prefixes = [pool.prefix for pool in phantom.POOLS.values()]
    assert len(set(prefixes)) == len(prefixes)
    assert set(frame["patient_id"].str[:2]) == {"EX"} and set(frame["split"]) == {"extended"}
    assert (frame.groupby("patient_id").size() == manifest.EXTENDED_IMAGES).all()
    assert set(frame["modality"]) == {"us"}
    findings = frame[frame["label"] == 0].drop_duplicates("patient_id")["diagnosis"].value_counts(normalize=True)
    for finding, share in (("hyperplasia", 0.15), ("polyp", 0.10), ("normal", 0.75)):  # README of the phantoms
        assert abs(findings[finding] - share) < 4 * np.sqrt(share * (1 - share) / 1000)


def test_covariates_come_one_row_a_patient():
    frame = manifest.phantoms(profiles.load("smoke").cohort)
    people = manifest.patients(frame)
    assert people["patient_id"].is_unique and len(people) == frame["patient_id"].nunique()
    who = phantom.patient("phantom-v2-easy", "EC00001")
    assert people.set_index("patient_id").loc["EC00001", "age"] == who.age
