"""One trainer for every screening network: all images first, then real ones alone (Results, on LSNet).

Teacher and student start from random weights and learn together. The teacher does not look at the
student: students of one seed that see the same images are taught side by side by one teacher, each as if alone.
"""

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ecsupport.backbone.inputs import to_input
from ecsupport.backbone.learner import Learner
from ecsupport.core import jobs, progress, replay, training
from ecsupport.core.pixels import demand_grey
from ecsupport.screening import distillation, gradients, selection
from ecsupport.screening.batches import Batch, Batches
from ecsupport.screening.settings import STUDENTS_OWN, Settings

COLUMNS = (
    "step", "phase", "rate", "teacher", "student", "distillation", "simulation", "teacher_share", "simulation_weight",
    "simulation_elsewhere", "agreement", "raw_change", "smooth_change", "sensitivity", "specificity", "auc",
)  # fmt: skip
LOSSES = ("teacher", "student", "distillation", "simulation")  # of the columns
REVISION = 1  # batches, augmentation, AdamW without decay on norms and biases, rates, selection
RESUME, WATCHED = "last.pt", "watched.npy"
PAUSE = 60  # seconds
FIRST, EVERY = 20, 10  # steps that a history keeps: the first, then every tenth, and those that are validated
SCORED = 2**16  # pixels of the first layer's maps
FILES = {"network": "weights", "teacher": "teacher"}


def teaching(settings: Mapping[str, Any], data: str, seed: int, device: str, **_: object) -> str:
    """Names the teacher of a run: runs of one name see the same images, and its teacher, in the same order.

    Empty where there is none.
    """
    settings = Settings(**settings)
    common = {name: value for name, value in asdict(settings).items() if name not in STUDENTS_OWN}
    return json.dumps([common, data, seed, device], sort_keys=True) if settings.taught else ""


def train(folder: Path, arrays: Mapping[str, Any], **arguments: Any) -> None:
    """Train a network, and its teacher where it has one, into `folder`; a killed run goes on to the same bits there.

    arrays: image (N, S, S) uint8, label (N,) int64, real (N,) bool, validation_image and validation_label.
    arguments: settings, as a mapping, seed and device; data, which names the arrays, and the revision of each part of
    the arithmetic: a checkpoint belongs to all of these.

    Leaves weights.safetensors, teacher.safetensors where there is a teacher, and history.csv, the first and every tenth
    step and those validated, whose column `chosen` marks the step of the weights. Rules of selection other than `dual`
    keep weights of their own: weights_auc.safetensors with the column chosen_auc, and so on. With arrays that hold
    watched_image (M, S, S) too, watched.npy has their logits at every validation, (validations, M) float16.
    UserError for labels other than 0 and 1, a class that is missing, or a size that cannot be cut into patches;
    TrainingError at the first loss that is not a finite number, on a GPU at the next validation.
    """
    for _ in train_together([(folder, arguments)], arrays):
        pass


def train_together(wanted: Sequence[tuple[Path, Mapping[str, Any]]], arrays: Mapping[str, Any]) -> Iterator[Path]:
    """Train students of one teacher side by side: folders, each with arguments of `train`; yields each when whole.

    One whose loss is not a finite number leaves the others alone: its TrainingError is raised when they are done.
    ValueError for arguments of which `teaching` differs, or of several runs without a teacher.
    """
    if len(wanted) > 1 and ("" in (names := {teaching(**arguments) for _, arguments in wanted}) or len(names) > 1):
        raise ValueError("these runs have different teachers or none, expected the students of one")
    errors: list[training.TrainingError] = []
    with training.reproducible(1):
        runs = []
        for folder, given in wanted:
            run = ScreeningTraining(folder, arrays=arrays, **{**given, "settings": Settings(**given["settings"])})
            run.resume()
            runs.append(run)
        batches = Batches(arrays, runs[0].settings, runs[0].seed, runs[0].device)
        begin, end = min(run.done for run in runs), runs[0].settings.steps
        about = runs[0].settings.network if len(runs) == 1 else f"{len(runs)} students"
        for step in progress.bar(range(begin, end), about, end, begin):
            together = [run for run in runs if run.done == step]  # others may be a checkpoint ahead
            if not together:
                continue
            for run in together:
                run.teacher = together[0].teacher
            batch = batches.at(step)
            lesson = together[0].teach(step, batch, {run.settings.gradient_of for run in together})
            for run in together:
                try:
                    run.step(step, batch, lesson)
                except training.TrainingError as error:
                    own = {name: run.configuration[name] for name in STUDENTS_OWN}
                    errors.append(training.TrainingError(f"{error}. The student: {own}, seed {run.seed}"))
                    runs.remove(run)
    for run in runs:
        run.finish()
        yield run.folder
    if errors:
        raise errors[0]


class ScreeningTraining:
    """A training run under way: student, teacher, targets, history, and the weights that are best so far."""

    def __init__(
        self, folder: Path, settings: Settings, arrays: Mapping[str, Any], seed: int, device: str, **others: Any
    ) -> None:
        """`others`: what else its checkpoints belong to, data and revision of `train`."""
        self.settings, self.arrays, self.seed, self.folder = settings, arrays, seed, folder
        self.configuration = {**asdict(settings), "seed": seed, "device": device, **others}
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
                settings.gradient_of,
            )
        self.replayed_teaching = replay.Replay(self._teach, self.device)
        self.replayed_learning = replay.Replay(self._learn, self.device)
        self.unseen: list[tuple[int, list[str], torch.Tensor]] = []  # what steps gave, not yet looked at
        self.history = torch.full((settings.steps, len(COLUMNS)), torch.nan, dtype=torch.float64)
        self.done, self.kept = 0, time.monotonic()
        self.best: dict[str, dict[str, Any]] = {}
        self.watched: list[torch.Tensor] = []

    def learner(self, name: str) -> Learner:
        """The network of that name with its first weights."""
        network = self.settings.build(name, self.settings.seed_at(0, self.seed))
        return Learner(network, self.settings.rate_mixed, self.settings.weight_decay, self.device)

    @property
    def learners(self) -> dict[str, Learner]:
        """Student and teacher, by the role that names their files."""
        return {"network": self.student} | ({"teacher": self.teacher} if self.teacher else {})

    def teach(self, step: int, batch: Batch, classes: Collection[str]) -> distillation.Lesson | None:
        """One update of the teacher, if there is one, and what it gives; classes: as in `distillation.teach`."""
        if self.teacher is None:
            return None
        self.teacher.set_rate(self.settings.rate_teacher * self.settings.rate(step))
        lesson = self.replayed_teaching((self.teacher, frozenset(classes)), batch.images, batch.labels)
        self.look(step, {"teacher": lesson.loss})
        return lesson

    @staticmethod
    def _teach(
        teacher: Learner, classes: Collection[str], images: torch.Tensor, labels: torch.Tensor
    ) -> distillation.Lesson:
        lesson = distillation.teach(teacher.begin(), images, labels, classes)
        teacher.update()
        return lesson

    def step(self, step: int, batch: Batch, lesson: distillation.Lesson | None) -> None:
        """One update of the student, after its teacher's; at every validation a checkpoint, see `keep`."""
        share, rate = step / max(1, self.settings.steps - 1), self.settings.rate(step)
        weigh = distillation.weights(share, self.settings.handover)
        self.student.set_rate(rate, weigh.simulation)
        result = self._learnt(batch, lesson, weigh)
        self.record(step, rate=rate)
        self.look(step, result.terms | result.notes)
        if result.selections:
            self.record(step, teacher_share=weigh.guidance, simulation_weight=weigh.simulation)
        self.done = step + 1
        if self.done % self.settings.validate_every == 0 or self.done == self.settings.steps:
            self.look(step)
            if result.selections and lesson is not None:
                self.record(
                    step, agreement=gradients.agreement(result.selections, lesson.gradients[self.settings.gradient_of])
                )
            self.validate(step)
            self.keep()

    def _learnt(
        self, batch: Batch, lesson: distillation.Lesson | None, weigh: distillation.Weights
    ) -> distillation.Step:
        """One update of the student; all that a GPU's recording of it reads is handed over as tensors."""
        if lesson is None:
            return self.replayed_learning((None, ()), *batch, weigh.guidance, weigh.knowledge)
        maps = lesson.gradients[self.settings.gradient_of]
        fixed = weigh.guidance in (0, 1) and self.distillation.guidance
        alone = weigh.guidance if fixed else None  # otherwise both have a share, which changes, or none counts
        there = tuple(g is not None for g in maps)
        given = (lesson.loss, lesson.logits, *(g for g in maps if g is not None))
        return self.replayed_learning((alone, there), *batch, weigh.guidance, weigh.knowledge, *given)

    def _learn(
        self,
        alone: float | None,
        there: tuple[bool, ...],
        images: torch.Tensor,
        labels: torch.Tensor,
        ids: torch.Tensor,
        guidance: distillation.Share,
        knowledge: distillation.Share,
        *given: torch.Tensor,
    ) -> distillation.Step:
        lesson = None
        if given:
            loss, logits, *found = given
            maps = iter(found)
            gradients_of = {self.settings.gradient_of: [next(maps) if one else None for one in there]}
            lesson = distillation.Lesson(loss, logits, gradients_of)
        weigh = distillation.Weights(guidance if alone is None else alone, 1.0, knowledge)
        result = distillation.learn(self.student.begin(), lesson, self.distillation, images, labels, ids, weigh)
        self.student.update()
        return result

    def look(self, step: int, given: Mapping[str, torch.Tensor] | None = None) -> None:
        """Record what a step gave; TrainingError at a loss that is not a finite number.

        On a GPU, where to look is to wait, what steps give is kept until one looks, with nothing `given`.
        """
        if given:
            names, values = list(given), torch.stack([value.detach().float() for value in given.values()])
            self.unseen.append((step, names, values))
        if self.device.type == "cpu" or not given:
            for place, names, values in self.unseen:
                found = dict(zip(names, values.tolist(), strict=True))
                losses = {name: value for name, value in found.items() if name in LOSSES}
                training.demand_finite(losses, place + 1, self.folder / RESUME)
                self.record(place, **found)
            self.unseen.clear()

    def record(self, step: int, **values: float) -> None:
        """Enter values into the history's row of a step."""
        for name, value in {"step": step + 1, "phase": self.settings.phase(step), **values}.items():
            self.history[step, COLUMNS.index(name)] = value

    def frame(self) -> pd.DataFrame:
        """The history so far, one row a step."""
        frame = pd.DataFrame(self.history[: self.done].numpy().copy(), columns=list(COLUMNS))
        return frame.astype({"step": int, "phase": int})

    def validate(self, step: int) -> None:
        """Score the validation images; keep the weights where a rule selects them."""
        probability = predict(self.student.network, self.arrays["validation_image"])
        self.record(step, **selection.validate(np.asarray(self.arrays["validation_label"]), probability))
        if "watched_image" in self.arrays:
            self.watched.append(torch.from_numpy(predict(self.student.network, self.arrays["watched_image"])))
        history = self.frame()
        for rule in self.settings.rules:
            rows = history[history["step"] > self.settings.selectable_after(rule)]
            if len(rows) and selection.select(rows, rule) == self.done:
                weights = {
                    role: {k: v.detach().clone() for k, v in learner.network.state_dict().items()}
                    for role, learner in self.learners.items()
                }
                self.best[rule] = {"step": self.done, "weights": weights}

    def keep(self) -> None:
        """Write the checkpoint; on a GPU, whose steps are soon done again, every `PAUSE` seconds."""
        if self.device.type != "cpu" and time.monotonic() < self.kept + PAUSE:
            return
        self.kept = time.monotonic()
        state = {
            "learners": {role: learner.state() for role, learner in self.learners.items()},
            "targets": self.distillation.targets.state if self.distillation else {},
            "history": self.history,
            "done": self.done,
            "best": self.best,
            "watched": self.watched,
        }
        training.save(self.folder / RESUME, self.configuration, state)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is a whole one."""
        state = training.resumed(self.folder / RESUME, self.configuration, str(self.device))
        if not state:
            return
        for role, learner in self.learners.items():
            learner.load(state["learners"][role])
        if self.distillation:
            self.distillation.targets.state = state["targets"]
        self.history, self.done, self.best = state["history"].cpu(), state["done"], state["best"]
        self.watched = [probability.cpu() for probability in state.get("watched", ())]

    def finish(self) -> None:
        """Write what is kept and remove the checkpoint."""
        history = self.frame()
        for rule in self.settings.rules:
            for role, weights in self.best[rule]["weights"].items():
                training.save_weights(self.folder / file_name(role, rule), weights)
            history[f"chosen{selection.suffix(rule)}"] = history["step"] == self.best[rule]["step"]
        if self.watched:
            np.save(self.folder / WATCHED, torch.stack(self.watched).logit().numpy().astype(np.float16))
        kept = (history["step"] <= FIRST) | (history["step"] % EVERY == 0) | history["auc"].notna()
        history[kept].to_csv(self.folder / "history.csv", index=False, float_format="%.6g")
        (self.folder / RESUME).unlink(missing_ok=True)


def file_name(role: str, rule: str) -> str:
    """File of the weights of a role, network or teacher, that a rule kept."""
    return f"{FILES[role]}{selection.suffix(rule)}.safetensors"


def restore(folder: Path, role: str = "network", device: str = "cpu", rule: str | None = None) -> nn.Module:
    """The trained network of a made job, in eval mode; `role` teacher for its teacher.

    rule: whose weights, by default those of the first rule of the settings. UserError where there are none.
    """
    recipe = jobs.record(folder)["recipe"]
    settings = Settings(**recipe["settings"])
    name = settings.network if role == "network" else "teacher"
    network = settings.build(name, settings.seed_at(0, recipe["seed"]))  # which names random keys too
    network.load_state_dict(training.load_weights(folder / file_name(role, rule or settings.rules[0])))
    return network.to(training.device(device)).eval()


def predict(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Probability of the positive class (N,) float64 of images (N, S, S) uint8, by the network in eval mode.

    UserError for any other array, and for a size that the network cannot take.
    """
    device, batch = next(network.parameters()).device, at_a_time(network, demand_grey(images).shape[1])
    network.eval()
    with torch.inference_mode():
        logits = [network(to_input(images[i : i + batch], device)) for i in range(0, len(images), batch)]
    return torch.cat([torch.empty(0, 2, device=device), *logits]).softmax(-1)[:, 1].double().cpu().numpy()


def at_a_time(network: nn.Module, side: int) -> int:
    """How many images of `side` pixels to score in one pass, by the size of the first layer's maps.

    On a CPU so many that activations stay in its caches, which takes less time an image; on a GPU many.
    """
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    if not first.weight.is_cpu:
        return max(64, 512 * 64**2 // side**2)
    return max(1, SCORED * first.stride[0] ** 2 // side**2)
