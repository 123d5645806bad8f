"""Table 1's measurements as jobs: features of real and translated images, and the test of what extracts them."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ecsupport.core import tables
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import device, reproducible
from ecsupport.evaluation.frechet import NotComputable, frechet_distance
from ecsupport.experiments import anatomy, cohort, instruments, passing, translators
from ecsupport.instruments import acceptance, features, inception
from ecsupport.translation import released

REAL = ("real", "training", "mri", "matched", "plain", "enhanced")  # sets of `real_features`
SPEED = 1000.0  # images of 64 pixels that are measured in a second, on one core


def read(run: Run) -> list[Job]:
    """The jobs that notebook 03 reads; translations, which no archive keeps, only where FID proper is asked for."""
    climbed = ladders(run)
    return [
        *(translators.tests(run) if inception.VARIABLE in os.environ else []),
        instruments.extractor(run), *([climbed] if climbed else []), real_features(run),
        *translated_features(run).values(), *passing.judged(run).values(), *anatomy.read(run),
    ]  # fmt: skip


@cohort.once
def measured(run: Run) -> dict[str, np.ndarray]:
    """Rows of the images that are measured: `mri` of the pool `mri`, all others of the pool `ultrasound`.

    mri: carcinomas of test patients, which are translated;  real: what they are compared with, ultrasound of the same;
    training: carcinomas of training patients;  probe: as many of other patients as there are MRI, for the ladders;
    plain: as many of `training`, to be enhanced.
    """
    rows = cohort.pool(run, "ultrasound")
    sick, mri = rows["label"] == 1, translators.sources(run, "test")["mri"]
    held_out = np.flatnonzero(sick & rows["split"].isin(["validation", "test"]))
    training = translators.ultrasound(run)
    return {
        "mri": mri,
        "real": np.flatnonzero(sick & (rows["split"] == "test")),
        "training": training,
        "probe": _some(held_out, len(mri), "probe"),
        "plain": _some(training, len(mri), "enhanced"),
    }


def _some(rows: np.ndarray, number: int, word: str) -> np.ndarray:
    return rows[np.sort(generator("03", word).permutation(len(rows))[:number])]


def patients(run: Run, name: str) -> np.ndarray:
    """Patients of the images of a set of `measured`, (N,)."""
    pool = cohort.pool(run, "mri" if name == "mri" else "ultrasound")
    return pool["patient_id"].to_numpy()[measured(run)[name]]


def translated_features(run: Run) -> dict[tuple[str, int], Job]:
    """Features of every translator's test translations, by model and seed; none where nothing is translated.

    features.npy: (N, d) float32, which loses nothing of what the network gives; row i is the i-th test MRI.
    """
    extractor = instruments.extractor(run)
    found = {}
    for made in translators.tests(run):
        _, model, seed, _ = made.name.split("/")
        found[model, int(seed)] = Job(
            f"features/{model}/{seed}",
            _measure_translations,
            {"revision": 1},
            {"translations": made, "extractor": extractor},
            minutes=len(made.given["rows"]) / _speed(run) / 60,
            device=run.profile.device,
            archived=("*",),
        )
    return found


def _measure_translations(folder: Path, job: Job) -> None:
    pool = cohort.open_pool(job.inputs["translations"].folder)
    with reproducible(1):
        found = features.features(_extractor(job), pool.images)
    np.save(folder / "features.npy", found.astype(np.float32))


def real_features(run: Run) -> Job:
    """Features of images that no network made: features.npz, (N, d) float32 of each of `REAL`, in order of `measured`.

    matched: MRI with the histogram of the training carcinomas;  enhanced: `plain` as the released code stores images
    A set without images has no row.
    """
    given = {name: measured(run)[name] for name in ("real", "training", "mri", "plain")}
    return Job(
        "features/real",
        _measure_real,
        {"revision": [acceptance.REVISION, released.REVISION]},
        {"extractor": instruments.extractor(run), **_pools(run)},
        given,
        minutes=3 * sum(map(len, given.values())) / _speed(run) / 60,
        memory=1 + 4e-9 * sum(map(len, given.values())) * run.profile.translation.image_size**2,
        device=run.profile.device,
        archived=("*",),
    )


def _measure_real(folder: Path, job: Job) -> None:
    sets = {name: _images(job, name) for name in job.given}
    if len(sets["mri"]):
        sets["matched"] = acceptance.match_histogram(sets["mri"], sets["training"])
        sets["enhanced"] = released.enhance(sets["plain"])
    found = dict.fromkeys(REAL, np.empty((0, features.FEATURES), np.float32))
    with reproducible(1):
        network = _extractor(job)
        for name, pictures in sets.items():
            if len(pictures):
                found[name] = features.features(network, pictures).astype(np.float32)
    np.savez_compressed(folder / "features.npz", **found)


def ladders(run: Run) -> Job | None:
    """The ladders on which the extractor is tested before it measures; None where there is no MRI or no ultrasound.

    distances.csv: ladder, strength, distance;  verdict.json: accepted, reasons, and untestable: why the ladders could
    not be climbed, empty where they were
    """
    given = {name: measured(run)[name] for name in ("training", "probe", "mri")}
    if not all(map(len, given.values())):
        return None
    steps = 1 + sum(map(len, acceptance.LADDERS.values()))
    return Job(
        "instrument/acceptance/extractor",
        _test,
        {"revision": acceptance.REVISION},
        {"extractor": instruments.extractor(run), **_pools(run)},
        given,
        minutes=(len(given["training"]) + 2 * steps * len(given["probe"])) / _speed(run) / 60,
        memory=1 + 4e-9 * sum(map(len, given.values())) * run.profile.translation.image_size**2,
        device=run.profile.device,
        archived=("*",),
    )


def _test(folder: Path, job: Job) -> None:
    sets = [_images(job, name) for name in ("training", "probe", "mri")]
    told = {"accepted": False, "reasons": [], "untestable": ""}
    table = pd.DataFrame(columns=["ladder", "strength", "distance"])
    with reproducible(1):
        network = _extractor(job)
        try:
            found = acceptance.accept(
                lambda images: features.features(network, images), frechet_distance, *sets, generator("03", "ladders")
            )
        except NotComputable as reason:
            told["untestable"] = str(reason)
        else:
            told |= {"accepted": bool(found.accepted), "reasons": list(found.reasons)}
            table = found.distances
    table.to_csv(folder / "distances.csv", index=False, lineterminator="\n")
    (folder / "verdict.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def verdict(job: Job) -> acceptance.Acceptance | str:
    """What the test of the extractor gave, or why it could not be tested."""
    told = json.loads(job.file("verdict.json").read_text(encoding="utf-8"))
    if told["untestable"]:
        return told["untestable"]
    return acceptance.Acceptance(told["accepted"], tuple(told["reasons"]), tables.reread(job.file("distances.csv")))


def _extractor(job: Job) -> torch.nn.Module:
    return features.restore(job.inputs["extractor"].folder).to(device(job.device))


def _pools(run: Run) -> dict[str, Job]:
    return {name: cohort.pixels(run, name, run.profile.translation.image_size) for name in ("mri", "ultrasound")}


def _images(job: Job, name: str) -> np.ndarray:
    pool = job.inputs["mri" if name == "mri" else "ultrasound"]
    return cohort.open_pool(pool.folder).images[job.given[name]]


def _speed(run: Run) -> float:
    return SPEED / (run.profile.translation.image_size / 64) ** 2
