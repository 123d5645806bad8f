"""Which images notebook 01 shows, and that the job holds those images and, of phantoms, their exact anatomy."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ecsupport.cohort import export, mri, phantom
from ecsupport.core import jobs
from ecsupport.core.profiles import Run, load
from ecsupport.experiments import cohort, pictures
from ecsupport.reporting import cohort_plots

SMOKE = load("smoke")
TINY = replace(
    SMOKE,
    name="tiny",
    cohort=replace(
        SMOKE.cohort, carcinoma_patients=30, carcinoma_images=120, control_patients=24, control_images=48,
        mri_patients=9, mri_images=36, extra_patients=3, extra_images=6, instrument_patients=6, instrument_images=12,
        validation_positives=0, test_positives=0,
    ),
)  # fmt: skip
RUN = Run(TINY)


@pytest.fixture(scope="module")
def rows():
    return cohort.rows(RUN)


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "workspace"))
    jobs.make(pictures.read(RUN))
    return pictures.shown(RUN)


def test_each_centre_shows_its_first_image_of_each_class(rows):
    first = pictures.first_images(rows)
    wanted = []
    for label in (1, 0):
        for centre in sorted(set(rows["centre"]))[:5]:
            of = rows[(rows["centre"] == centre) & (rows["label"] == label) & (rows["modality"] == "us")]
            wanted += of["image"].tolist()[:1]
    assert first["image"].tolist() == wanted
    one_class = pictures.first_images(rows[rows["label"] == 0])
    assert set(one_class["label"]) == {0}


def test_the_uterus_shown_has_as_many_sequences_as_any(rows):
    same = pictures.one_uterus(rows)
    scanned = rows[(rows["modality"] == "mri") & (rows["split"].isin(["train", "test"]))]
    assert same["patient_id"].nunique() == 1
    assert same["sequence"].is_unique
    assert len(same) == max(len(set(of["sequence"])) for _, of in scanned.groupby("patient_id"))
    unnamed = rows.assign(sequence=rows["sequence"].where(rows["modality"] == "us", "scout"))
    assert pictures.one_uterus(unnamed).empty
    assert pictures.one_uterus(rows[rows["modality"] == "us"]).empty
    some = rows["sequence"].mask(rows["patient_id"] == same["patient_id"].iloc[0], "scout")
    assert set(pictures.one_uterus(rows.assign(sequence=some))["sequence"]) <= set(mri.SEQUENCES)


def test_a_pair_of_views_shows_the_invasion_and_misses_it(rows):
    pair = pictures.view_pair(rows)
    assert pair["visible"].tolist() == [True, False]
    assert pair["patient_id"].nunique() == 1
    assert (pair["invasion_depth"] > 0).all()
    assert pictures.view_pair(rows.assign(visible=True)).empty
    unknown = rows["invasion_depth"].where(rows["image"] != pair["image"].iloc[0])
    assert pictures.view_pair(rows.assign(invasion_depth=unknown)).empty


def test_pictures_and_anatomy_are_those_of_the_phantoms(made, rows):
    picture_of, labels_of = pictures.open_shown(made)
    chosen = [pictures.first_images(rows), pictures.one_uterus(rows), pictures.view_pair(rows)]
    names = {name for part in chosen for name in part["image"]}
    assert set(picture_of) == names
    for name in names:
        version, patient, modality, index = name.split("/")
        where = version, patient, int(index), modality, pictures.SIDE
        np.testing.assert_array_equal(picture_of[name], phantom.render(*where))
        known = modality == "us" and patient.startswith("EC")
        assert (name in labels_of) == known
        if known:
            np.testing.assert_array_equal(labels_of[name], phantom.truth(*where).labels)


def test_the_drawings_show_each_image_in_its_frame(made, rows):
    picture_of, labels_of = pictures.open_shown(made)
    first = pictures.first_images(rows)
    centres = sorted(first["centre"].unique())
    lonely = first[(first["label"] == 1) | (first["centre"] != centres[0])]  # a centre without controls
    figure, caption = cohort_plots.ultrasound(lonely, centres, picture_of, labels_of)
    drawn = [[image.get_array() for image in axis.images] for axis in figure.axes]
    image = first.set_index(["label", "centre"])["image"]
    np.testing.assert_array_equal(drawn[0][0], picture_of[image[1, centres[0]]])
    np.testing.assert_array_equal(drawn[len(centres)][0], labels_of[image[1, centres[0]]])
    assert drawn[2 * len(centres)] == []
    np.testing.assert_array_equal(drawn[2 * len(centres) + 1][0], picture_of[image[0, centres[1]]])
    assert "exact anatomy" in caption
    _, caption = cohort_plots.ultrasound(first, centres, picture_of, {})
    assert "anatomy" not in caption


def test_own_images_are_shown_without_anatomy(tmp_path, monkeypatch, rows):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "w"))
    file = export.export(rows[rows["source"] == "phantom"], tmp_path / "own", 64)
    own = replace(RUN, cohort=file)
    cohort.note(own)
    jobs.make(pictures.read(own))
    picture_of, labels_of = pictures.open_shown(pictures.shown(own))
    assert labels_of == {}
    name = pictures.first_images(cohort.rows(own))["image"].iloc[0]
    with Image.open(file.parent / name) as image:
        resized = np.asarray(image.resize((pictures.SIDE, pictures.SIDE), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(picture_of[name], resized)
    pair = pictures.view_pair(cohort.rows(own))
    assert len(cohort_plots.views(pair, picture_of, labels_of).axes) == 2
