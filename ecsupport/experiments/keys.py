"""What LSNet's kept keys and gradients are, measured once in trained networks (Figure 7 and its claims)."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ecsupport.backbone.inputs import augment, to_input
from ecsupport.backbone.mobilevit import tokens
from ecsupport.cohort import manifest, phantom, structures
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import reproducible, torch_generator
from ecsupport.experiments import baseline, cohort, guidance, networks
from ecsupport.screening import ablations, distillation, gradients, lsnet, training
from ecsupport.screening.batches import Batches
from ecsupport.screening.distillation import Maps
from ecsupport.screening.lsnet import Student
from ecsupport.screening.settings import Settings

SPEED = 6.0  # test images of 64 pixels that are measured in a second, on one core, at stem stride 1
BATCH = 16
OWN_IMAGES = 64  # of which the share of own keys is measured
TEXT = ("chooser", "zone")
LESSON_IMAGES, LESSON_STEPS = 8, 60


def read(run: Run) -> list[Job]:
    """The jobs that notebook 05 reads."""
    trained, seeds = networks.table_3(run).values(), run.profile.seeds
    return [
        cohort.pixels(run, "ultrasound", run.profile.image_size),
        *trained,
        *(networks.scores(run, job) for job in trained),
        *(baseline.floor(run, seed) for seed in seeds),
        *(measured(run, seed) for seed in seeds),
        maps(run),
        lessons(run),
        *(guidance.masks(run, seed) for seed in seeds),
        guidance.guided_students(run),
        *(guided_arms(run).values()),
    ]


def guided_arms(run: Run) -> dict[tuple[str, int], Job]:
    """Arms of Tables 4 and 5 that differ in who chooses the keys, or by which map, as far as the profile attempts them.

    By name and seed; LSNet itself is Table 3's.
    """
    return {which: job for which, job in networks.arms(run).items() if which[0] in ablations.GUIDED}


def read_ablations(run: Run) -> list[Job]:
    """The jobs that notebook 06 reads."""
    trained, seeds = networks.arms(run).values(), run.profile.screening.ablation_seeds
    return [
        *trained,
        *(networks.scores(run, job) for job in trained),
        *(baseline.floor(run, seed) for seed in seeds),
    ]


def table(job: Job, name: str) -> pd.DataFrame:
    """A table that a job here made."""
    return pd.read_csv(job.file(f"{name}.csv"))


def on_zones(job: Job) -> pd.DataFrame:
    """Where the keys of a `measured` job lie: columns of `gradients.keys_on_zones`, and chooser."""
    with np.load(job.file("zones.npz")) as columns:
        return pd.DataFrame(dict(columns))


def measured(run: Run, seed: int) -> Job:
    """What student, teacher and untaught simulator of an LSNet do with the test images.

    by_image.csv: image (its place among the test images), taught, untaught (rank correlation of simulated with the
    teacher's true gradients, mean over queries, heads and blocks) and apart (the student's probability with the
    teacher's maps at the end of the hand-over, less that without, absolute).  own.csv: chooser, block, share of the
    queries that keep themselves.  Where the anatomy is known, zones.npz: see `on_zones`.
    """
    rows, size = cohort.pool(run, "ultrasound"), run.profile.image_size
    target, train = manifest.target(rows, run.profile.task), rows["split"] == "train"
    given = {word: np.flatnonzero(train & (target == value)) for word, value in (("positive", 1), ("negative", 0))}
    given["test"] = networks.patients(run, "test").index.to_numpy()
    trained = networks.table_3(run)["lsnet", seed]
    anatomy = None if run.cohort else [structures.REVISION, phantom.REVISION]
    return Job(
        f"keys/{trained.name}",
        _measure,
        {"seed": seed, "anatomy": anatomy, "revision": gradients.REVISION},
        {"trained": trained, "pixels": cohort.pixels(run, "ultrasound", size)},
        given,
        minutes=len(given["test"]) / SPEED / 60 * (size / 64 / run.profile.screening.stem_stride) ** 2,
        memory=networks.memory(size, Settings.of(run.profile, batch=BATCH)),
        device=run.profile.device,
        archived=("*",),
    )


def _measure(folder: Path, job: Job) -> None:
    pool = cohort.open_pool(job.inputs["pixels"].folder)
    images = pool.images[job.given["test"]]
    with reproducible(1):
        network = training.restore(job.inputs["trained"].folder, device=job.device)
        teacher = training.restore(job.inputs["trained"].folder, "teacher", job.device)
        before = untaught(network, _settings(job), job, pool.images)
        _write(folder / "by_image.csv", _by_image(network, teacher, before, images))
        choosers = _choosers(network, teacher, before, _settings(job))
        some = images[np.linspace(0, len(images) - 1, min(OWN_IMAGES, len(images)), dtype=int)]  # of both classes
        own = [
            (name, block, gradients.share_of_own(keys).mean())
            for name, choose in choosers.items()
            for block, keys in enumerate(choose(some)[:2], start=1)
        ]
        _write(folder / "own.csv", pd.DataFrame(own, columns=["chooser", "block", "share"]))
        if job.recipe["anatomy"] is not None:
            zones, count = _zones(pool.rows.iloc[job.given["test"]], images.shape[-1]), _blocks(job, images)
            placed = [
                gradients.keys_on_zones(choose, images, zones, count, BATCH).assign(chooser=name)
                for name, choose in choosers.items()
            ]
            columns = pd.concat(placed).items()
            np.savez_compressed(
                folder / "zones.npz", **{c: of.to_numpy(str if c in TEXT else None) for c, of in columns}
            )


def _write(file: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(file, index=False, lineterminator="\n")


def _settings(job: Job) -> Settings:
    return Settings(**job.inputs["trained"].recipe["settings"])


def _blocks(job: Job, images: np.ndarray) -> list[int]:
    """Tokens of the first two blocks; of the third too few keys are left."""
    return tokens(images.shape[-1], _settings(job).stem_stride)[:2]


def untaught(network: Student, settings: Settings, job: Job, images: np.ndarray) -> Student:
    """A trained student with its simulators as they were before training, in eval mode.

    Their norms are set by 16 batches like those of training: the rows `positive` and `negative` of `job.given` in
    images (N, S, S) uint8.
    """
    seed, device = job.recipe["seed"], next(network.parameters()).device
    fresh = settings.build("lsnet", seed)
    first = {name: weight for name, weight in fresh.state_dict().items() if "simulator" in name}
    fresh.load_state_dict(network.state_dict() | first)
    fresh.to(device).eval()
    for block in fresh.blocks:
        block.simulator.layers[-1].momentum = None  # the mean over all batches
        block.simulator.train()
    rng, of_norms = generator("05", "norms", seed), torch_generator("05", "norms", seed)
    with torch.no_grad():
        for _ in range(16):
            drawn = np.concatenate([rng.choice(job.given[word], 8) for word in ("positive", "negative")])
            fresh(augment(to_input(images[drawn], device), of_norms))
    return fresh.eval()


def _choosers(network: Student, teacher: torch.nn.Module, before: Student, settings: Settings) -> dict:
    """Who chooses keys, by name: functions of images (B, S, S) uint8, see `gradients.keys_of_student`."""
    how = (settings.fusion, settings.key_share, settings.alpha, settings.tau)
    return {
        "LSNet": lambda batch: gradients.keys_of_student(network, batch),
        "untaught simulator": lambda batch: gradients.keys_of_student(before, batch),
        "teacher's gradient": lambda batch: gradients.keys_of_teacher(teacher, batch, *how),
    }


def _zones(rows: pd.DataFrame, size: int) -> dict[str, np.ndarray]:
    """Masks (N, size, size) of the structures that decide, by name, for images of phantoms."""
    anatomy, names = structures.known(rows, size).labels, list(structures.STRUCTURES)
    zones = {name.replace("_", " "): anatomy == names.index(name) for name in ("junctional_zone", "tumour")}
    return zones | {"invasion front": structures.front(anatomy)}


def _by_image(network: Student, teacher: torch.nn.Module, before: Student, images: np.ndarray) -> pd.DataFrame:
    device, parts = next(network.parameters()).device, []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        true = gradients.teacher_maps(teacher, batch)
        agreeing = [follows(gradients.student_maps(of, batch), true) for of in (network, before)]
        with torch.no_grad():
            guided = network(to_input(batch, device), true, distillation.weights(1.0).guidance).softmax(-1)[:, 1]
        apart = np.abs(guided.double().cpu().numpy() - training.predict(network, batch))
        parts.append(np.stack([*agreeing, apart]))
    found = np.concatenate(parts, axis=1)  # (3, N)
    return pd.DataFrame({"image": np.arange(len(images)), "taught": found[0], "untaught": found[1], "apart": found[2]})


def follows(selections: list, true: Maps) -> np.ndarray:
    """Rank correlation of simulated with true gradients (B,) float64, mean over queries, heads, places and blocks."""
    pairs = [(s.simulated, g) for s, g in zip(selections, true, strict=True) if g is not None]
    return np.mean([gradients.rank_correlation(s, g).mean((1, 2, 3)).cpu().numpy() for s, g in pairs], axis=0)


def shown(run: Run) -> pd.DataFrame:
    """The test images whose maps are drawn, of two patients of each class: their rows, by their place in the pool."""
    test = networks.patients(run, "test")
    truth = manifest.target(test, run.profile.task)
    first = test.assign(truth=truth).drop_duplicates("patient_id").groupby("truth").head(2).index
    return test[test.index.isin(first)]


def maps(run: Run) -> Job:
    """Importance of each key in block 1 for the images of `shown`, by LSNet of the first seed.

    maps.csv: image (0 on), map, key (row by row) and value, the mean over queries, heads and pixel places of the
    absolute gradients, or how often the key is kept.
    """
    trained = networks.table_3(run)["lsnet", run.profile.seeds[0]]
    return Job(
        f"maps/{trained.name}",
        _map,
        {"revision": gradients.REVISION},
        {"trained": trained, "pixels": cohort.pixels(run, "ultrasound", run.profile.image_size)},
        {"shown": shown(run).index.to_numpy()},
        minutes=0.05,
        device=run.profile.device,
        archived=("*",),
    )


def _map(folder: Path, job: Job) -> None:
    images = cohort.open_pool(job.inputs["pixels"].folder).images[job.given["shown"]]
    with reproducible(1):
        teacher, student = (
            training.restore(job.inputs["trained"].folder, role, job.device) for role in ("teacher", "network")
        )
        true, chosen = gradients.teacher_maps(teacher, images)[0], gradients.student_maps(student, images)[0]
    kept = torch.zeros_like(true).scatter_(-1, chosen.keys, 1.0)
    every = {"teacher's gradient": true.abs(), "simulated gradient": chosen.simulated.abs(), "keys kept": kept}
    rows = [
        (number, name, key, float(value))
        for number in range(len(images))
        for name, of in every.items()
        for key, value in enumerate(of[number].mean(dim=(0, 1, 2)).cpu().numpy())  # (P, h, N, N) -> (N,)
    ]
    _write(folder / "maps.csv", pd.DataFrame(rows, columns=["image", "map", "key", "value"]))


def lessons(run: Run) -> Job:
    """What simulation losses can teach: lessons.csv, columns of `gradients.lessons` and loss, `features` or `rows`."""
    settings = Settings.of(run.profile)
    recipe = {"settings": asdict(settings), "seeds": [1, 2], "steps": LESSON_STEPS, "losses": ["features", "rows"]}
    recipe["settings"]["rules"] = list(settings.rules)
    revision = {"distillation": distillation.REVISION, **lsnet.revisions(settings.network, settings.variant)}
    return Job(
        "lessons",
        _learn,
        {**recipe, "revision": {"lessons": gradients.REVISION, **revision}},
        {"pixels": cohort.pixels(run, "ultrasound", run.profile.image_size)},
        {"shown": networks.patients(run, "test").index.to_numpy()[:LESSON_IMAGES]},
        minutes=0.3 * (run.profile.image_size / 64 / settings.stem_stride) ** 4,
        archived=("*",),
    )


def _learn(folder: Path, job: Job) -> None:
    images, recipe = cohort.open_pool(job.inputs["pixels"].folder).images[job.given["shown"]], job.recipe
    with reproducible(1):
        new, other = (Settings(**recipe["settings"]).build("lsnet", seed) for seed in recipe["seeds"])
        learnt = [
            gradients.lessons(new, other, images, loss, recipe["steps"]).assign(loss=loss) for loss in recipe["losses"]
        ]
    _write(folder / "lessons.csv", pd.concat(learnt))


def seen_before(trained: Job) -> float:
    """Share of all images that a training draws which it had drawn before: only these have an earlier target."""
    given, settings = trained.given, Settings(**trained.recipe["settings"])
    label = np.concatenate([given[name] for name in ("real_label", "added_label") if name in given])
    empty = {
        name: np.broadcast_to(np.uint8(0), (len(of), 1, 1))  # what is drawn does not depend on any pixel
        for name, of in (("image", label), ("validation_image", given["validation_label"]))
    }
    real = np.arange(len(label)) < len(given["real_label"])
    batches = Batches(
        {"label": label, "real": real, "validation_label": given["validation_label"], **empty},
        settings,
        trained.recipe["seed"],
    )
    drawn = np.concatenate([batches.draw(step) for step in range(settings.steps)])
    return 1 - len(np.unique(drawn)) / len(drawn)
