"""LSNet against others on easier and harder phantoms: one thing changes, and the table says what the scores hold."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from ecsupport.core import profiles
from ecsupport.core.profiles import Run
from ecsupport.experiments import catalogue, cohort, difficulty, networks, tested
from ecsupport.reporting import difficulty_tables, ledger

SMOKE, LAPTOP = (Run(profiles.load(name)) for name in ("smoke", "laptop"))
SHORTCUTS = ("tumour_texture_db", "endometrium_excess", "mass_share")


def test_between_difficulties_the_images_alone_differ():
    every = difficulty.trained(SMOKE)
    for (which, name, seed), job in every.items():
        elsewhere = every["unchanged", name, seed]
        assert job.recipe == elsewhere.recipe
        assert (job.key == elsewhere.key) == (which == "unchanged")
        assert "translations" not in job.inputs
        rows = job.inputs["ultrasound"].given["rows"]
        assert rows["image"].str.startswith(f"{difficulty.VERSIONS[which]}/").all()


def test_at_laptop_networks_are_trained_as_in_table_3_and_paper_shows_the_same():
    of = difficulty.runs(LAPTOP)["unchanged"]
    assert of.profile == LAPTOP.profile
    names = {name: job.recipe["settings"] for (which, name, _), job in difficulty.trained(LAPTOP).items()}
    in_table_3 = networks.table_3(LAPTOP)
    for name, there in (("LSNet", "lsnet"), ("EfficientNet", "efficientnet")):
        assert names[name] == in_table_3[there, LAPTOP.profile.seeds[0]].recipe["settings"]
    differ = {key for key, value in names["random keys"].items() if value != names["LSNet"][key]}
    assert differ == {"guidance"}
    paper = {which: job.key for which, job in difficulty.scores(Run(profiles.load("paper"))).items()}
    assert paper == {which: job.key for which, job in difficulty.scores(LAPTOP).items()}
    assert len({seed for _, _, seed in paper}) == difficulty.SEEDS


def test_a_run_on_own_images_tries_the_same_phantoms(tmp_path):
    (tmp_path / "own.csv").touch()
    own = difficulty.scores(Run(SMOKE.profile, tmp_path / "own.csv"))
    assert {which: job.key for which, job in own.items()} == {
        which: job.key for which, job in difficulty.scores(SMOKE).items()
    }


def test_each_pool_of_each_difficulty_has_a_name_of_its_own():
    every = catalogue.by_name(SMOKE)
    for which, version in difficulty.VERSIONS.items():
        for pool in ("ultrasound", "extended"):
            rows = every[f"pixels/{which}-{pool}/64"].given["rows"]
            assert rows["image"].str.startswith(f"{version}/").all()
    own = {
        job.inputs["extended"].name for (which, *_), job in difficulty.scores(LAPTOP).items() if which == "unchanged"
    }
    assert own == {"pixels/extended/64"}  # laptop's patients are these
    deciding = cohort.pool(difficulty.runs(SMOKE)["harder"], "extended")
    learnt = cohort.pool(difficulty.runs(SMOKE)["harder"], "ultrasound")
    assert set(deciding["patient_id"]).isdisjoint(learnt["patient_id"])


def test_dials_differ_in_one_direction_and_shortcuts_do_not():
    easier, ours, harder = (asdict(one) for one in difficulty.dials().values())
    assert ours["version"] == "phantom-v1"
    changed = {name for name in ours if name != "version" and (easier[name], harder[name]) != (ours[name],) * 2}
    assert changed.isdisjoint(SHORTCUTS)
    for name in changed:
        low, middle, high = (np.mean(of[name]) for of in (easier, ours, harder))
        assert low <= middle <= high or low >= middle >= high
    table = difficulty_tables.changed(difficulty.dials())
    assert set(table.index) == changed and list(table) == list(difficulty.VERSIONS)


def made(gain):
    """300 patients of whom LSNet tells carcinomas apart better than the others by `gain` standard deviations."""
    rng = np.random.default_rng(3)
    truth, patients = np.repeat([1, 0], 600), np.repeat([f"P{i}" for i in range(300)], 4)
    images = pd.DataFrame({"patient_id": patients})
    shared = rng.normal(size=1200) + 1.5 * truth
    scores = {
        name: [shared + 0.3 * rng.normal(size=1200) + (gain * truth if name == "LSNet" else 0) for _ in range(3)]
        for name in difficulty.NETWORKS
    }
    squashed = {name: [1 / (1 + np.exp(-one)) for one in of] for name, of in scores.items()}
    return tested.Tested(images, truth, squashed)


def test_the_table_finds_a_difference_that_is_there_and_the_sentence_says_where():
    of = {"easier": made(1.0), "unchanged": made(1.0), "harder": made(0.0)}
    table = difficulty_tables.difficulties(of, LAPTOP)
    assert len(table) == 9
    said = table.set_index(["difficulty", "against"])
    for other in list(difficulty.NETWORKS)[1:]:
        line = said.loc["easier", other]
        assert line["verdict"] == "supported"
        assert line["estimate"] == pytest.approx(line["lsnet"] - line["other"]) and line["low"] > 0.03
        assert said.loc["harder", other]["verdict"] in ("equivalent", "undecided")
    words = difficulty_tables.survives(table, LAPTOP)
    assert "against EfficientNet: supported (easier); supported (unchanged); " in words
    assert "at every difficulty" in difficulty_tables.survives(table[table["difficulty"] != "harder"], LAPTOP)
    assert "too briefly" in difficulty_tables.survives(table, SMOKE)
    assert set(difficulty_tables.difficulties(of, SMOKE)["verdict"]) == {ledger.NOT_TESTED}
