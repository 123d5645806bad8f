"""Miniature trainings of each kind, and the losses that they gave: `python tests/miniatures.py` records them anew.

Where code changes and these stay, what the archive holds is still what it makes. Where they do not, the REVISION of the
method that changed has to rise, with which its archived results are stale.
"""

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ecsupport.core.profiles import load
from ecsupport.core.training import load_weights
from ecsupport.experiments import clinical, multitask
from ecsupport.instruments import features, segmenter
from ecsupport.related import bag_training, multitask_training, self_distillation
from ecsupport.related.dense_attention import TASKS
from ecsupport.screening import distillation, lsnet
from ecsupport.screening import training as screening
from ecsupport.screening.settings import Settings
from ecsupport.translation import models
from ecsupport.translation import training as translation
from ecsupport.translation.settings import Settings as TranslatorSettings

FILE = Path(__file__).parent / "data" / "miniatures.json"
SIDE = 32
STUDENT = Settings(
    "lsnet", stem_stride=1, teacher_width=0.25, batch=4, mixed_steps=12, real_steps=8, validate_every=4,
    guidance="teacher", knowledge=True, key_share=0.25,
)  # fmt: skip
PLAIN = replace(STUDENT, network="lsnet_dense", guidance="none", knowledge=False, key_share=1.0)
NETWORKS = {
    "lsnet": STUDENT,
    "lsnet, shared keys": replace(STUDENT, variant="shared"),
    "lsnet, released": replace(STUDENT, variant="released", handover="released", distance="cosine", fusion="code"),
    "lsnet, rows": replace(STUDENT, simulation="rows", gradient_of="prediction"),
    "lsnet, untaught": replace(STUDENT, guidance="simulator"),
    "lsnet_dense": PLAIN,
    **{name: replace(PLAIN, network=name) for name in ("mobilevit", "efficientnet", "mobilenet_v2_wide")},
    "mobilenet_v2": replace(PLAIN, network="mobilenet_v2", real_steps=0, rules=("auc",), synthetic_share=0.5),
}
TRANSLATORS = ("cyclegan", "unit", "munit", "dclgan", "sg_cyclegan", "unguided")
KINDS = (*(f"screening: {name}" for name in NETWORKS), *(f"translation: {name}" for name in TRANSLATORS))
KINDS = (*KINDS, "instrument: extractor", "instrument: segmenter")
BRANCHES = ("bidirectional", "modality dropout")
KINDS = (
    *KINDS,
    "instrument: extractor",
    "instrument: segmenter",
    *(f"related: {name}" for name in BRANCHES),
    "multitask: all",
)


def pictures(words: str, number: int, side: int = SIDE) -> np.ndarray:
    """Smooth random images (number, side, side) uint8, the same on every machine."""
    rng = np.random.default_rng(sum(map(ord, words)))
    coarse = rng.integers(0, 256, (number, side // 8, side // 8))
    fine = rng.integers(0, 64, (number, side, side))
    return (np.kron(coarse, np.ones((1, 8, 8))) * 0.75 + fine).astype(np.uint8)


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """All that is float32 is float64 meanwhile: in 20 steps the rounding of one processor would grow beyond 1e-4."""
    single = torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.Tensor.float = single


def train(kind: str) -> dict[str, list[float]]:
    """What a miniature training of this kind records: columns of losses by step, or the norm of every weight."""
    room, name = kind.split(": ")
    of_room = {"screening": _network, "translation": _translator, "instrument": _instrument}
    of_room |= {"related": _branches, "multitask": _multitask}
    with tempfile.TemporaryDirectory() as folder, double_precision():
        found = of_room[room](Path(folder), name)
    return {column: [float(f"{value:.7g}") for value in values] for column, values in found.items()}


def revisions(kind: str) -> dict[str, object]:
    """The revision of each part of the arithmetic behind a kind."""
    room, name = kind.split(": ")
    if room == "translation":
        return {"training": translation.REVISION, **models.revisions(name, _translator_settings())}
    if room == "instrument":
        return {"training": {"extractor": features, "segmenter": segmenter}[name].REVISION}
    if room == "related":
        return clinical.REVISIONS
    if room == "multitask":
        return multitask.REVISIONS
    settings = NETWORKS[name]
    return {
        "training": screening.REVISION,
        "distillation": distillation.REVISION,
        **lsnet.revisions(settings.network, settings.variant),
    }


def _network(folder: Path, name: str) -> dict[str, np.ndarray]:
    label = np.arange(24) % 2
    images = pictures("network", 24) // 2 + (64 * label[:, None, None]).astype(np.uint8)
    arrays = {
        "image": images,
        "label": label,
        "real": np.arange(24) < 16,
        "validation_image": pictures("validation", 8),
        "validation_label": np.arange(8) % 2,
    }
    recipe = {"settings": asdict(NETWORKS[name]), "seed": 3, "data": "miniature", "device": "cpu", "revision": {}}
    for _ in screening.train_together([(folder, recipe)], arrays):
        pass
    return _columns(folder / "history.csv")


def _translator_settings() -> TranslatorSettings:
    size = replace(load("smoke").translation, image_size=SIDE, width=4, residual_blocks=1, steps=20, batch=2)
    # a pool smaller than the number of fakes, so that it exchanges some; the paper's rate, since at sixteen times it
    # (that of so narrow a network) twenty steps of DCLGAN made 3e-3 of the last digits in which processors differ
    return replace(TranslatorSettings.of(size), pool=8, learning_rate=2e-4)


def _translator(folder: Path, name: str) -> dict[str, np.ndarray]:
    images = {"mri": pictures("mri", 6), "us": pictures("ultrasound", 5), "show": pictures("mri", 1)}
    recipe = {"model": name, "settings": _translator_settings().to_json(), "seed": 3, "revision": {}}
    translation.train(folder, data="miniature", device="cpu", images=images, **recipe)
    return _columns(folder / "losses.csv")


def _instrument(folder: Path, name: str) -> dict[str, np.ndarray]:
    images = pictures(name, 24, 64)
    if name == "extractor":
        content = {"image": images, **{task: np.arange(24) % (2 + i) for i, task in enumerate(features.TASKS)}}
        features.train(folder, content, steps=20, seed=3)
    else:
        content = {"image": images, "labels": (images // 52).astype(np.uint8), "invasion": np.arange(24) % 2}
        segmenter.train(folder, content, steps=20, seed=3)
    weights = load_weights(folder / "weights.safetensors")
    return {key: np.array([float(value.double().norm())]) for key, value in weights.items()}


def _branches(folder: Path, name: str) -> dict[str, np.ndarray]:
    values = np.random.default_rng(3).normal(size=(8, 3))
    values[0, 1] = np.nan
    arrays = {
        "image": pictures("bags", 24), "patient": np.arange(24) // 3, "label": np.arange(8) % 2, "values": values,
    }  # fmt: skip
    recipe = {"arm": name, "seed": 3, "batch": 4, "bag": 2, "steps": 20, "rate": 1e-3, "stem_stride": 1}
    bag_training.train(folder, arrays, recipe, "miniature")
    return _columns(folder / bag_training.HISTORY)


def _multitask(folder: Path, name: str) -> dict[str, np.ndarray]:
    shares = np.random.default_rng(3).dirichlet(np.ones(4), 24)
    shares[1] = np.nan
    arrays = {
        "image": pictures("multitask", 24), "label": np.arange(24) % 2, "labelled": np.arange(24) < 16,
        "proportions": shares,
    }  # fmt: skip
    recipe = {"tasks": TASKS, "seed": 3, "batch": 6, "steps": 20, "rate": 1e-3, "stem_stride": 1}
    multitask_training.train(folder, arrays, recipe)
    return {
        f"{arm}, {column}": values
        for arm in self_distillation.arms()
        for column, values in _columns(folder / multitask_training.history(arm)).items()
    }


def _columns(file: Path) -> dict[str, np.ndarray]:
    table = pd.read_csv(file).select_dtypes("number")
    return {name: table[name].dropna().to_numpy() for name in table}


if __name__ == "__main__":
    record = {kind: {"revisions": revisions(kind), "record": train(kind)} for kind in KINDS}
    FILE.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{FILE}\n")
