"""Gradient distillation: what passes from teacher to student in one training step (Equations 10, 11 and 16 to 18)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ecsupport.backbone.mobilevit import HEADS, POSITIONS
from ecsupport.core.training import torch_generator
from ecsupport.screening.lsnet import Selection
from ecsupport.screening.sparse_attention import TINY, Share, pieces, simulate, standardise

Maps = Sequence[torch.Tensor | None]  # one a block, (B, P, h, N, N); None for a block of a single token

REVISION = 1  # Equations 10, 11 and 16 to 18, w(p) on the simulator's learning rate
BLOCKS = 3
HANDOVER_BEGINS, HANDOVER_ENDS = 0.3, 0.7  # of the training: the three phases described under Equation 16
KD_TEMPERATURE = 3.0
SMOOTHING = 0.7
SIGNATURE = 128
SIDE = 32
DISTANCES = ("divergence", "cosine")
HANDOVERS = ("described", "released")
CLASSES = ("label", "prediction")


class Weights(NamedTuple):
    """What weighs how much at one moment: teacher's gradients in the choice of keys (m), simulation (w), and L_KD."""

    guidance: Share
    simulation: float
    knowledge: Share


def weights(progress: float, handover: str = "described") -> Weights:
    """The weights of Equation 16 at `progress` p in [0, 1].

    described, in three phases: the teacher's gradients alone choose the keys until .3 of the training, ever less until
    .7, then not at all; the simulation weighs 1 until then and falls to 0 at the end; L_KD weighs 1 - p.
    released: all losses weigh 1 throughout, and the student chooses alone from the first step.

    The simulation's w(p) multiplies the simulator's learning rate, not L_sim as Equation 16 has it: no other loss
    reaches the simulator, and of a single loss AdamW divides the scale out, so that a weight would change next to
    nothing until it is 0, and momentum would go on then. With the rate the simulator comes to rest. (In the `released`
    variant L_sim reaches the tokens too; there it keeps its weight, as in the code.)
    """
    if handover == "released":
        return Weights(0.0, 1.0, 1.0)
    share = (HANDOVER_ENDS - progress) / (HANDOVER_ENDS - HANDOVER_BEGINS)
    return Weights(min(1.0, max(0.0, share)), min(1.0, (1 - progress) / (1 - HANDOVER_ENDS)), 1 - progress)


def distillation_loss(student: torch.Tensor, teacher: torch.Tensor, distance: str = "divergence") -> torch.Tensor:
    """L_KD, which the text does not define, of logits (B, 2); no gradient to the teacher.

    divergence: of the student's softened prediction from the teacher's, T = 3; the factor T^2 keeps the gradient's
    size independent of T.  cosine: 2 - 2 cos of the logits; the released code takes it of projected features.
    """
    if distance == "cosine":
        return (2 - 2 * functional.cosine_similarity(student, teacher.detach(), dim=-1)).mean()
    target = (teacher.detach() / KD_TEMPERATURE).softmax(-1)
    prediction = (student / KD_TEMPERATURE).log_softmax(-1)
    return KD_TEMPERATURE**2 * functional.kl_div(prediction, target, reduction="batchmean")


def score_gradients(loss: torch.Tensor, scores: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
    """Equation 10: run the backward pass of a batch's mean loss and return dL/dA times the number of images.

    In eval mode that is the gradient of each image's own loss; in training batch norm lets images speak to each other.
    scores: (B, P, h, N, N) before softmax, of the first attention layer of each block. The parameters receive their
    gradients in the same pass. Each row sums to zero. A block of a single token has no gradient: None.
    """
    for tensor in scores:
        tensor.retain_grad()
    loss.backward()
    return [None if tensor.shape[-1] == 1 else tensor.grad * len(tensor) for tensor in scores]


class Signature(nn.Module):
    """phi: a map as 128 numbers, by a fixed random network (means over 32 x 32 areas, two convolutions, a projection).

    It is fixed, since a network that learned along with the simulator could send every map to one point. The projection
    sees positions: a mean over them would forget which tokens matter.
    """

    def __init__(self) -> None:
        super().__init__()
        generator = torch_generator("screening", "signature")
        shapes = [(16, POSITIONS * HEADS, 3, 3), (32, 16, 3, 3), (SIGNATURE, 32 * (SIDE // 4) ** 2)]
        for name, shape in zip(("first", "second", "projection"), shapes, strict=True):
            self.register_buffer(name, torch.randn(shape, generator=generator))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, P, h, N, N), or (B, 1, 1, N, N) for all heads and positions -> (B, 128) of length 1.

        Rows are standardised first, so that their scale does not count (down to a deviation of 1e-15, or a thousandth
        of the mean, where rounding begins); of such a row only means over areas are needed, so that no other map of
        N x N is made.
        """
        tokens = maps.shape[-1]
        unit = torch.eye(tokens, device=maps.device)[None]
        areas = functional.adaptive_avg_pool1d(unit, SIDE)[0]  # (N, 32): a product with it is a mean over areas
        mean = maps.mean(-1, keepdim=True)
        squares = torch.linalg.vector_norm(maps, dim=-1, keepdim=True).square() / tokens  # torch's var takes far longer
        deviation = torch.maximum(squares - mean.square(), 1e-6 * mean.square() + TINY).sqrt()
        rows = (maps @ areas - mean) / deviation  # (B, P, h, N, 32)
        x = areas.T @ rows.expand(-1, POSITIONS, HEADS, -1, -1).flatten(1, 2)  # -> (B, P h, N, 32) -> (B, P h, 32, 32)
        x = functional.conv2d(x, self.first, stride=2, padding=1).relu()  # -> (B, 16, 16, 16)
        x = functional.conv2d(x, self.second, stride=2, padding=1).relu()  # -> (B, 32, 8, 8)
        return functional.normalize(x.flatten(1) @ self.projection.T, dim=-1)  # -> (B, 2048) -> (B, 128)


class Targets:
    """The smoothed gradient target of each training image and block, as signatures.

    Crops move from step to step, so that maps of different steps cannot be averaged; their signatures can.
    """

    def __init__(self, images: int, smoothing: float = SMOOTHING, device: torch.device | str = "cpu") -> None:
        """`smoothing` is mu of Equation 17, above 1/2 to favour the recent; 1 leaves the gradients as they come."""
        self.smoothing = smoothing
        self.state = {name: torch.zeros(images, BLOCKS, SIGNATURE, device=device) for name in ("raw", "smooth")}
        self.state["seen"] = torch.zeros(images, dtype=torch.bool, device=device)

    def update(self, ids: torch.Tensor, signatures: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Equation 17: smooth = mu * new + (1 - mu) * smooth; an image's first target is its first signature.

        Of an image that is twice in a batch, the last signature counts for what comes.

        ids: (B,) int64; signatures: (B, blocks, 128). Returns the smoothed targets (B, blocks, 128), and how far the
        `raw` and the `smooth` target moved since these images were last seen, over their own norm (NaN if never).
        """
        old, seen = self.state["smooth"][ids], self.state["seen"][ids]
        mixed = self.smoothing * signatures + (1 - self.smoothing) * old
        new = {"raw": signatures, "smooth": torch.where(seen[:, None, None], mixed, signatures)}
        change = {}
        for name, target in new.items():
            moved = (target - self.state[name][ids]).flatten(1).norm(dim=1)  # (B, blocks, 128) -> (B,)
            share = moved / target.flatten(1).norm(dim=1)
            change[name] = torch.where(seen, share, 0).sum() / seen.sum()  # a selection would wait for a GPU
            self.state[name][ids] = target
        self.state["seen"].index_fill_(0, ids, True)
        return new["smooth"], change


def raw_simulation_loss(simulated: Maps, gradients: Maps) -> torch.Tensor:
    """Equation 11: squared distance of simulated and true gradients over the number of entries, summed over blocks."""
    pairs = [(s, g) for s, g in zip(simulated, gradients, strict=True) if g is not None]
    return torch.stack([functional.mse_loss(s, g) for s, g in pairs]).sum()


def row_simulation_loss(simulated: Maps, gradients: Maps) -> torch.Tensor:
    """Equation 11 on row-standardised maps: 2 - 2 times the mean correlation over the keys of a query, summed.

    What chooses keys is the order within a row, which neither its scale nor its mean can change.
    """
    pairs = [(s, g) for s, g in zip(simulated, gradients, strict=True) if g is not None]
    return raw_simulation_loss([standardise(s) for s, _ in pairs], [standardise(g) for _, g in pairs])


def simulation_loss(signatures: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Equation 18, Equation 11 on features: squared distance of signatures, summed over blocks, mean over images.

    signatures of the simulated gradients and smoothed targets: (B, blocks, 128).
    """
    return (signatures - targets.detach()).square().sum(dim=(1, 2)).mean()


MAPS = {"raw": raw_simulation_loss, "rows": row_simulation_loss}
SIMULATIONS = ("features", *MAPS)


@dataclass
class Distillation:
    """What the student takes from its teacher: guidance by gradients, soft labels (`knowledge`), or both.

    `simulation` is what the simulation loss compares: `features` (signatures), `raw` maps or their standardised `rows`;
    `distance` that of L_KD; `gradient_of` whose class loss the gradients are of.
    """

    guidance: bool
    knowledge: bool
    simulation: str
    signature: Signature
    targets: Targets
    distance: str = "divergence"
    gradient_of: str = "label"

    def simulate(
        self, selections: Sequence[Selection | None], gradients: Maps, ids: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The simulation loss of a batch, and what to watch, by name.

        raw_change, smooth_change: by how much targets moved (`Targets.update`). simulation_elsewhere: the loss against
        the target of the next image in the batch: what it lies above the loss is learnt of an image, all else of all.
        """
        nothing = torch.zeros(len(ids), SIGNATURE, device=ids.device)
        signs = [nothing if g is None else self.signature(g) for g in gradients]
        targets, change = self.targets.update(ids, torch.stack(signs, dim=1))  # (B, blocks, 128)
        notes = {f"{name}_change": value for name, value in change.items()}
        if self.simulation in MAPS:
            return MAPS[self.simulation]([None if s is None else s.simulated for s in selections], gradients), notes
        signed = [t if s is None else self.sign(s.features) for s, t in zip(selections, signs, strict=True)]
        mine = torch.stack(signed, dim=1)  # (B, blocks, 128)
        notes["simulation_elsewhere"] = simulation_loss(mine.detach(), targets.roll(1, 0))
        return simulation_loss(mine, targets), notes

    def sign(self, features: torch.Tensor) -> torch.Tensor:
        """The signature of the gradient simulated by features (B, P, h, N, d): (B, 128).

        Large maps are made image by image, and once more for the way back: they are never held together.
        """

        def of(part: torch.Tensor) -> torch.Tensor:
            return self.signature(simulate(part))

        parts = pieces(features)
        if len(parts) == 1:
            return of(features)
        return torch.cat([checkpoint(of, p, use_reentrant=False, preserve_rng_state=False) for p in parts])


class Lesson(NamedTuple):
    """What students take from their teacher in one step, all of it numbers: loss, logits (B, 2), gradients by class."""

    loss: torch.Tensor
    logits: torch.Tensor
    gradients: dict[str, Maps]


def teach(
    teacher: nn.Module, images: torch.Tensor, labels: torch.Tensor, classes: Collection[str] = ("label",)
) -> Lesson:
    """The teacher's part of Equation 16: the gradient of L_cls^T into its parameters, and what its students take.

    images: (B, 1, S, S) float32; labels: (B,) int64 in {0, 1}. classes: of `CLASSES`, whose loss the gradients of
    Equation 10 are of; that of the label is always there, that of the prediction takes a second backward pass. It looks
    at no student, so that students who see the same images can share one. The caller clears gradients before.
    """
    scores: list[torch.Tensor] = []
    logits = teacher(images, scores)
    gradients: dict[str, Maps] = {}
    if "prediction" in classes:
        predicted = functional.cross_entropy(logits, logits.argmax(-1))
        found = torch.autograd.grad(predicted, scores, retain_graph=True)
        gradients["prediction"] = [None if g.shape[-1] == 1 else g * len(g) for g in found]
    loss = functional.cross_entropy(logits, labels)
    gradients["label"] = score_gradients(loss, scores)
    return Lesson(loss.detach(), logits.detach(), gradients)


@dataclass(frozen=True)
class Step:
    """What one step gives: loss terms before they are weighted, the teacher's too, and what to watch."""

    terms: dict[str, torch.Tensor]
    selections: list[Selection | None]
    notes: dict[str, torch.Tensor]


def learn(
    network: nn.Module,
    lesson: Lesson | None,
    distillation: Distillation | None,
    images: torch.Tensor,
    labels: torch.Tensor,
    ids: torch.Tensor,
    weigh: Weights,
) -> Step:
    """The student's part of Equation 16: the gradient of L_cls^S + (1 - p) L_KD + L_sim into its parameters.

    Equation 16's w(p) before L_sim is left to the simulator's learning rate, see `weights`.
    images, labels: as in `teach`; ids: (B,) int64 places of the images in the training set; weigh: of `weights`.
    Without a lesson the network is trained on its labels alone; ValueError for a lesson without `distillation`, or the
    reverse. The caller clears gradients before.
    """
    if (lesson is None) != (distillation is None):
        raise ValueError("a lesson and how to learn from it go together, expected both or neither")
    terms: dict[str, torch.Tensor] = {}
    selections: list[Selection | None] = []
    notes: dict[str, torch.Tensor] = {}
    if lesson is None or distillation is None:
        terms["student"] = total = functional.cross_entropy(network(images), labels)
    else:
        gradients = lesson.gradients[distillation.gradient_of]
        own = network(images, *((gradients, weigh.guidance, selections) if distillation.guidance else ()))
        terms["teacher"] = lesson.loss
        terms["student"] = total = functional.cross_entropy(own, labels)
        if distillation.knowledge:
            terms["distillation"] = distillation_loss(own, lesson.logits, distillation.distance)
            total = total + weigh.knowledge * terms["distillation"]
        if distillation.guidance:
            terms["simulation"], notes = distillation.simulate(selections, gradients, ids)
            total = total + terms["simulation"]
    total.backward()
    return Step({name: term.detach() for name, term in terms.items()}, selections, notes)
