"""The committed notebooks: every checked output compared, by nbval's comparer, with that of the fresh smoke run.

Two are executed once more by nbval itself. And guards against checks that check nothing: stored outputs must exist, a
changed one must be noticed, and a notebook that trains or renders is stopped (`conftest.GUARD`).
"""

import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
from conftest import GUARD
from nbval.plugin import IPyNbCell, IPyNbFile

from ecsupport import execution
from ecsupport.core import paths
from ecsupport.reporting.index import written_notebooks
from ecsupport.reporting.own_images import OF_PHANTOMS

NOTEBOOKS = [notebook.name for notebook in written_notebooks()]
CHECKED = "nbval-check-output"
TAGS = {"parameters", CHECKED, OF_PHANTOMS}
LEAST_CHECKED = 3  # cells of every notebook
CELL_TIMEOUT = 3600  # seconds

FORBIDDEN = {
    "a path of a machine": r"(?<![\w.])/(home|root|tmp|work|Users|usr|var|opt|private|mnt)/\w",
    "a time of day": r"\b\d{1,2}:\d{2}:\d{2}\b|\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}",
    "an object's address": r"\b0x[0-9a-f]{6,}",
    "a progress bar": r"\d+%\|",
}


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
    environment = os.environ | execution.kernel_environment()
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-x", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, f"--nbval-cell-timeout={CELL_TIMEOUT}", str(notebook)],
        env=environment | {"ECSUPPORT_WORKSPACE": str(workspace)},
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


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
def test_what_was_seen_on_phantoms_stands_in_cells_of_its_own(name):
    """So that a run on own images leaves it out: what a profile of the phantoms gave, and what follows from it."""
    for cell in load(name)["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and OF_PHANTOMS not in tags(cell):
            seen = re.search(r"[Aa]t `laptop`|reference/laptop|On the phantoms\.|Phantom images", text)
            assert not seen, f"{cell['id']}: {seen[0]}"


@pytest.fixture
def differing(request):
    """Ids of the checked cells of a notebook whose outputs are others than those stored, by nbval's comparer."""

    def compare(name, stored, fresh):
        file = IPyNbFile.from_parent(request.session, path=paths.notebooks() / f"{name}.ipynb")
        found = []
        for number, (old, new) in enumerate(zip(code_cells(stored), code_cells(fresh), strict=True)):
            assert "".join(old["source"]) == "".join(new["source"]), old["id"]
            cell = IPyNbCell.from_parent(file, name=old["id"], cell_num=number, cell=old, options={})
            outputs = ([nbformat.from_dict(output) for output in of["outputs"]] for of in (new, old))
            if CHECKED in tags(old) and not cell.compare_outputs(*outputs):
                found.append(old["id"])
        return found

    return compare


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_committed_outputs_come_out_again(smoke, differing, name):
    executed = (smoke / "runs" / "smoke" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert differing(name, load(name), execution.cleaned(json.loads(executed))) == []


@pytest.mark.parametrize("name", [NOTEBOOKS[0], NOTEBOOKS[5]])
def test_nbval_itself_finds_the_committed_outputs(used_smoke, name):
    done = nbval(paths.notebooks() / f"{name}.ipynb", used_smoke)
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) == len(code_cells(load(name)))


def mutated(text):
    """The text with its last digit another one; a `0</td>` counts, a `</h3>` does not."""
    return re.sub(r"\d(?![^<]*>)(?=(?:<[^>]*>|\D)*$)", lambda digit: str((int(digit[0]) + 1) % 10), text)


def changed(notebook):
    """The notebook with one digit of its first checked output another one, and that cell's id."""
    cell = next(cell for cell in code_cells(notebook) if CHECKED in tags(cell))
    before = json.dumps(cell["outputs"])
    for output in cell["outputs"]:
        for holder in [output, *([output["data"]] if "data" in output else [])]:
            for key in ("text", "text/plain", "text/html"):
                if key in holder:
                    holder[key] = mutated("".join(holder[key]))
    assert json.dumps(cell["outputs"]) != before
    return notebook, cell["id"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_comparer_notices_a_changed_digit(differing, name):
    assert differing(name, load(name), load(name)) == []
    notebook, cell = changed(load(name))
    assert differing(name, load(name), notebook) == [cell]


def test_nbval_notices_a_changed_digit(used_smoke, tmp_path):
    notebook, _ = changed(load(NOTEBOOKS[0]))
    file = tmp_path / f"{NOTEBOOKS[0]}.ipynb"
    file.write_text(json.dumps(notebook))
    done = nbval(file, used_smoke)
    assert done.returncode == 1
    assert "1 failed" in done.stdout


# --- notebooks only read --------------------------------------------------------------------------------------------

STEP = "import torch\nw = torch.zeros(1, requires_grad=True)\nw.sum().backward()\ntorch.optim.{}([w]).step()"
RENDER = "from ecsupport.cohort import manifest, phantom\nphantom.{}"
DRAW = """
from ecsupport.cohort import manifest, structures
from ecsupport.core.profiles import Run
structures.known(manifest.phantoms(Run.open().profile.cohort).query("modality == 'us'").head(1), 64)
"""


@pytest.mark.parametrize(
    "cell",
    [
        *(STEP.format(name) for name in ("Adam", "AdamW", "SGD")),
        RENDER.format("render('phantom-v1', 'EC00001', 0, 'us', 64)"),
        DRAW,
    ],
)
def test_a_notebook_that_trains_or_renders_is_stopped(tmp_path, cell):
    """The smoke run, with which all else here compares, is made with the guard that stops this cell."""
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "-c", cell],
        env=os.environ | {"IPYTHONDIR": str(GUARD.install(tmp_path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert GUARD.words in done.stdout + done.stderr
