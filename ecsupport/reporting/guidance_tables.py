"""Tables of notebook 05's section on guidance and the label: what kept keys tell, what students make of it, losses."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.evaluation.auc import auc_difference
from ecsupport.evaluation.probes import mean_by_patient, mean_over_patients
from ecsupport.experiments import guidance
from ecsupport.screening import ablations, distillation, guided
from ecsupport.screening.settings import Settings

PHASES = ("guided", "handing over", "alone")


def in_guidance(masks: Mapping[int, Job]) -> pd.DataFrame:
    """What kept keys tell of the label: the two tables of `guidance.masks` of all runs, by seed, one below another.

    Columns seed, when, measure (`overlap`, `cosine`, `auc`), given, choice, block, value, low, high, patients; limits
    are there for an AUC.
    """
    parts = []
    for seed, job in masks.items():
        overlap, decoded = (pd.read_csv(job.file(f"{name}.csv")) for name in ("overlap", "decoded"))
        alike = overlap.melt(["when", "choice", "block"], ["overlap", "cosine"], "measure").assign(given="either label")
        parts += [alike.assign(seed=seed), decoded.rename(columns={"auc": "value"}).assign(seed=seed, measure="auc")]
    order = ["seed", "when", "measure", "given", "choice", "block", "value", "low", "high", "patients"]
    return pd.concat(parts, ignore_index=True)[order]


def guided_students(run: Run, job: Job, n_resamples: int) -> pd.DataFrame:
    """What half-trained students make of the maps that they are given: one row an arm, part of the images and map.

    job: of `guidance.guided_students`.  loss: class loss in nats, mean of patients; less: loss less that with no map,
    with low and high (95 %, patients resampled); auc: of the true label; follows: where a random label was told, the
    AUC of that label less the one without a map, with follows_low and follows_high, else NaN; teacher: its own loss.
    """
    patient_of, rows = guidance.images(run, *guidance.PARTS), []
    for part in guidance.PARTS:
        with np.load(job.file(f"{part}.npz")) as found:
            scores, truth, told, by_teacher = (found[name] for name in ("scores", "truth", "told", "teacher"))
            whose = dict(zip(patient_of[part], patient_of[f"{part}_patient"], strict=True))
            patient = np.array([whose[row] for row in found["row"]])
        (taught,) = mean_by_patient([class_loss(by_teacher, truth)], patient)
        for arm, of_arm in zip(guidance.ARMS, scores, strict=True):
            losses = class_loss(of_arm, truth)  # (given, N)
            for given, score, loss in zip(guided.GIVEN, of_arm, losses, strict=True):
                if arm == ablations.RANDOM and given != guided.NONE:
                    continue
                rng = generator("05", "guided", arm, part, given)
                less, low, high, number = mean_over_patients(loss - losses[-1], patient, rng, n_resamples)
                follows = followed(told, score, of_arm[-1], patient) if given == guided.TOLD else (np.nan,) * 3
                (mean,) = mean_by_patient([loss], patient)
                row = (mean, less, low, high, roc_auc_score(truth, score), *follows, taught, number)
                rows.append((arm, part, given, *row))
    limits = ["less", "low", "high", "auc", "follows", "follows_low", "follows_high", "teacher", "patients"]
    return pd.DataFrame(rows, columns=["arm", "images", "given", "loss", *limits])


def followed(told: np.ndarray, score: np.ndarray, without: np.ndarray, patient: np.ndarray) -> tuple[float, ...]:
    """AUC of the told label (N,) by scores with its map, less that by scores `without` a map, and its limits.

    Chance alone may tie a told label to the true one, in both alike. NaN where fewer than two patients have a label.
    """
    if min(len(np.unique(patient[told == value])) for value in (0, 1)) < 2:
        return (np.nan,) * 3
    found = auc_difference(told, score, without, patient)
    return found.difference, found.low, found.high


def class_loss(score: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Cross-entropy in nats of logit differences z1 - z0 (..., N), truth (N,) 1 or 0: (..., N) float64."""
    return np.logaddexp(0, -(2.0 * truth - 1) * score)


def courses(job: Job) -> dict[tuple[str, int], pd.DataFrame]:
    """Histories of `guidance.guided_students` by arm and seed, as far as these students were trained."""
    history = pd.read_csv(job.file("history.csv"))
    return {(str(arm), job.recipe["seed"]): of for arm, of in history.groupby("arm", sort=False)}


def by_phase(histories: Mapping[tuple[str, int], pd.DataFrame], settings: Mapping[str, Settings]) -> pd.DataFrame:
    """Class loss on training batches by phase of guidance: one row an arm, seed and phase of `PHASES`.

    histories: of training runs by arm and seed;  settings: by arm.  steps, and means over the last half of a phase of
    teacher, student and less, the student's loss less the teacher's.
    """
    rows = []
    for (arm, seed), history in histories.items():
        steps, handover = settings[arm].steps, settings[arm].handover
        every = np.arange(int(history["step"].max()))  # a history keeps some of the steps
        share = np.array([distillation.weights(s / (steps - 1), handover).guidance for s in every])
        phase = np.select([share == 1, share > 0], PHASES[:2], PHASES[2])
        for name in PHASES:
            of = history[phase[history["step"].to_numpy(int) - 1] == name]
            if len(of):
                teacher, student = of[["teacher", "student"]].iloc[len(of) // 2 :].mean()
                rows.append((arm, seed, name, int(np.sum(phase == name)), teacher, student, student - teacher))
    return pd.DataFrame(rows, columns=["arm", "seed", "phase", "steps", "teacher", "student", "less"])
