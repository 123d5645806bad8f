"""The table of options says what is built, and every alternative in it can be chosen and trained."""

from dataclasses import replace

import pytest
from making import fit, student
from test_screening_training import TINY, training_set

from ecsupport.core import profiles
from ecsupport.screening.options import OPTIONS, table
from ecsupport.screening.settings import Settings
from ecsupport.screening.training import restore

EVERY = [(option.field, other) for option in OPTIONS for other in option.others]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.field)
def test_the_default_is_what_lsnet_has_at_the_published_size(option):
    assert getattr(Settings.of(profiles.load("paper")), option.field) == option.default
    assert option.default not in option.others


@pytest.mark.parametrize(("field", "value"), EVERY)
def test_an_alternative_is_trained_to_other_weights(field, value):
    """One part of a run is another one, so that the network is; a name that nothing reads would change nothing."""
    own, other = (
        restore(fit(student(settings, training_set(), 7))).state_dict()
        for settings in (replace(TINY, rules=("dual",)), replace(TINY, rules=("dual",), **{field: value}))
    )
    assert own.keys() != other.keys() or any((own[name] != other[name]).any() for name in own)


def test_the_table_has_a_row_an_alternative_and_takes_effects():
    defaults = {option.field: option.default for option in OPTIONS}
    found = table({("fusion", "code"): "-0.01 (-0.03 to 0.01)"}, defaults)
    assert list(zip(found["option"], found["alternative"], strict=True)) == EVERY
    measured = found[found["measured effect"] != ""]
    assert measured[["option", "alternative", "measured effect"]].to_numpy().tolist() == [
        ["fusion", "code", "-0.01 (-0.03 to 0.01)"]
    ]
    with pytest.raises(KeyError, match="no option"):
        table({("fusion", "maximum"): "0"}, defaults)


def test_the_table_tells_what_is_used_and_offers_the_rest():
    used = {option.field: option.default for option in OPTIONS} | {"key_share": 1 / 10}
    found = table({}, used).set_index("option").loc["key_share"]
    assert found["default"].unique().tolist() == [1 / 10]
    assert found["alternative"].tolist() == [1 / 25, 1.0, 1 / 50]
