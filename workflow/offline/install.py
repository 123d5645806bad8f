"""Install this bundle without a network: `python3 install.py [FOLDER]`. FOLDER is `ecsupport` where none is named.

Every file of the bundle is checked first, then the machine. The repository is cloned, and its own
workflow/environment.py sets up the environment from the packages beside this file: no index and no settings of pip or
uv are asked. Called again for the same FOLDER, it goes on. An old Python must be able to say that it is too old: it is
written for 3.6.
"""

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BUNDLE = Path(__file__).resolve().parent
DONE, MISTAKEN, STOPPED = 0, 2, 130  # exit statuses
WHICH = "import os, sys; print(sys.version, os.path.realpath(sys.executable))"  # what an environment is bound to


class Refused(Exception):
    """What a person must mend, in one line."""


def check_files() -> None:
    """Compare every file with SHA256SUMS. Refused by name where one is altered or missing."""
    for line in (BUNDLE / "SHA256SUMS").read_text(encoding="utf-8", errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        file, found = BUNDLE / name, hashlib.sha256()
        if not file.is_file():
            raise Refused(f"{file} is missing. Copy the bundle again, and call this again")
        with file.open("rb") as opened:
            for block in iter(lambda: opened.read(1 << 20), b""):
                found.update(block)
        if found.hexdigest() != expected:
            raise Refused(f"{file} is not what SHA256SUMS says. Copy the bundle again, and call this again")


def kind(about: dict) -> str:
    """A machine and its Python in words."""
    return "{implementation} {python} on {system} {machine}".format(**about)


def check_machine(about: dict) -> None:
    """Refused where the packages are for another Python, system or C library, or where git is lacking."""
    here = {
        "implementation": platform.python_implementation(),
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}{sys.abiflags}",
        "system": platform.system(),
        "machine": platform.machine(),
    }
    if kind(here) != kind(about):
        wrong = f"this bundle is for {kind(about)}, and {sys.executable} is {kind(here)}"
        if (here["system"], here["machine"]) != (about["system"], about["machine"]):
            raise Refused(f"{wrong}. Make a bundle on a machine of this kind: make bundle")
        again = f"python{about['python']} {shlex.quote(str(BUNDLE / 'install.py'))}"
        raise Refused(f"{wrong}. Call {again}, or make a bundle for this Python: make bundle PYTHON=...")
    if about["glibc"]:
        library, version = platform.libc_ver()
        if library != "glibc" or [*map(int, version.split("."))] < [*map(int, about["glibc"].split("."))]:
            has = f"{library} {version}".strip() or "another C library"
            raise Refused(
                f"the packages of this bundle need glibc {about['glibc']} or later, and this machine has {has}."
                " Use the container of README.txt, or a newer system"
            )
    if not shutil.which("git"):
        raise Refused("git is not on the PATH, and the bundle holds a git repository. Install git, and call this again")


def clone(folder: Path, about: dict) -> None:
    """The repository at the commit of the bundle. Refused where something else stands there, or the disk is too small.

    A clone that an earlier call left is kept as it is.
    """
    if (folder / ".git").exists():
        asked = ["git", "-C", str(folder), "rev-parse", "--quiet", "--verify", "HEAD"]
        done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        if done.stdout.decode().strip() == about["commit"]:
            return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"{folder} exists and is not the commit of this bundle. Remove it, or name another")
    if not folder.parent.is_dir():
        raise Refused(f"{folder.parent} does not exist. Make it, or name another folder")
    free = shutil.disk_usage(str(folder.parent)).free
    if free < about["unpacked"]:
        raise Refused(
            f"{folder.parent} has {free / 1e9:.1f} GB free, and the environment takes {about['unpacked'] / 1e9:.1f} GB."
            " Free some, or name a folder on another disk"
        )
    subprocess.run(["git", "clone", "--quiet", str(BUNDLE / "repository.bundle"), str(folder)], check=True)


def without_network(cache: str) -> dict:
    """The variables under which pip and uv know the packages of the bundle and nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    packages = (BUNDLE / "packages").as_uri()  # as a path, one with a space would be taken for two
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": packages, "PIP_NO_CACHE_DIR": "1"}
    uv = {"UV_NO_CONFIG": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": packages, "UV_OFFLINE": "1", "UV_CACHE_DIR": cache}
    return {**kept, **pip, **uv}


def next_command(folder: Path) -> str:
    """What a person calls then; with PYTHON where `python3` is not the one that this environment is for."""
    here = subprocess.run([sys.executable, "-c", WHICH], stdout=subprocess.PIPE, check=True).stdout
    found = shutil.which("python3")
    default = found and subprocess.run([found, "-c", WHICH], stdout=subprocess.PIPE, check=False).stdout
    python = "" if default == here else f" PYTHON={shlex.quote(sys.executable)}"
    return f"cd {shlex.quote(str(folder))} && make reproduce{python}"


def install(folder: Path) -> None:
    """Check, clone, and set up the environment. Refused, with nothing written, where what is checked does not fit.

    A CalledProcessError where git or the environment fails, which has said why.
    """
    say(f"Checking {BUNDLE} ...")
    check_files()
    about = json.loads((BUNDLE / "bundle.json").read_text(encoding="utf-8"))
    check_machine(about)
    clone(folder, about)
    with tempfile.TemporaryDirectory(dir=str(folder), prefix=".venv-cache-") as cache:  # on one disk uv only links
        script = folder / "workflow" / "environment.py"
        subprocess.run([sys.executable, str(script), "--version"], env=without_network(cache), check=True)
    say(f"Installed. Without a network, from now on:\n  {next_command(folder)}")


def say(line: str) -> None:
    """Tell the person who waits."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main(arguments: list) -> int:
    """Install into the folder that is named."""
    try:
        install(Path(arguments[0] if arguments else "ecsupport").expanduser().absolute())
    except Refused as why:
        say(str(why))
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"the bundle could not be installed: {error}. Mend that, and call this again: it goes on")
    except KeyboardInterrupt:
        say("stopped; called again, it goes on")
        return STOPPED
    else:
        return DONE
    return MISTAKEN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
