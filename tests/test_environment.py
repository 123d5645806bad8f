"""One environment, three ways in: stated by pyproject.toml, pinned by requirements.lock, offered to conda users.

No conda channel is needed here. What conda would do beyond Python itself, its pip part, is done for real by
install_environment.py, which downloads 5 GB and therefore is a step of .ci/run of its own. How `make` builds its
environment is tested in test_setup.py.
"""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ecsupport.core.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SUPPORTED = ("3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def lock():
    """Entries of the lock: (requirement, its hashes)."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    entries = [(Requirement(line.split(" --hash=")[0]), re.findall(r"--hash=(\S+)", line)) for line in lines]
    assert len(entries) > 100
    return entries


@pytest.fixture(scope="module")
def conda():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    return [entry for entry in dependencies if isinstance(entry, str)], pip


def test_every_entry_of_the_lock_is_pinned_and_hashed(lock):
    for requirement, hashes in lock:
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), requirement


def test_the_lock_names_no_address(lock):
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links|-e)\b", text, re.MULTILINE)
    assert all(requirement.url is None for requirement, _ in lock)


@pytest.mark.parametrize("python", SUPPORTED)
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_every_direct_dependency_is_in_the_lock(lock, python, system):
    machine = {"python_version": python, "python_full_version": f"{python}.7", "sys_platform": system}
    pinned = {}
    for requirement, _ in lock:
        if requirement.marker is None or requirement.marker.evaluate(machine):
            assert requirement.name not in pinned, f"{requirement.name} is pinned twice for {machine}"
            (pinned[requirement.name],) = (specifier.version for specifier in requirement.specifier)
    direct = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert len(direct) > 15
    for text in direct:
        requirement = Requirement(text)
        assert requirement.name in pinned, f"{requirement.name} is missing for {machine}"
        assert requirement.specifier.contains(pinned[requirement.name]), requirement


def test_the_supported_pythons_are_the_same_everywhere(conda):
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(20) if allowed.contains(f"3.{minor}")] == list(SUPPORTED)
    (python,) = [entry.removeprefix("python=") for entry in conda[0] if entry.startswith("python=")]
    assert python in SUPPORTED
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    first, last = (tuple(map(int, version.split("."))) for version in (SUPPORTED[0], SUPPORTED[-1]))
    assert f"{first} <= sys.version_info[:2] <= {last}" in makefile
    assert f"Python {', '.join(SUPPORTED[:-1])} or {SUPPORTED[-1]}" in makefile


def test_conda_takes_everything_but_python_from_the_lock(conda):
    assert conda[1] == ["-r requirements.lock"]
    assert {re.split(r"[=<>]", entry)[0] for entry in conda[0]} == {"python", "pip", "make", "git"}
