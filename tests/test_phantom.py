"""The phantom cohort: images are pure functions of their key, and the truth that comes with them is the truth."""

import dataclasses
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from ecsupport.cohort import anatomy, phantom, recipe, ultrasound
from ecsupport.cohort.anatomy import TISSUES, View
from ecsupport.core.errors import UserError
from ecsupport.core.paths import ROOT

V1 = "phantom-v1"
KEYS = [(pool, number, index, m) for pool in ("carcinoma", "control") for number in (1, 2, 3) for index in (0, 4)
        for m in ("us", "mri")]  # fmt: skip


def image(pool, number, index, modality, size=64, dtype=np.float32):
    return phantom.render(V1, phantom.patient_id(pool, number), index, modality, size, dtype)


def test_same_bytes_in_any_order_and_in_another_process():
    here = {key: image(*key) for key in KEYS}
    for key in reversed(KEYS):
        np.testing.assert_array_equal(image(*key), here[key])
    code = (
        "import hashlib, json, sys; from ecsupport.cohort import phantom as p;"
        "keys = json.loads(sys.argv[1]);"
        "print(json.dumps([hashlib.sha256(p.render('phantom-v1', p.patient_id(a, n), i, m, 64)).hexdigest()"
        " for a, n, i, m in keys]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps(KEYS[::-1])], cwd=ROOT, capture_output=True, check=True
    )
    assert json.loads(run.stdout) == [hashlib.sha256(here[key]).hexdigest() for key in KEYS[::-1]]


@pytest.mark.parametrize("size", [64, 160])
def test_other_rounding_moves_no_pixel_by_more_than_one_grey_level(size):
    """Another machine rounds differently; double precision stands in for it, far beyond such a difference."""
    for key in KEYS[::3]:
        single, double = image(*key, size=size).astype(int), image(*key, size=size, dtype=np.float64).astype(int)
        assert np.abs(single - double).max() <= 1
        assert (single != double).mean() < 0.02


def test_different_keys_give_different_images():
    pictures = {image(*key).tobytes() for key in KEYS}
    assert len(pictures) == len(KEYS)


def test_frozen_pictures_are_within_one_grey_level():
    """phantom-v1 is frozen: changing a pixel of it needs a new version (the reference is committed)."""
    with np.load(ROOT / "tests" / "data" / "phantom_v1.npz") as frozen:
        assert len(frozen.files) == 8
        for name in frozen.files:
            pool, number, index, modality = name.split("-")
            now = image(pool, int(number), int(index), modality)
            assert np.abs(now.astype(int) - frozen[name].astype(int)).max() <= 1, name


@pytest.mark.parametrize("modality", phantom.MODALITIES)
def test_masks_lie_where_the_picture_shows_the_tissue(modality):
    """Averaged over speckle, myometrium inside the exact mask has the intensity the tissue table orders."""
    contrast = []
    for number in range(1, 25):
        name = phantom.patient_id("control", number)
        picture = phantom.render(V1, name, 0, modality, 128).astype(float)  # index 0 is T2 for MRI
        truth = phantom.truth(V1, name, 0, modality, 128)
        contrast.append(picture[truth.mask("endometrium")].mean() - picture[truth.mask("myometrium")].mean())
    assert np.mean(contrast) > 20  # endometrium is brighter than myometrium on ultrasound and on T2
    assert np.mean(np.array(contrast) > 0) > 0.9


def test_proportions_and_labels_agree():
    truth = phantom.truth(V1, "EC00001", 0, "us", 256)
    assert truth.proportions.sum() == pytest.approx(1)
    shares = np.bincount(truth.labels.ravel(), minlength=len(TISSUES)) / truth.labels.size
    np.testing.assert_allclose(shares, truth.proportions, atol=0.01)


def test_anatomy_is_nested():
    """From the endometrium outwards: junctional zone, myometrium, serosa; nothing of the uterus lies in fat."""
    plain = (phantom.patient(V1, phantom.patient_id("control", i)) for i in range(1, 50))
    name = next(who.patient_id for who in plain if who.diagnosis == "normal" and not who.uterus.fibroids)
    labels = phantom.truth(V1, name, 0, "us", 256).labels
    column = labels[:, 128]
    inner = [TISSUES[t] for t in column[np.r_[True, np.diff(column) != 0]]]
    order = [t for t in inner if t in ("serosa", "myometrium", "junctional_zone", "endometrium")]
    middle = len(order) // 2
    rank = [("endometrium", "junctional_zone", "myometrium", "serosa").index(t) for t in order]
    assert rank[:middle] == sorted(rank[:middle], reverse=True) and rank[middle:] == sorted(rank[middle:])


def test_tongue_reaches_exactly_its_depth():
    """With one tongue cut in its plane, the tumour's deepest pixel lies at the stated fraction of the wall."""
    cut = View("sagittal", 0.0, (0.0, 0.0), 1.0, 0.0, ())
    for depth in (0.4, 0.6, 0.8):
        tongue = anatomy.Tongue(angle=np.pi / 2, half_angle=0.6, depth=depth, plane=0.0, half_plane=1.0)
        uterus = anatomy.Uterus(
            length=0.9, width=0.5, pear=0.0, bend=0.0, serosa_harmonics=((0, 0),) * 3, endometrium_length=0.5,
            endometrium_width=0.1, endometrium_harmonics=((0, 0),) * 3, junctional_thickness=0.06,
            junctional_contrast=1.0, junctional_gap=(0.0, 0.5, 0.0), cavity="hidden", cavity_width=0.0, polyp=None,
            fibroids=(), mass=None, tongues=(tongue,), bladder=None,
        )  # fmt: skip
        axis = np.linspace(-1, 1, 2001)
        x, y = np.meshgrid([0.0], axis)
        tumour = anatomy.section(uterus, cut, x, y, edge=1e-3).labels()[:, 0] == TISSUES.index("tumour")
        deepest = axis[tumour].max()
        assert (deepest - 0.1) / (0.5 - 0.1) == pytest.approx(depth, abs=0.01)
        assert cut.visible_depth(uterus) == depth and cut.shows_invasion(uterus)
        assert not View("axial", 0.0, (0.0, 0.0), 1.0, 1.2, ()).shows_invasion(uterus)  # the plane misses it


def test_only_tumour_tells_a_carcinoma_apart():
    """Without its mass and tongues a carcinoma's section is the section of a control of the same measures."""
    for i in range(1, 15):
        name = phantom.patient_id("carcinoma", i)
        uterus, cut = phantom.patient(V1, name).uterus, phantom.view(V1, name, 0, "us")
        bare = dataclasses.replace(uterus, mass=None, tongues=())
        x, y = np.meshgrid(*[np.linspace(-1, 1, 96)] * 2)
        with_tumour, without = (anatomy.section(u, cut, x, y, edge=0.02) for u in (uterus, bare))
        assert without.covers[-1] is None
        for tissue, cover in enumerate(with_tumour.covers[:-1]):
            assert cover is without.covers[tissue] is None or np.array_equal(cover, without.covers[tissue])


def test_tumour_stays_within_its_angle():
    """Outside the half-angle of its only tongue there is no tumour at all, not even along the endometrium."""
    tongue = anatomy.Tongue(angle=np.pi / 2, half_angle=0.4, depth=0.8, plane=0.0, half_plane=1.0)
    uterus = dataclasses.replace(
        phantom.patient(V1, "NU00001").uterus, tongues=(tongue,), pear=0.0, bend=0.0, fibroids=(), polyp=None
    )
    cut = View("sagittal", 0.0, (0.0, 0.0), 1.0, 0.0, ())
    x, y = np.meshgrid(*[np.linspace(-1, 1, 200)] * 2)
    tumour = anatomy.section(uterus, cut, x, y, edge=0.01).covers[-1]
    _, _, sine = anatomy._endometrium(uterus, uterus.endometrium_length, x, y)
    assert tumour.max() == 1 and tumour[sine < np.cos(0.4)].max() == 0


def test_some_carcinomas_do_not_invade_and_some_views_miss():
    patients = [phantom.patient(V1, phantom.patient_id("carcinoma", i)) for i in range(1, 401)]
    still = [p for p in patients if p.uterus.invasion_depth == 0]
    assert 0.02 < len(still) / len(patients) < 0.2
    invading = [p for p in patients if p.uterus.tongues]
    seen = [phantom.view(V1, p.patient_id, i, "us").shows_invasion(p.uterus) for p in invading for i in range(3)]
    assert 0.8 < np.mean(seen) < 0.99


def test_controls_never_carry_a_tumour():
    for i in range(1, 60):
        assert not phantom.truth(V1, phantom.patient_id("control", i), 0, "us", 48).mask("tumour").any()


def test_covariates_follow_the_stated_relation():
    """Means and shares stated in data_manifests/phantom/README.md, within four standard errors."""
    drawn = {pool: [phantom.patient(V1, phantom.patient_id(pool, i)) for i in range(1, 601)]
             for pool in ("carcinoma", "control")}  # fmt: skip
    mean = {pool: {c: np.mean([getattr(p, c) for p in people]) for c in ("age", "bmi", "bleeding")}
            for pool, people in drawn.items()}  # fmt: skip
    assert mean["carcinoma"]["age"] == pytest.approx(60, abs=4 * 10 / np.sqrt(600))
    assert mean["control"]["age"] == pytest.approx(49, abs=4 * 10 / np.sqrt(600))
    assert mean["carcinoma"]["bmi"] - mean["control"]["bmi"] == pytest.approx(3, abs=4 * 4 * np.sqrt(2 / 600))
    assert mean["carcinoma"]["bleeding"] == pytest.approx(0.85, abs=0.06)
    deep = [np.log(p.ca125) for p in drawn["carcinoma"] if p.uterus.invasion_depth > 0.5]
    flat = [np.log(p.ca125) for p in drawn["carcinoma"] if p.uterus.invasion_depth == 0]
    assert np.mean(deep) > np.mean(flat)
    assert all(p.endometrial_thickness == pytest.approx(66 * p.uterus.endometrium_width, abs=2.5)
               for p in drawn["control"])  # fmt: skip


def test_speckle_is_fully_developed():
    """In uniform tissue the compounded intensity is gamma distributed with shape 3 (three independent looks)."""
    size = 256
    grid = ultrasound._grid(size, 1.2, np.float64)
    axial, lateral = ultrasound._spread(size, ultrasound.SCANNERS["centre_1"], 0.9, np.float64)
    rng = np.random.default_rng(0)
    field = rng.standard_normal((200, size, 8, 2)).view(complex)[..., 0] / np.sqrt(2)
    field = np.fft.ifft(np.fft.fft(field, axis=1) * axial, axis=1)
    looks = np.abs(field[:198]) ** 2
    compounded = looks.reshape(66, 3, size, 8).mean(axis=1)  # (198, D, B) -> (66, 3, D, B)
    assert looks.mean() == pytest.approx(1, rel=0.02)
    assert compounded.var() == pytest.approx(1 / 3, rel=0.05)
    assert grid.shares.sum(axis=0) == pytest.approx(1)
    np.testing.assert_allclose(np.mean(lateral**2, axis=1), 1)


def test_unknown_version_and_dial_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="unknown phantom version 'phantom-v9'.*phantom-v1"):
        phantom.render("phantom-v9", "EC00001", 0, "us", 64)
    monkeypatch.setattr(recipe, "FOLDER", tmp_path)
    (tmp_path / "broken.toml").write_text("junctional_dB = 3\n")
    with pytest.raises(UserError, match="broken.toml: unknown or missing dial"):
        recipe.load("broken")


def test_recipe_hash_knows_the_dials():
    assert phantom.recipe_hash(V1, "EC00001", 0, "us") != phantom.recipe_hash("phantom-v2-easy", "EC00001", 0, "us")
