"""The core room: profiles that refuse the unknown, named seeds, what imports what, files that are whole or absent."""

import ast
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecsupport.core import code, paths, profiles, progress
from ecsupport.core.artefacts import replacing, sha256
from ecsupport.core.errors import UserError, row_error
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator

# --- profiles -------------------------------------------------------------------------------------------------------


def test_every_profile_loads_and_is_frozen():
    assert profiles.names() == ["laptop", "paper", "smoke"]
    for name in profiles.names():
        profile = profiles.load(name)
        assert profile.name == name
        assert profile.task in profiles.TASKS
        with pytest.raises(FrozenInstanceError):
            profile.image_size = 1
        with pytest.raises(FrozenInstanceError):
            profile.cohort.mri_patients = 1


def test_paper_profile_has_the_papers_counts():
    size = profiles.load("paper").cohort
    assert (size.carcinoma_patients, size.carcinoma_images) == (651, 3354)
    assert (size.control_patients, size.control_images) == (7300, 33189)
    assert (size.mri_patients, size.mri_images) == (498, 34214)


def test_profiles_leave_new_positives_for_the_ceiling_and_pair_the_peers_seeds():
    for profile in map(profiles.load, profiles.names()):
        wanted = profile.downstream.real_positives + profile.downstream.added
        assert wanted <= 0.8 * profile.cohort.carcinoma_images or profile.name == "paper"  # which has MRI for more
        assert set(profile.translation.peer_seeds) <= set(profile.translation.seeds)
        assert profile.downstream.steps >= 5 * profile.downstream.validate_every


def test_unknown_profile_lists_the_known_ones():
    with pytest.raises(UserError, match="unknown profile 'huge'.*laptop, paper, smoke"):
        profiles.load("huge")


@pytest.fixture
def profile_file(tmp_path, monkeypatch):
    """A profile `mine`, to be edited by a test."""
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    text = (paths.ROOT / "ecsupport/core/profiles/smoke.toml").read_text()

    def edit(old, new):
        assert old in text
        (tmp_path / "mine.toml").write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("threads = 2", "threads = 2\nthread = 2", "unknown key 'thread'"),
        ("threads = 2\n", "", "missing key 'threads'"),
        ("mri_patients = 30\n", "", r"\[cohort\]: missing key 'mri_patients'"),
        ("mri_patients = 30", "mri_patient = 30", r"\[cohort\]: unknown key 'mri_patient'"),
        ("image_size = 64", 'image_size = "64"', "image_size = '64' should be of type int"),
        ("threads = 2", "threads = true", "threads = True should be of type int"),
        ('task = "cohort"', 'task = "stage"', "task = 'stage' is unknown. Choose one of: cohort, invasion"),
        ('precision = "float32"', 'precision = "half"', "precision = 'half' is unknown. Choose one of: float32, bf"),
        ("added = 150\n", "", r"\[downstream\]: missing key 'added'"),
        ("threads = 2", "threads = ", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_profile_is_one_message(profile_file, old, new, message):
    profile_file(old, new)
    with pytest.raises(UserError, match=f"mine.toml.*{message}"):
        profiles.load("mine")


def test_run_is_named_by_profile_and_manifest(tmp_path):
    assert Run.open().name == "smoke"
    manifest = tmp_path / "ward7.csv"
    with pytest.raises(UserError, match="ward7.csv does not exist"):
        Run.open("smoke", str(manifest))
    manifest.write_text("")
    run = Run.open("smoke", str(manifest))
    assert run.name == "smoke-ward7"
    assert run.figures == paths.workspace() / "figures" / "smoke-ward7"


def test_row_error_names_file_row_and_remedy():
    assert str(row_error("m.csv", 3, "patient twice", "Rename it.")) == "m.csv, row 3: patient twice. Rename it."


# --- seeds ----------------------------------------------------------------------------------------------------------

KEYS = st.lists(st.one_of(st.text(max_size=8), st.integers()), min_size=1, max_size=4).map(tuple)


@settings(deadline=None)
@given(KEYS, KEYS)
def test_generators_are_equal_exactly_when_their_keys_are(one, other):
    draws = [generator(*key).integers(0, 2**63, 4).tolist() for key in (one, one, other)]
    assert draws[0] == draws[1]
    assert (draws[0] == draws[2]) == (one == other)


def test_streams_of_neighbouring_keys_are_uncorrelated():
    streams = np.stack([generator("phantom", number).standard_normal(4000) for number in range(30)])
    correlations = np.corrcoef(streams)[np.triu_indices(30, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(4000)


def test_the_stream_is_the_same_on_every_platform():
    draws = generator("phantom-v1", "EC0001", "anatomy").integers(0, 1000, 6)
    assert draws.tolist() == [209, 725, 715, 613, 862, 62]


# --- imports --------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `ecsupport` of two modules, the first of which imports the second."""
    monkeypatch.setattr(code, "ROOT", tmp_path)
    folder = tmp_path / "ecsupport"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "upper.py").write_text("from ecsupport.lower import two\n\ndef one():\n    return two()\n")
    (folder / "lower.py").write_text("def two():\n    return 2\n")
    (folder / "apart.py").write_text("def three():\n    return 3\n")
    return folder


def test_closure_follows_imports_and_nothing_else(package):
    assert [file.name for file in code.closure(package / "upper.py")] == ["lower.py"]


def test_closure_of_a_notebook_reads_its_code_cells(package, write_notebook):
    notebook = package.parent / "n.ipynb"
    write_notebook(notebook, "%matplotlib inline\n!ls\nimport ecsupport.upper")
    assert {file.name for file in code.closure(notebook)} >= {"upper.py", "lower.py"}
    assert "apart.py" not in {file.name for file in code.closure(notebook)}


# --- progress -------------------------------------------------------------------------------------------------------


def test_a_bar_is_seen_by_a_person_and_not_by_a_machine(monkeypatch, capsys):
    monkeypatch.delenv(progress.HEADLESS, raising=False)
    assert list(progress.bar([7, 8], "steps")) == [7, 8]
    assert "steps" in capsys.readouterr().err
    monkeypatch.setenv(progress.HEADLESS, "1")
    assert list(progress.bar([7, 8], "steps")) == [7, 8]
    assert capsys.readouterr().err == ""


# --- files ----------------------------------------------------------------------------------------------------------


def test_replacing_is_all_or_nothing(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("old")
    with pytest.raises(RuntimeError, match="midway"), replacing(file) as path:
        path.write_text("half")
        raise RuntimeError("midway")
    assert file.read_text() == "old"
    with replacing(file) as path:
        path.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_sha256_of_bytes_and_file_agree(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert (
        sha256(b"abc") == sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


# --- the house ------------------------------------------------------------------------------------------------------


ROOMS = {  # what each room may import beside itself: only what stands below it
    "core": set(),
    "paper": {"core"},
    "cohort": {"core"},
    "ingest": {"core", "cohort"},
    "backbone": {"core"},
    "screening": {"core", "cohort", "backbone"},
    "related": {"core", "cohort", "backbone"},
    "translation": {"core", "cohort"},
    "instruments": {"core", "cohort"},
    "experiments": {"core", "cohort", "backbone", "translation", "screening", "instruments", "related", "evaluation"},
    "evaluation": {"core", "cohort"},
    "audit": {"core", "paper", "evaluation"},
    "reporting": {
        *("core", "paper", "cohort", "backbone", "translation", "screening", "instruments", "related"),
        *("evaluation", "experiments", "audit", "bench"),
    },
}


def test_no_room_imports_a_room_above_it():
    package = paths.ROOT / "ecsupport"
    assert {folder.name for folder in package.iterdir() if (folder / "__init__.py").is_file()} <= set(ROOMS)
    seen = set()
    for room, allowed in ROOMS.items():
        for file in (package / room).glob("*.py"):
            for name in code.imports(file) - {"ecsupport"}:
                other = name.split(".")[1]
                assert other in allowed | {room}, f"{file.relative_to(paths.ROOT)} imports {name}"
                seen.add((room, other))
    assert {("cohort", "core"), ("evaluation", "core"), ("audit", "paper"), ("reporting", "paper")} <= seen


def test_no_module_is_too_long_to_be_read_at_one_sitting():
    length = {file: len(file.read_text().splitlines()) for file in (paths.ROOT / "ecsupport").rglob("*.py")}
    assert not {file.name: lines for file, lines in length.items() if lines > 350}


def test_closure_misses_no_import_of_the_house():
    """It follows absolute imports and no `__init__.py` above a module: so nothing else may stand in the package."""
    for file in sorted((paths.ROOT / "ecsupport").rglob("*.py")):
        tree = ast.parse(file.read_text())
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level], f"{file}: relative import"
        if file.name == "__init__.py":
            assert [type(node) for node in tree.body] == [ast.Expr], f"{file}: more than a docstring"
