"""Manifests: own files are checked row by row, phantoms are generated and hashed."""

import runpy

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ecsupport.cohort import images, manifest, phantom
from ecsupport.core import profiles
from ecsupport.core.errors import UserError
from ecsupport.core.paths import MANIFESTS


@pytest.fixture
def own(tmp_path):
    """Six small PNG files of four patients and their manifest."""
    rng = np.random.default_rng(0)
    rows = [
        ("a/1.png", "P1", "north", "us", 1),
        ("a/2.png", "P1", "north", "us", 1),
        ("b.png", "P2", "south", "us", 0),
        ("c.png", "P3", "south", "us", 0),
        ("d.png", "P4", "north", "mri", 1),
        ("e.png", "P4", "north", "mri", 1),
    ]
    (tmp_path / "a").mkdir()
    for name, *_ in rows:
        Image.fromarray(rng.integers(0, 256, (40, 50), np.uint8)).save(tmp_path / name)
    frame = pd.DataFrame(rows, columns=list(manifest.REQUIRED))

    def write(change=lambda f: f):
        change(frame.copy()).to_csv(tmp_path / "own.csv", index=False)
        return tmp_path / "own.csv"

    return write


def test_own_manifest_reads(own):
    frame = manifest.read(own())
    assert list(frame.columns) == list(manifest.COLUMNS)
    assert set(frame["source"]) == {"file"} and frame["hash"].str.len().eq(64).all()


def changed(row, column, value):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="centre"), "column 'centre' is missing"),
        (lambda f: f.iloc[:0], "no rows"),
        (changed(2, "patient_id", None), "row 3: empty patient_id"),
        (changed(1, "modality", "ct"), "row 2: unknown modality.*us or mri"),
        (changed(3, "label", 2), "row 4: label is not 0 or 1"),
        (changed(1, "image", "a/1.png"), "row 2: image listed twice"),
        (changed(4, "image", "lost.png"), "row 5: image file does not exist"),
        (
            lambda f: f.assign(split=["train", "test", "train", "test", "", ""]),
            "row 2: patient P1 is in test and in train",
        ),
        (lambda f: f.assign(split="holdout"), "row 1: unknown split"),
        (lambda f: f.assign(label=1), "no ultrasound image with label 0"),
        (lambda f: f[f["modality"] == "mri"], "no ultrasound image with label 0"),
        (
            lambda f: f.assign(invasion_depth=["0.4", "superficial", "", "", "", ""]),
            "row 2: invasion_depth is no fraction",
        ),
        (lambda f: f.assign(invasion_depth=50), "row 1: invasion_depth is no fraction"),
        (lambda f: f.assign(visible=["yes", "", "", "", "", ""]), "row 1: visible is not true or false"),
        (changed(1, "centre", "south"), "row 2: patient has a second centre"),
        (changed(1, "label", 0), "row 2: patient has another label"),
        (changed(2, "patient_id", "  "), "row 3: empty patient_id"),
    ],
)
def test_bad_manifest_gives_one_message_with_row_and_remedy(own, change, message):
    with pytest.raises(UserError, match=message):
        manifest.read(own(change))


def test_a_wrong_label_is_one_mistake_and_not_two(own):
    with pytest.raises(UserError) as mistake:
        manifest.read(own(changed(1, "label", 2)))
    assert "row 2: label is not 0 or 1" in str(mistake.value)
    assert "another label" not in str(mistake.value)


def test_other_separators_and_folders_are_named(own, tmp_path):
    path = own()
    path.write_text(path.read_text().replace(",", ";"))
    with pytest.raises(UserError, match="separated by ';'. Save it with commas"):
        manifest.read(path)
    with pytest.raises(UserError, match="is no file. Give COHORT the path of a CSV file"):
        profiles.Run.open("smoke", str(tmp_path))


def test_unreadable_image_is_named(own, tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "workspace"))
    path = own()
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:100])  # its head tells nothing of the loss
    frame = manifest.read(path)
    with pytest.raises(UserError, match=r"own.csv, row b.png: cannot read the image.*PNG"):
        images.load(frame, 32, manifest=path)
    assert [f for f in (tmp_path / "workspace" / "store").rglob("*") if f.suffix != ".lock" and f.is_file()] == []
    assert not list((tmp_path / "workspace" / "store").rglob("*.making-*"))


def test_more_than_eight_bits_are_refused_not_clipped(own, tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "workspace"))
    path = own()
    frame = manifest.read(path)
    Image.fromarray(np.full((40, 50), 3000, np.uint16)).save(tmp_path / "c.png")
    with pytest.raises(UserError, match="row c.png: cannot read the image .*more than 8 bits.*8-bit PNG"):
        images.load(frame, 32, manifest=path)
    with pytest.raises(UserError, match="row 4: cannot read the image .*more than 8 bits.*8-bit PNG"):
        manifest.read(path)


def test_files_and_phantoms_load_alike(tmp_path, monkeypatch):
    """A phantom written as PNG and read back through a manifest is the same picture."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "workspace"))
    rows = manifest.phantoms(profiles.load("smoke").cohort).iloc[[0, 1, 700, 1300]]
    pixels = images.load(rows, 64)
    assert pixels.shape == (4, 64, 64) and pixels.dtype == np.uint8
    names = [f"{i}.png" for i in range(4)]
    for name, picture in zip(names, pixels, strict=True):
        Image.fromarray(picture).save(tmp_path / name)
    own = rows.assign(image=names)
    own.to_csv(tmp_path / "own.csv", index=False)
    frame = manifest.read(tmp_path / "own.csv")
    np.testing.assert_array_equal(images.load(frame, 64, manifest=tmp_path / "own.csv"), pixels)


def test_workers_do_not_change_the_bytes(tmp_path, monkeypatch):
    rows = manifest.phantoms(profiles.load("smoke").cohort).iloc[::4]
    monkeypatch.setattr(images, "BLOCK", 100)
    loaded = []
    for workers in (1, 3):
        monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / str(workers)))
        loaded.append(images.load(rows, 32, workers=workers))
    np.testing.assert_array_equal(*loaded)


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


def test_covariates_come_one_row_a_patient():
    frame = manifest.phantoms(profiles.load("smoke").cohort)
    people = manifest.patients(frame)
    assert people["patient_id"].is_unique and len(people) == frame["patient_id"].nunique()
    who = phantom.patient("phantom-v2-easy", "EC00001")
    assert people.set_index("patient_id").loc["EC00001", "age"] == who.age
