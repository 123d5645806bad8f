"""What a screening network is trained with: sizes, schedule, distillation, weights to keep (Methods, training)."""

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from ecsupport.backbone import learner
from ecsupport.backbone.mobilevit import tokens
from ecsupport.core import training
from ecsupport.core.profiles import Profile
from ecsupport.screening import comparators, distillation, lsnet, selection, sparse_attention

GUIDANCE = ("teacher", "simulator", "random", "none")
PUBLISHED_BATCH, PUBLISHED_EPOCHS = 16, 7
STUDENTS_OWN = (  # of the fields below: no teacher, and no image that it sees, depends on them
    "network", "guidance", "knowledge", "key_share", "fusion", "alpha", "tau", "gradient_of", "simulation", "smoothing",
    "variant", "distance", "handover", "rules",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """A training run but for its images and its seed.

    guidance: who chooses the student's keys while training: the `teacher` (gradient distillation), its own untaught
    `simulator`, or `random` keys drawn once and for all; `none` for networks with dense attention or without any.
    fusion, alpha, tau: how they are weighed, see `sparse_attention.importance`.  gradient_of: whose class loss the
    teacher's gradients are of, the `label`'s or that of its own `prediction`.
    knowledge: whether the teacher's soft labels enter the loss. A teacher is trained where either needs one.
    variant: of LSNet's attention.  distance: of L_KD.  handover: see `distillation.weights`.
    shared_start: the seed of weights, batches and augmentation in the first phase, where runs share it: the released
    runs all go on from one network, so that their spread is that of the second phase alone.
    smoothing: mu of Equation 17. rate_mixed, rate_real: highest learning rates of the two phases, or throughout with
    constant_rate;  rate_teacher: the teacher's in units of these.  rules: of `selection.RULES`, each keeps weights of
    its own.  synthetic_share: of the images drawn of each class that has real and synthetic ones (None: as many as
    chance gives).
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
    alpha: float = sparse_attention.ALPHA
    tau: float = sparse_attention.TAU
    gradient_of: str = "label"
    simulation: str = "features"
    smoothing: float = distillation.SMOOTHING
    variant: str = "described"
    distance: str = "divergence"
    handover: str = "described"
    shared_start: int | None = None
    rate_mixed: float = 5e-4
    rate_real: float = 5e-5
    rate_teacher: float = 1.0
    constant_rate: bool = False
    weight_decay: float = 1e-2
    rules: tuple[str, ...] = ("dual",)
    synthetic_share: float | None = None

    def __post_init__(self) -> None:
        known = {
            "network": lsnet.names(),
            "guidance": GUIDANCE,
            "simulation": distillation.SIMULATIONS,
            "fusion": sparse_attention.FUSIONS,
            "gradient_of": distillation.CLASSES,
            "variant": lsnet.VARIANTS,
            "distance": distillation.DISTANCES,
            "handover": distillation.HANDOVERS,
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} {getattr(self, name)!r} is unknown, expected one of {', '.join(values)}")
        object.__setattr__(self, "rules", tuple(self.rules))  # JSON gives a list
        if not self.rules or set(self.rules) - set(selection.RULES):
            raise ValueError(f"rules are {self.rules}, expected some of {', '.join(selection.RULES)}")
        if self.synthetic_share is not None and not 0 < self.synthetic_share < 1:
            raise ValueError(f"synthetic_share is {self.synthetic_share}, expected None or a share between 0 and 1")
        if not (0 < self.alpha < 1 and self.tau > 0):
            raise ValueError(f"alpha is {self.alpha} and tau {self.tau}, expected 0 < alpha < 1 and tau > 0")
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
            weight_decay=size.weight_decay,
            rate_mixed=size.rates.of(network),
            rate_real=size.rates.real * size.rates.of(network),
            rate_teacher=size.rates.teacher / size.rates.lsnet if network.startswith("lsnet") else 1.0,
            guidance="teacher" if student else "none",
            knowledge=student,
            key_share=1 / 25 if tokens(profile.image_size, size.stem_stride)[0] >= 400 else 1 / 10,
        )
        return replace(settings, **changes)

    @classmethod
    def downstream(cls, profile: Profile) -> "Settings":
        """Table 2's classifier in the design without confounding: one phase, the profile's steps, half of it synthetic.

        Weights are kept by area, and by sensitivity as printed.
        """
        size = profile.downstream
        return cls.of(
            profile,
            "mobilenet_v2",
            stem_stride=size.stem_stride,
            batch=size.batch,
            mixed_steps=size.steps,
            real_steps=0,
            rate_mixed=size.rate,
            validate_every=size.validate_every,
            rules=("auc", "sensitivity"),
            synthetic_share=0.5,
        )

    @classmethod
    def published(cls, profile: Profile, images: int, **changes: Any) -> "Settings":
        """The published schedule of Table 2's classifier, for a training set of `images`.

        From scratch, 7 epochs in batches of 16, AdamW with learning rate and weight decay of 1e-5, no warm-up, no
        decay; validated after every epoch. Where the paper weighs the classes, batches are balanced.
        """
        epoch = math.ceil(images / PUBLISHED_BATCH)
        schedule = {
            "stem_stride": profile.downstream.stem_stride,
            "batch": PUBLISHED_BATCH,
            "mixed_steps": PUBLISHED_EPOCHS * epoch,
            "real_steps": 0,
            "validate_every": epoch,
            "rate_mixed": 1e-5,
            "constant_rate": True,
            "weight_decay": 1e-5,
        }
        return cls.of(profile, comparators.RELEASED, **schedule | changes)

    @property
    def steps(self) -> int:
        """Steps of both phases."""
        return self.mixed_steps + self.real_steps

    def selectable_after(self, rule: str) -> int:
        """Weights are kept from validations after this step.

        dual: those of the second half of the last phase; an untrained network that calls every image positive has the
        highest sensitivity of all, and the released code looks at the last epochs.  sensitivity: all, as printed.
        auc: those after the first tenth of the last phase, where the rate has risen; before it the area is that of
        random weights, and the best may come early where few real images are soon learnt by heart.
        """
        last = self.real_steps or self.mixed_steps
        risen = self.steps - last + round(learner.WARM_UP * last)
        return {"dual": self.steps - (1 + last) // 2, "sensitivity": 0, "auc": risen}[rule]

    @property
    def taught(self) -> bool:
        """Whether a teacher is trained along."""
        return self.knowledge or self.guidance == "teacher"

    def phase(self, step: int) -> int:
        """1 for steps (from 0) with all images, 2 for those with real ones alone."""
        return 1 if step < self.mixed_steps else 2

    def seed_at(self, step: int, seed: int) -> int:
        """The seed of a step in a run of this seed: its own, but in a first phase that runs share.

        Weights are drawn by that of step 0.
        """
        return seed if self.shared_start is None or self.phase(step) == 2 else self.shared_start

    def rate(self, step: int) -> float:
        """Learning rate at a step (from 0): in each phase a linear rise, then a cosine to zero, or all constant."""
        mixed = self.phase(step) == 1
        highest, length = (self.rate_mixed, self.mixed_steps) if mixed else (self.rate_real, self.real_steps)
        if self.constant_rate:
            return highest
        return learner.rate(highest, (step if mixed else step - self.mixed_steps) + 1, length)

    def build(self, name: str, seed: int | str) -> nn.Module:
        """The network `name` with weights drawn for `seed`; LSNet and its dense twin start alike."""
        return lsnet.build(
            name,
            training.torch_generator("screening", seed, name.removesuffix("_dense")),
            stem_stride=self.stem_stride,
            key_share=self.key_share,
            fusion=self.fusion,
            keys="random" if self.guidance == "random" else "simulator",
            variant=self.variant,
            alpha=self.alpha,
            tau=self.tau,
            teacher_width=self.teacher_width,
        )
