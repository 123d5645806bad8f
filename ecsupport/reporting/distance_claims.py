"""The claims of notebook 03: which row of the ledger each estimate fills, and why where it fills none."""

from collections.abc import Mapping, Sequence

import numpy as np

from ecsupport.evaluation.components import MINIMUM_SEEDS
from ecsupport.evaluation.feature_sets import Estimate, Floor
from ecsupport.experiments.translators import NAMES
from ecsupport.reporting.distance_tables import Compared, Kept, by_patient
from ecsupport.reporting.results import Results

OTHERS = [name for name in NAMES if name != "sg_cyclegan"]
CLAIM = {(name, kind): f"sg_cyclegan_beats_{name}_{kind}" for name in OTHERS for kind in ("fid", "kid")}
CLAIM["unguided", "fid"] = "structure_guidance_lowers_fid"
BETTER, STATUS = "anatomy_kept_better_than_cyclegan", "invasion_kept_in_translation"
MARGIN = 0.95  # share of invasion labels that survives
FLOOR = {"fid": "frechet", "kid": "kernel"}
NO_SPREAD = "nothing varies between patients"


def book_differences(
    results: Results, compared: Sequence[Compared], metric: tuple[str, str], floors: Mapping[str, Floor | str]
) -> None:
    """The claims that SG-CycleGAN is closer to real ultrasound; metric: names of the two distances.

    floors: of `distance_tables.table_1`; smallest effects are fractions of the largest distance of real to real, since
    an unbiased kernel distance is 0 there on average
    """
    for name, kind, pairs, found in compared:
        claim = CLAIM.get((name, kind))
        if not claim:
            continue
        if isinstance(found, str):
            results.estimate(claim, None, assessable=False, note=found)
        elif np.isnan(found.low):
            results.estimate(claim, None, trained=True, assessable=False, note=NO_SPREAD)
        elif results.run.profile.ranks and pairs < MINIMUM_SEEDS:
            seen = f"difference {found.corrected:.2f} ({found.low:.2f} to {found.high:.2f})"
            results.estimate(claim, None, assessable=False, note=f"{pairs} pair of trainings, too few: {seen}")
        else:
            note = f"{metric[kind == 'kid']}; jackknife, corrected for its bias ({found.value:.4g} before)"
            note += f"; interval over {found.scope}"
            note += "; such intervals covered 0.89 to 0.91 in simulation" if kind == "kid" else ""
            floor = floors.get(FLOOR[kind], "")
            _book(results, claim, found, note, None if isinstance(floor, str) else floor.high)


def book_diversity(results: Results, found: Estimate | str) -> None:
    """The claim that SG-CycleGAN's translations are diverse; found: over real ultrasound, or why there is none."""
    if isinstance(found, str):
        results.estimate("synthetic_images_diverse", None, assessable=False, note=found)
    else:
        _book(results, "synthetic_images_diverse", found, f"embedded extractor; jackknife over {found.scope}")


def book_anatomy(results: Results, kept: Kept | None, why_not: str) -> None:
    """The claims that SG-CycleGAN keeps more anatomy than CycleGAN, and invasion; `why_not` where kept is None."""
    if kept is None:
        for claim in (BETTER, STATUS):
            results.estimate(claim, None, assessable=False, note=why_not)
        return
    shared = [seed for seed in kept.seeds["cyclegan"] if seed in kept.seeds["sg_cyclegan"]]
    ours, theirs = (
        kept.of_image[name]["dice"][[kept.seeds[name].index(seed) for seed in shared]]
        for name in ("sg_cyclegan", "cyclegan")
    )
    _book_kept(results, BETTER, by_patient(ours - theirs, kept.patients, BETTER), "Dice averaged by patient")
    ceiling = kept.table["status"].iloc[-1]
    note = f"the instrument's own ceiling, on real ultrasound of carcinomas, is {ceiling:.2f}"
    found = by_patient(kept.of_image["sg_cyclegan"]["status"], kept.patients, STATUS)
    if ceiling <= MARGIN and not np.isnan(found.low):
        note = f"here {found.corrected:.2f} ({found.low:.2f} to {found.high:.2f}), but {note}, below the margin"
        results.estimate(STATUS, None, trained=True, assessable=False, note=note)
    else:
        _book_kept(results, STATUS, found, note)


def _book_kept(results: Results, claim: str, found: Estimate, note: str) -> None:
    if np.isnan(found.low):
        results.estimate(claim, None, trained=True, assessable=False, note=NO_SPREAD)
    else:
        _book(results, claim, found, f"{note}; interval over {found.scope}")


def _book(results: Results, claim: str, found: Estimate, note: str, floor: float | None = None) -> None:
    results.estimate(
        claim, found.corrected, found.low, found.high, degrees=found.degrees, floor=floor, trained=True,
        n=found.n_patients, note=note,
    )  # fmt: skip
