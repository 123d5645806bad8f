"""The classifiers of study designs as jobs, and their scores of test images and of the population (notebook 11)."""

from pathlib import Path
from typing import Any

import numpy as np

from ecsupport.core.jobs import Job
from ecsupport.core.pixels import Rows
from ecsupport.core.profiles import Run
from ecsupport.core.training import reproducible
from ecsupport.experiments import cohort, networks, translators
from ecsupport.experiments.designs import DESIGNS, POOLS, Design, Study, sound, study, translated
from ecsupport.screening import training
from ecsupport.screening.settings import Settings

WEIGHT_DECAY = 0.05
RULES = {"sound": ("auc", "dual")}  # by which weights are kept, in other designs by the area alone
WATCHED = 4  # images of a patient
WATCHED_DESIGNS = ("sound", "shuffled")
SHARED, INDEPENDENT = "shared-start", "independent-start"
SPEED = 500.0  # images of 64 pixels that one core scores in a second, at stem stride 1


def settings(run: Run, name: str = "", shared: int | None = None) -> Settings:
    """How the classifier of a design is trained; shared: the seed of a first phase that runs share."""
    size = run.profile.design
    return Settings(
        network="efficientnet",
        stem_stride=size.stem_stride,
        teacher_width=1.0,
        batch=size.batch,
        mixed_steps=size.mixed_steps,
        real_steps=size.real_steps,
        validate_every=size.validate_every,
        rate_mixed=size.rate,
        rate_real=size.rate / 10,
        weight_decay=WEIGHT_DECAY,
        shared_start=shared,
        rules=RULES.get(name, ("auc",)),
    )


def read(run: Run) -> list[Job]:
    """The jobs that notebook 11 reads."""
    jobs = classifiers(run).values()
    return [*jobs, *(scores(run, job) for job in jobs)]


def phantoms(run: Run) -> Run:
    """The run whose images are tried here: of phantoms whatever images a run is about, since their truth is known."""
    return Run(run.profile)


def classifiers(run: Run) -> dict[tuple[str, int], Job]:
    """The classifiers by design and seed.

    SHARED and INDEPENDENT are further trainings of the first seed's sound design, with other seeds from the first step
    on, or in the second phase alone. A run on own images translates those, and leaves synthetic ones out here, as one
    does that translates nothing.
    """
    first, *others = run.profile.design.seeds
    left_out = () if run.cohort is None and translators.translatable(run) else ("synthetic",)
    run = phantoms(run)
    found = {
        (name, seed): trained(run, name, study(run, seed), design, watched=name in WATCHED_DESIGNS)
        for name, design in DESIGNS.items()
        for seed in (first, *others)
        if name not in left_out
    }
    for name, shared in ((SHARED, first), (INDEPENDENT, None)):
        found |= {(name, s): trained(run, name, study(run, first), sound, seed=s, shared=shared) for s in others}
    return found


def trained(
    run: Run,
    name: str,
    study: Study,
    design: Design,
    *,
    seed: int | None = None,
    watched: bool = False,
    shared: int | None = None,
) -> Job:
    """A classifier of a design: weights and history.csv as in `screening.training`.

    seed: of the training, by default the study's.  shared: as in `settings`.  watched: whether scores of the first
    WATCHED test images of every patient are kept at each validation, watched.npy
    """
    seed, of, sets = study.seed if seed is None else seed, settings(run, name, shared), design(study)
    given = {f"{name}_image": of_set.images for name, of_set in sets._asdict().items()}
    given |= {f"{name}_label": of_set.label for name, of_set in sets._asdict().items()}
    if watched:
        given["watched_image"] = sets.test.images[study.number[sets.test.images[:, 1]] < WATCHED]
    used = np.unique(np.concatenate([part.images[:, 0] for part in sets]))
    return Job(
        f"design/{name}/{seed}",
        _train,
        networks.recipe_of(of, seed),
        {POOLS[number]: _pool(run, POOLS[number], study.seed) for number in used},
        given,
        minutes=networks.minutes(run.profile.design.image_size, of),
        memory=networks.memory(run.profile.design.image_size, of),
        device=run.profile.device,
        archived=("history.csv", *(["watched.npy"] if watched else [])),
    )


def _pool(run: Run, pool: str, seed: int) -> Job:
    size = run.profile.design.image_size
    if pool == "study":
        return cohort.pixels(run, "study", size)
    job = translated(run, seed, "test" if pool.startswith("tested") else "training")
    return translators.resized(job, size, np.arange(len(job.given["rows"])))[0]


def _train(folder: Path, job: Job) -> None:
    label = job.given["learnt_label"]
    arrays: dict[str, Any] = {
        "image": _open(job, "learnt_image"),
        "label": label,
        "real": np.ones(len(label), bool),
        "validation_image": _open(job, "validation_image"),
        "validation_label": job.given["validation_label"],
    }
    if "watched_image" in job.given:
        arrays["watched_image"] = _open(job, "watched_image")
    arguments = {**job.recipe, "data": job.key, "device": job.device}
    training.train(folder, arrays, **arguments)


def _open(job: Job, name: str) -> Rows:
    """The images that a job was given under this name, left on disk until they are asked for."""
    return cohort.images_of({POOLS.index(role): made for role, made in job.inputs.items()}, job.given[name])


def scores(run: Run, job: Job) -> Job:
    """What a classifier says of its test images and of the population, by each rule's weights.

    The file of `networks.write_scores` holds `test_auc`, `population_auc` and so on, in the order of the images.
    """
    size = run.profile.design
    rules = job.recipe["settings"]["rules"]
    run = phantoms(run)
    rows = {"population": np.arange(len(cohort.pool(run, "population"))), "test_image": job.given["test_image"]}
    return Job(
        f"scores/{job.name}",
        _score,
        {"rules": rules, "revision": 1},
        {"trained": job, "population": cohort.pixels(run, "population", size.image_size), **job.inputs},
        rows,
        minutes=len(rules) * sum(map(len, rows.values())) / SPEED / 60 * (size.image_size / 64 / size.stem_stride) ** 2,
        device=run.profile.device,
        archived=("*",),
    )


def _score(folder: Path, job: Job) -> None:
    found = {}
    of_study = {POOLS.index(role): made for role, made in job.inputs.items() if role in POOLS}
    images = {
        "test": cohort.images_of(of_study, job.given["test_image"]),
        "population": cohort.open_pool(job.inputs["population"].folder).images,
    }
    with reproducible(1):
        for rule in job.recipe["rules"]:
            network = training.restore(job.inputs["trained"].folder, device=job.device, rule=rule)
            found |= {f"{name}_{rule}": training.predict(network, of) for name, of in images.items()}
    networks.write_scores(folder, found)
