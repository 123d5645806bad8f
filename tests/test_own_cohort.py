"""The smoke phantoms as files that somebody might own: equal jobs, and the same tables from them."""

import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ecsupport.audit import checklists
from ecsupport.cohort import own_manifest, tissue_shares
from ecsupport.core import jobs
from ecsupport.core.artefacts import PROVENANCE, write_record
from ecsupport.core.profiles import Run
from ecsupport.experiments import catalogue, cohort, multitask
from ecsupport.related import multitask_training, self_distillation
from ecsupport.related.dense_attention import INVASION
from ecsupport.reporting.index import written_notebooks
from ecsupport.reporting.own_images import HEAD, INSTEAD, OF_PHANTOMS

OF_FILES = ("pixels/", "pictures/", "multitask/")  # jobs that are made of the files themselves
NOTEBOOKS = [notebook.name for notebook in written_notebooks()]
# what is told of phantoms whatever a cohort is
OF_PHANTOMS_ALONE = ("phantom cohort at paper scale", "phantoms at paper scale", checklists.YOURS)
NAMED_ANEW = ["image", "source", "hash"]  # columns of rows that tell which file an image is


@pytest.fixture(scope="module")
def runs(used_smoke, ecsupport):
    """The jobs of the smoke phantoms and of the same images as files, whose pixels are read."""
    done = ecsupport("export", used_smoke / "own", "--profile", "smoke", ECSUPPORT_WORKSPACE=used_smoke)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECSUPPORT_WORKSPACE", str(used_smoke))
        own = Run.open("smoke", str(used_smoke / "own" / "manifest.csv"))
        cohort.note(own)
        of_phantoms, of_files = catalogue.by_name(Run.open("smoke")), catalogue.by_name(own)
        jobs.make([job for name, job in of_files.items() if any(word in name for word in OF_FILES)])
        yield of_phantoms, of_files


def given_alike(one, other):
    """Whether two jobs are given the same, but for the names of images."""
    if one.given.keys() != other.given.keys():
        return False
    for name, data in one.given.items():
        if isinstance(data, pd.DataFrame):
            columns = [column for column in data if column not in NAMED_ANEW]
            if not data[columns].astype(str).equals(other.given[name][columns].astype(str)):
                return False
        elif not np.array_equal(data, other.given[name]):
            return False
    return True


def without_further(job):
    """A job of phantoms as it is without the further patients who decide, of whom files have none."""
    inputs, given = ({name: of for name, of in part.items() if name != "extended"} for part in (job.inputs, job.given))
    return replace(job, inputs=inputs, given=given)


def test_files_are_trained_on_as_the_phantoms_are(runs):
    """The same recipes, rows and labels, and the same pixels to the byte: so the same networks."""
    of_phantoms, of_files = runs
    without = of_phantoms.keys() - of_files.keys()
    without.remove("pixels/extended/64")
    without = {name for name in without if "design/synthetic/" not in name}  # of phantoms where phantoms are translated
    without = {name for name in without if "clinical/" not in name}  # these files come without covariates
    without_anatomy = {"anatomy", "instrument", "mafe", "tissue"}  # files carry none
    assert {name.split("/")[0] for name in without} <= without_anatomy
    for name, job in of_files.items():
        if "multitask/" in name:  # without shares of tissues one of two tasks is learnt
            continue
        if "difficulty/" in name:  # of the same phantoms, whatever images a run is about
            assert job.key == of_phantoms[name].key
            continue
        twin = without_further(of_phantoms[name])
        assert list(job.inputs) == list(twin.inputs), name
        if name.startswith("pixels/") and not job.inputs:
            pairs = [cohort.open_pool(of.folder) for of in (job, twin)]
            np.testing.assert_array_equal(*(pool.images for pool in pairs), err_msg=name)
            assert given_alike(job, twin), name
        elif not name.startswith("pictures/"):
            unknown = {"anatomy": None} if "anatomy" in twin.recipe else {}  # files do not carry it
            assert job.recipe == {**twin.recipe, **unknown}, name
            assert given_alike(job, twin), name


def test_shares_in_a_manifest_are_learnt_from_as_those_of_phantoms_are(used_smoke, runs):
    of_phantoms, _ = runs
    file = used_smoke / "own" / "manifest.csv"
    measured = np.load(of_phantoms["tissue/ultrasound/64"].file("shares.npy"))
    images = cohort.pool(Run.open("smoke", str(file)), "ultrasound")["image"]
    shares = pd.DataFrame(measured, index=images, columns=list(tissue_shares.NAMES)).reset_index()
    with_shares = file.with_name("shares.csv")
    pd.read_csv(file, dtype=str).merge(shares, how="left").to_csv(with_shares, index=False)
    run = Run.open("smoke", str(with_shares))
    with cohort.asked(run, own_manifest.read(with_shares)):
        for name, job in catalogue.by_name(run).items():
            if name.startswith("multitask/"):
                twin = of_phantoms[name]
                assert job.recipe == twin.recipe
                np.testing.assert_array_equal(job.given["labelled"], twin.given["labelled"])
                proportions = measured[twin.given["places"]]
                np.testing.assert_allclose(job.given["proportions"], proportions, atol=1e-5)


def test_pseudo_values_are_those_of_the_trained_networks(runs):
    scored = runs[1]["scores/multitask/100/42"]
    of, label = scored.inputs["trained"], scored.given["label"]
    images = cohort.open_pool(scored.inputs["images"].folder).images[scored.given["places"]]
    with np.load(scored.file(multitask.FILE)) as made:
        for name in self_distillation.arms(of.recipe["tasks"]):
            told = multitask_training.predict(multitask_training.restore(of.folder, of.recipe, name, 4), images)
            area = roc_auc_score(label, told[INVASION][:, 0, 1])
            assert made[f"{name}/{multitask.AUC}"].astype(float).mean() == pytest.approx(area, abs=2e-3)


@pytest.fixture(scope="module")
def exported(used_smoke, runs, ecsupport):
    """The notebooks on the files; what the phantoms' jobs made stands in for their twins, which would be equal."""
    of_phantoms, of_files = runs
    for name, job in of_files.items():
        if job.state == "lacking":
            made = of_phantoms[name].folder
            shutil.copytree(made, job.place, copy_function=os.link)
            note = jobs.record(made) | {"key": job.key, **job.identity}
            if note["files"].pop("zones.npz", None):  # of known anatomy
                (job.place / "zones.npz").unlink()
            write_record(job.place / PROVENANCE, note)
    manifest = used_smoke / "own" / "manifest.csv"
    done = ecsupport("reproduce", "--profile", "smoke", "--cohort", manifest, ECSUPPORT_WORKSPACE=used_smoke)
    assert done.returncode == 0, done.stderr
    assert "to make" not in done.stderr
    return used_smoke / "figures" / "smoke-manifest"


@pytest.mark.parametrize("number", range(1, 6))
def test_files_give_the_same_tables_as_the_phantoms(used_smoke, exported, number):
    table = f"table_{number}.csv"
    assert (exported / table).read_bytes() == (used_smoke / "figures" / "smoke" / table).read_bytes()


def test_files_give_the_same_scores_and_with_them_tables_6_to_8(used_smoke, exported):
    ours, theirs = (pd.read_csv(f / "predictions.csv") for f in (used_smoke / "figures" / "smoke", exported))
    pd.testing.assert_frame_equal(ours.drop(columns="image"), theirs.drop(columns="image"))


def test_what_files_do_not_tell_is_not_assessable(used_smoke, exported):
    found = []
    for folder in (used_smoke / "figures" / "smoke", exported):
        record = json.loads((folder / "02_sg_cyclegan_training.json").read_text(encoding="utf-8"))
        found += [row for row in record["estimates"] if row["claim"] == "mafe_keeps_structure"]
    assert [row["assessable"] for row in found] == [True, False]
    assert "anatomy" in found[1]["note"]
    of_files, of_phantoms = (
        (used_smoke / "runs" / run / "02_sg_cyclegan_training.ipynb").read_text(encoding="utf-8")
        for run in ("smoke-manifest", "smoke")
    )
    assert "Phantom images" not in of_files
    assert "Phantom images" in of_phantoms


def without_what_is_of_phantoms_alone(text):
    for words in OF_PHANTOMS_ALONE:
        text = text.replace(words, "")
    return re.sub("base64,[A-Za-z0-9+/=]*", "", text).lower()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_on_own_images_tells_nothing_that_was_seen_on_phantoms(used_smoke, exported, name):
    of_files, of_phantoms = (
        json.loads((used_smoke / "runs" / run / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        for run in ("smoke-manifest", "smoke")
    )
    outputs = json.dumps([cell.get("outputs") for cell in of_files])
    assert "Images of the manifest manifest." in outputs and "not for clinical use" in outputs
    assert "phantom" not in without_what_is_of_phantoms_alone(outputs)
    for number, (cell, twin) in enumerate(zip(of_files, of_phantoms, strict=True)):
        own, text = ("".join(of["source"]) for of in (cell, twin))
        if cell["cell_type"] == "markdown":
            tagged = OF_PHANTOMS in twin["metadata"].get("tags", [])
            said = INSTEAD if tagged else text if number else f"{text}\n\n{HEAD}"
            assert own == said.replace("{name}", "manifest")


def test_the_report_on_own_images_speaks_of_no_phantoms(used_smoke, exported):
    page = (used_smoke / "runs" / "smoke-manifest" / "report.html").read_text(encoding="utf-8")
    assert "Images of the manifest manifest. Research use only; not for clinical use." in page
    assert "phantom" not in without_what_is_of_phantoms_alone(page)


def test_what_is_no_interval_is_said_in_words(used_smoke, exported):
    groups = pd.read_csv(exported / "sensitivity_by_group.csv")
    assert (groups["patients"] == 1).any()
    assert groups.loc[groups["patients"] < 5, ["low", "high"]].isna().all(axis=None)
    page = (used_smoke / "runs" / "smoke-manifest" / "report.html").read_text(encoding="utf-8")
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert "nothing varies: no interval" in cells
    ranges = [found for cell in cells if (found := re.fullmatch("(.+) to (.+)", cell))]
    assert any(found[2].replace(".", "").isdigit() for found in ranges)
    assert not [found[0] for found in ranges if found[1] == found[2]]
    for name in NOTEBOOKS:
        notebook = (used_smoke / "runs" / "smoke-manifest" / f"{name}.ipynb").read_text(encoding="utf-8")
        cells += re.findall(r"<td>([^<]*)</td>", notebook)
    assert {"nan", "NaN", "inf"}.isdisjoint(cells)
