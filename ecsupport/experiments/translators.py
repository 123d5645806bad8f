"""Table 1 as jobs: the translators, what they learn from, and the translations that screening networks see."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ecsupport.cohort import manifest
from ecsupport.core import own_methods
from ecsupport.core.artefacts import sha256
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import device, reproducible
from ecsupport.experiments import cohort
from ecsupport.translation import inference, models, training
from ecsupport.translation.settings import Settings

NAMES = {"cyclegan": "CycleGAN", "unit": "UNIT", "munit": "MUNIT", "dclgan": "DCLGAN", "sg_cyclegan": "SG-CycleGAN"}
COMPARED = tuple(NAMES)  # Table 1
UNGUIDED = "unguided"  # SG-CycleGAN's networks without feature and domain terms
HELD = 1.7  # GB that a step holds of each image of 256 pixels at width 64
TESTED = 5000  # images that a distance is computed from at most: those of every translator lie on the disk
WEIGHTS = 0.36  # GB of a translator with discriminators, at width 64
STEPS_A_SECOND = 4.5  # of a batch of 4 images of 64 pixels at width 16, on one core


def labels() -> dict[str, str]:
    """What every translator is called in tables, by its name, one's own last."""
    return {**NAMES, UNGUIDED: "SG-CycleGAN, unguided", **{name: name for name in own_methods.methods().translators}}


def seeds(run: Run, model: str) -> tuple[int, ...]:
    """Training seeds of a translator in this profile."""
    size = run.profile.translation
    return size.seeds if model in ("cyclegan", "sg_cyclegan") else size.peer_seeds


@cohort.once
def halves(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the pool `mri`: those that translators learn from, and those of other patients, kept for later.

    Carcinoma MRI of training patients; the larger half of the patients is learnt from.
    """
    rows = cohort.pool(run, "mri")
    of = rows[(rows["split"] == "train") & (rows["label"] == 1)]
    patients = generator("02", "halves").permutation(of["patient_id"].unique())
    learning = of["patient_id"].isin(patients[: (len(patients) + 1) // 2])
    return of.index[learning].to_numpy(), of.index[~learning].to_numpy()


@cohort.once
def ultrasound(run: Run) -> np.ndarray:
    """Rows of the pool `ultrasound` that translators learn from: carcinomas of training patients."""
    rows = cohort.pool(run, "ultrasound")
    return np.flatnonzero((rows["split"] == "train") & (rows["label"] == 1))


def translatable(run: Run) -> bool:
    """Whether there are as many MRI, and as much ultrasound, as a batch holds."""
    return min(len(halves(run)[0]), len(ultrasound(run))) >= run.profile.translation.batch


def seed_for(run: Run, seed: int) -> int:
    """The seed of the SG-CycleGAN whose images a training of this seed has: its own where there is one."""
    of = run.profile.translation.seeds
    return seed if seed in of else of[run.profile.seeds.index(seed) % len(of)]


def translators(run: Run) -> dict[tuple[str, int], Job]:
    """All translators by model and seed, one's own too; none where nothing can be translated."""
    if not translatable(run):
        return {}
    return {(model, s): translator(run, model, s) for model in labels() for s in seeds(run, model)}


def translator(run: Run, model: str, seed: int) -> Job:
    """A trained translator, see `training.train`; the archive has SG-CycleGAN's way from MRI to ultrasound too."""
    size = run.profile.translation
    settings = Settings.of(size)
    work = settings.steps * settings.batch * (size.image_size / 64) ** 2 * (size.width / 16) ** 2
    return Job(
        f"translator/{model}/{seed}",
        _train,
        {
            "model": model,
            "settings": settings.to_json(),
            "seed": seed,
            "revision": {"training": training.REVISION, **models.revisions(model, settings)},
        },
        {name: cohort.pixels(run, name, size.image_size) for name in ("mri", "ultrasound")},
        {"mri": halves(run)[0], "ultrasound": ultrasound(run)},
        minutes=work / 4 / STEPS_A_SECOND / 60,
        memory=1 + HELD * size.batch * (size.image_size / 256) ** 2 * size.width / 64,
        disk=WEIGHTS * (size.width / 64) ** 2,
        device=run.profile.device,
        archived=("losses.csv", "snapshots.npy", *([training.GENERATOR] if model == "sg_cyclegan" else [])),
    )


def _train(folder: Path, job: Job) -> None:
    mri, us = (cohort.open_pool(job.inputs[name].folder).images[job.given[name]] for name in ("mri", "ultrasound"))
    training.train(
        folder, data=job.name, device=job.device, images={"mri": mri, "us": us, "show": mri[:1]}, **job.recipe
    )


def tests(run: Run) -> list[Job]:
    """What Table 1 measures: the MRI of test patients by every translator; none where there is no such MRI."""
    of = translators(run) if len(sources(run, "test")["mri"]) else {}
    return [translations(run, model, seed, "test") for model, seed in of]


def sources(run: Run, what: str) -> dict[str, np.ndarray]:
    """Rows of the pools `mri` and `extra` that are translated: to augment `training` sets, or those of the `test`.

    For training as many of each class as an arm of Table 2 adds: positives that no translator has learnt from, and
    negatives of the pool `extra`. Of the test's at most TESTED.
    """
    rng, added = generator("02", "synthetic"), run.profile.downstream.added
    if what == "test":
        rows = cohort.pool(run, "mri")
        of = np.flatnonzero((rows["split"] == "test") & (rows["label"] == 1))
        return {"mri": np.sort(rng.permutation(of)[:TESTED])}
    every = {"mri": halves(run)[1], "extra": np.arange(len(cohort.pool(run, "extra")))}
    return {name: rows[np.sort(rng.permutation(len(rows))[:added])] for name, rows in every.items()}


def shown(run: Run, patients: int) -> np.ndarray:
    """Which of the test MRI are shown, counted from 0: one of each of the first patients, each time a later one."""
    rows = cohort.pool(run, "mri").iloc[sources(run, "test")["mri"]]
    several = rows.assign(place=range(len(rows))).groupby("patient_id", sort=False)["place"]
    return np.array([part.iloc[number % len(part)] for number, (_, part) in enumerate(several)][:patients], int)


def translations(run: Run, model: str, seed: int, what: str) -> Job:
    """Some MRI translated by a trained translator: a pool whose row i is image i, labels and patients the MRI's."""
    return _translations(run, model, seed, what, translator(run, model, seed).key, inference.REVISION)


@cohort.once  # for every translator and revision: the key of so long a table is worth keeping
def _translations(run: Run, model: str, seed: int, what: str, *_: str | int) -> Job:
    size = run.profile.translation.image_size
    given: dict[str, np.ndarray | pd.DataFrame] = {f"of_{name}": rows for name, rows in sources(run, what).items()}
    rows = _sources(run, what)
    names = [f"{model}/{seed}/{what}/{number:05d}" for number in range(len(rows))]
    given["rows"] = rows.assign(image=names, modality="us", source="synthetic", hash="")
    inputs = {name: cohort.pixels(run, name, size) for name in sources(run, what)}
    return Job(
        f"translations/{model}/{seed}/{what}",
        _translate,
        {"seed": seed, "size": size, "revision": inference.REVISION},
        {"translator": translator(run, model, seed), **inputs},
        given,
        minutes=len(rows) / 6000 * (size / 64) ** 2,
        memory=1 + cohort.gigabytes(len(rows), size, 2),  # each part, and all together
        disk=cohort.gigabytes(len(rows), size),
        device=run.profile.device,
        reads={"translator": (training.GENERATOR,)},
    )


@cohort.once
def _sources(run: Run, what: str) -> pd.DataFrame:
    parts = [cohort.pool(run, name).iloc[rows] for name, rows in sources(run, what).items()]
    return pd.concat(parts, ignore_index=True)


def _translate(folder: Path, job: Job) -> None:
    pools = {role: made for role, made in job.inputs.items() if role != "translator"}
    parts = [cohort.open_pool(made.folder).images[job.given[f"of_{name}"]] for name, made in pools.items()]
    with reproducible(1):
        trained = job.inputs["translator"].file(training.GENERATOR).parent
        network = training.restore(trained, generator_alone=True).to(device(job.device))
        words = ("synthetic", job.recipe["seed"])
        pictures = np.concatenate([inference.translate(network, mri, words) for mri in parts])
    np.save(folder / cohort.IMAGES, pictures)
    rows = job.given["rows"].assign(hash=[sha256(picture.tobytes()) for picture in pictures])
    (folder / cohort.ROWS).write_text(manifest.to_csv(rows), encoding="utf-8")


def resized(job: Job, size: int, rows: np.ndarray) -> tuple[Job, np.ndarray]:
    """Rows of a pool at another size, bicubic, antialiased, as files are: a pool, and where it has them.

    The job itself, with the same rows, where its images have that size.
    """
    if job.recipe.get("size", size) == size:
        return job, rows
    smaller = Job(
        f"{job.name}/at-{size}",
        _resize,
        {"size": size, "revision": 2},
        {"pool": job},
        {"rows": rows},
        minutes=len(rows) / 12_000 * (size / 64) ** 2,
        memory=1 + cohort.gigabytes(len(rows), size),
        disk=cohort.gigabytes(len(rows), size),
    )
    return smaller, np.arange(len(rows))


def _resize(folder: Path, job: Job) -> None:
    pool, size, rows = cohort.open_pool(job.inputs["pool"].folder), job.recipe["size"], job.given["rows"]
    small = np.empty((len(rows), size, size), np.uint8)
    for place, row in enumerate(rows):
        small[place] = Image.fromarray(pool.images[row]).resize((size, size), Image.Resampling.BICUBIC)
    np.save(folder / cohort.IMAGES, small)
    (folder / cohort.ROWS).write_text(manifest.to_csv(pool.rows.iloc[rows]), encoding="utf-8")
