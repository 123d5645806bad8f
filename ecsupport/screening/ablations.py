"""The arms of Tables 4 and 5: LSNet with one thing otherwise, all else, update steps included, alike.

An arm is left out by priority, never shortened: 1 what the paper's claims compare, 2 who chooses the keys, 3 how many
keys, and whether heads and positions share them, 4 what runs share, and guidance that does not tell the student the
label, 5 what was released or is printed instead of our reading, 6 the remaining open choices.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ecsupport.backbone.mobilevit import tokens
from ecsupport.core.profiles import Profile
from ecsupport.screening import sparse_attention
from ecsupport.screening.options import OPTIONS
from ecsupport.screening.settings import Settings

PRIORITIES = {
    ("simulation", "rows"): 2,
    ("variant", "shared"): 3,
    ("alpha", 0.5): 4,
    ("fusion", "magnitude"): 4,
    ("gradient_of", "prediction"): 4,
    ("variant", "released"): 5,
    ("fusion", "code"): 5,
}
FULL, REAL, PAPER = "LSNet", "no synthetic images", "dense, no gradient distillation"
UNTAUGHT, RANDOM, ALONE = "keys of an untaught simulator", "random keys", "untaught keys, no soft labels"
ALL_KEYS, ONE_START, BY_ROWS = "all keys", "runs with one first phase", "simulation: rows"
EITHER_SIGN, MAGNITUDE, PREDICTED = "alpha: 0.5", "fusion: magnitude", "gradient_of: prediction"
GUIDED = (FULL, EITHER_SIGN, MAGNITUDE, PREDICTED, UNTAUGHT, RANDOM)  # who chooses the keys, and by which map
SHARES = {"1": 1.0, "1/10": 1 / 10, "1/25": 1 / 25, "1/50": 1 / 50}  # of keys that a query keeps, Table 5


@dataclass(frozen=True)
class Arm:
    """How an arm is trained: settings, whether the first phase sees synthetic images, priority, number of seeds."""

    settings: Settings
    synthetic: bool = True
    priority: int = 1
    seeds: int | None = None  # None: all of the profile's


def arms(profile: Profile) -> dict[str, Arm]:
    """All arms by name, LSNet itself first, then by priority."""

    def of(network: str = "lsnet", **changes: object) -> Settings:
        return Settings.of(profile, network, **changes)

    found = {
        FULL: Arm(of()),
        REAL: Arm(of(), synthetic=False),
        PAPER: Arm(of("lsnet_dense")),
        ALL_KEYS: Arm(of(key_share=1.0)),
        ALONE: Arm(of(guidance="simulator", knowledge=False)),
        UNTAUGHT: Arm(of(guidance="simulator"), priority=2),
        RANDOM: Arm(of(guidance="random"), priority=2),
    }
    for name, share in levels(profile).items():
        if share not in (1.0, found[FULL].settings.key_share):
            found[f"{name} of the keys"] = Arm(of(key_share=share), priority=3)
    found[ONE_START] = Arm(of(shared_start=profile.seeds[0]), priority=4)
    for option in OPTIONS:
        if option.field not in ("guidance", "key_share", "shared_start"):
            for other in option.others:
                priority = PRIORITIES.get((option.field, other), 6)
                seeds = 1 if priority == 6 else None
                arm = Arm(of(**{option.field: other}), priority=priority, seeds=seeds)
                found[f"{option.field}: {other}"] = arm
    return dict(sorted(found.items(), key=lambda item: item[1].priority))


def levels(profile: Profile) -> dict[str, float]:
    """Shares of keys by name that differ in the number of keys of some block; of equal ones LSNet's own, or the first.

    One that leaves a single key of block 1 has a softmax over one key: queries and keys learn nothing there.
    """
    numbers = keys(profile)
    own = Settings.of(profile).key_share
    order = sorted(SHARES, key=lambda name: SHARES[name] != own)
    kept: dict[tuple[int, ...], str] = {}
    for name in order:
        kept.setdefault(tuple(numbers[name]), name)
    return {name: share for name, share in SHARES.items() if name in kept.values()}


def keys(profile: Profile) -> pd.DataFrame:
    """Number of tokens N and of keys k in each block: one row a block, N and a column a share."""
    count = tokens(profile.image_size, profile.screening.stem_stride)
    columns: Mapping[str, list[int]] = {
        name: [sparse_attention.number_of_keys(n, share) for n in count] for name, share in SHARES.items()
    }
    return pd.DataFrame({"N": count, **columns}, index=[f"block {number}" for number in range(1, len(count) + 1)])
