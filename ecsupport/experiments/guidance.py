"""Guidance and the label as jobs: what kept masks tell of the label, and what students make of it (Equations 10 to 15).

Students of the first half of a training are those that the teacher's maps still guide; finished ones know none.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ecsupport.backbone.inputs import to_input
from ecsupport.backbone.mobilevit import tokens
from ecsupport.cohort import manifest
from ecsupport.core import progress
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import reproducible, torch_generator
from ecsupport.evaluation.auc import auc_interval
from ecsupport.experiments import cohort, networks
from ecsupport.screening import ablations, distillation, guided, label_leak, sparse_attention, training
from ecsupport.screening.batches import Batches
from ecsupport.screening.distillation import Maps
from ecsupport.screening.lsnet import Student
from ecsupport.screening.settings import Settings

PARTS = {"training": "train", "test": "test"}  # whose images, by split
HALF = 8  # images of each class in a batch
MOST, SCORED = 320, 240  # images of each part: decoded, scored by guided students
UNTIL = 0.5  # of a training, where the teacher's maps have half of the choice
ARMS = (ablations.FULL, ablations.EITHER_SIGN, ablations.MAGNITUDE, ablations.RANDOM)
ALONE, BATCH, HANDING = "each image alone", "in a training batch", "alone, half handed over"
WHEN: Mapping[str, tuple[bool, float]] = {  # whether networks are in training mode, the teacher's share of the choice
    ALONE: (False, 1.0),
    BATCH: (True, 1.0),
    HANDING: (False, 0.5),
}
TRUE, TOLD, PREDICTED = "true label", "random label", "predicted class"
TURNED, SIMULATED = "other label", "simulated"


def images(run: Run, *parts: str) -> dict[str, np.ndarray]:
    """Real images as arrays by name: rows of the pool for each of these PARTS, with `_label` and `_patient`."""
    rows = cohort.pool(run, "ultrasound")
    label, given = manifest.target(rows, run.profile.task).to_numpy(np.int64), {}
    for part in parts:
        given[part] = np.flatnonzero((rows["split"] == PARTS[part]) & (rows["modality"] == "us"))
        given[f"{part}_label"] = label[given[part]]
        given[f"{part}_patient"] = rows["patient_id"].to_numpy(str)[given[part]]
    return given


def masks(run: Run, seed: int) -> Job:
    """What masks of kept keys tell of a label, by a trained LSNet and its teacher.

    Of real training images, half of whose patients fit the decoder.  overlap.csv: when (of WHEN), choice (of
    `label_leak.CHOICES`), block, overlap (share of kept keys that the other label keeps too) and cosine (of the two
    maps), means over images.  decoded.csv: when, given (what the mask is chosen by), choice, block, auc (of a random
    label where it was given, else of the true one, on the other patients), low, high, patients (these).
    """
    trained, size = networks.table_3(run)["lsnet", seed], run.profile.image_size
    first = tokens(size, run.profile.screening.stem_stride)[0]
    revision = {"masks": label_leak.REVISION, "magnitude": sparse_attention.REVISION_MAGNITUDE}
    return Job(
        f"masks/{trained.name}",
        _masks,
        {"seed": seed, "half": HALF, "most": MOST, "when": [list(of) for of in WHEN.values()], "revision": revision},
        {"trained": trained, "pixels": cohort.pixels(run, "ultrasound", size)},
        images(run, "training"),
        minutes=0.25 * max(1, (first / 16) ** 2 / 2),
        memory=1.5 * max(1, (first / 128) ** 2),
        device=run.profile.device,
        archived=("*",),
    )


def _masks(folder: Path, job: Job) -> None:
    recipe, overlaps, decoded = job.recipe, [], []
    pixels = cohort.open_pool(job.inputs["pixels"].folder).images
    with reproducible(1):
        teacher, student = (
            training.restore(job.inputs["trained"].folder, role, job.device) for role in ("teacher", "network")
        )
        share = job.inputs["trained"].recipe["settings"]["key_share"]
        rng = generator("label", "masks", recipe["seed"])
        places, fitted = _halves(job.given["training_label"], job.given["training_patient"], recipe, rng)
        shown, label = job.given["training"][places], job.given["training_label"][places]
        told, patient = rng.permuted(label, axis=1), job.given["training_patient"][places.ravel()]
        number = len(np.unique(patient[~fitted]))
        for when, (in_training, guidance) in WHEN.items():
            for network in (teacher, student):
                network.train(in_training)
            batches = zip(shown, label, told, strict=True)
            seen = (_seen(teacher, student, pixels[s], y, t) for s, y, t in batches)
            kept, both = _kept(seen, guidance, share)
            overlaps.append(both.assign(when=when))
            for (given, choice, block), packed in kept.items():
                wanted = (told if given == TOLD else label).ravel()
                score = label_leak.decode(np.unpackbits(packed, axis=1).astype(bool), wanted, fitted)
                found = auc_interval(wanted[~fitted], score, patient[~fitted])
                decoded.append((when, given, choice, block, found.auc, found.low, found.high, number))
    _write(folder / "overlap.csv", pd.concat(overlaps))
    columns = ["when", "given", "choice", "block", "auc", "low", "high", "patients"]
    _write(folder / "decoded.csv", pd.DataFrame(decoded, columns=columns))


def _halves(
    label: np.ndarray, patient: np.ndarray, recipe: Mapping[str, Any], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Batches of places (n, B), and which of all their images a decoder is fitted to (n B,).

    No batch has patients of both halves: norms in training mode let images of one batch speak to each other.
    """
    mine = one_half(patient, label, rng)
    halves = (mine, ~mine)
    half = min(recipe["half"], *(np.sum((label == value) & of) for value in (0, 1) for of in halves))
    found = []
    for places in map(np.flatnonzero, halves):
        found.append(places[label_leak.batches(label[places], half, recipe["most"] // 2, rng)])
    return np.concatenate(found), np.repeat([True, False], [of.size for of in found])


def one_half(patient: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Marks all images (N,) of half of the patients of each class; patient, label: (N,), one label a patient."""
    drawn = [rng.permutation(np.unique(patient[label == value])) for value in (1, 0)]
    return np.isin(patient, np.concatenate([of[: len(of) // 2] for of in drawn]))


def _seen(
    teacher: nn.Module, student: Student, pixels: np.ndarray, label: np.ndarray, told: np.ndarray
) -> tuple[dict[str, Maps | None], list[torch.Tensor | None]]:
    """The teacher's maps of one batch by what they are of, with None for no map; and the student's own features.

    For the other label every label of the batch is turned.
    """
    device = next(teacher.parameters()).device
    shown = to_input(pixels, device)
    true, random = (torch.from_numpy(y).to(device) for y in (label, told))
    both = label_leak.gradients(teacher, shown, true, distillation.CLASSES)
    maps = {
        TRUE: both["label"],
        PREDICTED: both["prediction"],
        TOLD: label_leak.gradients(teacher, shown, random)["label"],
        TURNED: label_leak.gradients(teacher, shown, 1 - true)["label"],
        SIMULATED: None,
    }
    return maps, label_leak.features(student, shown)


def _kept(batches: Iterable[tuple], guidance: float, share: float) -> tuple[dict[tuple, np.ndarray], pd.DataFrame]:
    """Masks (N, bytes) uint8 by what they are chosen by, choice and block, eight keys a byte; and the overlap.

    batches: of `_seen`; guidance: the teacher's share of the choice; share: of the keys.
    """
    masks: dict[tuple, list[np.ndarray]] = {}
    rows = []
    for maps, own in batches:
        alike = [label_leak.cosine(*pair) for pair in zip(maps[TRUE], maps[TURNED], strict=True) if pair[0] is not None]
        for choice, how in label_leak.CHOICES.items():
            keys = {given: label_leak.keys_by(own, of, guidance, share, *how) for given, of in maps.items()}
            pairs = enumerate(zip(keys[TRUE], keys.pop(TURNED), alike, strict=True), start=1)
            rows += [(choice, b, label_leak.overlap(one, other).mean(), of.mean()) for b, (one, other, of) in pairs]
            for given, blocks in keys.items():
                for block, of in enumerate(blocks, start=1):
                    mask = label_leak.mask_of(of, of.shape[-2]).cpu().numpy()
                    masks.setdefault((given, choice, block), []).append(np.packbits(mask, axis=1))
    found = pd.DataFrame(rows, columns=["choice", "block", "overlap", "cosine"])
    both = found.groupby(["choice", "block"], sort=False).mean().reset_index()
    return {name: np.concatenate(of) for name, of in masks.items()}, both


def guided_students(run: Run) -> Job:
    """What students of ARMS, half trained beside one teacher, make of maps that are theirs, exchanged, or none.

    history.csv: arm and the columns of a history, of all steps trained.  training.npz, test.npz: z1 - z0 (arms, given,
    N) float32 by names of ARMS and `guided.GIVEN` of images whose rows, truth and told label are (N,); the teacher's is
    `teacher`. Networks are in training mode, as they were. An arm whose keys are random has one score for all.
    """
    trained, seed = networks.table_3(run)["lsnet", run.profile.seeds[0]], run.profile.seeds[0]
    arms = ablations.arms(run.profile)
    settings = {name: asdict(arms[name].settings) for name in ARMS}
    for one in settings.values():
        one["rules"] = list(one["rules"])
    revision = {"guided": guided.REVISION, "masks": label_leak.REVISION}
    revision["magnitude"] = sparse_attention.REVISION_MAGNITUDE
    recipe = {"settings": settings, "seed": seed, "until": UNTIL, "half": HALF, "most": SCORED}
    return Job(
        f"screening/guided/{seed}",
        _guide,
        recipe | {"revision": {**revision, **trained.recipe["revision"]}},
        dict(trained.inputs),
        dict(trained.given) | images(run, *PARTS),
        minutes=UNTIL * sum(networks.minutes(run.profile.image_size, arms[name].settings) for name in ARMS),
        memory=trained.memory,
        device=run.profile.device,
        archived=("*",),
    )


def _guide(folder: Path, job: Job) -> None:
    recipe = job.recipe
    with reproducible(1):
        runs = _half_trained(folder, job)
        first, until = runs[ARMS[0]], runs[ARMS[0]].done
        weights = distillation.weights((until - 1) / (first.settings.steps - 1), first.settings.handover)
        history = pd.concat([one.frame().assign(arm=name) for name, one in runs.items()])
        pixels = cohort.open_pool(job.inputs["ultrasound"].folder).images
        for part in PARTS:
            rng, noise = (make("label", "guided", part, recipe["seed"]) for make in (generator, torch_generator))
            places = label_leak.batches(job.given[f"{part}_label"], recipe["half"], recipe["most"], rng)
            label = job.given[f"{part}_label"][places]
            told = rng.permuted(label, axis=1)
            rows = job.given[part][places]
            scores, by_teacher = [], []
            for row, y, t in zip(rows, label, told, strict=True):
                batch = to_input(pixels[row], first.device)
                true, random = (torch.from_numpy(of).to(first.device) for of in (y, t))
                teacher = first.teacher.begin()
                maps = guided.maps_given(teacher, batch, true, random, noise)
                given = [() if maps[name] is None else (maps[name], weights.guidance) for name in guided.GIVEN]
                of_batch = [[guided.score(one.student.begin(), batch, *of) for of in given] for one in runs.values()]
                scores.append([[of.cpu().numpy() for of in of_arm] for of_arm in of_batch])
                by_teacher.append(guided.score(teacher, batch).cpu().numpy())
            np.savez_compressed(
                folder / f"{part}.npz",
                scores=np.concatenate(scores, axis=-1).astype(np.float32),
                teacher=np.concatenate(by_teacher).astype(np.float32),
                row=rows.ravel(), truth=label.ravel(), told=told.ravel(),
            )  # fmt: skip
    _write(folder / "history.csv", history)
    for name in ARMS:
        shutil.rmtree(folder / networks.slug(name))


def _half_trained(folder: Path, job: Job) -> dict[str, training.ScreeningTraining]:
    """Students by arm after `until` of their steps, each beside the same teacher; a killed run goes on."""
    recipe, arrays = job.recipe, networks.arrays(job)
    runs = {}
    for name in ARMS:
        place = folder / networks.slug(name)
        place.mkdir(exist_ok=True)
        settings = Settings(**recipe["settings"][name])
        runs[name] = training.ScreeningTraining(
            place, settings, arrays, recipe["seed"], job.device, data=job.key, revision=recipe["revision"]
        )
        runs[name].resume()
    first = runs[ARMS[0]]
    batches = Batches(arrays, first.settings, recipe["seed"], first.device)
    begin, end = min(one.done for one in runs.values()), round(recipe["until"] * first.settings.steps)
    for step in progress.bar(range(begin, end), f"{len(ARMS)} students", end, begin):
        together = [one for one in runs.values() if one.done == step]
        for one in together:
            one.teacher = together[0].teacher
        batch = batches.at(step)
        lesson = together[0].teach(step, batch, ("label",)) if together else None
        for one in together:
            one.step(step, batch, lesson)
    return runs


def _write(file: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(file, index=False, float_format="%.6g", lineterminator="\n")
