"""`make verify`: an archived training comes out again, and one of a wrong recipe does not."""

from dataclasses import replace

import numpy as np
import pytest
from test_experiments import RUN

from ecsupport.core import jobs, paths
from ecsupport.core.errors import UserError
from ecsupport.experiments import archive, catalogue, verify

NAMES = ("screening/efficientnet/42", "translator/cyclegan/42")


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    """All jobs of the tiny run, one network and one translator of them archived."""
    folder = tmp_path_factory.mktemp("archived")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECSUPPORT_WORKSPACE", str(folder))
        patch.setattr(paths, "reference", lambda: folder / "reference")
        every = catalogue.by_name(RUN)
        wanted = [every[name] for name in NAMES]
        jobs.make(wanted)
        archive.keep(RUN, wanted)
        yield every


def test_only_archived_trainings_are_chosen(archived):
    every = list(archived.values())
    assert {job.name for job in verify.chosen(every, 9, np.random.default_rng(0))} == set(NAMES)
    assert len(verify.chosen(every, 1, np.random.default_rng(0))) == 1


@pytest.mark.parametrize("name", NAMES)
def test_what_is_trained_anew_is_as_archived(archived, name):
    assert verify.differences(archived[name], list(archived.values())) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_recipe_is_noticed(archived, name):
    """The maker trains with another seed than the recipe in the archive says."""
    job = archived[name]
    other = replace(job, recipe={**job.recipe, "seed": 43})
    wrong = replace(job, make=lambda folder, _: other.make(folder, other))
    found = verify.differences(wrong, list(archived.values()))
    assert found and all(line.startswith(f"{name}: ") for line in found)
    assert "in row 1 is" in found[0]


def test_other_steps_are_noticed(archived):
    job = archived[NAMES[0]]
    settings = {**job.recipe["settings"], "mixed_steps": 4}
    other = replace(job, recipe={**job.recipe, "settings": settings})
    wrong = replace(job, make=lambda folder, _: other.make(folder, other))
    (found,) = verify.differences(wrong, list(archived.values()))
    assert "6 rows of" in found and "archived are 5 of" in found


def test_without_an_archive_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "reference", lambda: tmp_path)
    with pytest.raises(UserError, match="holds no training"):
        verify.chosen(list(catalogue.by_name(RUN).values()), 3, np.random.default_rng(0))


def test_between_a_gpu_and_a_cpu_only_a_translators_outcome_counts(archived):
    for name, told in ((NAMES[0], True), (NAMES[1], False)):
        job = archived[name]
        other = replace(job, recipe={**job.recipe, "seed": 43})
        elsewhere = replace(job, device="cuda", make=lambda folder, _, other=other: other.make(folder, other))
        found = verify.differences(elsewhere, list(archived.values()))
        assert any(" in row " in line for line in found) == told
