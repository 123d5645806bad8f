"""Tables 3 to 5 as jobs: the screening networks, what they are trained on, and their scores on unseen patients."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from ecsupport.cohort import manifest
from ecsupport.core import own_methods
from ecsupport.core.jobs import Job
from ecsupport.core.pixels import Rows
from ecsupport.core.profiles import Run
from ecsupport.core.training import reproducible
from ecsupport.experiments import cohort, translators
from ecsupport.screening import ablations, distillation, lsnet, training
from ecsupport.screening.settings import Settings

COMPARED = ("lsnet", "mobilenet_v2_wide", "efficientnet", "mobilevit")  # Table 3
SPEED = {  # images of 64 pixels that one core trains on in a second, at stem stride 1
    "lsnet": 107, "lsnet_dense": 112, "mobilenet_v2_wide": 136, "efficientnet": 245, "mobilevit": 146, "teacher": 66,
}  # fmt: skip
HELD = {True: 0.054, False: 0.017}  # GB that a step holds of an image of 64 pixels at stem stride 1, taught or not
SCORES = "scores.npz"
POOL_OF = {"validation": "ultrasound", "test": "ultrasound", "extended": "extended"}  # patients who are scored


def table_3(run: Run) -> dict[tuple[str, int], Job]:
    """The networks of Table 3 by name and seed, and one's own."""
    return {
        (name, seed): network(run, name, Settings.of(run.profile, name), seed)
        for name in (*COMPARED, *own_methods.methods().networks)
        for seed in run.profile.seeds
    }


def arms(run: Run) -> dict[tuple[str, int], Job]:
    """The arms of Tables 4 and 5 that the profile attempts, by name and seed; LSNet itself is Table 3's.

    Where nothing can be translated, the arm without synthetic images is LSNet itself and left out.
    """
    size = run.profile.screening
    found = {}
    for name, arm in ablations.arms(run.profile).items():
        if arm.priority <= size.priorities and (arm.synthetic or translators.translatable(run)):
            for seed in size.ablation_seeds[: arm.seeds]:
                short = "lsnet" if name == ablations.FULL or arm.settings.shared_start == seed else slug(name)
                found[name, seed] = network(run, short, arm.settings, seed, arm.synthetic)
    return found


def slug(name: str) -> str:
    """A name as a folder can have it: `1/10 of the keys` becomes `1-10-of-the-keys`."""
    return "-".join("".join(c if c.isalnum() or c in "._" else " " for c in name.lower()).split())


def network(run: Run, name: str, settings: Settings, seed: int, synthetic: bool = True) -> Job:
    """A screening network trained with these settings, on the real training images and on synthetic positives.

    Synthetic images are those of the translator of this seed, so that a seed moves all that chance decides; in a first
    phase that runs share, those of the shared seed. A run that shares the first phase of its own seed is the run from
    scratch.
    """
    if settings.shared_start == seed:
        settings = replace(settings, shared_start=None)
    begun = seed if settings.shared_start is None else settings.shared_start
    inputs, given = training_set(run, synthetic, begun)
    recipe = recipe_of(settings, seed)
    return Job(
        f"screening/{name}/{seed}",
        _train,
        recipe,
        inputs,
        given,
        minutes=minutes(run.profile.image_size, settings),
        memory=memory(run.profile.image_size, settings),
        device=run.profile.device,
        together=training.teaching(recipe["settings"], _data(inputs, given), seed, run.profile.device),
        make_together=_train_together,
        archived=("history.csv", *(["weights.safetensors"] if (name, seed) == ("lsnet", run.profile.seeds[0]) else ())),
    )


def recipe_of(settings: Settings, seed: int) -> dict[str, Any]:
    """The recipe of a screening training, with the revision of each part of its arithmetic."""
    of_network = lsnet.revisions(settings.network, settings.variant, settings.fusion)
    revision = {"training": training.REVISION, **of_network}
    if settings.taught:
        revision |= {"distillation": distillation.REVISION, **lsnet.revisions("teacher")}
    return {"settings": asdict(settings) | {"rules": list(settings.rules)}, "seed": seed, "revision": revision}


def training_set(run: Run, synthetic: bool, seed: int) -> tuple[dict[str, Job], dict[str, np.ndarray]]:
    """What a network is trained on: the jobs that make its images, and rows and labels as arrays.

    real, validation: rows of the pool `ultrasound`;  added: rows of the translations;  each with its `_label`.
    """
    size, task = run.profile.image_size, run.profile.task
    given = dict(_real(run))
    inputs = {"ultrasound": cohort.pixels(run, "ultrasound", size)}
    if synthetic and translators.translatable(run):
        made = translators.translations(run, "sg_cyclegan", translators.seed_for(run, seed), "training")
        label = manifest.target(made.given["rows"], task).to_numpy(np.int64)
        positive = np.flatnonzero(label == 1)
        inputs["translations"], given["added"] = translators.resized(made, size, positive)
        given["added_label"] = label[positive]
    return inputs, given


@cohort.once
def _real(run: Run) -> dict[str, np.ndarray]:
    rows = cohort.pool(run, "ultrasound")
    target = manifest.target(rows, run.profile.task).to_numpy(np.int64)
    found: dict[str, np.ndarray] = {}
    for part, split in (("real", "train"), ("validation", "validation")):
        found[part] = np.flatnonzero(rows["split"] == split)
        found[f"{part}_label"] = target[found[part]]
    return found


def arrays(job: Job) -> dict[str, Any]:
    """The training set of a job as `screening.training` takes it; images stay on disk until a batch asks for them."""
    pixels = {role: cohort.open_pool(made.folder).images for role, made in job.inputs.items()}
    parts, labels = [(pixels["ultrasound"], job.given["real"])], [job.given["real_label"]]
    if "translations" in pixels:
        parts.append((pixels["translations"], job.given["added"]))
        labels.append(job.given["added_label"])
    return {
        "image": Rows(*parts),
        "label": np.concatenate(labels),
        "real": np.arange(sum(map(len, labels))) < len(labels[0]),
        "validation_image": pixels["ultrasound"][job.given["validation"]],
        "validation_label": job.given["validation_label"],
    }


def _data(inputs: Mapping[str, Job], given: Mapping[str, np.ndarray]) -> str:
    """Names a training set: students of one teacher have the same."""
    return Job("training set", _train, {}, inputs, given).key


def _train(folder: Path, job: Job) -> None:
    for _ in _train_together([(folder, job)]):
        pass


def _train_together(wanted: Sequence[tuple[Path, Job]]) -> Iterator[Path]:
    together = [
        (folder, {**job.recipe, "data": _data(job.inputs, job.given), "device": job.device}) for folder, job in wanted
    ]
    yield from training.train_together(together, arrays(wanted[0][1]))


def minutes(size: int, settings: Settings) -> float:
    """Estimate, of one core: a network's rate, and its teacher's, in proportion to the pixels of the first maps."""
    area = (size / 64 / settings.stem_stride) ** 2
    seconds = sum(1 / SPEED.get(name, 100) for name in [settings.network, *["teacher"] * settings.taught])
    return settings.steps * settings.batch * seconds * area / 60


def memory(size: int, settings: Settings) -> float:
    """Estimate in GB: what a step holds of its batch, with its teacher's where it has one."""
    return 1 + HELD[settings.taught] * settings.batch * (size / 64 / settings.stem_stride) ** 2


def scores(run: Run, trained: Job) -> Job:
    """What a trained network, and LSNet's teacher, say of patients from whom none has learnt.

    The file of `write_scores` holds `test`, `extended` where there are such patients, and `validation` for thresholds,
    each (N,) in the order of the rows of `patients`; of LSNet `teacher_test` and so on too. Arms share its teacher.
    """
    inputs, given = scored(run, run.profile.image_size)
    given["validation"] = patients(run, "validation").index.to_numpy()
    roles = {"": "network"} | ({"teacher_": "teacher"} if trained.name.startswith("screening/lsnet/") else {})
    settings = trained.recipe["settings"]
    seconds = sum(0.5 / SPEED.get(name, 100) for name in [settings["network"], *["teacher"] * (len(roles) - 1)])
    area = (run.profile.image_size / 64 / settings["stem_stride"]) ** 2
    return Job(
        f"scores/{trained.name}",
        _score,
        {"roles": roles, "revision": 2},
        {"trained": trained, **inputs},
        given,
        minutes=sum(map(len, given.values())) * seconds * area / 60,  # without a backward pass half the time
        device=run.profile.device,
        archived=("*",),
    )


@cohort.once
def patients(run: Run, name: str) -> pd.DataFrame:
    """Ultrasound rows of `validation`, `test` or `extended`, indexed by their place in their pool."""
    rows = cohort.pool(run, POOL_OF[name])
    return rows[(rows["modality"] == "us") & (rows["split"] == name)]


def deciding(run: Run) -> str:
    """On which patients claims are decided: `extended`, or `test` with a person's own manifest."""
    return "extended" if len(cohort.pool(run, "extended")) else "test"


def scored(run: Run, size: int) -> tuple[dict[str, Job], dict[str, np.ndarray]]:
    """Whose images every classifier scores: jobs of their pixels by pool, and places in it by name of the patients."""
    given = {name: patients(run, name).index.to_numpy() for name in dict.fromkeys(("test", deciding(run)))}
    return {POOL_OF[name]: cohort.pixels(run, POOL_OF[name], size) for name in given}, given


def images(job: Job, *names: str) -> Rows:
    """The images of the named patients that a job scores, left on disk until they are asked for."""
    return Rows(*((cohort.open_pool(job.inputs[POOL_OF[name]].folder).images, job.given[name]) for name in names))


def _score(folder: Path, job: Job) -> None:
    found = {}
    with reproducible(1):
        for prefix, role in job.recipe["roles"].items():
            network = training.restore(job.inputs["trained"].folder, role, job.device)
            found |= {prefix + name: training.predict(network, images(job, name)) for name in job.given}
    write_scores(folder, found)


def write_scores(folder: Path, found: Mapping[str, np.ndarray]) -> None:
    """Write probabilities, arrays (N,) by name, as `scores.npz`: logits of 16 bits, rounded to one part in 2,000.

    The order, and on which side of one half a probability lies, survive: at that threshold the counts are exact.
    """
    np.savez_compressed(folder / SCORES, **{name: logit(of).astype(np.float16) for name, of in found.items()})


def read_scores(job: Job) -> dict[str, np.ndarray]:
    """The probabilities that a job has written by `write_scores`, (N,) float64 by name."""
    with np.load(job.file(SCORES)) as found:
        return {name: expit(found[name].astype(float)) for name in found}
