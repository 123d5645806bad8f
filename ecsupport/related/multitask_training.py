"""Training of the teachers and students of one seed and share of labels, and what they say of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ecsupport.backbone.inputs import augment, to_input
from ecsupport.backbone.learner import Learner, rate
from ecsupport.core import progress, training
from ecsupport.core.artefacts import replacing
from ecsupport.core.errors import UserError
from ecsupport.core.seeds import generator
from ecsupport.related import dense_attention, self_distillation
from ecsupport.related.dense_attention import PROPORTIONS, DenseAttention
from ecsupport.related.self_distillation import Arm, Truth

REVISION = 1
RESUME = "begun.pt"
EVERY = 10  # steps that a history keeps
DECAY = 0.05
UNLABELLED = 0.5  # unlabelled images in a step, to one with labels
SCORED = 128  # images in one pass


def weights(arm: str) -> str:
    """The file of a network's weights."""
    return f"{arm.replace(' ', '-')}.safetensors"


def history(arm: str) -> str:
    """The file of a network's losses."""
    return f"{arm.replace(' ', '-')}.csv"


def train(folder: Path, arrays: Mapping[str, Any], recipe: Mapping[str, Any], device: str = "cpu") -> None:
    """Train every arm into `folder`, teachers first, the last step's weights; a killed run goes on at the network.

    Students start from other weights than their teachers and see other batches, else they would follow one of them.

    arrays: image (N, S, S) uint8; label (N,) int64, 0 or 1; proportions (N, K) float32, rows of NaN where unknown;
    labelled (N,) bool: neither label nor proportions of the others are looked at.  recipe: tasks, seed, batch, steps,
    rate, stem_stride
    UserError for a class without labelled images, and for a task of proportions that no labelled image has;
    TrainingError where a loss that is kept is no finite number.
    """
    labelled, known = arrays["labelled"], ~np.isnan(arrays["proportions"]).any(axis=1)
    for value, word in ((0, "negative"), (1, "positive")):
        if not (labelled & (arrays["label"] == value)).any():
            raise UserError(f"there is no {word} labelled training image (label {value}). Both classes are needed")
    if PROPORTIONS in recipe["tasks"] and not (labelled & known).any():
        raise UserError("no labelled training image has proportions of tissues. Learn invasion alone")
    teachers: list[DenseAttention] = []
    configuration = {**recipe, "device": device}
    with training.reproducible(1):
        if training.resumed(folder / RESUME, configuration) is None:
            training.save(folder / RESUME, configuration, {})
        for name, arm in self_distillation.arms(recipe["tasks"]).items():
            if not (folder / weights(name)).is_file():
                _train_one(folder, name, arm, arrays, recipe, teachers, device)
            if not arm.taught:
                teachers.append(restore(folder, recipe, name, arrays["proportions"].shape[1], device))
    (folder / RESUME).unlink()


def _train_one(
    folder: Path,
    name: str,
    arm: Arm,
    arrays: Mapping[str, Any],
    recipe: Mapping[str, Any],
    teachers: Sequence[DenseAttention],
    device: str,
) -> None:
    tissues, steps = arrays["proportions"].shape[1], recipe["steps"]
    words = ("multitask", recipe["seed"], "student" if arm.taught else "teacher")
    start = training.torch_generator(*words)
    network = dense_attention.build(arm.tasks, tissues, recipe["stem_stride"], start)
    learner = Learner(network, recipe["rate"], DECAY, training.device(device))
    mean, terms = mean_shares(arrays["proportions"][arrays["labelled"]]), {}
    for step in progress.bar(range(steps), name, steps):
        images, truth, unlabelled = _batch(arrays, mean, recipe, (*words, step), device)
        learner.set_rate(rate(recipe["rate"], step + 1, steps))
        found = self_distillation.losses(
            learner.begin(), arm, images, truth, unlabelled, teachers, (step + 1) / steps
        )  # fmt: skip
        sum(found.values()).backward()
        learner.update()
        if (step + 1) % EVERY == 0 or step in (0, steps - 1):
            terms[step + 1] = {term: float(value.detach()) for term, value in found.items()}
            training.demand_finite(terms[step + 1], step + 1)
    frame = pd.DataFrame.from_dict(terms, orient="index").rename_axis("step").reset_index()
    with replacing(folder / history(name)) as path:
        frame.to_csv(path, index=False, float_format="%.6g")
    training.save_weights(folder / weights(name), network.state_dict())


def mean_shares(proportions: np.ndarray) -> np.ndarray:
    """Mean proportions (K,) float32 of the images (N, K) that have some; equal shares where none has."""
    shares = proportions[~np.isnan(proportions).any(axis=1)]
    equal = np.full(shares.shape[1], 1 / shares.shape[1], np.float32)
    return shares.mean(axis=0, dtype=np.float64).astype(np.float32) if len(shares) else equal


def _batch(
    arrays: Mapping[str, Any], mean: np.ndarray, recipe: Mapping[str, Any], words: tuple, device: str
) -> tuple[torch.Tensor, Truth, torch.Tensor]:
    """Labelled images of a step, as many positive as negative ones, what is known of them, and unlabelled images.

    words: of the generators, in which the step stands.
    Images are not cropped: the shares of the view would change.
    """
    rng, half = generator(*words, "batch"), recipe["batch"] // 2
    label, labelled = arrays["label"], arrays["labelled"]
    places = np.concatenate([
        rng.choice(np.flatnonzero(labelled & (label == value)), count)
        for value, count in ((1, half), (0, recipe["batch"] - half))
    ])  # fmt: skip
    others = np.flatnonzero(~labelled)
    others = rng.choice(others, round(UNLABELLED * recipe["batch"]) if len(others) else 0)
    order = training.torch_generator(*words, "augment")
    every = augment(to_input(arrays["image"][np.concatenate([places, others])], device), order, smallest_crop=1.0)
    known = (torch.from_numpy(of).to(device) for of in (label[places], arrays["proportions"][places], mean))
    return every[: len(places)], Truth(*known), every[len(places) :]


def restore(folder: Path, recipe: Mapping[str, Any], arm: str, tissues: int, device: str = "cpu") -> DenseAttention:
    """A trained network of a made job, in eval mode."""
    tasks = self_distillation.arms(recipe["tasks"])[arm].tasks
    network = dense_attention.build(tasks, tissues, recipe["stem_stride"], training.torch_generator("multitask"))
    network.load_state_dict(training.load_weights(folder / weights(arm)))
    return network.to(training.device(device)).eval()


@torch.inference_mode()
def predict(network: DenseAttention, images: np.ndarray, device: str = "cpu") -> dict[str, np.ndarray]:
    """Probabilities by task as in `DenseAttention.forward`, (N, distributions, classes) float64."""
    found: dict[str, list[np.ndarray]] = {}
    for begin in range(0, len(images), SCORED):
        outputs = network(to_input(images[begin : begin + SCORED], device))
        for task, logits in outputs.items():
            found.setdefault(task, []).append(logits.softmax(dim=-1).double().cpu().numpy())
    return {task: np.concatenate(parts) for task, parts in found.items()}
