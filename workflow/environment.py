"""The environment of this checkout: built where it is missing, then entered. The Makefile runs all it runs through it.

`python3 workflow/environment.py -m ecsupport ...` takes the arguments of Python itself; `... clean` removes what is
generated. An environment stands at `.venv-<digest of the lock, the Python and the checkout's path>`, so that another
lock or another Python is built beside it; `.venv` is a link to the one used last. Each of its processes imports KEEPER,
so that it keeps what it began with. Only a folder that holds MARKER is ever written to or removed: it is the first file
put into one.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[1]
LINK = ROOT / ".venv"
MARKER = "made-by-workflow-environment"  # its lock is held by who builds the environment (alone) or uses it (shared)
KEEPER = Path(__file__).with_name("keep_environment.py")
COMPLETE = ".complete"
GENERATED = ("store", ".snakemake", ".ruff_cache", ".hypothesis")
SOURCES = ("ecsupport", "notebooks", "tests", "workflow")
DONE, MISTAKEN, STOPPED = 0, 2, 130  # exit statuses


class Refused(Exception):
    """What a person must mend, in one line."""


def place() -> Path:
    """Folder of the environment for this lock, this Python and this checkout; another path would break its scripts."""
    python = (sys.version, os.path.realpath(sys.executable), platform.machine(), str(ROOT))
    digest = hashlib.sha256((ROOT / "requirements.lock").read_bytes())
    digest.update(b"\0".join(map(os.fsencode, python)) + KEEPER.read_bytes())
    return ROOT / f".venv-{digest.hexdigest()[:12]}"


def is_ours(folder: Path) -> bool:
    """Whether this script made a folder."""
    return folder.is_dir() and not folder.is_symlink() and (folder / MARKER).is_file()


def links_to_ours(link: Path) -> bool:
    """Whether a link is `.venv` as this script makes it; the environment behind it may be gone."""
    if not link.is_symlink() or not re.fullmatch(r"\.venv-[0-9a-f]{12}", os.fspath(link.readlink())):
        return False
    target = ROOT / link.readlink()
    return is_ours(target) or not os.path.lexists(target)


def refuse_foreign(folder: Path) -> None:
    """Refused where something stands at `.venv` or at the environment's place that this script did not make."""
    free = not os.path.lexists(folder) or (folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()))
    for path, ours in ((LINK, not os.path.lexists(LINK) or links_to_ours(LINK)), (folder, free or is_ours(folder))):
        if not ours:
            kind = f"a link to {path.readlink()}" if path.is_symlink() else "a folder" if path.is_dir() else "a file"
            raise Refused(
                f"{path} is {kind} that is not of this project's making (or of an earlier version's). Nothing was"
                " touched. Move it elsewhere, or remove it yourself, and call make again"
            )


def hold(folder: Path, operation: int) -> TextIO:
    """The environment's marker, locked; a job that is entered inherits it, and so does a child of a killed build."""
    while True:
        marker = (folder / MARKER).open("r" if operation == fcntl.LOCK_SH else "a")
        os.set_inheritable(marker.fileno(), True)
        fcntl.flock(marker, operation)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(marker.fileno()), (folder / MARKER).stat()):
                return marker
        marker.close()  # removed by `make clean` while this waited
        folder.mkdir(exist_ok=True)


def ready() -> tuple[Path, TextIO]:
    """The complete environment and the hold on it; built once, whoever else is called meanwhile.

    Refused, before anything is written, where something foreign stands in its place.
    """
    folder = place()
    refuse_foreign(folder)
    if not (is_ours(folder) and (folder / COMPLETE).is_file()):
        folder.mkdir(exist_ok=True)
        try:
            held = hold(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for {folder.name}, which another make sets up ...")
            held = hold(folder, fcntl.LOCK_EX)
        with held:
            if not (folder / COMPLETE).is_file():
                say(f"Setting up {folder.name} (about 5 GB, once) ...")
                empty(folder)
                install(folder)
                seal(folder)
                (folder / COMPLETE).touch()
    held = hold(folder, fcntl.LOCK_SH)
    if not LINK.is_symlink() or os.fspath(LINK.readlink()) != folder.name:
        fresh = folder / f"link-{os.getpid()}"
        fresh.symlink_to(folder.name)
        fresh.replace(LINK)
    return folder, held


def install(folder: Path) -> None:
    """Fill a folder: a venv whose pip installs only uv, checked by hash; uv then installs the lock and this package."""

    def call(*command: str | Path) -> None:
        subprocess.run(command, cwd=ROOT, check=True, close_fds=False)

    try:
        call(sys.executable, "-m", "venv", folder)
    except subprocess.CalledProcessError:
        python = sys.executable
        raise Refused(f"{python} cannot make a venv; on Debian and Ubuntu: apt install python3-venv") from None
    python, lock = folder / "bin" / "python", (ROOT / "requirements.lock").read_text(encoding="utf-8")
    (folder / "uv.txt").write_text("".join(re.findall(r"^uv==(?:.*\\\n)*.*\n", lock, re.MULTILINE)), encoding="utf-8")
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes")
    call(python, "-m", "pip", "install", *options, "-r", folder / "uv.txt")
    uv = (python, "-m", "uv", "pip")
    call(*uv, "sync", "--quiet", "--python", python, "--require-hashes", "requirements.lock")
    options = ("--quiet", "--no-deps", "--no-build-isolation")
    call(*uv, "install", *options, "--python", python, "--editable", ".")


def seal(folder: Path) -> None:
    """Make every Python of the environment import KEEPER as it starts, before what other packages import then."""
    (packages,) = folder.glob("lib/python*/site-packages")
    shutil.copy(KEEPER, packages)
    line = f"import {KEEPER.stem}; {KEEPER.stem}.mend_path()\n"
    (packages / f"0_{KEEPER.stem}.pth").write_text(line, encoding="utf-8")


def empty(folder: Path) -> None:
    """Remove all that a folder of ours holds but its marker, so that it stays known as ours to the end."""
    for path in folder.iterdir():
        if path.name != MARKER:
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link (never what it leads to) or a folder with all it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def clean() -> None:
    """Remove every environment of ours and everything generated; what is not ours and every link is named and stays.

    A folder in `runs` is ours where a run locked it, and one in `figures` where it has such a run's name. Refused, with
    nothing removed, where a job runs in one of the environments.
    """
    figures, runs = ROOT / "figures", ROOT / "runs"
    ours = {lock.parent.name for lock in runs.glob("*/.lock") if lock.is_file()}
    results = [
        path
        for folder in (figures, runs)  # in this order, so that after an interruption the run still tells its figures
        for path in (folder.glob("*") if folder.is_dir() and not folder.is_symlink() else [folder])
    ]
    generated = [path for path in results if path.name in ours and path.is_dir()]
    generated += [ROOT / name for name in GENERATED]
    generated += [*ROOT.glob("bundle-*.part"), *(file.parent for file in ROOT.glob("bundle/bundle.json"))]
    generated += [path for name in SOURCES for path in (ROOT / name).rglob("__pycache__")]
    environments = [path for path in ROOT.glob(".venv-*") if is_ours(path)]
    with contextlib.ExitStack() as stack:
        for folder in environments:
            try:
                stack.enter_context(hold(folder, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except BlockingIOError:
                why = f"a job runs in {folder.name}. Nothing was removed. Wait for it, or stop it, and call make again"
                raise Refused(why) from None
        if links_to_ours(LINK):
            LINK.unlink()
        for folder in environments:
            empty(folder)
            (folder / MARKER).unlink()
            folder.rmdir()
    for path in generated:
        if path.exists() and not path.is_symlink():
            remove(path)
    with contextlib.suppress(OSError):  # it holds something, or is none
        runs.rmdir()
    for path in sorted({*ROOT.glob(".venv*"), *generated, *results} - {figures / "reference"}):
        if os.path.lexists(path):
            say(f"left alone: {path.relative_to(ROOT)}, which is not of this project's making")


def say(line: str) -> None:
    """Tell the person who waits."""
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Clean, or become the environment's Python with these arguments."""
    try:
        if arguments == ["clean"]:
            clean()
            return DONE
        folder, _held = ready()  # which the job inherits: it holds the environment itself only once it has started
        os.execv(folder / "bin" / "python", [str(folder / "bin" / "python"), *arguments])
    except Refused as why:
        say(str(why))
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"the environment could not be set up or removed: {error}. Mend that, and call make again")
    except KeyboardInterrupt:
        say("stopped; the next make sets the environment up anew")
        return STOPPED
    return MISTAKEN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
