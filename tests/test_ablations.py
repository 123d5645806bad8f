"""The arms of Tables 4 and 5: each differs from LSNet in one thing, and rows that coincide are merged."""

from dataclasses import asdict, replace

import pytest

from ecsupport.core import profiles
from ecsupport.screening import ablations
from ecsupport.screening.ablations import ALL_KEYS, ALONE, BY_ROWS, FULL, ONE_START, PAPER, REAL, arms, keys, levels
from ecsupport.screening.options import OPTIONS

PROFILES = [profiles.load(name) for name in profiles.names()]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_an_arm_differs_in_one_thing(profile):
    found = arms(profile)
    own = asdict(found[FULL].settings)
    for name, arm in found.items():
        other = asdict(arm.settings)
        changed = {field for field in own if own[field] != other[field]}
        things = len(changed) + (not arm.synthetic)
        # The paper's arm drops attention and teacher together, as its table does; without labels the teacher goes.
        assert things == {FULL: 0, PAPER: 3, ALONE: 2}.get(name, 1), name
        assert arm.settings.steps == found[FULL].settings.steps
        assert arm.settings.batch == found[FULL].settings.batch
    assert {name for name, arm in found.items() if not arm.synthetic} == {REAL}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_every_open_choice_is_an_arm_unless_its_numbers_of_keys_are_anothers(profile):
    found = arms(profile)
    own = asdict(found[FULL].settings)
    tried = {(f, v) for arm in found.values() for f, v in asdict(arm.settings).items() if own[f] != v}
    merged = {("key_share", share) for name, share in ablations.SHARES.items() if share not in levels(profile).values()}
    wanted = {(option.field, choice) for option in OPTIONS for choice in (option.default, *option.others)}
    assert {(field, choice) for field, choice in wanted if own[field] != choice} - merged <= tried
    assert not merged & tried


def test_rows_that_coincide_are_merged():
    paper = profiles.load("paper")
    assert keys(paper).loc["block 1"].tolist() == [400, 400, 40, 16, 8]
    assert list(levels(paper)) == ["1", "1/10", "1/25", "1/50"]
    small = replace(paper, image_size=64, screening=replace(paper.screening, stem_stride=2))  # 16, 4 and 1 tokens
    assert keys(small)["1/25"].tolist() == keys(small)["1/50"].tolist() == [1, 1, 1]
    assert list(levels(small)) == ["1", "1/10", "1/25"]
    assert "1/50 of the keys" not in arms(small)


def test_lsnet_comes_first_and_then_what_the_claims_compare():
    found = arms(profiles.load("laptop"))
    assert next(iter(found)) == FULL
    assert {name for name, arm in found.items() if arm.priority == 1} == {FULL, REAL, PAPER, ALL_KEYS, ALONE}
    every = ("variant: shared", "variant: released", "fusion: code", BY_ROWS)
    assert all(found[name].seeds is None for name in every)  # what these do to accuracy is asked for
    assert all(arm.seeds == 1 for arm in found.values() if arm.priority == 6)
    assert found[ONE_START].priority == 4
