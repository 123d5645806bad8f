"""LSNet against three others on easier and harder phantoms as jobs: do the dials decide Table 3 (notebook 14)?

Networks are trained as in Table 3, but on real images alone: a translator of each difficulty would be a second thing
that changes.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ecsupport.cohort import phantom, recipe
from ecsupport.core import profiles
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Profile, Run
from ecsupport.experiments import networks
from ecsupport.experiments.tested import Tested
from ecsupport.screening.settings import Settings

VERSIONS = {"easier": "phantom-v1-easier", "unchanged": "phantom-v1", "harder": "phantom-v1-harder"}
NETWORKS: dict[str, dict[str, Any]] = {  # LSNet and what it is held against: the network, and what is changed of it
    "LSNet": {},
    "EfficientNet": {"network": "efficientnet"},
    "its dense twin": {"network": "lsnet_dense"},
    "random keys": {"guidance": "random"},
}
SEEDS = 3
PATIENTS = "patients.npz"
BRIEFLY = {"mixed_steps": 4, "real_steps": 2, "validate_every": 2}  # where nothing is ranked


@lru_cache(maxsize=8)
def sized(profile: Profile) -> Profile:
    """Of what size: `laptop`, also at `paper`; `smoke`, few steps, where nothing is ranked."""
    if profile.ranks:
        return replace(profiles.load("laptop"), device=profile.device)
    smoke = profiles.load("smoke")
    return replace(smoke, device=profile.device, screening=replace(smoke.screening, **BRIEFLY))


def runs(run: Run) -> dict[str, Run]:
    """The run of each difficulty, of phantoms whatever images a run is about."""
    profile = sized(run.profile)
    return {
        difficulty: Run(replace(profile, cohort=replace(profile.cohort, version=version)))
        for difficulty, version in VERSIONS.items()
    }


def trained(run: Run) -> dict[tuple[str, str, int], Job]:
    """The networks by difficulty, name and seed."""
    return {
        (difficulty, name, seed): named(run, one, difficulty, _of(one, f"{name} {difficulty}", NETWORKS[name], seed))
        for difficulty, one in runs(run).items()
        for name in NETWORKS
        for seed in one.profile.screening.ablation_seeds[:SEEDS]
    }


def _of(run: Run, name: str, changes: Mapping[str, Any], seed: int) -> Job:
    short = networks.slug(name)
    job = networks.network(run, short, Settings.of(run.profile, **changes), seed, synthetic=False)
    return replace(job, name=f"difficulty/{short}/{seed}")


def named(run: Run, of: Run, difficulty: str, job: Job) -> Job:
    """A job of `of`, the run of a difficulty, where its pools are not the run's own with names of their own."""
    if run.cohort is None and of.profile.cohort == run.profile.cohort:
        return job
    own = f"pixels/{networks.slug(difficulty)}-"
    inputs = {role: _renamed(one, one.name.replace("pixels/", own)) for role, one in job.inputs.items()}
    return replace(job, inputs=inputs)


@lru_cache(maxsize=32)  # the key of so long a table is worth keeping
def _renamed(job: Job, name: str) -> Job:
    return job if job.name == name else replace(job, name=name)


def scores(run: Run) -> dict[tuple[str, str, int], Job]:
    """What each says of unseen patients of its own difficulty."""
    of = runs(run)
    return {
        (difficulty, *which): named(run, of[difficulty], difficulty, networks.scores(of[difficulty], job))
        for (difficulty, *which), job in trained(run).items()
    }


def drawn() -> Job:
    """Patients with carcinoma at each difficulty: `patients.npz`, by version image (N, S, S) uint8 and tumour, a mask.

    Each version draws a patient of the same number anew.
    """
    recipe = {"versions": list(VERSIONS.values()), "patients": 6, "size": 128, "revision": phantom.REVISION}
    return Job("pictures/difficulties", _draw, recipe, minutes=0.05)


def _draw(folder: Path, job: Job) -> None:
    found, size = {}, job.recipe["size"]
    names = [phantom.patient_id("carcinoma", number) for number in range(job.recipe["patients"])]
    for version in job.recipe["versions"]:
        found[version] = np.stack([phantom.render(version, name, 0, "us", size) for name in names])
        truths = [phantom.truth(version, name, 0, "us", size) for name in names]
        found[f"{version}/tumour"] = np.stack([truth.mask("tumour") for truth in truths])
    np.savez_compressed(folder / PATIENTS, **found)


def patient(number: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Image (S, S) uint8 and tumour (S, S) bool of a patient by difficulty; IndexError for a number that has none."""
    with np.load(drawn().file(PATIENTS)) as made:
        return {which: (made[name][number], made[f"{name}/tumour"][number]) for which, name in VERSIONS.items()}


def read(run: Run) -> list[Job]:
    """The jobs that notebook 14 reads."""
    return [*scores(run).values(), drawn()]


def opened(run: Run) -> Mapping[str, Tested]:
    """By difficulty, the scores of all networks on the patients who decide."""
    found: dict[str, dict[str, list]] = {difficulty: {} for difficulty in VERSIONS}
    of = runs(run)
    for (difficulty, name, _), job in scores(run).items():
        patients = networks.deciding(of[difficulty])
        found[difficulty].setdefault(name, []).append(networks.read_scores(job)[patients])
    return {one: Tested.of(of[one], networks.deciding(of[one]), rows) for one, rows in found.items()}


def dials() -> Mapping[str, recipe.Recipe]:
    """The recipe of each difficulty."""
    return {difficulty: recipe.load(version) for difficulty, version in VERSIONS.items()}
