"""Self-distillation of a multitask network: a student of the same size learns from it and from two single-task ones.

Published (SD-MdaNet; Chen and Zhang, Med Phys 2024;51:1738): those three teachers, a loss that blends classification
and regression, and distillation on images with labels and without. Our reconstruction: the formulae. With y the class
and p its probability, q* the true and q the predicted proportions, k the predominant tissue and c its probabilities:
    L_invasion = CE(y, p),    L_proportions = KL(q* || q) + |q - q*|^2 + CE(k, c) / 2,
    L = L_invasion + L_proportions + labelled D + unlabelled u D',    D = sum_task sum_t w_t KL(teacher t || student).
Teachers weigh softmax_t(-loss_t) on an image with labels, softmax_t(-entropy_t) on one without; the latter's part u
rises from 0 to 1 over all steps. The predominant tissue is the one whose share is largest against its mean share: in
every view the largest share is that of the surroundings. It has outputs of its own: were it read off q, the loss would
not be least at the true shares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from ecsupport.related.dense_attention import INVASION, PROPORTIONS, TASKS, DenseAttention

REVISION = 1
PREDOMINANT = 0.5  # weight of the predominant tissue in the loss of proportions
LEAST = 0.001  # of a mean proportion: a tissue that is never seen is never predominant
Outputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Arm:
    """What is trained: its tasks, and the weights of distillation on labelled and on unlabelled images."""

    tasks: tuple[str, ...]
    labelled: float = 0.0
    unlabelled: float = 0.0

    @property
    def taught(self) -> bool:
        """Whether it has teachers."""
        return bool(self.labelled or self.unlabelled)


ALONE = {task: f"{task} alone" for task in TASKS}
MULTITASK, ON_LABELLED, SELF = "multitask", "distilled on labelled images", "self-distilled"


def arms(tasks: Sequence[str] = TASKS) -> dict[str, Arm]:
    """The networks, teachers first; of one task alone there is no multitask network among them."""
    every = tuple(tasks)
    teachers = {ALONE[task]: Arm((task,)) for task in every} | ({MULTITASK: Arm(every)} if len(every) > 1 else {})
    return teachers | {ON_LABELLED: Arm(every, labelled=1.0), SELF: Arm(every, labelled=1.0, unlabelled=0.5)}


@dataclass(frozen=True)
class Truth:
    """What is known of images: invasion (B,) int64, 0 or 1; proportions (B, K) float32, rows of NaN where unknown;

    mean: (K,) float32, the mean proportions of the labelled training images
    """

    invasion: torch.Tensor
    proportions: torch.Tensor
    mean: torch.Tensor

    def known(self, task: str) -> torch.Tensor:
        """Of which images the truth of a task is known, (B,) bool."""
        return (self.invasion if task == INVASION else self.proportions.sum(dim=-1)) >= 0  # NaN is not


def predominant(shares: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Which tissue (B,) has the largest ratio of its share (B, K) to the mean (K,)."""
    return (shares / mean.clamp(min=LEAST)).argmax(dim=-1)


def by_image(outputs: Outputs, truth: Truth) -> dict[str, torch.Tensor]:
    """Each task's loss of every image, (B,); 0 where its proportions are not known."""
    found = {}
    if INVASION in outputs:
        log_p = outputs[INVASION][:, 0].log_softmax(dim=-1)  # (B, 2)
        found[INVASION] = functional.nll_loss(log_p, truth.invasion, reduction="none")
    if PROPORTIONS in outputs:
        shares = truth.proportions.nan_to_num(1 / truth.proportions.shape[1])
        log_q, log_c = outputs[PROPORTIONS].log_softmax(dim=-1).unbind(dim=1)  # (B, K) each
        apart = functional.kl_div(log_q, shares, reduction="none").sum(dim=-1)
        square = (log_q.exp() - shares).square().sum(dim=-1)
        cross = functional.nll_loss(log_c, predominant(shares, truth.mean), reduction="none")
        found[PROPORTIONS] = truth.known(PROPORTIONS) * (apart + square + PREDOMINANT * cross)
    return found


def divergence(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """KL(teacher || student) by image, (B,), the sum over a task's distributions; of logits (B, distributions, K)."""
    log_p, log_q = teacher.log_softmax(dim=-1), student.log_softmax(dim=-1)
    return functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=(1, 2))


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy by image, (B,), the sum over a task's distributions; of logits (B, distributions, K)."""
    log_p = logits.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=(1, 2))


def distilled(student: Outputs, teachers: Sequence[Outputs], truth: Truth | None) -> torch.Tensor:
    """The mean over images of what the student is to learn from its teachers, over all tasks.

    truth: of labelled images; None of others. Where the truth of a task is not known teachers weigh by their entropy.
    """
    total = torch.zeros(())
    for task in student:
        of_task = [outputs for outputs in teachers if task in outputs]
        doubt = [entropy(outputs[task]) for outputs in of_task]
        if truth:
            wrong = (by_image(outputs, truth)[task] for outputs in of_task)
            doubt = [torch.where(truth.known(task), loss, unsure) for loss, unsure in zip(wrong, doubt, strict=True)]
        weight = torch.stack(doubt).neg().softmax(dim=0).detach()  # (teachers, B)
        apart = torch.stack([divergence(outputs[task], student[task]) for outputs in of_task])  # (teachers, B)
        total = total + (weight * apart).sum(dim=0).mean()
    return total


def losses(
    network: DenseAttention,
    arm: Arm,
    images: torch.Tensor,
    truth: Truth,
    unlabelled: torch.Tensor,
    teachers: Sequence[DenseAttention] = (),
    done: float = 1.0,
) -> dict[str, torch.Tensor]:
    """The terms of an arm's loss by name, weighed: their sum is what is minimised.

    images: (B, 1, S, S) with labels, unlabelled: (U, 1, S, S) without, U = 0 where there are none;  teachers: in eval
    mode, never moved;  done: share of the steps, in [0, 1]
    A student sees both kinds in one pass, also where it learns from one: batch statistics are those of both.
    """
    every, first = torch.cat([images, unlabelled]) if arm.taught else images, len(images)
    outputs = network(every)
    labelled = {task: logits[:first] for task, logits in outputs.items()}
    by_task = by_image(labelled, truth)
    terms = {task: loss.sum() / truth.known(task).sum().clamp(min=1) for task, loss in by_task.items()}
    if not arm.taught:
        return terms
    with torch.no_grad():
        told = [teacher(every) for teacher in teachers]
    of_labelled = [{task: logits[:first] for task, logits in one.items()} for one in told]
    terms["labelled"] = arm.labelled * distilled(labelled, of_labelled, truth)
    if arm.unlabelled and len(unlabelled):
        rest = {task: logits[first:] for task, logits in outputs.items()}
        of_rest = [{task: logits[first:] for task, logits in one.items()} for one in told]
        terms["unlabelled"] = done * arm.unlabelled * distilled(rest, of_rest, None)
    return terms
