"""The core room: profiles that refuse the unknown, named seeds, code digests, artefacts that survive a kill."""

import ast
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecsupport.cohort import images, phantom
from ecsupport.core import artefacts, code, paths, profiles, progress
from ecsupport.core.artefacts import Spec, ensure, replacing, sha256, verified
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


# --- code digests ---------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `ecsupport` of two modules, the first of which imports the second."""
    monkeypatch.setattr(code, "ROOT", tmp_path)
    monkeypatch.setattr(code, "digest", code.digest.__wrapped__)
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


def test_digest_sees_what_code_does_not_how_it_is_written(package):
    before = code.digest("ecsupport.upper")
    (package / "apart.py").write_text("def three():\n    return 4\n")
    (package / "lower.py").write_text(
        '"""New words."""\n\n\ndef two():  # a comment\n    """More."""\n    return   2\n'
    )
    assert code.digest("ecsupport.upper") == before
    (package / "lower.py").write_text("def two():\n    return 3\n")
    assert code.digest("ecsupport.upper") != before


def test_digest_refuses_a_module_from_elsewhere():
    with pytest.raises(ValueError, match="json is no module of ecsupport"):
        code.digest("json")


# --- artefacts ------------------------------------------------------------------------------------------------------

MAKER = """
import os, pathlib, sys, time
from ecsupport.cohort import images, phantom
from ecsupport.core import artefacts, code
code.digest = lambda module: "fixed"
def make(folder, text, pause):
    with open({calls!r}, "a") as calls:
        calls.write(f"{{os.getpid()}}\\n")
    (folder / "a.txt").write_text(text)
    time.sleep(pause)
    (folder / "b.txt").write_text(text)
print(artefacts.ensure(artefacts.Spec("test", make, {{"text": "hello", "pause": {pause}}})))
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    monkeypatch.setattr(code, "digest", lambda module: "fixed")
    return tmp_path / "store"


def start_maker(store, pause):
    program = MAKER.format(calls=str(store.parent / "calls"), pause=pause)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def wait_for(condition, seconds=600.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def make_number(folder, number):
    (folder / "number.txt").write_text(str(number))


def test_an_artefact_is_made_once_and_per_argument(store):
    made = []

    def make(folder, number):
        made.append(number)
        make_number(folder, number)

    first = ensure(Spec("test", make, {"number": 1}))
    assert ensure(Spec("test", make, {"number": 1})) == first
    assert ensure(Spec("test", make, {"number": 2})) != first
    assert made == [1, 2]
    assert (first / "number.txt").read_text() == "1"


@pytest.mark.parametrize("damage", ["change", "remove", "provenance"])
def test_a_damaged_artefact_is_made_anew(store, damage):
    spec = Spec("test", make_number, {"number": 7})
    folder = ensure(spec)
    if damage == "change":
        (folder / "number.txt").write_text("8")
    elif damage == "remove":
        (folder / "number.txt").unlink()
    else:
        (folder / artefacts.PROVENANCE).write_text("{")
    assert not verified(folder, spec.key())
    assert (ensure(spec) / "number.txt").read_text() == "7"


def test_changed_code_makes_another_artefact(store, monkeypatch):
    spec = Spec("test", make_number, {"number": 7})
    before = ensure(spec)
    monkeypatch.setattr(code, "digest", lambda module: "edited")
    assert ensure(spec) != before


def test_a_maker_that_fails_leaves_no_artefact(store):
    def make(folder, fail):
        (folder / "half.txt").write_text("half")
        if fail:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        ensure(Spec("test", make, {"fail": True}))
    assert not list(store.rglob(artefacts.PROVENANCE))


def test_a_maker_killed_midway_leaves_nothing_that_is_taken_for_an_artefact(store):
    killed = start_maker(store, pause=3600)
    wait_for(lambda: list(store.rglob("a.txt")))
    assert not list(store.rglob(artefacts.PROVENANCE))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert list(store.rglob("*.making-*/a.txt"))  # what the dead maker left
    after = start_maker(store, pause=3600)  # the same artefact: the lock of the dead owner does not hold it up
    wait_for(lambda: (store.parent / "calls").read_text().split().count(str(after.pid)) == 1)
    wait_for(lambda: len(list(store.rglob("*.making-*/a.txt"))) == 1)  # its rubbish is gone, ours is there
    after.kill()
    after.wait()


def test_two_makers_at_once_make_one_artefact(store):
    makers = [start_maker(store, pause=0.5) for _ in range(3)]
    folders = {maker.communicate()[0].strip() for maker in makers}
    assert len(folders) == 1
    assert len((store.parent / "calls").read_text().split()) == 1
    assert not list(store.rglob("*.making-*"))


def test_a_resumable_maker_finds_what_it_left(store):
    def make(folder, fail):
        half = folder / "half.txt"
        if not half.is_file():
            half.write_text("half")
            raise OSError("power cut")
        half.rename(folder / "whole.txt")

    spec = Spec("test", make, {"fail": True}, resumable=True)
    with pytest.raises(OSError, match="power cut"):
        ensure(spec)
    assert not list(store.rglob(artefacts.PROVENANCE))
    assert (ensure(spec) / "whole.txt").read_text() == "half"
    assert not list(store.rglob("*.resumable"))


@pytest.mark.parametrize("workers", [1, 2])
def test_several_artefacts_come_in_the_order_asked_for(workspace, workers):
    names = [f"phantom-v1/EC0000{number}/us/{workers}" for number in (3, 1, 2)]
    specs = [Spec("images", images.make_phantoms, {"images": [name], "hashes": [""], "size": 16}) for name in names]
    folders = artefacts.ensure_all(specs, workers, "images")
    for name, folder in zip(names, folders, strict=True):
        _, patient, modality, index = name.split("/")
        one = phantom.render("phantom-v1", patient, int(index), modality, 16)
        assert np.array_equal(np.load(folder / "images.npy"), one[None])


def make_together(wanted):
    for folder, arguments in wanted:
        if arguments["number"] < 0:
            raise OSError("disk full")
        (folder / "number.txt").write_text(f"{arguments['number']} of {len(wanted)}")
        yield folder


def group_of(*numbers, make=make_number, together=make_together):
    return [Spec("test", make, {"number": n}, group="all", make_together=together) for n in numbers]


def test_a_group_is_made_in_one_go_but_for_what_stands(store):
    ensure(group_of(2)[0])
    artefacts.ensure_group(group_of(3, 2, 1, 3))
    folders = artefacts.ensure_all(group_of(3, 2, 1))
    assert [(folder / "number.txt").read_text() for folder in folders] == ["3 of 2", "2", "1 of 2"]


def test_what_a_group_has_finished_before_a_fault_stays(store):
    specs = sorted(group_of(1, 2, -1), key=Spec.key)
    with pytest.raises(OSError, match="disk full"):
        artefacts.ensure_all(specs)
    before = [spec.arguments["number"] for spec in specs].index(-1)
    assert [verified(*artefacts.place(spec)) for spec in specs] == [n < before for n in range(3)]
    assert not list(store.rglob("*.making-*"))


@pytest.mark.parametrize("group", ["", "all"])
def test_an_artefact_that_is_asked_for_twice_is_made_once(store, group):
    one = Spec("test", make_number, {"number": 1}, group=group, make_together=make_together)
    first, second = artefacts.ensure_all([one, one])
    assert first == second
    assert (first / "number.txt").read_text() == "1"


def test_two_who_want_overlapping_groups_do_not_wait_for_each_other_for_ever(store):
    made = []

    def slowly(wanted):
        for folder, arguments in wanted:
            time.sleep(0.05)
            make_number(folder, **arguments)
            made.append(arguments["number"])
            yield folder

    groups = [group_of(*order, together=slowly) for order in ((1, 2, 3), (4, 3, 2, 1))]
    both = [threading.Thread(target=artefacts.ensure_group, args=[group], daemon=True) for group in groups]
    for one in both:
        one.start()
    for one in both:
        one.join(600)
        assert not one.is_alive()
    assert set(made) <= {1, 2, 3, 4} and len(made) == len(set(made))


WORK = """
import os, time
from pathlib import Path

def work(folder):
    Path(folder, f"worker-{os.getpid()}").touch()
    Path(folder, f"worker-{os.getppid()}").touch()  # whom it was forked from
    time.sleep(3600)
"""
OWNER = """
from pathlib import Path
from ecsupport.core.artefacts import workers_of
from work import work
here = Path(__file__).parent
with workers_of(2, "work") as pool:
    list(pool.map(work, [here, here]))
"""


def test_workers_end_with_the_process_that_started_them(tmp_path):
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    (tmp_path / "work.py").write_text(WORK)
    owner = subprocess.Popen([sys.executable, str(script)])
    wait_for(lambda: len(list(tmp_path.glob("worker-*"))) >= 3)
    pids = [int(file.name.removeprefix("worker-")) for file in tmp_path.glob("worker-*")]
    assert all(map(alive, pids))
    assert owner.pid not in pids
    owner.kill()
    owner.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids))


def test_workers_have_the_environment_of_their_own_pool(monkeypatch):
    """Not that of the process they are forked from, which is as old as the first pool."""
    for value in ("one", "other"):
        monkeypatch.setenv("ECSUPPORT_TEST", value)
        with artefacts.workers_of(1, "look") as pool:
            assert pool.submit(os.getenv, "ECSUPPORT_TEST").result() == value
    monkeypatch.delenv("ECSUPPORT_TEST")
    with artefacts.workers_of(1, "look") as pool:
        assert pool.submit(os.getenv, "ECSUPPORT_TEST").result() is None


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_deposit_is_named_by_its_bytes(store):
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    name = artefacts.deposit(image=pixels, label=np.array([0, 1]))
    assert artefacts.deposit(label=np.array([0, 1]), image=pixels[:, ::-1][:, ::-1]) == name
    others = [pixels.reshape(3, 2), pixels + 1, pixels.astype(np.int8)]
    assert name not in {artefacts.deposit(image=other, label=np.array([0, 1])) for other in others}
    back = artefacts.withdraw(name)
    assert np.array_equal(back["image"], pixels)
    assert back["label"].tolist() == [0, 1]
    with pytest.raises(FileNotFoundError, match="no deposit feed"):
        artefacts.withdraw("feed")


def invert(folder):
    np.save(folder / "label.npy", 1 - np.load(folder / "label.npy"))


def truncate(folder):
    os.truncate(folder / "image.npy", 130)  # its head and two pixels


DAMAGES = {
    "inverted labels": invert,
    "truncated": truncate,
    "emptied": lambda folder: os.truncate(folder / "image.npy", 0),
    "an array lost": lambda folder: (folder / "image.npy").unlink(),
    "an array more": lambda folder: np.save(folder / "real.npy", np.ones(2)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_deposit_is_refused_and_deposited_again(store, damage):
    arrays = {"image": np.arange(6, dtype=np.uint8).reshape(2, 3), "label": np.array([0, 1])}
    name = artefacts.deposit(**arrays)
    assert artefacts.withdraw(name)["label"].tolist() == [0, 1]
    damage(store / "deposits" / name)
    with pytest.raises(UserError, match=rf"{name} is not what was deposited there.*Remove it and make the run again"):
        artefacts.withdraw(name)
    assert artefacts.deposit(**arrays) == name
    back = artefacts.withdraw(name)
    assert {key: array.tolist() for key, array in back.items()} == {k: a.tolist() for k, a in arrays.items()}


def test_a_deposit_is_read_through_once_a_process(store, monkeypatch):
    name = artefacts.deposit(label=np.array([0, 1]))
    artefacts.withdraw(name)
    monkeypatch.setattr(artefacts, "_name_of", lambda arrays: pytest.fail("read again"))
    assert artefacts.withdraw(name)["label"].tolist() == [0, 1]


# --- progress -------------------------------------------------------------------------------------------------------


def test_a_bar_is_seen_by_a_person_and_not_by_a_machine(monkeypatch, capsys):
    monkeypatch.delenv(progress.HEADLESS, raising=False)
    assert list(progress.bar([7, 8], "steps")) == [7, 8]
    assert "steps" in capsys.readouterr().err
    monkeypatch.setenv(progress.HEADLESS, "1")
    assert list(progress.bar([7, 8], "steps")) == [7, 8]
    assert capsys.readouterr().err == ""


def test_a_worker_adds_to_the_bar_of_its_owner(monkeypatch):
    monkeypatch.setenv(progress.HEADLESS, "1")
    monkeypatch.setattr(progress, "_counters", None)
    with progress.shared(multiprocessing.get_context("spawn"), "steps") as counters:
        progress.join(counters)
        assert list(progress.bar(range(3), "steps", total=5, done=2)) == [0, 1, 2]
        assert list(counters) == [5, 5]


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


def test_a_spec_refuses_arguments_that_are_no_json(store):
    with pytest.raises((TypeError, ValueError)):
        Spec("test", make_number, {"number": float("nan")}).key()
    with pytest.raises(TypeError):
        Spec("test", make_number, {"number": np.zeros(2)}).key()


# --- the house ------------------------------------------------------------------------------------------------------


ROOMS = {  # what each room may import beside itself: only what stands below it
    "core": set(),
    "paper": {"core"},
    "cohort": {"core"},
    "screening": {"core", "cohort"},
    "translation": {"core", "cohort"},
    "instruments": {"core", "cohort"},
    "experiments": {"core", "cohort", "translation", "screening", "instruments", "evaluation"},
    "evaluation": {"core", "cohort"},
    "audit": {"core", "paper", "evaluation"},
    "reporting": {
        *("core", "paper", "cohort", "translation", "screening", "instruments"),
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
