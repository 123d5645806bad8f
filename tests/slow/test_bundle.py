"""The whole bundle, made here and installed where there is no network: ten minutes, a download of 3 GB, 15 GB of disk.

What is bundled are the files of this checkout as they stand, committed into a repository of their own. The container
recipe is built where buildah can have its base image; else tests/test_bundle.py, which reads it, is all that is tested.
"""

import os
import shutil
import subprocess
import sys

import pytest

from ecsupport.core.paths import ROOT

BASE = os.environ.get("ECSUPPORT_TEST_BASE", f"docker.io/library/python:{sys.version_info[0]}.{sys.version_info[1]}")
# a namespace begins without a loopback, which every machine has and a notebook's kernel needs; 0x8914 sets its flags
ALONE = """
import fcntl, os, socket, struct, sys
with socket.socket() as any:
    fcntl.ioctl(any, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
os.execvp(sys.argv[1], sys.argv[1:])
"""
SETTINGS = ("PIP_", "UV_", "XDG_", "PYTHON", "VIRTUAL_ENV", "ECSUPPORT_", "MAKE", "MFL")


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600, **options)


def why_not():
    """Why a namespace without a network cannot be had here; empty if it can."""
    if not shutil.which("unshare"):
        return "a namespace without a network needs unshare (util-linux)"
    done = run("unshare", "-rn", sys.executable, "-c", ALONE, "true")
    return f"no namespace without a network can be made here: {done.stderr.strip()}" if done.returncode else ""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    checkout = folder / "checkout"
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.split("\0")
    for file in filter(os.path.isfile, (ROOT / name for name in names if name)):
        copy = checkout / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    who = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "what is tested"]):
        done = run("git", *arguments, cwd=checkout, env=os.environ | who)
        assert done.returncode == 0, done.stderr
    done = run(sys.executable, checkout / "workflow" / "bundle.py", folder / "carried 中文")
    assert done.returncode == 0, done.stderr
    yield folder / "carried 中文"
    shutil.rmtree(folder)


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_it_is_installed_and_runs_without_a_network(bundle, tmp_path):
    """With settings of pip that lead nowhere, and a HOME in which neither pip nor uv has kept anything."""
    folder = tmp_path / "there 中文"
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://index.invalid\nconstraint = /nowhere\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    environment |= {"HOME": str(tmp_path), "ECSUPPORT_HEADLESS": "1"}

    def alone(*command):
        command = ("unshare", "-rn", sys.executable, "-c", ALONE, *map(str, command))
        done = run(*command, cwd=folder if folder.exists() else tmp_path, env=environment)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    try:
        assert len(alone("cat", "/proc/net/route").splitlines()) <= 1  # a heading: no way leads anywhere
        alone(sys.executable, bundle / "install.py", folder)
        shutil.move(bundle / "packages", bundle / "away")  # what is installed does not need it any more
        python = f"PYTHON={sys.executable}"
        assert "No broken requirements" in alone(folder / ".venv" / "bin" / "python", "-m", "pip", "check")
        assert " jobs, " in alone(folder / ".venv" / "bin" / "python", "-m", "ecsupport", "jobs")
        assert "table_8 " in alone("make", "audit", python)
        assert (folder / "runs" / "smoke" / "10_published_number_audit.ipynb").is_file()
        assert run("git", "status", "--porcelain", cwd=folder).stdout == ""
    finally:
        if (bundle / "away").exists():
            shutil.move(bundle / "away", bundle / "packages")
        shutil.rmtree(folder, ignore_errors=True)


def why_not_built():
    """Why the container cannot be built here; empty if it can."""
    if not shutil.which("buildah"):
        return "no buildah here: the container recipe was only read (tests/test_bundle.py)"
    stored = run("buildah", "inspect", "--type", "image", BASE).returncode == 0
    if stored or run("buildah", "pull", "--quiet", BASE).returncode == 0:
        return ""
    return f"buildah cannot have {BASE}: the container recipe was only read (tests/test_bundle.py)"


def test_the_container_is_built_without_a_network_and_runs_for_anybody(request):
    """From an image with a Python of this minor version, git and make, which ECSUPPORT_TEST_BASE names."""
    if why := why_not_built():
        pytest.skip(why)
    bundle = request.getfixturevalue("bundle")
    image = f"localhost/ecsupport-test-{os.getpid()}"
    alone = ("unshare", "-n", sys.executable, "-c", ALONE, "buildah")
    recipe = ("--isolation", "chroot", "--pull-never", "--build-arg", f"BASE={BASE}", "--tag", image, ".")
    done = run(*alone, "build", *recipe, cwd=bundle)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    container = run("buildah", "from", "--pull-never", image).stdout.strip()
    try:
        inside = ("run", "--isolation", "chroot", "--user", "1234:1234", container, "--")
        done = run(*alone, *inside, "make", "audit")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert "notebook  /results/runs/smoke/10_published_number_audit.ipynb" in done.stdout
    finally:
        run("buildah", "rm", container)
        run("buildah", "rmi", image)
