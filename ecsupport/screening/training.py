"""One trainer for every screening network: all images first, then real ones alone (Results, on LSNet).

Batches hold as many positive as negative images in both phases, which weighs the classes as a weighted loss would,
with less noise. Teacher and student start from random weights and learn together. The teacher does not look at the
student: students of one seed that see the same images are taught side by side by one teacher, each as if alone.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ecsupport.core import artefacts, progress, training
from ecsupport.core.errors import UserError
from ecsupport.core.seeds import generator
from ecsupport.screening import distillation, gradients, selection
from ecsupport.screening.inputs import augment, to_input
from ecsupport.screening.settings import Settings

COLUMNS = (
    "step", "phase", "rate", "teacher", "student", "distillation", "simulation", "teacher_share", "simulation_weight",
    "agreement", "raw_change", "smooth_change", "sensitivity", "specificity", "auc",
)  # fmt: skip
RESUME = "last.pt"
FILES = {"network": "weights", "teacher": "teacher"}


def spec(settings: Settings, data: str, seed: int, device: str = "cpu") -> artefacts.Spec:
    """The trained network as an artefact: weights.pt, teacher.pt where there is one, history.csv.

    `data` names a deposit with image (N, S, S) uint8, label (N,) int64, real (N,) bool, validation_image and
    validation_label. A run that was killed goes on where it stopped, to the same bits (on the CPU).
    A run that shares the first phase of its own seed is the run from scratch, and one artefact with it.
    The column `chosen` marks the step of the weights. Rules of selection other than `dual` keep weights of their own:
    weights_auc.pt with the column chosen_auc, and so on.
    """
    if settings.shared_start == seed:
        settings = replace(settings, shared_start=None)
    arguments = {"settings": asdict(settings), "data": data, "seed": seed, "device": device}
    group = json.dumps([settings.teaching, data, seed, device], sort_keys=True) if settings.taught else ""
    return artefacts.Spec("screening", train, arguments, True, group, train_together)


def train(folder: Path, settings: dict[str, Any], data: str, seed: int, device: str) -> None:
    """Train a network, and its teacher where it has one, on a deposit; see `spec` for what `folder` then holds.

    UserError for labels other than 0 and 1, a class that is missing, or a size that cannot be cut into patches;
    TrainingError at the first loss that is not a finite number.
    """
    train_together([(folder, {"settings": settings, "data": data, "seed": seed, "device": device})])


def train_together(wanted: Sequence[tuple[Path, Mapping[str, Any]]]) -> None:
    """Train students of one teacher side by side: folders, each with arguments of `train` of one `Settings.teaching`.

    Those that stopped at other steps than the rest are taught by a teacher of their own.
    """
    arrays = artefacts.withdraw(wanted[0][1]["data"])
    examine(arrays, wanted[0][1]["settings"]["real_steps"] > 0)
    with training.reproducible(1):
        runs = [
            Run(folder, Settings(**of["settings"]), arrays, of["data"], of["seed"], of["device"])
            for folder, of in wanted
        ]
        for run in runs:
            run.resume()
        for done, members in itertools.groupby(sorted(runs, key=lambda run: run.done), key=lambda run: run.done):
            together = list(members)
            first = together[0]
            for run in together[1:]:
                run.teacher = first.teacher
            about = first.settings.network if len(together) == 1 else f"{len(together)} students"
            for step in progress.bar(range(done, first.settings.steps), about, first.settings.steps, done):
                images, labels, ids = first.batch(step)
                lesson = first.teach(step, images, labels)
                for run in together:
                    run.step(step, images, labels, ids, lesson)
            for run in together:
                run.finish()


def examine(arrays: dict[str, np.ndarray], second_phase: bool) -> None:
    """UserError where a label is neither 0 nor 1, or a class is missing among training or validation images.

    The second phase needs both classes among the real training images too.
    """
    sets = {"training": arrays["label"], "validation": arrays["validation_label"]}
    if second_phase:
        sets["real training"] = arrays["label"][arrays["real"]]
    for name, label in sets.items():
        if (other := np.setdiff1d(label, (0, 1))).size:
            raise UserError(f"a {name} image has the label {other[0]}. Labels are 0 (negative) and 1 (positive)")
        for value, word in ((0, "negative"), (1, "positive")):
            if not (label == value).any():
                raise UserError(f"there is no {word} {name} image (label {value}). Both classes are needed")


class Learner:
    """A network with its optimiser."""

    def __init__(self, network: nn.Module, settings: Settings) -> None:
        self.network = network
        self.optimiser = torch.optim.AdamW(
            network.parameters(), settings.rate_mixed, weight_decay=settings.weight_decay, fused=True
        )

    def begin(self) -> nn.Module:
        """The network in training mode, its gradients cleared."""
        self.optimiser.zero_grad()
        return self.network.train()

    def update(self, rate: float) -> None:
        """One step of the optimiser."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])


class Run:
    """A training run under way: student, teacher, targets, history, and the weights that are best so far."""

    def __init__(
        self, folder: Path, settings: Settings, arrays: dict[str, np.ndarray], data: str, seed: int, device: str
    ) -> None:
        self.settings, self.arrays, self.seed, self.folder = settings, arrays, seed, folder
        self.configuration = {**asdict(settings), "data": data, "seed": seed, "device": device}
        self.device = training.device(device)
        self.student = self.learner(settings.network)
        self.teacher: Learner | None = None
        self.distillation = None
        if settings.taught:
            self.teacher = self.learner("teacher")
            signature = distillation.Signature().to(self.device)
            targets = distillation.Targets(len(arrays["label"]), settings.smoothing, self.device)
            self.distillation = distillation.Distillation(
                settings.guidance == "teacher",
                settings.knowledge,
                settings.simulation,
                signature,
                targets,
                settings.distance,
                settings.handover,
            )
        label, real = np.asarray(arrays["label"]), np.asarray(arrays["real"])
        self.pools = {
            phase: [
                part
                for value, count in ((1, settings.batch // 2), (0, settings.batch - settings.batch // 2))
                for part in sources((label == value) & shown, real, count, settings.synthetic_share)
            ]
            for phase, shown in ((1, np.ones_like(real)), (2, real))
        }
        self.history = torch.full((settings.steps, len(COLUMNS)), torch.nan, dtype=torch.float64)
        self.done = 0
        self.best: dict[str, dict[str, Any]] = {}

    def learner(self, name: str) -> Learner:
        """The network of that name with its first weights."""
        return Learner(self.settings.build(name, self.seed_at(0)).to(self.device), self.settings)

    @property
    def learners(self) -> dict[str, Learner]:
        """Student and teacher, by the role that names their files."""
        return {"network": self.student} | ({"teacher": self.teacher} if self.teacher else {})

    def draw(self, step: int) -> np.ndarray:
        """Places in the training set of a step's images, half of them positive."""
        rng = generator("screening", self.seed_at(step), "batch", step)
        return np.concatenate([rng.choice(places, count) for places, count in self.pools[self.phase(step)]])

    def seed_at(self, step: int) -> int:
        """The seed of a step: the run's own, but in a first phase that runs share."""
        shared = self.settings.shared_start
        return self.seed if shared is None or self.phase(step) == 2 else shared

    def phase(self, step: int) -> int:
        """1 for all images, 2 for real ones alone."""
        return 1 if step < self.settings.mixed_steps else 2

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A step's images (B, 1, S, S), augmented, their labels (B,) and places in the training set (B,)."""
        ids = self.draw(step)
        order = training.torch_generator("screening", self.seed_at(step), "augment", step)
        images = augment(to_input(self.arrays["image"][ids], self.device), order)
        return images, *(torch.from_numpy(a).to(self.device) for a in (self.arrays["label"][ids], ids))

    def teach(self, step: int, images: torch.Tensor, labels: torch.Tensor) -> distillation.Lesson | None:
        """One update of the teacher, if there is one, and what it gives."""
        if self.teacher is None:
            return None
        lesson = distillation.teach(self.teacher.begin(), images, labels)
        training.demand_finite({"teacher": lesson.loss}, step + 1, self.folder / RESUME)
        self.teacher.update(self.settings.rate(step))
        return lesson

    def step(
        self,
        step: int,
        images: torch.Tensor,
        labels: torch.Tensor,
        ids: torch.Tensor,
        lesson: distillation.Lesson | None,
    ) -> None:
        """One update of the student, after its teacher's; at every validation a checkpoint."""
        share, rate = step / max(1, self.settings.steps - 1), self.settings.rate(step)
        result = distillation.learn(self.student.begin(), lesson, self.distillation, images, labels, ids, share)
        training.demand_finite(result.terms, step + 1, self.folder / RESUME)
        self.student.update(rate)
        self.record(step, rate=rate, **{k: float(v) for k, v in result.terms.items()})
        if result.selections:
            weights = distillation.weights(share, self.settings.handover)
            self.record(
                step,
                teacher_share=weights.guidance,
                simulation_weight=weights.simulation,
                **{f"{name}_change": value for name, value in result.change.items()},
            )
        self.done = step + 1
        if self.done % self.settings.validate_every == 0 or self.done == self.settings.steps:
            if result.selections and lesson is not None:
                self.record(step, agreement=gradients.agreement(result.selections, lesson.gradients))
            self.validate(step)
            self.keep()

    def record(self, step: int, **values: float) -> None:
        """Enter values into the history's row of a step."""
        for name, value in {"step": step + 1, "phase": self.phase(step), **values}.items():
            self.history[step, COLUMNS.index(name)] = value

    def frame(self) -> pd.DataFrame:
        """The history so far, one row a step."""
        frame = pd.DataFrame(self.history[: self.done].numpy().copy(), columns=list(COLUMNS))
        return frame.astype({"step": int, "phase": int})

    def validate(self, step: int) -> None:
        """Score the validation images; keep the weights where a rule selects them."""
        probability = predict(self.student.network, self.arrays["validation_image"])
        self.record(step, **selection.validate(np.asarray(self.arrays["validation_label"]), probability))
        weights = {
            role: {k: v.detach().clone() for k, v in learner.network.state_dict().items()}
            for role, learner in self.learners.items()
        }
        history = self.frame()
        for rule in self.settings.rules:
            rows = history[history["step"] > self.settings.selectable_after(rule)]
            if len(rows) and selection.select(rows, rule) == self.done:
                self.best[rule] = {"step": self.done, "weights": weights}

    def keep(self) -> None:
        """Write the checkpoint."""
        state = {
            "learners": {role: learner.state() for role, learner in self.learners.items()},
            "targets": self.distillation.targets.state if self.distillation else {},
            "history": self.history,
            "done": self.done,
            "best": self.best,
        }
        training.save(self.folder / RESUME, self.configuration, state)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not (self.folder / RESUME).is_file():
            return
        state = training.load(self.folder / RESUME, self.configuration, str(self.device))
        for role, learner in self.learners.items():
            learner.load(state["learners"][role])
        if self.distillation:
            self.distillation.targets.state = state["targets"]
        self.history, self.done, self.best = state["history"].cpu(), state["done"], state["best"]

    def finish(self) -> None:
        """Write what is kept and remove the checkpoint."""
        history = self.frame()
        for rule in self.settings.rules:
            for role, weights in self.best[rule]["weights"].items():
                cpu = {k: v.cpu() for k, v in weights.items()}
                training.save(self.folder / file_name(role, rule), self.configuration, cpu)
            history[f"chosen{selection.suffix(rule)}"] = history["step"] == self.best[rule]["step"]
        history.to_csv(self.folder / "history.csv", index=False, float_format="%.6g")
        (self.folder / RESUME).unlink()


def sources(
    shown: np.ndarray, real: np.ndarray, count: int, synthetic_share: float | None
) -> list[tuple[np.ndarray, int]]:
    """From which places of the training set the `count` images of one class are drawn, and how many from each.

    shown, real: (N,) bool, the images of the class, and the real ones of all. Where the class has real and synthetic
    images, `synthetic_share` of the draws are synthetic, however many there are: with synthetic images of both
    classes, the source of an image then tells nothing about its class.
    """
    if synthetic_share is None or real[shown].all() or not real[shown].any():
        return [(np.flatnonzero(shown), count)]
    synthetic = round(synthetic_share * count)
    return [(np.flatnonzero(shown & real), count - synthetic), (np.flatnonzero(shown & ~real), synthetic)]


def file_name(role: str, rule: str) -> str:
    """File of the weights of a role, network or teacher, that a rule kept."""
    return f"{FILES[role]}{selection.suffix(rule)}.pt"


def restore(folder: Path, role: str = "network", device: str = "cpu", rule: str | None = None) -> nn.Module:
    """The trained network of an artefact, in eval mode; `role` teacher for its teacher.

    rule: whose weights, by default those of the first rule of the settings. UserError where there are none, or the
    file does not belong to the folder.
    """
    arguments = json.loads((folder / artefacts.PROVENANCE).read_text())["arguments"]
    settings = Settings(**arguments["settings"])
    configuration = {**asdict(settings), **{k: arguments[k] for k in ("data", "seed", "device")}}
    network = settings.build(settings.network if role == "network" else "teacher", arguments["seed"])
    network.load_state_dict(training.load(folder / file_name(role, rule or settings.rules[0]), configuration))
    return network.to(training.device(device)).eval()


def predict(network: nn.Module, images: np.ndarray, batch: int = 64) -> np.ndarray:
    """Probability of the positive class (N,) float64 of images (N, S, S) uint8, by the network in eval mode."""
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        logits = [network(to_input(images[i : i + batch], device)) for i in range(0, len(images), batch)]
    return torch.cat(logits).softmax(-1)[:, 1].double().cpu().numpy()
