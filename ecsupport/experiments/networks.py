"""Tables 3 to 5 as jobs: the screening networks, what they are trained on, and their scores on unseen patients."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecsupport.cohort import manifest
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
SHOWN = ("weights.safetensors", "teacher.safetensors")  # of the run whose maps are drawn
UNSEEN = {"test": "ultrasound", "instrument": "instrument"}  # patients no screening network has seen, by their pool


def table_3(run: Run) -> dict[tuple[str, int], Job]:
    """The networks of Table 3 by name and seed."""
    return {
        (name, seed): network(run, name, Settings.of(run.profile, name), seed)
        for name in COMPARED
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

    A run that shares the first phase of its own seed is the run from scratch.
    """
    if settings.shared_start == seed:
        settings = replace(settings, shared_start=None)
    inputs, given = training_set(run, synthetic)
    of_network = lsnet.revisions(settings.network, settings.variant, settings.fusion)
    revision = {"training": training.REVISION, **of_network}
    if settings.taught:
        revision |= {"distillation": distillation.REVISION, **lsnet.revisions("teacher")}
    recipe = {"settings": asdict(settings), "seed": seed, "revision": revision}
    recipe["settings"]["rules"] = list(settings.rules)
    return Job(
        f"screening/{name}/{seed}",
        _train,
        recipe,
        inputs,
        given,
        minutes=minutes(run, settings),
        memory=1.0 * max(1, run.profile.image_size / 64) ** 2,
        device=run.profile.device,
        together=training.teaching(recipe["settings"], _data(inputs, given), seed, run.profile.device),
        make_together=_train_together,
        archived=("history.csv", *(SHOWN if (name, seed) == ("lsnet", run.profile.seeds[0]) else ())),
    )


def training_set(run: Run, synthetic: bool) -> tuple[dict[str, Job], dict[str, np.ndarray]]:
    """What a network is trained on: the jobs that make its images, and rows and labels as arrays.

    real, validation: rows of the pool `ultrasound`;  added: rows of the translations;  each with its `_label`.
    """
    size, task = run.profile.image_size, run.profile.task
    rows = cohort.pool(run, "ultrasound")
    target = manifest.target(rows, task).to_numpy(np.int64)
    given: dict[str, np.ndarray] = {}
    for part, split in (("real", "train"), ("validation", "validation")):
        given[part] = np.flatnonzero(rows["split"] == split)
        given[f"{part}_label"] = target[given[part]]
    inputs = {"ultrasound": cohort.pixels(run, "ultrasound", size)}
    if synthetic and translators.translatable(run):
        first = run.profile.translation.seeds[0]
        made = translators.translations(run, "sg_cyclegan", first, "training")
        inputs["translations"] = translators.resized(made, size)
        label = manifest.target(made.given["rows"], task).to_numpy(np.int64)
        given["added"] = np.flatnonzero(label == 1)
        given["added_label"] = label[given["added"]]
    return inputs, given


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


def minutes(run: Run, settings: Settings) -> float:
    """Estimate, of one core: a network's rate, and its teacher's, in proportion to the pixels of the first maps."""
    area = (run.profile.image_size / 64 / settings.stem_stride) ** 2
    seconds = sum(1 / SPEED.get(name, 100) for name in [settings.network, *["teacher"] * settings.taught])
    return settings.steps * settings.batch * seconds * area / 60


def scores(run: Run, trained: Job) -> Job:
    """Probabilities of a trained network, and of its teacher, for patients that none has seen.

    scores.npz holds `test` and `instrument`, (N,) float32 in the order of the rows of these patients, and
    `teacher_test`, `teacher_instrument` where there is a teacher; `validation` for thresholds.
    """
    size = run.profile.image_size
    given = {name: patients(run, name).index.to_numpy() for name in (*UNSEEN, "validation")}
    inputs = {name: cohort.pixels(run, name, size) for name in ("ultrasound", "instrument")}
    return Job(
        f"scores/{trained.name}",
        _score,
        {"teacher": bool(trained.together), "revision": 1},
        {"trained": trained, **inputs},
        given,
        minutes=sum(map(len, given.values())) / 20_000 * (size / 64) ** 2,
        device=run.profile.device,
        archived=("*",),
    )


def patients(run: Run, name: str) -> pd.DataFrame:
    """Ultrasound rows of `validation`, `test` or `instrument`, indexed by their place in their pool."""
    rows = cohort.pool(run, UNSEEN.get(name, "ultrasound"))
    return rows[(rows["modality"] == "us") & (rows["split"] == name)]


def _score(folder: Path, job: Job) -> None:
    trained = job.inputs["trained"].folder
    found = {}
    with reproducible(1):
        for role in ["network", *["teacher"] * job.recipe["teacher"]]:
            network = training.restore(trained, role, job.device)
            for name, places in job.given.items():
                pixels = cohort.open_pool(job.inputs[UNSEEN.get(name, "ultrasound")].folder).images
                label = name if role == "network" else f"teacher_{name}"
                found[label] = training.predict(network, pixels[places]).astype(np.float32)
    np.savez_compressed(folder / "scores.npz", **found)
