"""workflow/bundle.py and what it writes: a tiny bundle made and installed without an index, and every refusal.

The container recipes are only read here, not built: every instruction known, every file there, every script accepted by
the shell. tests/slow/test_bundle.py makes the whole bundle and installs it without a network.
"""

import ast
import hashlib
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ecsupport.core.paths import ROOT

NASTY = """it's a "nasty" $HOME #1, {x} 中文"""
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
# instead of the real install: a venv filled with the two packages of the tiny lock, one by pip and both by uv
INSTALL = """
def install(folder):
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    (folder / "one.txt").write_text(lock.splitlines()[0], encoding="utf-8")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = (PYTHON, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--require-hashes")
    subprocess.run([*pip, "-r", folder / "one.txt"], check=True)
    uv = (PYTHON, "-m", "uv", "pip", "sync", "--quiet", "--python", folder / "bin" / "python", "--require-hashes")
    subprocess.run([*uv, "requirements.lock"], check=True, cwd=ROOT)


"""


def write_wheel(folder, name):
    """An empty package as a wheel, and its line of a lock."""
    file, info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"


class Checkout:
    """A small repository with the real bundle.py, an index of two packages, and what a person calls."""

    def __init__(self, folder):
        self.folder, self.index = folder / "checkout", folder / "index"
        self.index.mkdir(parents=True)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "workflow", self.folder / "workflow", ignore=ignored)
        for name in ("Makefile", ".gitignore"):
            shutil.copy(ROOT / name, self.folder)
        (self.folder / "requirements.lock").write_text("".join(write_wheel(self.index, n) for n in ("one", "two")))
        install = INSTALL.replace("PYTHON", repr(sys.executable))
        self.change("workflow/environment.py", 'if __name__ == "__main__":', install + 'if __name__ == "__main__":')
        taken = ("PIP_", "UV_", "GIT_", "MAKE", "MFL", "VIRTUAL_ENV", "TO")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(taken)}
        self.environment |= {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        self.environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.index.as_uri()}
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def change(self, name, old, new):
        text = (self.folder / name).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (self.folder / name).write_text(text.replace(old, new), encoding="utf-8")

    def git(self, *arguments, cwd=None):
        return self.run("git", *arguments, cwd=cwd or self.folder, check=True).stdout.strip()

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "what is tested")

    def run(self, *command, check=False, cwd=None, **environment):
        environment = self.environment | environment
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=check)

    def bundle(self, target, **environment):
        return self.run(sys.executable, self.folder / "workflow" / "bundle.py", target, **environment)

    def install(self, bundle, *folder, **environment):
        return self.run(sys.executable, bundle / "install.py", *folder, **environment)


def tree(folder):
    """Every path below a folder, but git's own, which a look may refresh."""
    return {path for path in folder.rglob("*") if not {".git", "__pycache__"} & {*path.parts}}


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / NASTY)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkout, and its bundle, which tests only read."""
    checkout = Checkout(tmp_path_factory.mktemp("made"))
    done = checkout.bundle(checkout.index.parent / "bundle")
    assert done.returncode == 0, done.stderr
    return checkout, checkout.index.parent / "bundle"


@pytest.fixture
def bundle(made, tmp_path):
    """A copy that a test may change; `about` changes what its bundle.json says, checksum included."""
    shutil.copytree(made[1], tmp_path / "bundle")
    return tmp_path / "bundle"


def describe(bundle, **values):
    file, sums = bundle / "bundle.json", bundle / "SHA256SUMS"
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    sums.write_text(sums.read_text().replace(before, hashlib.sha256(file.read_bytes()).hexdigest()))


# --- made and installed ---------------------------------------------------------------------------------------------


def test_a_bundle_is_installed_without_an_index_wherever_it_lies(checkout, tmp_path):
    target, folder = tmp_path / f"carried, {NASTY}", tmp_path / f"there, {NASTY}"
    done = checkout.bundle(target)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{target}  0.0 GB.")
    head = checkout.git("rev-parse", "HEAD")
    assert json.loads((target / "bundle.json").read_text())["commit"] == head
    shutil.rmtree(checkout.index)

    config = tmp_path / "home" / ".config"
    for name, text in (
        ("pip/pip.conf", "[global]\nconstraint = /nowhere\n"),
        ("uv/uv.toml", "nothing that uv can read"),
    ):
        (config / name).parent.mkdir(parents=True)
        (config / name).write_text(text)
    asked = {
        "UV_INDEX_URL": "https://index.invalid",
        "PIP_CONSTRAINT": "/nowhere",
        "PIP_INDEX_URL": "https://index.invalid",
    }
    asked |= {"HOME": str(config.parent), "XDG_CONFIG_HOME": str(config)}
    python = folder / "workflow" / "environment.py"
    for builds in range(2):  # again, after the environment has gone: it goes on with the clone that is there
        done = checkout.install(target, folder, **asked)
        assert done.returncode == 0, done.stderr
        assert ("Setting up" in done.stderr) and f"cd {shlex.quote(str(folder))} && make reproduce" in done.stderr
        assert checkout.git("rev-parse", "HEAD", "--abbrev-ref", "HEAD", cwd=folder).split() == [head, "main"]
        assert checkout.git("status", "--porcelain", cwd=folder) == ""
        kept = checkout.run(sys.executable, python, "-c", "import one, two; print(one.__file__)")
        assert kept.returncode == 0, kept.stderr
        assert Path(kept.stdout.strip()).is_relative_to(folder)
        assert kept.stderr == ""  # nothing was set up anew
        assert not [path for path in folder.iterdir() if "cache" in path.name]
        if not builds:
            assert checkout.run(sys.executable, python, "clean").returncode == 0


def test_the_sums_name_every_file_as_sha256sum_does(made):
    sums = dict(line.split("  ")[::-1] for line in (made[1] / "SHA256SUMS").read_text().splitlines())
    files = {str(path.relative_to(made[1])) for path in made[1].rglob("*") if path.is_file()}
    assert {*sums, "SHA256SUMS"} == files
    assert all(hashlib.sha256((made[1] / name).read_bytes()).hexdigest() == value for name, value in sums.items())
    assert {"repository.bundle", "requirements.lock", "packages/one-1.0-py3-none-any.whl", "README.txt"} < files


def test_without_a_name_it_lies_in_the_checkout_unseen_by_git_and_is_cleaned(checkout):
    assert checkout.bundle("").returncode == 0
    assert (checkout.folder / "bundle" / "install.py").is_file()
    assert checkout.git("status", "--porcelain") == ""
    (checkout.folder / "bundle-killed.part").mkdir()
    (checkout.folder / "bundle-mine").mkdir()
    done = checkout.run(sys.executable, checkout.folder / "workflow" / "environment.py", "clean")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in checkout.folder.glob("bundle*")] == ["bundle-mine"]


def test_make_passes_the_folder_as_it_stands(checkout):
    python = checkout.folder / "python3"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')  # says what the recipe calls
    python.chmod(0o755)
    for arguments, environment in ([f"TO={NASTY}"], {}), ([], {"TO": NASTY}):
        done = checkout.run("make", "bundle", f"PYTHON={python}", *arguments, cwd=checkout.folder, **environment)
        assert done.stdout.splitlines()[-2:] == ["workflow/bundle.py", NASTY]


def test_a_detached_head_is_carried_too(checkout, tmp_path):
    checkout.git("checkout", "--quiet", "--detach")
    assert checkout.bundle(tmp_path / "carried").returncode == 0
    done = checkout.install(tmp_path / "carried", tmp_path / "there")
    assert done.returncode == 0, done.stderr
    assert checkout.git("rev-parse", "HEAD", cwd=tmp_path / "there") == checkout.git("rev-parse", "HEAD")


def test_the_python_is_named_where_another_is_called_python3(made, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text("#!/bin/sh\necho another\n")
    (tmp_path / "bin" / "python3").chmod(0o755)
    checkout, bundle = made
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = checkout.install(bundle, tmp_path / "there", PATH=path)
    assert done.returncode == 0, done.stderr
    (named,) = re.findall(r"make reproduce PYTHON=(.+)", done.stderr)
    assert Path(shlex.split(named)[0]).samefile(sys.executable)


# --- refused --------------------------------------------------------------------------------------------------------


def changed(checkout, target):
    (checkout.folder / "Makefile").write_text("all:\n")
    (checkout.folder / "中文 new.py").touch()
    return "Makefile and 1 more would not be in the bundle", "Commit", {}


def untracked(checkout, target):
    (checkout.folder / "中文 new.py").touch()
    return f"{checkout.folder / '中文 new.py'} would not be in the bundle", "git stash", {}


def no_git(checkout, target):
    return "git is not on the PATH", "Install it", {"PATH": str(checkout.index)}


def no_repository(checkout, target):
    shutil.rmtree(checkout.folder / ".git")
    ceiling = {"GIT_CEILING_DIRECTORIES": str(checkout.folder.parent)}
    return f"git cannot use {checkout.folder}: fatal: not a git repository", "clone the repository", ceiling


def part_of_another(checkout, target):
    (checkout.folder / ".git").rename(checkout.folder.parent / ".git")
    return f"{checkout.folder} is no git repository of its own", "Clone the repository", {}


def shallow(checkout, target):
    checkout.git("commit", "--quiet", "--allow-empty", "--message", "second")
    other = checkout.folder.with_name("shallow")
    checkout.git("clone", "--quiet", "--depth", "1", checkout.folder.as_uri(), other)
    checkout.folder = other
    return f"{other} is a shallow clone", "git fetch --unshallow", {}


def occupied(checkout, target):
    target.mkdir()
    (target / "thesis.tex").touch()
    return f"{target} exists already", "name another", {}


def a_file(checkout, target):
    target.touch()
    return f"{target} exists already", "name another", {}


def no_parent(checkout, target):
    target.parent.rmdir()
    return f"{target.parent} does not exist", "Make it", {}


def full(checkout, target):
    checkout.change("workflow/bundle.py", "SPACE = 6_000_000_000", f"SPACE = {10**18}")
    checkout.commit()
    return f"{target.parent} has ", "writing a bundle takes up to 1000000000.0 GB. Free some", {}


def missing(checkout, target):
    next(checkout.index.glob("two*")).unlink()
    return "No matching distribution found for two==1.0", "Look at the connection", {}


def another_hash(checkout, target):
    write_wheel(checkout.index, "two")  # another time of its files: other bytes
    with next(checkout.index.glob("two*")).open("ab") as wheel:
        wheel.write(b"\0")
    return "DO NOT MATCH THE HASHES", "Nothing was written", {}


BUNDLE_CASES = (changed, untracked, no_git, no_repository, part_of_another, shallow, occupied, a_file, no_parent, full)


@pytest.mark.parametrize("case", [*BUNDLE_CASES, missing, another_hash])
def test_what_cannot_be_bundled_is_one_line_and_leaves_nothing(checkout, tmp_path, case):
    target = tmp_path / "stick" / "carried"
    target.parent.mkdir()
    what, remedy, environment = case(checkout, target)
    before = tree(tmp_path)
    done = checkout.bundle(target, **environment)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert what in done.stderr and remedy in done.stderr
    assert tree(tmp_path) == before


def test_a_stopped_bundle_leaves_nothing(checkout, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # an index that takes the call and never answers
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        environment = checkout.environment | {"PIP_INDEX_URL": address, "PIP_FIND_LINKS": ""}
        del environment["PIP_NO_INDEX"]
        command = [sys.executable, checkout.folder / "workflow" / "bundle.py", tmp_path / "carried"]
        job = subprocess.Popen(
            command,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a shell's background jobs ignore it
        )
        silent.settimeout(60)
        call, _ = silent.accept()
        assert [path.suffix for path in tmp_path.glob("bundle-*")] == [".part"]
        os.killpg(job.pid, signal.SIGINT)
        _, err = job.communicate(timeout=60)
        call.close()
    assert job.returncode == 130
    assert err == f"stopped; nothing was written to {tmp_path / 'carried'}\n"
    assert {path.name for path in tmp_path.iterdir()} == {NASTY}


@pytest.mark.parametrize("file", ["packages/one-1.0-py3-none-any.whl", "repository.bundle", "bundle.json"])
@pytest.mark.parametrize("how", ["flipped", "shorter", "missing"])
def test_an_altered_file_is_named_before_anything_is_written(made, bundle, tmp_path, file, how):
    content = bytearray((bundle / file).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / file).write_bytes(content if how == "flipped" else content[:-1])
    if how == "missing":
        (bundle / file).unlink()
    done = made[0].install(bundle, tmp_path / "there")
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [
        f"{bundle / file} is {'missing' if how == 'missing' else 'not what SHA256SUMS says'}."
        " Copy the bundle again, and call this again"
    ]
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("about", "what", "remedy"),
    [
        ({"python": "3.99"}, f"for CPython 3.99 on {os.uname().sysname}", "Call python3.99 "),
        ({"implementation": "PyPy"}, f"is CPython {VERSION} on", "make bundle PYTHON="),
        ({"machine": "sparc"}, "sparc, and ", "Make a bundle on a machine of this kind"),
        ({"system": "Plan9"}, "on Plan9 ", "Make a bundle on a machine of this kind"),
        ({"glibc": "9.1"}, "need glibc 9.1 or later, and this machine has ", "container"),
        ({"unpacked": 10**18}, "the environment takes 1000000000.0 GB", "Free some"),
    ],
)
def test_another_machine_is_told_in_one_line(made, bundle, tmp_path, about, what, remedy):
    describe(bundle, **about)
    done = made[0].install(bundle, tmp_path / "there")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2, done.stderr  # the first says what is checked
    assert what in done.stderr and remedy in done.stderr
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("case", ["occupied", "another clone", "a file", "no parent", "no git", "no sums"])
def test_what_cannot_be_installed_is_one_line(made, bundle, tmp_path, case):
    checkout, folder, environment, what = made[0], tmp_path / "there", {}, "exists and is not the commit"
    if case == "another clone":
        checkout.git("init", "--quiet", folder)
    elif case == "occupied":
        folder.mkdir()
        (folder / "thesis.tex").touch()
    elif case == "a file":
        folder.touch()
    elif case == "no parent":
        folder, what = tmp_path / "nowhere" / "there", f"{tmp_path / 'nowhere'} does not exist"
    elif case == "no git":
        environment, what = {"PATH": str(tmp_path)}, "git is not on the PATH"
    else:
        (bundle / "SHA256SUMS").unlink()
        what = f"No such file or directory: '{bundle / 'SHA256SUMS'}'"
    before = tree(tmp_path)
    done = checkout.install(bundle, folder, **environment)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert what in done.stderr
    assert tree(tmp_path) == before


def test_an_old_python_can_read_the_installer():
    ast.parse((ROOT / "workflow" / "offline" / "install.py").read_text(encoding="utf-8"), feature_version=(3, 6))


# --- what is carried ------------------------------------------------------------------------------------------------


@pytest.fixture
def module(monkeypatch):
    """bundle.py imported, as a script finds its neighbours."""
    monkeypatch.syspath_prepend(str(ROOT / "workflow"))
    yield importlib.import_module("bundle")
    for name in ("bundle", "environment"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("names", "oldest"),
    [
        (["a-1-py3-none-any"], (2, 17)),
        (["a-1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64", "b-1-py3-none-any"], (2, 27)),
        (
            ["a-1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64", "b-1-py3-none-manylinux_2_34_aarch64"],
            (2, 34),
        ),
        (["a-1-cp311-cp311-manylinux1_x86_64.manylinux_2_28_x86_64.manylinux_2_5_x86_64"], (2, 17)),
    ],
)
def test_the_oldest_c_library_is_that_of_the_most_demanding_wheel(module, names, oldest):
    assert module.glibc([Path(f"{name}.whl") for name in names]) == oldest


def test_every_release_of_this_python_finds_what_it_asks_for(module, monkeypatch, tmp_path):
    lines = (
        "same==1 \\\n    --hash=sha256:0 \\\n    --hash=sha256:1",
        f"twice==1 ; python_full_version < '{VERSION}.5' and sys_platform == '{sys.platform}' \\\n    --hash=sha256:2",
        f"twice==2 ; python_full_version >= '{VERSION}.5' and sys_platform == '{sys.platform}' \\\n    --hash=sha256:3",
        "elsewhere==1 ; sys_platform == 'plan9' \\\n    --hash=sha256:4",
        "old==1 ; python_full_version < '3.0' \\\n    --hash=sha256:5",
    )
    (tmp_path / "lock").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(module, "LOCK", tmp_path / "lock")
    first, second = module.wanted()
    assert [line.split(" --hash=")[0] for line in first] == ["same==1", f"twice=={1 + (sys.version_info.micro >= 5)}"]
    assert re.findall("sha256:.", first[0]) == ["sha256:0", "sha256:1"]
    assert [line.split(" --hash=")[0] for line in second] == [f"twice=={2 - (sys.version_info.micro >= 5)}"]


# --- container recipes ----------------------------------------------------------------------------------------------

INSTRUCTIONS = {"ARG", "FROM", "RUN", "ENV", "WORKDIR", "CMD"}
SECTIONS = {"files", "post", "runscript", "help"}
NEEDS_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="recipes are written on Linux only")


def accepted_by_sh(script):
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    return done.returncode == 0 and bool(script.strip())


@NEEDS_LINUX
def test_the_oci_recipe_is_well_formed(made):
    text = (made[1] / "Containerfile").read_text()
    parsed = [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    assert {instruction for instruction, _ in parsed} == INSTRUCTIONS
    assert [instruction for instruction, _ in parsed[:2]] == ["ARG", "FROM"]
    assert f"BASE=docker.io/library/python:{VERSION}" in text and "FROM ${BASE}" in text
    assert made[0].git("rev-parse", "HEAD") in text
    runs = [re.sub(r"^--\S+ ", "", value) for instruction, value in parsed if instruction == "RUN"]
    assert all(map(accepted_by_sh, runs))
    used = re.findall(r"(?<!\S)/bundle/(\S+)", text)
    assert used and all((made[1] / name).is_file() for name in used)
    (command,) = [json.loads(value) for instruction, value in parsed if instruction == "CMD"]
    assert command[0] == "make" and f"\n{command[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


@NEEDS_LINUX
def test_the_apptainer_recipe_is_well_formed(made):
    head, *sections = re.split(r"^%", (made[1] / "ecsupport.def").read_text(), flags=re.MULTILINE)
    sections = {section.split("\n", 1)[0]: section.split("\n", 1)[1] for section in sections}
    assert {*sections} == SECTIONS
    header = dict(line.split(": ", 1) for line in head.splitlines() if line and not line.startswith("#"))
    assert header == {"Bootstrap": "docker", "From": f"docker.io/library/python:{VERSION}"}
    assert sections["files"].split() == [".", "/bundle"]
    assert all(accepted_by_sh(sections[name]) for name in ("post", "runscript"))
    used = re.findall(r"(?<!\S)/bundle/(\S+)", sections["post"])
    assert used and all((made[1] / name).is_file() for name in used)


@NEEDS_LINUX
@pytest.mark.parametrize(
    ("arguments", "target"), [([], ["reproduce"]), (["table-1", "JOBS=1 2"], ["table-1", "JOBS=1 2"])]
)
def test_the_apptainer_recipe_calls_make_with_what_it_is_given(made, tmp_path, arguments, target):
    script = re.search(r"^%runscript\n(.*?)^%", (made[1] / "ecsupport.def").read_text(), re.DOTALL | re.MULTILINE)[1]
    (tmp_path / "make").write_text('#!/bin/sh\necho "$ECSUPPORT_WORKSPACE"\nprintf "%s\\n" "$@"\n')
    (tmp_path / "make").chmod(0o755)
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PWD": str(tmp_path), "ECSUPPORT_WORKSPACE": ""}
    done = made[0].run("sh", "-c", script, "run", *arguments, cwd=tmp_path, **path)
    assert done.stdout.splitlines() == [str(tmp_path / "results"), "--no-print-directory", "-C", "/ecsupport", *target]


def test_no_place_is_left_open(made):
    for file in made[1].iterdir():
        if file.is_file() and file.name not in ("repository.bundle", "requirements.lock"):
            assert not re.search(r"<[a-z]+>", file.read_text()), file
