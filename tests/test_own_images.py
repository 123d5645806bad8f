"""Own images: phantoms written as files come back as they were; pools are kept; all mistakes are named at once."""

import errno

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ecsupport.cohort import images, manifest, own_manifest, split
from ecsupport.cohort.export import export
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run

FOUND_ANEW = ["image", "source", "hash"]


@pytest.fixture(scope="module")
def cohort():
    """The phantom manifest of the smoke profile with its split."""
    run = Run.open("smoke")
    return split.of_run(manifest.phantoms(run.profile.cohort), run)


@pytest.fixture(scope="module")
def own(cohort, tmp_path_factory):
    """A function that exports some patients of the cohort, every split and pool among them; lays bare its manifest."""
    few = cohort.groupby(["split", "modality", "label"])["patient_id"].unique().map(lambda who: who[:2]).explode()
    rows = cohort[cohort["patient_id"].isin(few)].reset_index(drop=True)
    folder = tmp_path_factory.mktemp("own") / "cohort"
    export(rows, folder, 32)

    def write(change=lambda frame: frame):
        file = folder / "changed.csv"
        change(pd.read_csv(folder / "manifest.csv", dtype=str)).to_csv(file, index=False)
        return file

    write.rows = rows
    return write


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), size=st.sampled_from([16, 33, 64]))
def test_what_is_exported_is_read_and_loaded_as_it_was(cohort, tmp_path_factory, seed, size):
    """Whatever rows are chosen, in whatever order: the frame but for what names the files, and every byte."""
    rng = np.random.default_rng(seed)
    both = cohort[(cohort["split"] != "unused") & (cohort["modality"] == "us")].drop_duplicates(["split", "label"])
    more = cohort.drop(both.index).iloc[rng.permutation(len(cohort) - len(both))[: rng.integers(30)]]
    rows = pd.concat([both, more]).sample(frac=1, random_state=seed).reset_index(drop=True)
    file = export(rows, tmp_path_factory.mktemp("any") / "new" / "folder", size)
    back = own_manifest.read(file)
    pd.testing.assert_frame_equal(back.drop(columns=FOUND_ANEW), rows.drop(columns=FOUND_ANEW))
    np.testing.assert_array_equal(images.read(back, size, file), images.read(rows, size))


def test_a_given_split_is_kept_and_pools_count_as_in_the_phantoms(own):
    file = own()
    back = own_manifest.read(file)
    pd.testing.assert_frame_equal(split.of_run(back, Run.open("smoke", str(file))), back)
    assert {"extra", "instrument"} < set(back["split"])
    kept = own.rows["source"] == "phantom"
    assert manifest.in_cohort(back).tolist() == manifest.in_cohort(own.rows).tolist() == kept.tolist()


def test_a_pool_takes_all_images_of_its_patients(cohort):
    """Who has one image in a pool is in no split: an instrument never judges a patient whom it has seen."""
    blank = cohort.assign(split="")
    chosen = blank.drop_duplicates("patient_id").index[::9]
    blank.loc[chosen, "split"] = "instrument"
    done = split.assign(blank, task="cohort", rng=np.random.default_rng(0))
    pool = done["patient_id"].isin(blank.loc[chosen, "patient_id"])
    assert set(done.loc[pool, "split"]) == {"instrument"} and "instrument" not in set(done.loc[~pool, "split"])


@pytest.mark.parametrize("column", ["split", "sequence", "diagnosis", "invasion_depth", "visible"])
@pytest.mark.parametrize("how", ["without the column", "empty cells"])
def test_what_is_not_known_is_left_open(own, column, how):
    frame = own_manifest.read(own(lambda f: f.drop(columns=column) if "without" in how else f.assign(**{column: ""})))
    blank = frame[column].isna() if column in ("invasion_depth", "visible") else frame[column] == ""
    assert blank.all()


def test_the_five_columns_suffice_to_load(own):
    file = own(lambda f: f[list(manifest.REQUIRED)])
    back = own_manifest.read(file)
    assert images.read(back, 32, file).shape == (len(back), 32, 32)


def test_a_byte_order_mark_and_blanks_do_no_harm(own):
    file = own()
    text = file.read_text().replace(",centre_1,", ", centre_1 ,")
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert "centre_1" in set(own_manifest.read(file)["centre"])


def test_every_mistake_is_named_at_once_in_the_order_of_rows(own):
    def spoil(frame):
        frame.loc[6, "label"] = "yes"
        frame.loc[2, ["modality", "centre"]] = ["ct", None]
        frame.loc[4, "image"] = "lost.png"
        frame.loc[4, "split"] = "holdout"
        return frame

    file = own(spoil)
    with pytest.raises(UserError) as caught:
        own_manifest.read(file)
    assert str(caught.value).splitlines() == [
        f"{file}, row 3, centre: empty centre. Fill the cell",
        f"{file}, row 3, modality: 'ct' is no modality. Write us or mri",
        f"{file}, row 5, split: 'holdout' is no split. Write test",
        f"{file}, row 5, image: image file does not exist. Give its path relative to the manifest",
        f"{file}, row 7, label: 'yes' is not 0 or 1. Write 1",
    ]


def test_one_mistake_in_every_row_is_one_line(own):
    with pytest.raises(UserError) as caught:
        own_manifest.read(own(lambda f: f.assign(modality="ct")))
    lines = str(caught.value).splitlines()
    assert len(lines) == 1  # that no class has ultrasound now is not said: first things first
    assert f", rows 1 to {len(own.rows)}, modality: 'ct' is no modality. Write us or mri" in lines[0]


def test_every_missing_column_is_named(own):
    with pytest.raises(UserError, match=r"column 'centre' is missing.*\n.*column 'label' is missing"):
        own_manifest.read(own(lambda f: f.drop(columns=["centre", "label"])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[(f["split"] != "test") | (f["label"] == "0")], "no ultrasound image with label 1 in test"),
        (lambda f: f.assign(split="instrument"), "no ultrasound image with label 0. Both classes are needed"),
        (
            lambda f: f.assign(patient_id=f["patient_id"].where(f["split"] != "instrument", f["patient_id"][0])),
            "is in instrument and in train",
        ),
    ],
)
def test_a_pool_or_a_split_of_one_class_is_no_cohort(own, change, message):
    with pytest.raises(UserError, match=message):
        own_manifest.read(own(change))


def test_a_file_that_is_no_picture_is_found_when_the_manifest_is_read(own):
    file = own(lambda f: f.assign(image=f["image"].where(f.index != 3, "manifest.csv")))
    with pytest.raises(UserError, match=r"row 4, image: cannot read the image \(no picture of .*\)\. Export it"):
        own_manifest.read(file)


def test_export_leaves_a_full_folder_alone_and_takes_an_empty_one(own, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="full exists and is not empty. Name a new folder, or remove that one"):
        export(own.rows[:3], tmp_path / "full", 16)
    (tmp_path / "empty").mkdir()
    assert export(own.rows[:3], tmp_path / "empty", 16).is_file()
    assert [f.name for f in (tmp_path / "full").iterdir()] == ["letter.txt"]


def test_an_export_that_fails_leaves_nothing(own, tmp_path, monkeypatch):
    saved = []

    def save(self, file):
        saved.append(file)
        if len(saved) == 3:
            raise OSError(errno.ENOSPC, "disk full")
        file.write_bytes(b"")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="disk full.*new'"):  # the folder is named, where the system does not
        export(own.rows[:5], tmp_path / "new", 16)
    assert len(saved) == 3 and list(tmp_path.iterdir()) == []


def test_the_command_stops_at_a_bad_manifest_before_any_notebook(own, ecsupport, tmp_path):
    file = own(lambda f: f.assign(modality="ct"))
    done = ecsupport("reproduce", "--cohort", file, ECSUPPORT_WORKSPACE=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.splitlines()[0]
        == f"{file}, rows 1 to {len(own.rows)}, modality: 'ct' is no modality. Write us or mri"
    )
    assert [folder.name for folder in tmp_path.iterdir()] == ["store"]  # what its pictures told is kept
    few = own(lambda f: f.assign(split="")[(f["label"] == "0") | (f["patient_id"] == "EC00001")])
    done = ecsupport("item", "table-7", "--cohort", few, ECSUPPORT_WORKSPACE=tmp_path)
    assert done.returncode == 2 and "At least six patients of each class are needed" in done.stderr


def test_one_test_patient_of_a_class_is_too_few(own):
    rows = own_manifest.read(own(lambda f: f))
    keep = rows["modality"].eq("us") & ~rows["split"].isin(manifest.POOL_SPLITS.values())
    rows = rows[keep].assign(split="train")
    carcinoma = rows.loc[rows["label"] == 1, "patient_id"].unique()[:2]
    control = rows.loc[rows["label"] == 0, "patient_id"].unique()[:2]
    rows.loc[rows["patient_id"].isin([*carcinoma, *control]), "split"] = "test"
    run = Run.open("smoke")
    assert (split.of_run(rows, run)["split"] == rows["split"]).all()
    rows.loc[rows["patient_id"] == control[0], "split"] = "train"
    with pytest.raises(UserError, match="holds 2 positive and 1 negative patients.*About fifteen"):
        split.of_run(rows, run)
