"""A person's manifest: every kind of mistake in the table and in the pictures is named, all of them at once."""

import io
import os
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ecsupport.cohort import images, manifest, own_manifest, pictures
from ecsupport.core import profiles
from ecsupport.core.errors import UserError

ROWS = [
    ("a/1.png", "P1", "north", "us", "1"),
    ("a/2.png", "P1", "north", "us", "1"),
    ("b.png", "P2", "south", "us", "0"),
    ("c.png", "P3", "south", "us", "0"),
    ("d.png", "P4", "north", "mri", "1"),
    ("e.png", "P4", "north", "mri", "1"),
]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Six small PNG files of four patients; writes their manifest, changed."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path / "workspace"))
    rng = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    for name, *_ in ROWS:
        Image.fromarray(rng.integers(0, 256, (40, 50), np.uint8)).save(tmp_path / name)
    frame = pd.DataFrame(ROWS, columns=list(manifest.REQUIRED))

    def write(change=lambda f: f):
        change(frame.copy()).to_csv(tmp_path / "own.csv", index=False)
        return tmp_path / "own.csv"

    return write


def changed(row, column, value):
    """Row, from 1, gets another value in a column, which is made where it is lacking."""

    def change(frame):
        if column not in frame:
            frame[column] = ""
        frame.loc[row - 1, column] = value
        return frame

    return change


def saved(picture, *arguments, **options):
    file = io.BytesIO()
    picture.save(file, *arguments, **options)
    return file.getvalue()


def test_a_manifest_reads(own):
    frame = own_manifest.read(own())
    assert list(frame.columns) == list(manifest.COLUMNS)
    assert frame["label"].tolist() == [1, 1, 0, 0, 1, 1]
    assert set(frame["source"]) == {"file"} and frame["hash"].str.len().eq(64).all()


def test_names_stay_as_they_are_written(own):
    """NA is a patient; 12.1 and 12.10 are two, and so are 007 and 7; -4 is a number and no formula."""
    names = ["NA", "NA", "12.1", "12.10", "007", "-4"]
    file = own(lambda f: f.assign(patient_id=names))
    assert own_manifest.read(file)["patient_id"].tolist() == names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="centre"), "column 'centre' is missing"),
        (lambda f: f.iloc[:0], "no rows. Write one row an image"),
        (changed(3, "patient_id", None), "row 3, patient_id: empty patient_id. Fill the cell"),
        (changed(3, "patient_id", "  "), "row 3, patient_id: empty patient_id"),
        (changed(2, "modality", "ct"), "row 2, modality: 'ct' is no modality. Write us or mri"),
        (changed(2, "modality", "Ultrasound"), "row 2, modality: 'Ultrasound' is no modality. Write us"),
        (changed(4, "label", "2"), "row 4, label: '2' is not 0 or 1. Write 1 for carcinoma, 0 for control"),
        (changed(4, "label", "control"), "row 4, label: 'control' is not 0 or 1. Write 0"),
        (changed(2, "image", "a/1.png"), "row 2, image: image listed twice, first in row 1"),
        (changed(2, "image", "a/../a/1.png"), "row 2, image: image listed twice, first in row 1"),
        (changed(5, "image", "lost.png"), "row 5, image: image file does not exist. Give its path relative"),
        (changed(5, "image", "D.PNG"), r"row 5, image: image file 'D.PNG' does not exist. Write d\.png"),
        (changed(1, "image", "a\\1.png"), "row 1, image: the path has back-slashes. Write / for each of them"),
        (changed(1, "image", "a"), "row 1, image: 'a' is a folder"),
        (changed(1, "image", "a/1.jpeg"), r"row 1, image: image file 'a/1.jpeg' does not exist. Write a/1\.png"),
        (changed(1, "image", "D:\\scans\\1.png"), "row 1, image: a path of another machine. Give the path relative"),
        (changed(1, "image", "//server/1.png"), "row 1, image: a path of another machine"),
        (
            changed(3, "patient_id", "2.024E+10"),
            "row 3, patient_id: a rounded number: several patients may",
        ),
        *(
            (changed(3, column, cell), f"row 3, {column}: .* would be run as a formula by a spreadsheet")
            for column in ("image", "patient_id", "centre")
            for cell in ("=cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1+9)", "\t=1+1", "＝1+1", "+P3")
        ),
        (
            changed(3, "centre", "SÃ¼d"),
            "row 3, centre: 'SÃ¼d' is 'Süd', wrongly decoded. Save it as",
        ),
        (
            lambda f: f.assign(split=["train", "test", "train", "test", "", ""]),
            "row 2, split: patient P1 is in test and in train. Put all images of a patient into one split",
        ),
        (changed(1, "split", "val"), "row 1, split: 'val' is no split. Write validation"),
        (changed(1, "split", "Train"), "row 1, split: 'Train' is no split. Write train"),
        (changed(1, "split", "fold 3"), "row 1, split: 'fold 3' is no split. Write one of: train, validation, test"),
        (lambda f: f.rename(columns={"centre": "center"}), "column 'center' looks like 'centre'. Rename it to centre"),
        (lambda f: f.assign(Split="train"), "column 'Split' looks like 'split'. Rename it to split"),
        (lambda f: f.assign(splits="train"), "column 'splits' looks like 'split'"),
        (lambda f: f.assign(set="train"), "column 'set' looks like 'split'"),
        (lambda f: f.assign(fold=1), "column 'fold' looks like 'split'"),
        (lambda f: f.assign(label="1"), "no ultrasound image with label 0. Both classes are needed"),
        (lambda f: f[f["modality"] == "mri"], "no ultrasound image with label 0"),
        (changed(2, "invasion_depth", "deep"), "row 2, invasion_depth: 'deep' is no fraction of the wall"),
        (changed(2, "invasion_depth", "0,5"), "row 2, invasion_depth: '0,5' is no fraction of the wall. Write 0 to 1"),
        (changed(2, "invasion_depth", "50"), "row 2, invasion_depth: '50' is no fraction"),
        (changed(2, "invasion_depth", "nan"), "row 2, invasion_depth: 'nan' is no fraction"),
        (changed(1, "visible", "yes"), "row 1, visible: 'yes' is not true or false. Write true"),
        (
            changed(2, "centre", "south"),
            "row 2, centre: patient 'P1' has 'south' here and 'north' in row 1. If these are two women",
        ),
        (
            changed(2, "label", "0"),
            "row 2, label: patient 'P1' has '0' here and '1' in row 1. If these are two women",
        ),
        (changed(3, "centre", "North"), "row 3, centre: 'North' is 'north' of row 1 in another spelling"),
        (changed(3, "patient_id", "p1"), "row 3, patient_id: 'p1' is 'P1' of row 1 in another spelling"),
        (changed(3, "patient_id", "Ｐ1"), "row 3, patient_id: .* in another spelling"),
    ],
)
def test_a_mistake_in_the_table(own, change, message):
    with pytest.raises(UserError, match=message):
        own_manifest.read(own(change))


def test_the_same_woman_twice_by_a_spreadsheet(own):
    """Read as numbers by one program and written by another: 12 and 12.0."""
    file = own(lambda f: f.assign(patient_id=["12", "12", "12.0", "13", "14", "14"]))
    with pytest.raises(UserError, match=r"row 3, patient_id: '12\.0' is '12' of row 1 in another spelling"):
        own_manifest.read(file)


def test_a_wrong_label_is_one_mistake_and_not_two(own):
    with pytest.raises(UserError) as mistake:
        own_manifest.read(own(changed(2, "label", "2")))
    assert "row 2, label: '2' is not 0 or 1" in str(mistake.value)
    assert "here and" not in str(mistake.value)


def test_other_separators_and_folders_are_named(own, tmp_path):
    path = own()
    path.write_text(path.read_text().replace(",", ";"))
    with pytest.raises(UserError, match="separated by ';'. Save it with commas"):
        own_manifest.read(path)
    with pytest.raises(UserError, match="is no file. Give COHORT the path of a CSV file"):
        profiles.Run.open("smoke", str(tmp_path))


def test_a_further_column_is_refused_or_allowed(own):
    file = own(lambda f: f.assign(weight=60))
    with pytest.raises(
        UserError, match="column 'weight' is unknown. Remove it, or allow further columns: ALLOW_EXTRA=1"
    ):
        own_manifest.check(file, decode=False).table.refuse()
    checked = own_manifest.check(file, decode=False, allow_extra=True)
    assert list(checked.table.ignored) == ["weight"] and len(checked.rows) == 6


@pytest.mark.parametrize(
    ("column", "value"),
    [("data_split", "x"), ("trainFold", "3"), ("is_test", "1"), ("group", "Val"), ("cv_fold", "2")],
)
def test_a_split_under_another_name_is_no_further_column(own, column, value):
    """Else a new split would be drawn, and women of the owner's test set be trained on."""
    file = own(lambda f: f.assign(**{column: value}))
    with pytest.raises(UserError, match=f"column '{column}' looks like 'split'. Rename it to split, or remove it"):
        own_manifest.check(file, decode=False, allow_extra=True).table.refuse()
    both = own(lambda f: f.assign(**{column: value, "split": ""}))
    own_manifest.check(both, decode=False, allow_extra=True).table.refuse()


@pytest.mark.parametrize("value", ["none", "extra", "unused", "7"])
def test_a_further_column_that_holds_no_split_is_allowed(own, value):
    own_manifest.check(own(lambda f: f.assign(implant=value)), decode=False, allow_extra=True).table.refuse()


def test_a_hash_that_is_given_is_verified(own, tmp_path):
    of = {name: pictures.hashes([tmp_path / name])[0] for name, *_ in ROWS}
    assert len(own_manifest.read(own(lambda f: f.assign(hash=f["image"].map(of).str.upper())))) == 6
    of["c.png"] = of["b.png"]
    with pytest.raises(UserError, match="row 4, hash: not the SHA-256 of the file. Fetch the file again"):
        own_manifest.read(own(lambda f: f.assign(hash=f["image"].map(of))))
    with pytest.raises(UserError, match="rows 1 to 6, hash: no SHA-256, which has 64 digits. Give that, or nothing"):
        own_manifest.read(own(lambda f: f.assign(hash="d41d8cd98f00b204e9800998ecf8427e")))
    with pytest.raises(UserError, match="column 'source' is unknown"):
        own_manifest.read(own(lambda f: f.assign(source="phantom")))


@pytest.mark.parametrize("name", ["l" * 300, "l" * 5000, "fifo.png", "link.png", "/dev/null", "\u0001.png"])
def test_what_is_no_file_is_named_whatever_it_is(own, tmp_path, name):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "link.png").symlink_to("nowhere")
    with pytest.raises(UserError) as caught:
        own_manifest.read(own(changed(2, "image", name)))
    (line,) = [line for line in str(caught.value).splitlines() if "row 2, image: " in line and "control" not in line]
    assert len(line) < 400 and f"Write {name}" not in line


def test_a_file_that_cannot_be_read_hides_no_other_mistake(own, monkeypatch):
    def sha256(file):
        if getattr(file, "name", "") == "c.png":
            raise OSError(5, "Input/output error")
        return original(file)

    original = pictures.sha256
    monkeypatch.setattr(pictures, "sha256", sha256)
    lines = own_manifest.check(own(changed(1, "visible", "7")), decode=True).table.report()
    assert len(lines) == 2 and "row 1, visible" in lines[0]
    assert "row 4, image: the file cannot be read (Input/output error)" in lines[1]


def test_what_passes_is_not_kept_as_a_fault_of_the_picture(own, tmp_path, monkeypatch):
    """A file server that has an old copy for a moment: the next run reads the picture as it is."""
    read = pictures.content
    monkeypatch.setattr(pictures, "content", lambda manifest, name, known: read(manifest, name, "0" * 64))
    with pytest.raises(UserError, match="has changed since it was listed. Start the run again"):
        own_manifest.read(own())
    monkeypatch.setattr(pictures, "content", read)
    assert len(own_manifest.read(own())) == 6


# --- one picture under two names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [(3, "patient_id", "P9"), (5, "modality", "mri"), (3, "label", "0"), (2, "split", "test")],
)
def test_one_picture_stands_for_one_patient_class_split_and_modality(own, tmp_path, row, column, value):
    """The bytes of row 1 under another name."""
    (tmp_path / ROWS[row - 1][0]).write_bytes((tmp_path / "a/1.png").read_bytes())
    frame = changed(1, "split", "train")(pd.DataFrame(ROWS, columns=list(manifest.REQUIRED)))
    message = f"row {row}, image: the same picture as in row 1 under another .*{column}.* Keep the row that is true"
    with pytest.raises(UserError, match=message):
        own_manifest.read(own(lambda _: changed(row, column, value)(frame)))


@pytest.mark.parametrize(("kind", "options"), [("PNG", {"compress_level": 1}), ("BMP", {}), ("TIFF", {})])
def test_the_same_grey_levels_in_another_file_are_the_same_picture(own, tmp_path, kind, options):
    Image.open(tmp_path / "a/1.png").save(tmp_path / "b.png", kind, **options)
    with pytest.raises(
        UserError, match="row 3, image: the same picture as in row 1 under another patient_id and label"
    ):
        own_manifest.read(own())


def test_a_link_to_a_picture_is_that_picture(own, tmp_path):
    (tmp_path / "b.png").unlink()
    (tmp_path / "b.png").symlink_to("a/1.png")
    with pytest.raises(UserError, match="row 3, image: image listed twice, first in row 1"):
        own_manifest.read(own())
    (tmp_path / "b.png").unlink()
    os.link(tmp_path / "a/1.png", tmp_path / "b.png")
    with pytest.raises(UserError, match="row 3, image: the same picture as in row 1 under another patient_id"):
        own_manifest.read(own())


@pytest.mark.parametrize("split", ["", "unused", "train"])
def test_a_picture_twice_within_a_patient_is_no_mistake(own, tmp_path, split):
    (tmp_path / "a/2.png").write_bytes((tmp_path / "a/1.png").read_bytes())
    again = changed(2, "label", "1.0")  # is the same label
    assert (
        len(own_manifest.read(own(lambda f: changed(1, "split", "train")(changed(2, "split", split)(again(f)))))) == 6
    )


# --- pictures that cannot be taken ----------------------------------------------------------------------------------

NOISE = np.random.default_rng(1).integers(0, 256, (40, 50), np.uint8)
GREY, COLOUR = Image.fromarray(NOISE), Image.fromarray(np.stack([NOISE] * 3, axis=2))
DEEP = Image.fromarray(np.full((40, 50), 3000, np.uint16))


def sixteen_bit_colours():
    """A PNG of 16 bits a colour, written by hand: Pillow reads it as 8 bits without a word."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + os.urandom(8 * 6) for _ in range(8))
    head = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def cut(raw):
    return raw[: len(raw) // 2]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no picture"),
        (b"patient,diagnosis\n", "no picture"),
        (bytes(128) + b"DICM", "DICOM"),
        (saved(GREY, "EPS"), "no picture of PNG"),  # Pillow would start another program
        (saved(GREY, "PPM").replace(b"255", b"65535", 1) + bytes(2000), "no picture of PNG"),
        (cut(saved(GREY, "PNG")), "truncated"),
        (cut(saved(GREY, "JPEG")), "truncated"),
        (saved(GREY, "PNG")[:40], ".+"),
        (saved(DEEP, "PNG"), "more than 8 bits"),
        (saved(DEEP, "TIFF"), "more than 8 bits"),
        (saved(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"), "more than 8 bits"),
        (saved(DEEP, "JPEG2000"), "more than 8 bits"),
        (sixteen_bit_colours(), "more than 8 bits"),
        (saved(GREY, "GIF", save_all=True, append_images=[GREY.rotate(90, expand=False)]), "2 frames in one file"),
        (saved(GREY, "TIFF", save_all=True, append_images=[GREY, GREY]), "3 frames in one file"),
        (saved(Image.new("1", (8000, 6000)), "PNG"), "8,000 x 6,000 pixels, more than 40,000,000"),
        (saved(Image.new("1", (20_000, 20_000)), "PNG"), "more than 40,000,000"),
    ],
)
def test_a_picture_that_cannot_be_taken_is_named_with_its_row(own, tmp_path, raw, why):
    (tmp_path / "c.png").write_bytes(raw)
    with pytest.raises(UserError, match=rf"row 4, image: cannot read the image \(.*{why}.*\). Export it again"):
        own_manifest.read(own())


def test_all_broken_pictures_are_named_at_once(own, tmp_path):
    for name in ("b.png", "c.png"):
        (tmp_path / name).write_bytes(cut((tmp_path / name).read_bytes()))
    (tmp_path / "e.png").write_text("letter")
    lines = own_manifest.check(own(changed(1, "centre", "")), decode=True).table.report()
    assert [line.split(", ", 1)[1].split(":")[0] for line in lines] == [
        "row 1, centre",
        "rows 3 to 4, image",
        "row 6, image",
    ]


def test_without_pixels_no_picture_is_opened(own, tmp_path):
    (tmp_path / "c.png").write_text("no picture")
    assert own_manifest.check(own(), decode=False).table.mistakes == []


def test_a_picture_that_changes_after_it_was_checked_is_not_taken(own, tmp_path):
    file = own()
    frame = own_manifest.read(file)
    GREY.save(tmp_path / "c.png")
    with pytest.raises(UserError, match=r"row c\.png: the image has changed since it was listed\. Start the run again"):
        images.read(frame, 32, file)


# --- the command ----------------------------------------------------------------------------------------------------


def test_check_says_what_the_manifest_holds(own, ecsupport, tmp_path):
    frame = pd.concat([pd.DataFrame(ROWS[:4], columns=list(manifest.REQUIRED))] * 12, ignore_index=True)
    frame["patient_id"] = [f"P{number}" for number in range(len(frame))]
    frame["image"] = [f"{number}.png" for number in range(len(frame))]
    for number, name in enumerate(frame["image"]):
        Image.fromarray(NOISE + np.uint8(number)).save(tmp_path / name)
    file = own(lambda _: frame)
    done = ecsupport("check", file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{file}: 48 images of 48 patients from 2 centres; no picture opened")
    assert "centres with one class only" in done.stdout and "not square" not in done.stdout
    done = ecsupport("check", file, "--pixels")
    assert done.returncode == 0 and "every picture decoded" in done.stdout and "not square" in done.stdout


def test_check_names_everything_and_exits_with_2(own, ecsupport, tmp_path):
    def spoil(frame):
        return changed(1, "split", "val")(changed(2, "image", "a\\2.png")(frame)).assign(ward="7")

    (tmp_path / "c.png").write_text("no picture")
    file = own(spoil)
    done = ecsupport("check", file, "--pixels", "--allow-extra")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"{file}, row 1, split: 'val' is no split. Write validation",
        f"{file}, row 2, image: the path has back-slashes. Write / for each of them",
        f"{file}, row 4, image: cannot read the image (no picture of {pictures.KINDS}). Export it again, as 8-bit PNG",
    ]
    done = ecsupport("check", file)
    assert done.returncode == 2 and "column 'ward' is unknown" in done.stderr and "c.png" not in done.stderr
