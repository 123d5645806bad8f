"""What is noticed in a manifest: each finding appears where it should, and a clean manifest says nothing."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from ecsupport.cohort import phantom, pictures
from ecsupport.cohort.manifest import COLUMNS
from ecsupport.evaluation.noticed import NEAR, near_duplicates, noticed


def cohort(patients=120):
    """A manifest without a flaw: half of the patients are positive, both classes from both centres, 30 of each test."""
    number = np.arange(patients)
    rows = pd.DataFrame({
        "image": [f"{n}.png" for n in number], "patient_id": [f"P{n}" for n in number],
        "centre": np.where(number % 3, "north", "south"), "modality": "us", "label": number % 2,
        "invasion_depth": np.nan, "split": np.where(number < 60, "test", "train"),
        "hash": [f"{n:064d}" for n in number],
    })  # fmt: skip
    return rows.assign(sequence="", diagnosis="", visible=pd.NA, source="file")[list(COLUMNS)]


def facts(rows, seed=0):
    """Facts of square upright pictures that differ in everything a picture is known by."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "fault": "", "format": "PNG", "mode": "L", "width": 64, "height": 64, "orientation": 1, "transparent": False,
        "two_valued": False, "border": rng.uniform(0, 40, len(rows)), "black_border": rng.uniform(0, 1, len(rows)),
        "fingerprint": [rng.bytes(32).hex() for _ in range(len(rows))],
    })  # fmt: skip


def test_covariates_whose_gaps_tell_the_class_or_whose_unit_is_odd():
    rows = cohort()
    plain = rows.assign(age=np.where(np.arange(120) % 5, 60.0, np.nan), endometrial_thickness_mm=9.0)
    assert found(plain).empty  # missing, but of both classes alike
    some = np.where((rows["label"] == 1) | (np.arange(120) % 10 == 0), 35.0, np.nan)
    told = found(rows.assign(ca125_u_ml=some, endometrial_thickness_mm=0.9))
    assert list(told.index) == ["ca125_u_ml is missing unevenly", "endometrial_thickness_mm is small"]
    assert told["patients"].tolist() == [np.isnan(some).sum(), 120]
    assert "its absence tells the class" in told["meaning"].iloc[0]
    assert "perhaps centimetres" in told["meaning"].iloc[1]


def found(rows, told=None, ignored=()):
    return noticed(rows, facts(rows) if told is None else told, ignored).set_index("what")


def test_a_clean_manifest_says_nothing():
    assert found(cohort()).empty


def test_each_finding_counts_images_and_patients():
    rows = cohort()
    table = found(rows, facts(rows).assign(orientation=[6] * 4 + [1] * 116))
    assert table.loc["orientation tags", ["images", "patients", "example"]].tolist() == [4, 4, "0.png"]


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("orientation tags", {"orientation": 6}),
        ("pictures that are not square", {"width": 80}),
        ("transparent pictures", {"transparent": True}),
        ("pictures of at most two grey levels", {"two_valued": True}),
    ],
)
def test_what_all_pictures_have_is_noticed(what, change):
    rows = cohort()
    table = found(rows, facts(rows).assign(**change))
    assert table.index.tolist() == [what] and table.loc[what, "images"] == len(rows)


def test_names_and_labels_that_mislead():
    rows = cohort()
    rows.loc[[0, 1, 4, 6, 8], "patient_id"] = ["007", "7", "P-0023", "P0_23", "p 15"]
    rows.loc[2, "invasion_depth"] = 0.4
    table = found(rows, ignored=["ward"])
    assert table.index.tolist() == [
        "a column that nothing reads",
        "patients whose names differ in signs or zeros only",
        "controls with a depth of invasion",
    ]
    assert table["images"].tolist() == [0, 7, 1]  # P23 and P15 are there, too


def test_folders_of_women_who_have_several_names():
    rows = cohort().assign(image=lambda f: [f"woman_{n // 2}/{n}.png" for n in range(len(f))])
    assert found(rows).index.tolist() == ["60 of 60 folders hold pictures of several patients"]
    assert found(rows.assign(patient_id=rows["patient_id"].iloc[rows.index // 2 * 2].to_numpy())).empty
    assert found(cohort().assign(image=lambda f: "us/" + f["image"])).empty  # one folder tells nothing


def test_thumbnails_among_the_pictures():
    rows = cohort()
    told = facts(rows)
    told.loc[5, ["width", "height"]] = 12
    assert found(rows, told)["images"].to_dict() == {"pictures far smaller than the others": 1}


def test_classes_bound_to_a_centre():
    rows = cohort().assign(centre=lambda f: np.where(f["label"] == 1, "north", "south"))
    table = found(rows)
    assert {"every carcinoma comes from one centre", "every control comes from one centre"} < set(table.index)
    assert table.loc["2 of 2 centres with one class only", "patients"] == 120
    assert found(rows.assign(centre="north")).empty  # one centre tells nothing


def test_few_test_patients_are_told_what_they_can_show():
    rows = cohort()
    rows.loc[(rows["split"] == "test") & (rows["label"] == 1) & (rows.index > 20), "split"] = "train"
    (row,) = found(rows).itertuples()
    assert row.patients == 10 and "still begins at 0.69" in row.meaning  # Clopper-Pearson, 10 of 10


@pytest.mark.parametrize("name", ["size", "border", "file type"])
def test_a_class_that_is_told_without_anatomy(name):
    rows = cohort()
    told, label = facts(rows), rows["label"] == 1
    if name == "size":
        told["width"] = told["height"] = np.where(label, 64, np.where(rows.index % 4 == 0, 48, 80))  # not in order
    if name == "border":
        told["border"] += np.where(label, 30, 0)
    if name == "file type":
        told["format"] = np.where(label & (rows.index % 5 > 0), "JPEG", "PNG")
    (row,) = found(rows, told).itertuples()
    assert row.Index == f"the class goes with the pictures' {name}" and "AUC of" in row.meaning
    shuffled = np.random.default_rng(1).permutation(len(told))
    assert found(rows, told.iloc[shuffled].reset_index(drop=True)).empty


def test_a_perfect_tell_is_seen_in_a_small_cohort_too():
    rows = cohort().iloc[:20].reset_index(drop=True)  # 10 patients of each class
    told = facts(rows)
    told["width"] = told["height"] = np.where(rows["label"] == 1, 64, 48)
    assert "the class goes with the pictures' size" in found(rows, told).index


def test_a_trivial_difference_of_many_images_is_not_reported():
    rows = cohort(4000)
    told = facts(rows)
    told["border"] += np.where(rows["label"] == 1, 1.5, 0)  # of 0 to 40
    told["fingerprint"] = told["fingerprint"].iloc[0]
    assert not [what for what in found(rows, told).index if "the class goes" in what]


def test_a_tag_that_turns_nothing_is_not_told():
    rows = cohort()
    assert found(rows, facts(rows).assign(orientation=[0, 1, 99, 1] * 30)).empty


def test_one_picture_twice_within_a_patient():
    rows = cohort()
    rows.loc[1, ["patient_id", "label", "hash"]] = ["P0", 0, rows.loc[0, "hash"]]
    told = facts(rows)
    assert found(rows, told).loc["one picture twice within a patient", ["images", "patients"]].tolist() == [1, 1]


def saved(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def scene(seed):
    """A smooth picture, as ultrasound of one uterus is."""
    field = np.random.default_rng(seed).normal(size=(12, 12))
    return Image.fromarray(np.uint8(np.clip(128 + 50 * field, 0, 255))).resize((90, 90), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    "again",
    [
        lambda picture: Image.open(io.BytesIO(saved(picture, "JPEG", quality=60))),
        lambda picture: picture.resize((50, 50)),
        lambda picture: picture.point(lambda grey: 0.9 * grey + 10),
    ],
)
def test_a_copy_in_another_dress_is_a_near_duplicate_and_another_picture_is_none(again):
    prints = [pictures.fingerprint(np.asarray(picture)) for picture in map(scene, range(40))]
    copies = [pictures.fingerprint(np.asarray(again(scene(seed)).convert("L"))) for seed in range(40)]
    alike = near_duplicates([*prints, *copies], range(80), ["train"] * 40 + ["test"] * 40)
    assert list(alike) == [True] and alike[True].pairs == 40 and alike[True].first == (0, 40)
    assert alike[True].members.tolist() == list(range(80))


def test_near_duplicates_agree_with_counting_bits():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, (40, 256))
    bits = np.concatenate([base, base[:4] ^ (rng.random((4, 256)) < 0.08)])
    split, patient = rng.choice(["train", "validation", "test"], 44), rng.integers(0, 30, 44)
    expected, pairs = {True: set(), False: set()}, 0
    for i in range(44):
        for j in range(i):
            if patient[i] != patient[j] and (bits[i] != bits[j]).sum() <= NEAR * 256:
                expected[bool(split[i] != split[j])] |= {i, j}
                pairs += 1
    alike = near_duplicates([np.packbits(row).tobytes().hex() for row in bits], patient, split)
    assert {apart: set(of.members.tolist()) for apart, of in alike.items()} == {k: v for k, v in expected.items() if v}
    assert sum(of.pairs for of in alike.values()) == pairs >= 3


def test_phantoms_of_different_women_are_no_near_duplicates():
    names = [phantom.patient_id("tuning_carcinoma", number) for number in range(60)]
    prints = [pictures.fingerprint(phantom.render("phantom-v1", name, 0, "us", 64)) for name in names]
    assert near_duplicates(prints, names, ["train", "test"] * 30) == {}


def test_near_duplicates_are_reported_by_where_they_stand():
    rows, told = cohort(), facts(cohort())
    told.loc[100, "fingerprint"] = told.loc[3, "fingerprint"]  # a test and a training patient
    told.loc[4, "fingerprint"] = told.loc[7, "fingerprint"]  # both test, a control and a carcinoma
    table = found(rows, told)
    assert table.index.tolist() == ["near-duplicates in two splits", "near-duplicates of two patients in one split"]
    assert table["example"].tolist() == ["3.png and 100.png", "4.png and 7.png"]
    assert table["patients"].tolist() == [2, 2] and "of both classes" in table["meaning"].iloc[1]


def framed(share, number=120):
    """Fingerprints of other scenes within one and the same frame; `share` of the bits are the scene's."""
    rng = np.random.default_rng(2)
    frame, scenes = rng.integers(0, 2, 256), rng.integers(0, 2, (number, 256))
    inside = rng.permutation(256) < share * 256
    return [np.packbits(row).tobytes().hex() for row in np.where(inside, scenes, frame)]


def test_what_all_pictures_share_makes_no_duplicates():
    """A machine's frame around the picture: its bits do not count; where little else is left, that is said."""
    rows = cohort()
    assert found(rows, facts(rows).assign(fingerprint=framed(0.4))).empty
    table = found(rows, facts(rows).assign(fingerprint=framed(0.2)))
    assert table.index.tolist() == ["a perceptual hash that cannot tell"]
    same = facts(rows).assign(fingerprint=(framed(1.0, 2) * 60))
    assert found(rows, same).index.tolist() == ["a perceptual hash that cannot tell"]
    assert "pairs look alike" in found(rows, same)["meaning"].iloc[0]


# --- what the pictures tell -----------------------------------------------------------------------------------------


def drawn():
    """Black, with a white corner above on the left."""
    picture = Image.new("L", (40, 20))
    ImageDraw.Draw(picture).rectangle((0, 0, 9, 4), fill=255)
    return picture


def test_an_orientation_tag_is_applied():
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6  # to be turned clockwise
    turned, told = pictures.decode(saved(drawn(), "PNG", exif=exif))
    assert turned.size == (20, 40) and told["orientation"] == 6
    assert np.asarray(turned)[0].tolist() == [0] * 15 + [255] * 5


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_black(mode):
    white = Image.new("RGBA", (8, 8), (255, 255, 255, 255))
    white.paste((255, 255, 255, 0), (0, 0, 4, 8))
    options = {}
    if mode == "P":
        picture = Image.new("P", (8, 8), 1)
        picture.putpalette([255, 255, 255, 255, 255, 255])
        picture.paste(0, (0, 0, 4, 8))
        options = {"transparency": 0}
    else:
        picture = white.convert(mode)
    pixels, told = pictures.decode(saved(picture, "PNG", **options))
    assert told["transparent"]
    assert np.asarray(pixels)[0].tolist() == [0] * 4 + [255] * 4


def test_facts_stand_in_the_order_of_the_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setattr(pictures, "BLOCK", 2)
    drawn().save(tmp_path / "mask.png")
    scene(0).save(tmp_path / "grey.jpg")
    scene(1).convert("RGBA").save(tmp_path / "colour.png")
    (tmp_path / "letter.png").write_text("dear")
    names = ["colour.png", "letter.png", "mask.png", "grey.jpg", "mask.png"]
    images = pd.DataFrame({"image": names}, index=[3, 5, 6, 8, 9])
    images["hash"] = pictures.hashes([tmp_path / name for name in names])
    told = pictures.facts(images, tmp_path / "ward.csv")
    assert told.index.tolist() == [3, 5, 6, 8, 9]
    assert told["fault"].str[:10].tolist() == ["", "no picture", "", "", ""]
    assert told.loc[[3, 8], "format"].tolist() == ["PNG", "JPEG"]
    assert told["two_valued"].fillna(0).tolist() == [False, 0, True, False, True]
    assert told.loc[3, ["width", "height", "transparent"]].tolist() == [90, 90, False]
