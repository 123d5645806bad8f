"""The committed notebooks: a fresh smoke run, then every stored output compared with a new execution by nbval.

And guards against checks that check nothing: stored outputs must exist, and a changed one must be noticed.
"""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ecsupport import engine
from ecsupport.cohort import images
from ecsupport.core import paths, profiles
from ecsupport.core.artefacts import deposit, ensure, sha256
from ecsupport.core.seeds import generator
from ecsupport.evaluation.auc import auc_interval
from ecsupport.reporting.index import written_notebooks
from ecsupport.screening import training

NOTEBOOKS = [notebook.name for notebook in written_notebooks()]
CHECKED = "nbval-check-output"
TAGS = {"parameters", CHECKED}
LEAST_CHECKED = 3  # cells of every notebook
CELL_TIMEOUT = 900  # seconds
EXACT_TABLES = [
    "manifest.csv",
    "split_counts.csv",
    "paper_scale.csv",
    "table_6_replayed.csv",
]  # counts, no fitted model

FORBIDDEN = {
    "a path of a machine": r"(?<![\w.])/(home|root|tmp|work|Users|usr|var|opt|private|mnt)/\w",
    "a time of day": r"\b\d{1,2}:\d{2}:\d{2}\b|\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}",
    "an object's address": r"\b0x[0-9a-f]{6,}",
    "a progress bar": r"\d+%\|",
}


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, ecsupport):
    """A workspace with a smoke run from nothing, made by the command behind `make reproduce`."""
    folder = tmp_path_factory.mktemp("smoke")
    done = ecsupport("reproduce", "--profile", "smoke", ECSUPPORT_WORKSPACE=folder)
    assert done.returncode == 0, done.stderr
    return folder


def load(name):
    return json.loads((paths.notebooks() / f"{name}.ipynb").read_text(encoding="utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def tags(cell):
    return set(cell["metadata"].get("tags", []))


def text_outputs(cell):
    """All text that a cell has stored, pictures left out."""
    for output in cell["outputs"]:
        yield "".join(output.get("text", ""))
        for kind, value in output.get("data", {}).items():
            if kind != "image/png":
                yield "".join(value)


def nbval(notebook, workspace):
    """Execute a notebook and compare its checked cells, as pytest with nbval does in lax mode."""
    environment = os.environ | engine.kernel_environment(profiles.load("smoke").threads)
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-x", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, f"--nbval-cell-timeout={CELL_TIMEOUT}", str(notebook)],
        env=environment | {"ECSUPPORT_WORKSPACE": str(workspace)},
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


# --- the fresh run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_fresh_run_writes_every_result(smoke, name):
    record = json.loads((smoke / "figures" / "smoke" / f"{name}.json").read_text(encoding="utf-8"))
    assert record["files"]
    for key, entry in record["files"].items():
        assert sha256(smoke / key) == entry["sha256"], key
    assert (smoke / "runs" / "smoke" / f"{name}.ipynb").is_file()


def test_a_fresh_run_leaves_nothing_unlisted(smoke):
    figures = smoke / "figures" / "smoke"
    listed = {key for name in NOTEBOOKS for key in json.loads((figures / f"{name}.json").read_text())["files"]}
    assert {f"figures/smoke/{file.name}" for file in figures.iterdir() if file.suffix != ".json"} == {
        key for key in listed if key.startswith("figures/")
    }
    assert not (smoke / "runs" / "smoke" / "failed").exists()


def test_nothing_changed_means_nothing_to_do(smoke, ecsupport):
    done = ecsupport("reproduce", ECSUPPORT_WORKSPACE=smoke)
    assert done.returncode == 0
    assert "nothing to do" in done.stderr


def test_the_report_needs_nothing_from_outside(smoke):
    page = (smoke / "runs" / "smoke" / "report.html").read_text(encoding="utf-8")
    links = [link for link in re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', page) if not link.startswith(("#", "data:"))]
    assert set(links) <= {f"{name}.ipynb" for name in NOTEBOOKS}
    assert "://" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", page)
    assert page.count('src="data:image/png;base64,') >= 1
    for link in set(links):
        assert (smoke / "runs" / "smoke" / link).is_file()


@pytest.mark.parametrize("table", EXACT_TABLES)
def test_exact_tables_are_those_of_the_reference(smoke, table):
    reference = paths.reference() / "smoke" / table
    assert (smoke / "figures" / "smoke" / table).read_bytes() == reference.read_bytes()


def test_the_reference_holds_the_same_files_with_the_same_columns(smoke):
    made, reference = smoke / "figures" / "smoke", paths.reference() / "smoke"
    names = sorted(file.name for file in made.iterdir())
    assert names == sorted(file.name for file in reference.iterdir())
    tables = [name for name in names if name.endswith(".csv")]
    assert tables
    for name in tables:
        ours, theirs = pd.read_csv(made / name), pd.read_csv(reference / name)
        assert list(ours.columns) == list(theirs.columns), name
        assert len(ours) == len(theirs), name


# --- the networks ---------------------------------------------------------------------------------------------------


def test_the_smoke_networks_have_learnt(smoke):
    """LSNet on all patients that it has not seen; those of the test set alone are too few to tell."""
    areas = pd.read_csv(smoke / "figures" / "smoke" / "unseen_patients.csv")
    of_lsnet = areas[(areas["network"] == "LSNet") & (areas["patients"] == "both")]
    assert len(of_lsnet) == 3
    assert (of_lsnet["images"] > 300).all()
    assert of_lsnet["roc_auc"].min() > 0.8
    peers = areas[(areas["network"] == "MobileNet-V2") & (areas["patients"] == "both")]
    assert peers["roc_auc"].mean() > 0.6  # it has hardly begun to learn after as many steps


def test_the_same_code_learns_nothing_from_shuffled_labels(smoke, monkeypatch):
    """LSNet with the smoke settings; carcinoma and control exchanged at random between the training patients."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(smoke))
    profile = profiles.load("smoke")
    rows = pd.read_csv(smoke / "figures" / "smoke" / "manifest.csv", keep_default_na=False)
    rows = rows[rows["modality"] == "us"]
    train, validation, unseen = (
        rows[rows["split"].isin(names)] for names in (["train"], ["validation"], ["test", "instrument"])
    )
    patients = train.drop_duplicates("patient_id").set_index("patient_id")["label"]
    shuffled = pd.Series(generator("shuffled").permutation(patients.to_numpy()), index=patients.index)
    pixels = {name: images.load(part, profile.image_size) for name, part in (("t", train), ("v", validation))}
    data = deposit(
        image=pixels["t"],
        label=train["patient_id"].map(shuffled).to_numpy(np.int64),
        real=np.ones(len(train), bool),
        validation_image=pixels["v"],
        validation_label=validation["label"].to_numpy(np.int64),
    )
    network = training.restore(ensure(training.spec(training.Settings.of(profile), data, 42)))
    score = training.predict(network, images.load(unseen, profile.image_size))
    found = auc_interval(unseen["label"].to_numpy(), score, unseen["patient_id"].to_numpy())
    assert found.low < 0.5 < found.high
    assert found.high < 0.75


# --- own images -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def exported(smoke, ecsupport):
    """The smoke phantoms as files, and notebooks 01 to 06 on these files in the workspace of the smoke run."""
    done = ecsupport("export", smoke / "own", "--profile", "smoke", ECSUPPORT_WORKSPACE=smoke)
    assert done.returncode == 0, done.stderr
    for item in ("table-1", "table-2", "table-5"):
        done = ecsupport("item", item, "--cohort", smoke / "own" / "manifest.csv", ECSUPPORT_WORKSPACE=smoke)
        assert done.returncode == 0, done.stderr
    return smoke / "figures" / "smoke-manifest"


@pytest.mark.parametrize("number", range(1, 6))
def test_files_give_the_same_tables_as_the_phantoms(smoke, exported, number):
    """A network is trained anew only where its images differ by a byte, so that equal tables mean equal bytes."""
    table = f"table_{number}.csv"
    assert (exported / table).read_bytes() == (smoke / "figures" / "smoke" / table).read_bytes()


def test_files_give_the_same_scores_and_with_them_tables_6_to_8(smoke, exported):
    ours, theirs = (pd.read_csv(f / "predictions.csv") for f in (smoke / "figures" / "smoke", exported))
    pd.testing.assert_frame_equal(ours.drop(columns="image"), theirs.drop(columns="image"))


def test_what_files_do_not_tell_is_not_assessable(smoke, exported):
    found = []
    for folder in (smoke / "figures" / "smoke", exported):
        record = json.loads((folder / "02_sg_cyclegan_training.json").read_text(encoding="utf-8"))
        found += [row for row in record["estimates"] if row["claim"] == "mafe_keeps_structure"]
    assert [row["assessable"] for row in found] == [True, False]
    assert "anatomy" in found[1]["note"]
    text = (smoke / "runs" / "smoke-manifest" / "02_sg_cyclegan_training.ipynb").read_text(encoding="utf-8")
    assert "Phantom images" not in text
    assert "Phantom images" in (smoke / "runs" / "smoke" / "02_sg_cyclegan_training.ipynb").read_text(encoding="utf-8")


# --- the committed notebooks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_checked_outputs_are_stored_and_clean(name):
    notebook = load(name)
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert "parameters" in tags(cells[0])
    assert "".join(cells[-1]["source"]).strip().endswith("results.finish()")
    checked = [cell for cell in cells if CHECKED in tags(cell)]
    assert len(checked) >= LEAST_CHECKED
    for cell in notebook["cells"]:
        assert tags(cell) <= TAGS, cell["id"]
        assert set(cell["metadata"]) <= {"tags"}, cell["id"]
    for cell in checked:
        assert "".join(text_outputs(cell)).strip(), f"{cell['id']} is checked but has no stored output"
    for cell in cells:
        assert not [o for o in cell["outputs"] if o.get("name") == "stderr" or o["output_type"] == "error"], cell["id"]
        for text in text_outputs(cell):
            for what, pattern in FORBIDDEN.items():
                found = re.search(pattern, text)
                assert not found, f"{cell['id']} shows {what}: {found[0]}"
    assert any("".join(cell["source"]).startswith("**Change this.**") for cell in notebook["cells"])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_committed_outputs_come_out_again(smoke, name):
    done = nbval(paths.notebooks() / f"{name}.ipynb", smoke)
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) == len(code_cells(load(name)))


def mutated(text):
    """The text with its last digit another one; a `0</td>` counts, a `</h3>` does not."""
    return re.sub(r"\d(?![^<]*>)(?=(?:<[^>]*>|\D)*$)", lambda digit: str((int(digit[0]) + 1) % 10), text)


def test_a_changed_output_is_noticed(smoke, tmp_path):
    """The mutation test: one digit of one checked output of the first notebook is another one."""
    notebook = load(NOTEBOOKS[0])
    cell = next(cell for cell in code_cells(notebook) if CHECKED in tags(cell))
    before = json.dumps(cell["outputs"])
    for output in cell["outputs"]:
        for holder in [output, *([output["data"]] if "data" in output else [])]:
            for key in ("text", "text/plain", "text/html"):
                if key in holder:
                    holder[key] = mutated("".join(holder[key]))
    assert json.dumps(cell["outputs"]) != before
    file = tmp_path / f"{NOTEBOOKS[0]}.ipynb"
    file.write_text(json.dumps(notebook))
    done = nbval(file, smoke)
    assert done.returncode == 1
    assert "1 failed" in done.stdout
