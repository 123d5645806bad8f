"""One trainer for every screening network: all images first, then real ones alone (Results, on LSNet).

Batches hold as many positive as negative images in both phases, which weighs the classes as a weighted loss would,
with less noise. Teacher and student start from random weights and learn together.
"""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ecsupport.core import artefacts, progress, training
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Profile
from ecsupport.core.seeds import generator
from ecsupport.screening import distillation, gradients, lsnet, selection
from ecsupport.screening.inputs import augment, to_input
from ecsupport.screening.mobilevit import tokens

GUIDANCE = ("teacher", "simulator", "random", "none")
COLUMNS = (
    "step", "phase", "rate", "teacher", "student", "distillation", "simulation", "teacher_share", "simulation_weight",
    "agreement", "raw_change", "smooth_change", "sensitivity", "specificity", "auc",
)  # fmt: skip
WARM_UP = 0.1  # of each phase
LONG = 10_000  # steps from which the released learning rates are used; fewer need higher ones
RELEASED_RATES = {"rate_mixed": 5e-4, "rate_real": 5e-5}
RESUME = "last.pt"


@dataclass(frozen=True)
class Settings:
    """A training run but for its images and its seed.

    guidance: who chooses the student's keys while training: the `teacher` (gradient distillation), its own untaught
    `simulator`, or `random` keys drawn once and for all; `none` for networks with dense attention or without any.
    knowledge: whether the teacher's soft labels enter the loss. A teacher is trained where either needs one.
    smoothing: mu of Equation 17. rate_mixed, rate_real: highest learning rates of the two phases.
    """

    network: str
    stem_stride: int
    teacher_width: float
    batch: int
    mixed_steps: int
    real_steps: int
    validate_every: int
    guidance: str = "none"
    knowledge: bool = False
    key_share: float = 1.0
    fusion: str = "abs_mix"
    simulation: str = "features"
    smoothing: float = distillation.SMOOTHING
    rate_mixed: float = 3e-3
    rate_real: float = 1e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        known = {
            "network": lsnet.NAMES,
            "guidance": GUIDANCE,
            "simulation": distillation.SIMULATIONS,
            "fusion": lsnet.sparse_attention.FUSIONS,
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} {getattr(self, name)!r} is unknown, expected one of {', '.join(values)}")
        if (self.network == "lsnet") == (self.guidance == "none"):
            raise ValueError(f"guidance {self.guidance!r} does not go with the network {self.network!r}")

    @classmethod
    def of(cls, profile: Profile, network: str = "lsnet", **changes: Any) -> "Settings":
        """The settings of a network in a profile; `changes` make it an ablation.

        LSNet alone is distilled. Its share of keys is that of the released code, 1/25, where that leaves at least 16
        keys of the first block, else 1/10. UserError for an image size that no MobileViT can take.
        """
        size = profile.screening
        student = network == "lsnet"
        settings = cls(
            network=network,
            stem_stride=size.stem_stride,
            teacher_width=size.teacher_width,
            batch=size.batch,
            mixed_steps=size.mixed_steps,
            real_steps=size.real_steps,
            validate_every=size.validate_every,
            guidance="teacher" if student else "none",
            knowledge=student,
            key_share=1 / 25 if tokens(profile.image_size, size.stem_stride)[0] >= 400 else 1 / 10,
        )
        return replace(settings, **({} if settings.steps < LONG else RELEASED_RATES) | changes)

    @property
    def steps(self) -> int:
        """Steps of both phases."""
        return self.mixed_steps + self.real_steps

    @property
    def selectable_after(self) -> int:
        """Weights are kept from validations after this step: those of the second half of the last phase."""
        return self.steps - (1 + (self.real_steps or self.mixed_steps)) // 2

    @property
    def taught(self) -> bool:
        """Whether a teacher is trained along."""
        return self.knowledge or self.guidance == "teacher"

    def rate(self, step: int) -> float:
        """Learning rate at a step (from 0): in each phase a linear rise, then a cosine to zero."""
        mixed = step < self.mixed_steps
        highest, length = (self.rate_mixed, self.mixed_steps) if mixed else (self.rate_real, self.real_steps)
        done = (step if mixed else step - self.mixed_steps) + 1
        rise = max(1, round(WARM_UP * length))
        if done <= rise:
            return highest * done / rise
        return highest * (1 + math.cos(math.pi * (done - rise) / (length - rise + 1))) / 2

    def build(self, name: str, seed: int | str) -> nn.Module:
        """The network `name` with weights drawn for `seed`."""
        return lsnet.build(
            name,
            training.torch_generator("screening", seed, name),
            stem_stride=self.stem_stride,
            key_share=self.key_share,
            fusion=self.fusion,
            keys="random" if self.guidance == "random" else "simulator",
            teacher_width=self.teacher_width,
        )


def spec(settings: Settings, data: str, seed: int, device: str = "cpu") -> artefacts.Spec:
    """The trained network as an artefact: weights.pt, teacher.pt where there is one, history.csv.

    `data` names a deposit with image (N, S, S) uint8, label (N,) int64, real (N,) bool, validation_image and
    validation_label. A run that was killed goes on where it stopped, to the same bits (on the CPU).
    """
    arguments = {"settings": asdict(settings), "data": data, "seed": seed, "device": device}
    return artefacts.Spec("screening", train, arguments, resumable=True)


def train(folder: Path, settings: dict[str, Any], data: str, seed: int, device: str) -> None:
    """Train a network, and its teacher where it has one, on a deposit; see `spec` for what `folder` then holds.

    UserError for labels other than 0 and 1, a class that is missing, or a size that cannot be cut into patches;
    TrainingError at the first loss that is not a finite number.
    """
    arrays = artefacts.withdraw(data)
    examine(arrays)
    with training.reproducible(1):
        run = Run(folder, Settings(**settings), arrays, data, seed, device)
        run.resume()
        steps = range(run.done, run.settings.steps)
        for step in progress.bar(steps, run.settings.network, run.settings.steps, run.done):
            run.step(step)
        run.finish()


def examine(arrays: dict[str, np.ndarray]) -> None:
    """UserError where a label is neither 0 nor 1, or a class is missing among training, real or validation images."""
    sets = {
        "training": arrays["label"],
        "real training": arrays["label"][arrays["real"]],
        "validation": arrays["validation_label"],
    }
    for name, label in sets.items():
        if (other := np.setdiff1d(label, (0, 1))).size:
            raise UserError(f"a {name} image has the label {other[0]}. Labels are 0 (negative) and 1 (positive)")
        for value, word in ((0, "negative"), (1, "positive")):
            if not (label == value).any():
                raise UserError(f"there is no {word} {name} image (label {value}). Both classes are needed")


class Run:
    """A training run under way: networks, optimiser, targets, history, and the weights that are best so far."""

    def __init__(
        self, folder: Path, settings: Settings, arrays: dict[str, np.ndarray], data: str, seed: int, device: str
    ) -> None:
        self.settings, self.arrays, self.seed, self.folder = settings, arrays, seed, folder
        self.configuration = {**asdict(settings), "data": data, "seed": seed, "device": device}
        self.device = training.device(device)
        names = {"network": settings.network} | ({"teacher": "teacher"} if settings.taught else {})
        self.networks = nn.ModuleDict({role: settings.build(name, seed) for role, name in names.items()})
        self.networks.to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.networks.parameters(), settings.rate_mixed, weight_decay=settings.weight_decay, fused=True
        )
        self.distillation = None
        if settings.taught:
            signature = distillation.Signature().to(self.device)
            targets = distillation.Targets(len(arrays["label"]), settings.smoothing, self.device)
            self.distillation = distillation.Distillation(
                settings.guidance == "teacher", settings.knowledge, settings.simulation, signature, targets
            )
        label, real = np.asarray(arrays["label"]), np.asarray(arrays["real"])
        self.pools = {
            phase: [np.flatnonzero((label == value) & shown) for value in (1, 0)]
            for phase, shown in ((1, np.ones_like(real)), (2, real))
        }
        self.history = torch.full((settings.steps, len(COLUMNS)), torch.nan, dtype=torch.float64)
        self.done = 0
        self.best: dict[str, Any] = {}

    def draw(self, step: int) -> np.ndarray:
        """Places in the training set of a step's images, half of them positive."""
        rng = generator("screening", self.seed, "batch", step)
        positive, negative = self.pools[self.phase(step)]
        half = self.settings.batch // 2
        return np.concatenate([rng.choice(positive, half), rng.choice(negative, self.settings.batch - half)])

    def phase(self, step: int) -> int:
        """1 for all images, 2 for real ones alone."""
        return 1 if step < self.settings.mixed_steps else 2

    def step(self, step: int) -> None:
        """One update of all networks; at every validation a checkpoint."""
        ids = self.draw(step)
        order = training.torch_generator("screening", self.seed, "augment", step)
        images = augment(to_input(self.arrays["image"][ids], self.device), order)
        labels = torch.from_numpy(self.arrays["label"][ids]).to(self.device)
        places = torch.from_numpy(ids).to(self.device)
        share = step / max(1, self.settings.steps - 1)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate(step)
        self.networks.train()
        self.optimiser.zero_grad()
        teacher = self.networks["teacher"] if self.settings.taught else None
        result = distillation.joint_step(
            self.networks["network"], teacher, self.distillation, images, labels, places, share
        )
        training.demand_finite(result.terms, step + 1, self.folder / RESUME)
        self.optimiser.step()
        self.record(step, rate=self.settings.rate(step), **{k: float(v) for k, v in result.terms.items()})
        if result.selections:
            self.record(
                step,
                teacher_share=distillation.teacher_share(share),
                simulation_weight=distillation.simulation_weight(share),
                **{f"{name}_change": value for name, value in result.change.items()},
            )
        self.done = step + 1
        if self.done % self.settings.validate_every == 0 or self.done == self.settings.steps:
            if result.selections:
                self.record(step, agreement=gradients.agreement(result.selections, result.gradients))
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
        """Score the validation images; keep the weights where they are the ones to select.

        Only the second half of the last phase is looked at: an untrained network that calls every image positive has
        the highest sensitivity of all. (The released code looks at the last epochs.)
        """
        probability = predict(self.networks["network"], self.arrays["validation_image"])
        self.record(step, **selection.validate(np.asarray(self.arrays["validation_label"]), probability))
        late = self.frame()
        late = late[late["step"] > self.settings.selectable_after]
        if len(late) and selection.select(late) == self.done:
            weights = {k: v.detach().clone() for k, v in self.networks.state_dict().items()}
            self.best = {"step": self.done, "weights": weights}

    def keep(self) -> None:
        """Write the checkpoint."""
        state = {
            "networks": self.networks.state_dict(),
            "optimiser": self.optimiser.state_dict(),
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
        self.networks.load_state_dict(state["networks"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.distillation:
            self.distillation.targets.state = state["targets"]
        self.history, self.done, self.best = state["history"].cpu(), state["done"], state["best"]

    def finish(self) -> None:
        """Write what is kept and remove the checkpoint."""
        for role, file in (("network", "weights.pt"), ("teacher", "teacher.pt")):
            if role in self.networks:
                self.networks.load_state_dict(self.best["weights"])
                weights = {k: v.cpu() for k, v in self.networks[role].state_dict().items()}
                training.save(self.folder / file, self.configuration, weights)
        frame = self.frame()
        frame["chosen"] = frame["step"] == self.best["step"]
        frame.to_csv(self.folder / "history.csv", index=False, float_format="%.6g")
        (self.folder / RESUME).unlink()


def restore(folder: Path, role: str = "network", device: str = "cpu") -> nn.Module:
    """The trained network of an artefact, in eval mode; `role` teacher for its teacher.

    UserError where there is none, or the file does not belong to the folder.
    """
    file = folder / {"network": "weights.pt", "teacher": "teacher.pt"}[role]
    arguments = json.loads((folder / artefacts.PROVENANCE).read_text())["arguments"]
    settings = Settings(**arguments["settings"])
    configuration = {**arguments["settings"], **{k: arguments[k] for k in ("data", "seed", "device")}}
    network = settings.build(settings.network if role == "network" else "teacher", arguments["seed"])
    network.load_state_dict(training.load(file, configuration))
    return network.to(training.device(device)).eval()


def predict(network: nn.Module, images: np.ndarray, batch: int = 64) -> np.ndarray:
    """Probability of the positive class (N,) float64 of images (N, S, S) uint8, by the network in eval mode."""
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        logits = [network(to_input(images[i : i + batch], device)) for i in range(0, len(images), batch)]
    return torch.cat(logits).softmax(-1)[:, 1].double().cpu().numpy()
