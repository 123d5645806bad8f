"""A folder that carries this commit to a machine without internet: packages, repository, installer, container recipes.

`make bundle TO=folder` runs it. The packages are those that requirements.lock asks for on this Python and this machine,
checked by hash. What is the same in every bundle lies in `offline/`. The folder is written whole or not at all.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from environment import DONE, MISTAKEN, ROOT, STOPPED, Refused, say
from packaging.requirements import Requirement

LOCK = ROOT / "requirements.lock"
SAME = Path(__file__).with_name("offline")
RECIPES = ("Containerfile", "ecsupport.def")
TARGET = ROOT / "bundle"  # where no folder is named; `make clean` knows it
SPACE = 6_000_000_000  # bytes: on Linux the packages take 2.9 GB, and pip holds them twice until it ends
LAST_RELEASE = 40  # of a minor version of Python; the lock's markers may tell one from another
GLIBC = (2, 17)  # what the older names of manylinux wheels ask for, at most


def git(*arguments: str | Path) -> str:
    """What git says of this checkout. Refused, with its last line, where it fails."""
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise Refused(f"git cannot use {ROOT}: {said}. Mend that, or clone the repository and call make bundle there")
    return done.stdout.rstrip("\n")


def commit() -> str:
    """The commit that is checked out. Refused where a bundle could not hold it or would hold less than the checkout."""
    if not shutil.which("git"):
        raise Refused("git is not on the PATH, and a bundle holds a repository. Install it, and call make bundle again")
    if not ROOT.samefile(git("rev-parse", "--show-toplevel")):
        raise Refused(f"{ROOT} is no git repository of its own. Clone the repository and call make bundle there")
    if git("rev-parse", "--is-shallow-repository") == "true":
        raise Refused(f"{ROOT} is a shallow clone. Call git fetch --unshallow, then make bundle again")
    if changed := git("status", "--porcelain", "--no-renames", "-z").split("\0")[:-1]:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise Refused(
            f"{ROOT / changed[0][3:]}{more} would not be in the bundle, which holds what is committed."
            " Commit, or put aside with git stash --include-untracked, and call make bundle again"
        )
    return git("rev-parse", "HEAD")


def refuse_target(target: Path) -> None:
    """Refused where a folder cannot be written: something stands there, its parent lacks, or the disk has no space."""
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise Refused(f"{target} exists already. Remove it, or name another: make bundle TO=folder")
    if not target.parent.is_dir():
        raise Refused(f"{target.parent} does not exist. Make it, or name another place: make bundle TO=folder")
    if (free := shutil.disk_usage(target.parent).free) < SPACE:
        raise Refused(
            f"{target.parent} has {free / 1e9:.1f} GB free, and writing a bundle takes up to {SPACE / 1e9:.1f} GB."
            " Free some, or name another disk: make bundle TO=folder"
        )


def wanted() -> list[list[str]]:
    """Entries of the lock for every release of this Python's minor version, as lists that pip takes one by one.

    The first is that of the release that runs. Two releases may ask for two versions of one package.
    """
    lists, seen, python = [], set(), sys.version_info
    lines = LOCK.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    entries = [(Requirement(entry), hashes) for entry, hashes in (line.split(" --hash=", 1) for line in lines)]
    for micro in (python.micro, *range(LAST_RELEASE)):
        release = {"python_full_version": f"{python.major}.{python.minor}.{micro}"}
        here = [entry for entry in entries if entry[0].marker is None or entry[0].marker.evaluate(release)]
        pinned = [f"{package.name}{package.specifier} --hash={hashes}" for package, hashes in here]
        if new := [line for line in pinned if line not in seen]:
            lists.append(new)
            seen.update(new)
    return lists


def fetch(packages: Path, scratch: Path) -> None:
    """Fill a folder with what the lock asks for here, by pip with a person's own settings. Refused where pip fails.

    What is published only as source is built where it is installed; here pip looks into it with what is installed.
    """
    options = ("--no-deps", "--require-hashes", "--no-build-isolation", "--ignore-requires-python", "--dest", packages)
    command = (sys.executable, "-m", "pip", "download", "--disable-pip-version-check", *options)
    scratch.mkdir()
    for entries in wanted():
        (scratch / "wanted.txt").write_text("\n".join(entries), encoding="utf-8")
        done = subprocess.run(
            [*command, "--requirement", scratch / "wanted.txt"],
            env=os.environ | {"TMPDIR": str(scratch)},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
            why = (errors or [f"exit status {done.returncode}"])[-1].rstrip(".")
            raise Refused(
                f"pip could not fetch what {LOCK} asks for: {why}. Nothing was written."
                " Look at the connection and at pip's settings, and call make bundle again"
            )


def glibc(wheels: list[Path]) -> tuple[int, int]:
    """The oldest GNU C library that all wheels accept, after the tags in their names."""
    tags = [re.findall(r"manylinux_(\d+)_(\d+)", wheel.name) for wheel in wheels]
    return max([GLIBC, *(min((int(major), int(minor)) for major, minor in found) for found in tags if found)])


def unpacked(wheels: list[Path]) -> int:
    """Bytes that wheels take once they are installed."""
    total = 0
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            total += sum(member.file_size for member in archive.infolist())
    return total


def about(commit: str, wheels: list[Path]) -> dict[str, str | int]:
    """What install.py compares with the machine on which it runs."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}{sys.abiflags}"
    return {
        "commit": commit,
        "implementation": platform.python_implementation(),
        "python": version,
        "system": platform.system(),
        "machine": platform.machine(),
        "glibc": ".".join(map(str, glibc(wheels))) if platform.system() == "Linux" else "",
        "unpacked": unpacked(wheels),
    }


def write_repository(file: Path) -> None:
    """The history of HEAD as one file that git clones; under the name of its branch, where it is on one."""
    branch = git("rev-parse", "--abbrev-ref", "HEAD")
    git("bundle", "create", "--quiet", file, *dict.fromkeys(("HEAD", branch)))


def write(folder: Path, head: str, scratch: Path) -> None:
    """Fill a new folder with a whole bundle of HEAD, this commit. Refused where git or pip fails."""
    folder.mkdir()
    write_repository(folder / "repository.bundle")
    fetch(folder / "packages", scratch)
    described = about(head, sorted((folder / "packages").glob("*.whl")))
    for file in sorted(SAME.iterdir()):
        if file.is_file() and (file.name not in RECIPES or described["system"] == "Linux"):
            text = file.read_text(encoding="utf-8")
            for name, value in described.items():
                text = text.replace(f"<{name}>", str(value))
            (folder / file.name).write_text(text, encoding="utf-8")
    shutil.copyfile(LOCK, folder / LOCK.name)
    (folder / "bundle.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    lines = [f"{digest(file)}  {file.relative_to(folder).as_posix()}\n" for file in files(folder)]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def files(folder: Path) -> list[Path]:
    """Every file of a folder, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def main(arguments: list[str]) -> int:
    """Write a bundle into the folder that is named, or into `bundle`."""
    target = Path(arguments[0] if arguments and arguments[0] else TARGET).expanduser().absolute()
    try:
        head = commit()
        refuse_target(target)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="bundle-", suffix=".part") as beside:
            write(Path(beside) / "whole", head, Path(beside) / "scratch")
            (Path(beside) / "whole").replace(target)
    except Refused as why:
        say(str(why))
    except OSError as error:
        say(f"{target} could not be written: {error}. Mend that, and call make bundle again")
    except KeyboardInterrupt:
        say(f"stopped; nothing was written to {target}")
        return STOPPED
    else:
        size = sum(file.stat().st_size for file in files(target))
        say(f"{target}  {size / 1e9:.1f} GB. {target / 'README.txt'} says how it is installed")
        return DONE
    return MISTAKEN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
