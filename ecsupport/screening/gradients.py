"""Importance maps to look at and to compare: the teacher's gradients and what the student makes of them (Figure 7)."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from ecsupport.backbone.inputs import to_input
from ecsupport.screening.distillation import Distillation, Maps, Signature, Targets, score_gradients
from ecsupport.screening.lsnet import Selection, Student
from ecsupport.screening.sparse_attention import ALPHA, TAU, number_of_keys, ranking, simulate, top_keys

REVISION = 1  # maps, keys, rank correlation, lessons


def teacher_maps(teacher: nn.Module, images: np.ndarray) -> list[torch.Tensor | None]:
    """Equation 10 for images (B, S, S) uint8, by the teacher in eval mode: one (B, P, h, N, N) map a block.

    The loss is that of the class that the teacher predicts, since no label is known at a patient's bedside. A block of
    a single token gives None. The teacher's own gradients are left cleared.
    """
    teacher.eval()
    scores: list[torch.Tensor] = []
    logits = teacher(to_input(images, next(teacher.parameters()).device), scores)
    maps = score_gradients(functional.cross_entropy(logits, logits.argmax(-1)), scores)
    teacher.zero_grad()
    return maps


def student_maps(student: Student, images: np.ndarray) -> list[Selection | None]:
    """Simulated gradients and chosen keys of images (B, S, S) uint8, by the student alone in eval mode; one a block."""
    student.eval()
    selections: list[Selection | None] = []
    with torch.no_grad():
        student(to_input(images, next(student.parameters()).device), selections=selections)
    return selections


def keys_of_student(student: Student, images: np.ndarray) -> list[torch.Tensor]:
    """The keys (B, P, h, N, k) that a student chooses for images (B, S, S) uint8, one tensor a block that has any."""
    return [s.keys for s in student_maps(student, images) if s is not None]


def keys_of_teacher(
    teacher: nn.Module, images: np.ndarray, fusion: str, share: float, alpha: float = ALPHA, tau: float = TAU
) -> list[torch.Tensor]:
    """Those that the teacher's gradient for its predicted class would choose; all else as in the student."""
    maps = [g for g in teacher_maps(teacher, images) if g is not None]
    return [top_keys(ranking(g, fusion, alpha, tau), number_of_keys(g.shape[-1], share)) for g in maps]


def rank_correlation(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Spearman's correlation along the last axis of two maps without ties: (..., N) -> (...)."""
    ranks = [x.argsort(-1).argsort(-1).double() for x in (one, other)]
    centred = [r - r.mean(-1, keepdim=True) for r in ranks]
    return (centred[0] * centred[1]).sum(-1) / centred[0].square().sum(-1)


def agreement(selections: Sequence[Selection | None], gradients: Maps) -> float:
    """Rank correlation of simulated with true gradients, row by row, mean over rows and then over blocks."""
    pairs = [(s.simulated.detach(), g) for s, g in zip(selections, gradients, strict=True) if s is not None]
    return float(torch.stack([rank_correlation(s, g).mean() for s, g in pairs]).mean())


def lessons(
    student: Student, other: Student, images: np.ndarray, simulation: str, steps: int, rate: float = 0.01
) -> pd.DataFrame:
    """What a simulation loss can teach: simulators learn from targets that they could meet exactly.

    The targets are what the simulators of `other`, a network of the same sizes, make of the student's own tokens for
    images (B, S, S) uint8, all on the CPU. Copies learn for `steps` of Adam at `rate`; both networks stay as they were.
    One row a step and block, before the step's update: simulation (the loss, summed over blocks), elsewhere (that
    against the next image's target, NaN for maps) and agreement (rank correlation with the target, mean over queries).
    """
    tokens: dict[nn.Module, tuple[torch.Tensor, int]] = {}  # by simulator, but for that of a single token
    hooks = [
        block.simulator.register_forward_pre_hook(lambda asked, given: tokens.update({asked: given}))
        for block in student.blocks
    ]
    student_maps(student, images)
    for hook in hooks:
        hook.remove()
    learners, targets = [], []
    for block, there in zip(student.blocks, other.blocks, strict=True):
        given = tokens.get(block.simulator)
        learners.append(given and (copy.deepcopy(block.simulator).train(), given))
        with torch.no_grad():
            targets.append(None if given is None else simulate(copy.deepcopy(there.simulator).train()(*given)))
    teaching = Distillation(True, False, simulation, Signature(), Targets(len(images), smoothing=1.0))
    optimiser = torch.optim.Adam([p for of in learners if of for p in of[0].parameters()], rate)
    rows = []
    for step in range(steps):
        made = [of and Selection(torch.empty(0), of[0](*of[1])) for of in learners]
        loss, notes = teaching.simulate(made, targets, torch.arange(len(images)))
        for block, (one, target) in enumerate(zip(made, targets, strict=True), start=1):
            if one is not None:
                alike = float(rank_correlation(one.simulated.detach(), target).mean())
                rows.append((step, block, float(loss.detach()), notes.get("simulation_elsewhere", math.nan), alike))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return pd.DataFrame(rows, columns=["step", "block", "simulation", "elsewhere", "agreement"])


def area_of_tokens(masks: np.ndarray, tokens: int) -> torch.Tensor:
    """The share of each token's area that lies within a mask: (B, S, S) bool -> (B, N) float32, N a square number."""
    whole = torch.from_numpy(np.ascontiguousarray(masks)).float()
    return functional.adaptive_avg_pool2d(whole[:, None], math.isqrt(tokens)).flatten(1)  # (B, 1, r, r) -> (B, N)


def share_of_keys(keys: torch.Tensor, area: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Which share of the chosen keys lies on a mask, and which would by chance: two of (B,) float64.

    keys: (B, P, h, N, k); area: (B, N) of `area_of_tokens`. Means over queries, heads and positions. NaN for an image
    without the structure.
    """
    every = area[:, None, None, None].expand(*keys.shape[:-1], -1)  # (B, N) -> (B, P, h, N, N)
    share, chance = every.gather(-1, keys.cpu()).double().mean((1, 2, 3, 4)), area.double().mean(1)
    share[chance == 0] = chance[chance == 0] = torch.nan
    return share.numpy(), chance.numpy()


def share_of_own(keys: torch.Tensor) -> np.ndarray:
    """Which share of the queries keeps its own token as a key: (B, P, h, N, k) -> (B,) float64.

    On the diagonal of F F^T (Equation 12) stand squares, mostly the largest numbers of their rows.
    """
    own = torch.arange(keys.shape[-2], device=keys.device)[:, None]
    return (keys == own).any(-1).double().mean((1, 2, 3)).cpu().numpy()


def keys_on_zones(
    choose: Callable[[np.ndarray], Sequence[torch.Tensor]],
    images: np.ndarray,
    zones: Mapping[str, np.ndarray],
    tokens: Sequence[int],
    batch: int = 16,
) -> pd.DataFrame:
    """Where chosen keys lie, image by image: columns block, zone, image (its place), share, chance and elsewhere.

    choose: gives the keys of images, one tensor a block;  images: (B, S, S) uint8;  zones: masks (B, S, S) by name;
    tokens: N of the blocks wanted, from the first. `elsewhere` is the share of the same keys on the structure of
    another image (of those that have it, the one half of their number further on): structures lie near the middle, so
    that whoever loves the middle finds more than `chance`.
    """
    parts = []
    others = {zone: _of_others(mask) for zone, mask in zones.items()}
    for start in range(0, len(images), batch):
        here = slice(start, start + batch)
        for block, (keys, count) in enumerate(zip(choose(images[here]), tokens, strict=False), start=1):
            for zone, mask in zones.items():
                share, chance = share_of_keys(keys, area_of_tokens(mask[here], count))
                elsewhere, _ = share_of_keys(keys, area_of_tokens(others[zone][here], count))
                of = {"block": block, "zone": zone, "image": np.arange(len(images))[here]}
                parts.append(pd.DataFrame(of | {"share": share, "chance": chance, "elsewhere": elsewhere}))
    return pd.concat(parts, ignore_index=True)


def _of_others(mask: np.ndarray) -> np.ndarray:
    """Masks (B, S, S), those that hold something each exchanged for another of them."""
    found, exchanged = np.flatnonzero(mask.any((1, 2))), mask.copy()
    exchanged[found] = mask[np.roll(found, len(found) // 2)]
    return exchanged
