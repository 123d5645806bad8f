"""Do translations pass for ultrasound? A fresh network is trained to tell them apart, on patients of its own.

The discriminator of a training has been fooled by that training; what it no longer sees, a fresh network may see at
once. AUC .5: nothing tells them apart; 1: every translation is known for one.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from ecsupport.core.errors import UserError
from ecsupport.core.training import load_weights, reproducible
from ecsupport.instruments import features

REVISION = 1  # halves of patients, network, its training
STEPS = 500
TASK = "translated"
AT_A_TIME = 32


def told_apart(
    real: np.ndarray,
    real_patient: ArrayLike,
    translated: np.ndarray,
    patient: ArrayLike,
    seed: int,
    steps: int = STEPS,
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of a fresh network that tells translations from real images: label (1: translated), score, patient, (K,).

    real, translated: (N, S, S) and (M, S, S) uint8;  real_patient, patient: (N,) and (M,), the patients they are of.
    Every second patient, in order of name, is for training, the others judge. The network is that of
    `instruments.features`, whose training varies gain and noise a little, so that a constant shade tells nothing.
    UserError where either has fewer than two patients.
    """
    sets = [
        (images, *np.unique(np.asarray(of), return_inverse=True))
        for images, of in ((real, real_patient), (translated, patient))
    ]
    if min(len(patients) for _, patients, _ in sets) < 2:
        raise UserError("images of one patient cannot both train and judge. Give at least two patients of each")
    learning, judging = (
        [(images[index % 2 == half], patients[index[index % 2 == half]]) for images, patients, index in sets]
        for half in (0, 1)
    )
    content = {"image": np.concatenate([images for images, _ in learning]), TASK: _labels(learning)}
    with tempfile.TemporaryDirectory() as folder:
        features.train(Path(folder), content, steps, seed, tasks=(TASK,), device=device)
        network = features.start({TASK: 2}, seed)
        network.load_state_dict(load_weights(Path(folder) / "weights.safetensors"))
    with reproducible(1):
        scores = [_scores(network.eval(), images) for images, _ in judging]
    return _labels(judging), np.concatenate(scores), np.concatenate([names for _, names in judging])


def _labels(sets: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.repeat([0, 1], [len(images) for images, _ in sets])


@torch.inference_mode()
def _scores(network: features.Extractor, images: np.ndarray) -> np.ndarray:
    parts = [torch.from_numpy(np.array(images[i : i + AT_A_TIME])) for i in range(0, len(images), AT_A_TIME)]
    logits = torch.cat([network.logits(part)[TASK] for part in parts])
    return (logits[:, 1] - logits[:, 0]).numpy()
