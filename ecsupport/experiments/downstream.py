"""Table 2 as jobs: the classifiers of every arm, trained on rows of pools, and their scores on the test patients.

All images have the size that translations have, so that none of these is stored twice.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecsupport.cohort import manifest
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import reproducible
from ecsupport.experiments import cohort, networks, translators
from ecsupport.experiments.tested import Tested
from ecsupport.experiments.translators import NAMES
from ecsupport.instruments import acceptance
from ecsupport.screening import arms, training
from ecsupport.screening.arms import Labelled
from ecsupport.screening.settings import Settings

UNTRANSLATED = {"MRI": ("mri", "extra"), "MRI, ultrasound's histogram": ("matched",)}
POOLS = ("ultrasound", "mri", "extra", "matched", "translations")  # an image is the number of its pool, and its row
PRINTED, ONCE = "as printed: ", "as printed, published schedule: SG-CycleGAN"
MATCHING = 4  # bytes a pixel of the MRI whose histogram is matched
RULES = ("auc", "sensitivity")  # by which weights are kept
SPEED = 3000.0  # images of 64 pixels that one core scores in a second, at stem stride 2


def read(run: Run) -> list[Job]:
    """The jobs that notebook 04 reads."""
    trained = classifiers(run).values()
    return [*trained, *(scores(run, job) for job in trained)]


@cohort.once
def real(run: Run) -> dict[str, Labelled]:
    """Real images: `train`, `validation` and `test`."""
    rows = cohort.pool(run, "ultrasound")
    label = manifest.target(rows, run.profile.task).to_numpy(np.int64)
    every = Labelled(_images("ultrasound", np.arange(len(rows))), label)
    return {name: every.take(np.flatnonzero(rows["split"] == name)) for name in manifest.SPLITS[:3]}


@cohort.once
def scarce(run: Run, seed: int) -> tuple[Labelled, Labelled]:
    """The real training set where positives are scarce, and new positives of other patients: another draw a seed."""
    rows, size, train = cohort.pool(run, "ultrasound"), run.profile.downstream, real(run)["train"]
    patients = rows.loc[rows["split"] == "train", "patient_id"].to_numpy()
    draw = generator("04", "scarce", seed)
    chosen, others = arms.scarce(train.label, patients, size.real_positives, size.real_negatives, draw)
    return train.take(chosen), train.take(others)


@cohort.once
def sets(run: Run) -> dict[tuple[str, int], tuple[Labelled, Labelled]]:
    """What is trained on, (real, added) images by arm and seed; see `screening.arms`.

    A translator's arms have its seeds, real images those of SG-CycleGAN; all others the peers', and the printed
    schedule one. Where nothing can be translated there are real images alone.
    """
    of, size, found = real(run), run.profile.translation, {}
    can = translators.translatable(run)
    for seed in size.seeds:
        known = [name for model, name in NAMES.items() if can and seed in translators.seeds(run, model)]
        translated = {name: _translated(run, "translations") for name in known}
        mri = {name: _translated(run, name) for name in UNTRANSLATED} if can else {}
        few, new = scarce(run, seed)
        added = arms.unconfounded(few, new, translated, mri, generator("04", "arms"))
        found |= {(arm, seed): (few, images) for arm, images in added.items()}
        negatives, positives = arms.printed(of["train"], translated, generator("04", "printed"))
        found |= {(PRINTED + name, seed): (negatives, images) for name, images in positives.items()}
    first = (f"{PRINTED}{NAMES['sg_cyclegan']}", size.seeds[0])
    if first in found:
        found[ONCE, size.seeds[0]] = found[first]
    return {key: parts for key, parts in found.items() if key[1] in _seeds(run, key[0])}


def _seeds(run: Run, arm: str) -> tuple[int, ...]:
    many = [
        arms.REAL_ONLY,
        arms.NEW,
        *(f"+ {name}{both}" for name in NAMES.values() for both in ("", ", both classes")),
    ]
    return run.profile.translation.seeds if arm in (*many, ONCE) else run.profile.translation.peer_seeds


def _images(pool: str, rows: np.ndarray) -> np.ndarray:
    return cohort.placed(POOLS.index(pool), rows)


def _translated(run: Run, name: str) -> Labelled:
    """The MRI kept for training sets, of both classes: translated, or as it is in the pools of an untranslated arm."""
    of = translators.sources(run, "training")
    rows = pd.concat([cohort.pool(run, pool).iloc[places] for pool, places in of.items()])
    label = manifest.target(rows, run.profile.task).to_numpy(np.int64)
    if name == "MRI":
        return Labelled(np.concatenate([_images(pool, places) for pool, places in of.items()]), label)
    (pool,) = UNTRANSLATED.get(name, ("translations",))
    return Labelled(_images(pool, np.arange(len(rows))), label)


def classifiers(run: Run) -> dict[tuple[str, int], Job]:
    """The classifiers by arm and seed: weights_auc.safetensors, weights_sensitivity.safetensors and history.csv."""
    return {(arm, seed): _classifier(run, arm, seed, *parts) for (arm, seed), parts in sets(run).items()}


def settings(run: Run, arm: str, number: int) -> Settings:
    """How the classifier of an arm is trained on so many images: the published schedule where the arm says so."""
    common = Settings.downstream(run.profile)
    return Settings.published(run.profile, number, rules=common.rules) if arm == ONCE else common


def _classifier(run: Run, arm: str, seed: int, kept: Labelled, added: Labelled) -> Job:
    unseen = real(run)["validation"]
    given = {"image": np.concatenate([kept.images, added.images]), "label": np.concatenate([kept.label, added.label])}
    given |= {"real": np.arange(len(given["label"])) < len(kept.label)}
    given |= {"validation": unseen.images[:, 1], "validation_label": unseen.label}
    used = {"ultrasound", *(POOLS[number] for number in np.unique(given["image"][:, 0]))}
    of = settings(run, arm, len(given["label"]))
    return Job(
        f"downstream/{networks.slug(arm)}/{seed}",
        _train,
        networks.recipe_of(of, seed),
        {pool: _pool(run, pool, arm, seed) for pool in POOLS if pool in used},
        given,
        minutes=networks.minutes(run.profile.translation.image_size, of),
        memory=networks.memory(run.profile.translation.image_size, of),
        device=run.profile.device,
        archived=("history.csv",),
    )


def _pool(run: Run, pool: str, arm: str, seed: int) -> Job:
    if pool == "translations":
        model = next(model for model, name in NAMES.items() if name in arm.replace(",", " ").split())
        return translators.translations(run, model, seed, "training")
    return matched(run, seed) if pool == "matched" else cohort.pixels(run, pool, run.profile.translation.image_size)


def matched(run: Run, seed: int) -> Job:
    """A pool of the MRI kept for training sets with the grey levels of the scarce set's ultrasound."""
    of, size = translators.sources(run, "training"), run.profile.translation.image_size
    given: dict[str, Any] = {f"of_{name}": places for name, places in of.items()}
    given["rows"] = pd.concat([cohort.pool(run, name).iloc[places] for name, places in of.items()], ignore_index=True)
    given["like"] = scarce(run, seed)[0].images[:, 1]
    return Job(
        f"pixels/mri-with-ultrasound-histogram/{size}/{seed}",
        _match,
        {"size": size, "revision": acceptance.REVISION},
        {name: cohort.pixels(run, name, size) for name in (*of, "ultrasound")},
        given,
        minutes=len(given["rows"]) / 6000,
        memory=1 + cohort.gigabytes(len(given["rows"]), size, MATCHING),
        disk=cohort.gigabytes(len(given["rows"]), size),
    )


def _match(folder: Path, job: Job) -> None:
    pools = {name: cohort.open_pool(made.folder).images for name, made in job.inputs.items()}
    mri = [pools[name][job.given[f"of_{name}"]] for name in pools if name != "ultrasound"]
    like = pools["ultrasound"][job.given["like"]]
    np.save(folder / cohort.IMAGES, acceptance.match_histogram(np.concatenate(mri), like))
    (folder / cohort.ROWS).write_text(manifest.to_csv(job.given["rows"]), encoding="utf-8")


def arrays(job: Job) -> dict[str, Any]:
    """The training set of a classifier as `screening.training` takes it; no image is copied for an arm.

    `real` marks the images of the real set: whatever an arm adds, copies and new real positives too, is drawn as
    synthetic images are, so that arms differ in the images alone.
    """
    ultrasound = cohort.open_pool(job.inputs["ultrasound"].folder).images
    return {
        "image": cohort.images_of({POOLS.index(role): made for role, made in job.inputs.items()}, job.given["image"]),
        "label": job.given["label"],
        "real": job.given["real"],
        "validation_image": ultrasound[job.given["validation"]],
        "validation_label": job.given["validation_label"],
    }


def _train(folder: Path, job: Job) -> None:
    arguments = {**job.recipe, "data": job.key, "device": job.device}
    for _ in training.train_together([(folder, arguments)], arrays(job)):
        pass


def scores(run: Run, trained: Job) -> Job:
    """What a classifier says of the patients of `networks.scored`, by the rule that chose its weights.

    The file of `networks.write_scores` holds `test_auc`, `test_sensitivity` and so on.
    """
    size = run.profile.translation.image_size
    inputs, given = networks.scored(run, size)
    return Job(
        f"scores/{trained.name}",
        _score,
        {"rules": list(RULES), "revision": 2},
        {"trained": trained, **inputs},
        given,
        minutes=len(RULES) * sum(map(len, given.values())) / SPEED / 60 * (size / 64) ** 2,
        device=run.profile.device,
        archived=("*",),
    )


def _score(folder: Path, job: Job) -> None:
    found = {}
    with reproducible(1):
        for rule in job.recipe["rules"]:
            network = training.restore(job.inputs["trained"].folder, device=job.device, rule=rule)
            found |= {f"{name}_{rule}": training.predict(network, networks.images(job, name)) for name in job.given}
    networks.write_scores(folder, found)


def tested(run: Run, rule: str, patients: str = "test") -> Tested:
    """`tested.opened` for every arm, with the weights that a rule kept."""
    scored: dict[str, list[np.ndarray]] = {}
    for (arm, _), job in classifiers(run).items():
        scored.setdefault(arm, []).append(networks.read_scores(scores(run, job))[f"{patients}_{rule}"])
    return Tested.of(run, patients, scored)


def seeds(run: Run) -> dict[str, list[int]]:
    """Training seeds of every arm, in the order of its scores."""
    found: dict[str, list[int]] = {}
    for arm, seed in classifiers(run):
        found.setdefault(arm, []).append(seed)
    return found


def histories(run: Run) -> dict[str, list[pd.DataFrame]]:
    """What validation said while the classifiers of every arm were trained."""
    found: dict[str, list[pd.DataFrame]] = {}
    for (arm, _), job in classifiers(run).items():
        found.setdefault(arm, []).append(pd.read_csv(job.file("history.csv")))
    return found
