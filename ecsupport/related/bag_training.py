"""Training of the two branches on bags of images, and what they say of patients at every rate of missing values."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ecsupport.backbone.inputs import augment, to_input
from ecsupport.backbone.learner import Learner, rate
from ecsupport.core import progress, training
from ecsupport.core.errors import UserError
from ecsupport.core.seeds import generator
from ecsupport.related import bidirectional, fusion
from ecsupport.related.bidirectional import ARMS, Arm
from ecsupport.related.fusion import Fusion

REVISION = 1
RESUME, WEIGHTS, HISTORY = "last.pt", "weights.safetensors", "history.csv"
EVERY = 10  # steps that a history keeps
CHECKPOINT = 100  # steps
DECAY = 0.05
SCORED = 64  # bags in one pass


def train(folder: Path, arrays: Mapping[str, Any], recipe: Mapping[str, Any], data: str, device: str = "cpu") -> None:
    """Train an arm into `folder`, the last step's weights; a killed run goes on to the same bits.

    arrays: image (N, S, S) uint8; patient (N,) int64, whose image each is; label (P,) 0 or 1 and values (P, K) float32
    by patient, NaN where missing.  recipe: arm, seed, batch (patients), bag (images of each), steps, rate, stem_stride;
    data names the arrays
    UserError for a class without patients; TrainingError at the first loss that is not a finite number.
    """
    arm, seed, steps = ARMS[recipe["arm"]], recipe["seed"], recipe["steps"]
    labels, images = arrays["label"], _images_by_patient(arrays["patient"], len(arrays["label"]))
    for value, word in ((0, "negative"), (1, "positive")):
        if not (labels == value).any():
            raise UserError(f"there is no {word} training patient (label {value}). Both classes are needed")
    with training.reproducible(1):
        network = fusion.build(arrays["values"].shape[1], recipe["stem_stride"], training.torch_generator("bags", seed))
        network.standardise(torch.tensor(arrays["values"]))
        learner = Learner(network, recipe["rate"], DECAY, training.device(device))
        configuration = {**recipe, "data": data, "device": device}
        state = training.resumed(folder / RESUME, configuration, device) or {"done": 0, "history": {}}
        if state["done"]:
            learner.load(state["learner"])
        history = {int(step): terms for step, terms in state["history"].items()}
        saved = time.monotonic()
        for step in progress.bar(range(state["done"], steps), recipe["arm"], steps, state["done"]):
            bags, values, label = _batch(arrays, images, recipe, step, device)
            values = bidirectional.thinned(values, arm, training.torch_generator("bags", seed, "thinned", step))
            learner.set_rate(rate(recipe["rate"], step + 1, steps))
            terms = bidirectional.losses(learner.begin(), arm, bags, values, label, (step + 1) / steps)
            sum(terms.values()).backward()
            learner.update()
            if (step + 1) % EVERY == 0 or step == 0:
                history[step + 1] = {name: float(term.detach()) for name, term in terms.items()}
                training.demand_finite(history[step + 1], step + 1, folder / RESUME)
            if (step + 1) % CHECKPOINT == 0 and time.monotonic() > saved + 20:
                saved = time.monotonic()
                kept = {str(number): found for number, found in history.items()}
                state = {"learner": learner.state(), "done": step + 1, "history": kept}
                training.save(folder / RESUME, configuration, state)
    training.save_weights(folder / WEIGHTS, network.state_dict())
    frame = pd.DataFrame.from_dict(history, orient="index").rename_axis("step").reset_index()
    frame.to_csv(folder / HISTORY, index=False, float_format="%.6g")
    (folder / RESUME).unlink(missing_ok=True)


def _images_by_patient(patient: np.ndarray, number: int) -> list[np.ndarray]:
    return [np.flatnonzero(patient == who) for who in range(number)]


def _batch(
    arrays: Mapping[str, Any], images: list[np.ndarray], recipe: Mapping[str, Any], step: int, device: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bags (B, n, 1, S, S), values (B, K) and labels (B,) of a step: as many positive as negative patients."""
    rng, half, bag = generator("bags", recipe["seed"], "batch", step), recipe["batch"] // 2, recipe["bag"]
    labels = arrays["label"]
    who = np.concatenate([
        rng.choice(np.flatnonzero(labels == value), count)
        for value, count in ((1, half), (0, recipe["batch"] - half))
    ])  # fmt: skip
    places = np.concatenate([rng.choice(images[one], bag, replace=len(images[one]) < bag) for one in who])
    order = training.torch_generator("bags", recipe["seed"], "augment", step)
    pixels = augment(to_input(arrays["image"][places], device), order)
    bags = pixels.unflatten(0, (len(who), bag))  # (B n, 1, S, S) -> (B, n, 1, S, S)
    values, label = (torch.from_numpy(arrays[name][who]).to(device) for name in ("values", "label"))
    return bags, values, label


def restore(folder: Path, recipe: Mapping[str, Any], covariates: int, device: str = "cpu") -> Fusion:
    """The trained network of a made job, in eval mode."""
    network = fusion.build(covariates, recipe["stem_stride"], training.torch_generator("bags", recipe["seed"]))
    network.load_state_dict(training.load_weights(folder / WEIGHTS))
    return network.to(training.device(device)).eval()


def first_images(patient: np.ndarray, number: int, bag: int) -> np.ndarray:
    """Places (P, bag) of the first images of each patient; one who has fewer shows hers again."""
    return np.stack([np.resize(places, bag) for places in _images_by_patient(patient, number)])


@torch.inference_mode()
def embed(network: Fusion, images: np.ndarray, places: np.ndarray) -> torch.Tensor:
    """Image tokens (P, DIM) of bags: images (N, S, S) uint8, places (P, n) in them."""
    device, found = network.prompt.device, []
    for begin in range(0, len(places), SCORED):
        chunk = places[begin : begin + SCORED]
        pixels = to_input(images[chunk.ravel()], device).unflatten(0, chunk.shape)  # (B n, 1, S, S) -> (B, n, 1, S, S)
        found.append(network.embed(pixels))
    return torch.cat(found)


@torch.inference_mode()
def scores(network: Fusion, arm: Arm, image: torch.Tensor, values: np.ndarray, fill: str = "token") -> np.ndarray:
    """Probability of the positive class (P,) of image tokens (P, DIM) and values (P, K), NaN where missing.

    A patient with any value is the multi-modal branch's, one without is the single-modal one's, where an arm has both.
    """
    given = torch.from_numpy(np.asarray(values, np.float32)).to(image.device)
    multi = network.multi(image, given, fill).logits if arm.multi else None
    single = network.single(image).logits if arm.single else None
    if multi is None or single is None:
        logits = single if multi is None else multi
    else:
        logits = torch.where(network.usable(given).isnan().all(dim=1, keepdim=True), single, multi)
    return logits.softmax(dim=-1)[:, 1].double().cpu().numpy()
