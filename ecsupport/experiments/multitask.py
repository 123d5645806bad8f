"""Multitask self-distillation as jobs: teachers and students by share of labels, and what they are worth (notebook 13).

A share of labels is one of patients. A quarter of them stay unlabelled at every share, as in the published study, where
845 of 3,257 scans are; the labels of the others are known in one order, so that what is known at one share is known at
every higher one. Patients who are selected or tested on are never among the unlabelled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from ecsupport.backbone import mobilevit
from ecsupport.cohort import manifest, structures, tissue_shares
from ecsupport.cohort.tissue_shares import TISSUES
from ecsupport.core import tables
from ecsupport.core.jobs import Job
from ecsupport.core.pixels import Rows
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import reproducible
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.components import Estimate, estimated
from ecsupport.evaluation.pseudo_values import pseudo_values
from ecsupport.experiments import cohort, networks
from ecsupport.related import dense_attention, multitask_training, self_distillation
from ecsupport.related.dense_attention import INVASION, PROPORTIONS, TASKS

REVISIONS = {
    "training": multitask_training.REVISION,
    "losses": self_distillation.REVISION,
    "network": dense_attention.REVISION,
    "mobilevit": mobilevit.REVISION,
}
SPEED = 400.0  # images of 64 pixels that one core trains on in a second, at stem stride 2, without teachers
NEVER = 0.25  # of patients, whose labels are known at no share
AREA = METRICS.index("roc_auc")
AUC, ERROR, PREDOMINANT = MEASURES = ("AUC of invasion", "mean squared error", "AUC of the predominant tissue")
MEAN, TUMOUR = "mean of training images", list(TISSUES).index("tumour")
FILE, TABLE = "pseudo_values.npz", "tissues.csv"


class Images(NamedTuple):
    """rows: images by their place in their pool, with the column `who`, a patient's number;  label: (N,) by image."""

    rows: pd.DataFrame
    label: np.ndarray


@cohort.once
def images(run: Run, which: str) -> Images:
    """Ultrasound images of `train`, or of those who decide (`networks.deciding`)."""
    rows = cohort.pool(run, networks.POOL_OF.get(which, "ultrasound"))
    rows = rows[(rows["modality"] == "us") & (rows["split"] == which)]
    who, _ = pd.factorize(rows["patient_id"])
    return Images(rows.assign(who=who), manifest.target(rows, run.profile.task).to_numpy(np.int64))


@cohort.once
def lacking(run: Run) -> str:
    """Why proportions of tissues cannot be learnt or tested, in a sentence; empty where they can."""
    if run.cohort is None:
        return ""
    learnt, tested = (~np.isnan(_of_manifest(run, which)).any(axis=1) for which in ("train", networks.deciding(run)))
    if not learnt.any() and not tested.any():
        return "The manifest holds no proportions of tissues."
    if images(run, networks.deciding(run)).rows["who"][tested].nunique() < 2:
        return "Proportions of tissues are known of fewer than two patients who decide."
    few = [
        percent
        for percent, seed in product(run.profile.multitask.percents, run.profile.multitask.seeds)
        if not learnt[labelled(run, percent, seed)].any()
    ]
    return f"Where {min(few)} % of labels are used, no proportions of tissues are known." if few else ""


def tasks(run: Run) -> tuple[str, ...]:
    """Which are learnt: invasion, and proportions where nothing is `lacking`."""
    return (INVASION,) if lacking(run) else TASKS


def _of_manifest(run: Run, which: str) -> np.ndarray:
    """Shares (N, 4) of own images, by image of `images`."""
    named = cohort.rows(run).drop_duplicates("image").set_index("image")
    return tissue_shares.of_rows(named.loc[images(run, which).rows["image"]])


def _shares(run: Run, which: str) -> tuple[dict[str, Job], dict[str, np.ndarray]]:
    """Where the proportions of these images stand: measured by a job of phantoms, given of own images."""
    if run.cohort:
        return {}, {"proportions": _of_manifest(run, which)}
    pool, size = networks.POOL_OF.get(which, "ultrasound"), run.profile.multitask.image_size
    rows = cohort.pool(run, pool)
    job = Job(
        f"tissue/{pool}/{size}",
        _measure,
        {"size": size, "revision": [structures.REVISION, tissue_shares.REVISION]},
        given={"rows": rows},
        minutes=len(rows) / cohort.SPEED / 60 * (size / 64) ** 2,
    )
    return {"tissue": job}, {}


def _measure(folder: Path, job: Job) -> None:
    labels = structures.known(job.given["rows"], job.recipe["size"]).labels
    np.save(folder / "shares.npy", tissue_shares.of_labels(labels))


def _proportions(job: Job) -> np.ndarray:
    """Of the images that a job learns from or tests."""
    if "proportions" in job.given:
        return job.given["proportions"]
    return np.load(job.inputs["tissue"].file("shares.npy"))[job.given["places"]]


def labelled(run: Run, percent: int, seed: int) -> np.ndarray:
    """Which training images have labels at this percentage of patients, (N,) bool: one patient of each class at least.

    Each seed draws its own order of patients, so that who is labelled varies with it.
    """
    of = images(run, "train")
    order = generator("multitask", seed, "labelled").permutation(of.rows["who"].max() + 1)
    found = np.zeros(len(of.label), bool)
    for value in (0, 1):
        who = of.rows["who"].to_numpy()[of.label == value]
        ranked = order[np.isin(order, who)]
        count = max(1, round(percent / 100 * (1 - NEVER) * len(ranked)))
        found |= np.isin(of.rows["who"], ranked[:count]) & (of.label == value)
    return found


def trained(run: Run) -> dict[tuple[int, int], Job]:
    """By percentage of labels and seed; all networks of both are one job."""
    size = run.profile.multitask
    return {(percent, seed): _trained(run, percent, seed) for percent in size.percents for seed in size.seeds}


def _trained(run: Run, percent: int, seed: int) -> Job:
    size, learnt = run.profile.multitask, images(run, "train")
    area = (size.image_size / 64 * 2 / size.stem_stride) ** 2
    inputs, given = _shares(run, "train")
    arms = self_distillation.arms(tasks(run))
    passes = sum(1 + arm.taught * (multitask_training.UNLABELLED + 1) for arm in arms.values())
    recipe = {"batch": size.batch, "steps": size.steps, "rate": size.rate, "stem_stride": size.stem_stride}
    return Job(
        f"multitask/{percent}/{seed}",
        _train,
        {"tasks": list(tasks(run)), "seed": seed, **recipe, "revision": REVISIONS},
        {"images": cohort.pixels(run, "ultrasound", size.image_size), **inputs},
        {
            "places": learnt.rows.index.to_numpy(),
            "label": learnt.label,
            "labelled": labelled(run, percent, seed),
            **given,
        },
        minutes=passes * size.steps * size.batch / SPEED / 60 * area,
        memory=1 + networks.HELD[False] * size.batch * area,
        device=run.profile.device,
        archived=(TABLE, *map(multitask_training.history, arms)),
    )


def _train(folder: Path, job: Job) -> None:
    pixels = cohort.open_pool(job.inputs["images"].folder).images
    image = Rows((pixels, job.given["places"]))
    arrays = {"image": image, "proportions": _proportions(job)} | {n: job.given[n] for n in ("label", "labelled")}
    multitask_training.train(folder, arrays, job.recipe, job.device)
    known = arrays["proportions"][~np.isnan(arrays["proportions"]).any(axis=1)]
    mean = multitask_training.mean_shares(known)
    predominant = self_distillation.predominant(torch.from_numpy(known), torch.from_numpy(mean)).numpy()
    often = [(predominant == tissue).mean() if len(known) else np.nan for tissue in range(len(mean))]
    table = pd.DataFrame({"tissue": list(TISSUES), "mean share of the view": mean, "predominant in": often})
    table = table[: len(known)]  # no rows where nothing is known
    table.to_csv(folder / TABLE, index=False, float_format="%.4f")


def scores(run: Run, job: Job) -> Job:
    """Pseudo-values of every measure of each network: `pseudo_values.npz`, by network and measure (P,) float16.

    A network of proportions alone tells invasion by the tumour's share; `MEAN` always tells the mean shares.
    """
    size, decide = run.profile.multitask, networks.deciding(run)
    tested = images(run, decide)
    inputs, given = _shares(run, decide)
    area = (size.image_size / 64 * 2 / size.stem_stride) ** 2
    return Job(
        f"scores/{job.name}",
        _score,
        {"revision": 1},
        {"trained": job, "images": cohort.pixels(run, networks.POOL_OF[decide], size.image_size), **inputs},
        {
            "places": tested.rows.index.to_numpy(),
            "who": tested.rows["who"].to_numpy(np.int64),
            "label": tested.label,
            **given,
        },
        minutes=len(self_distillation.arms(tasks(run))) * len(tested.label) / SPEED / 120 * area,
        device=run.profile.device,
        archived=("*",),
    )


def _score(folder: Path, job: Job) -> None:
    of, proportions, given = job.inputs["trained"], _proportions(job), job.given
    image = Rows((cohort.open_pool(job.inputs["images"].folder).images, given["places"]))
    found = {}
    with reproducible(1):
        mean = multitask_training.mean_shares(_proportions(of))  # of all who are learnt from: one endpoint for all
        for name in self_distillation.arms(of.recipe["tasks"]):
            network = multitask_training.restore(of.folder, of.recipe, name, len(TISSUES), job.device)
            told = multitask_training.predict(network, image, job.device)
            if INVASION in told:
                score = told[INVASION][:, 0, 1]
                found[f"{name}/{AUC}"] = area(given["label"], score, given["who"])
            if PROPORTIONS in told and INVASION not in told:
                score = told[PROPORTIONS][:, 0, TUMOUR]
                found[f"{name}/{AUC}"] = area(given["label"], score, given["who"])
            if PROPORTIONS in told:
                of_measures = of_proportions(told[PROPORTIONS], proportions, mean, given["who"])
                found |= {f"{name}/{measure}": psi for measure, psi in of_measures.items()}
                constant = np.broadcast_to(mean, told[PROPORTIONS].shape)
                found[f"{MEAN}/{ERROR}"] = of_proportions(constant, proportions, mean, given["who"])[ERROR]
    np.savez_compressed(folder / FILE, **{name: psi.astype(np.float16) for name, psi in found.items()})


def area(label: np.ndarray, score: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Pseudo-values (P,) of an AUC over images, moved so that their mean is the AUC itself."""
    psi, found = pseudo_values(label, score[None], who)
    return psi[0, :, AREA] - psi[0, :, AREA].mean() + found[0, AREA]


def of_proportions(told: np.ndarray, true: np.ndarray, mean: np.ndarray, who: np.ndarray) -> dict[str, np.ndarray]:
    """Pseudo-values (P,) of both measures of proportions, over the patients of whom some are known.

    told: (N, 2, K), shares and probabilities of the predominant tissue;  true: (N, K), rows of NaN where unknown;
    mean: (K,), against which a tissue is predominant
    The AUC is the mean over the tissues that are predominant in some images and not in all of them.
    """
    known = ~np.isnan(true).any(axis=1)
    told, true, (_, who) = told[known], true[known], np.unique(who[known], return_inverse=True)
    predominant = self_distillation.predominant(torch.from_numpy(true), torch.from_numpy(mean)).numpy()
    areas = []
    for tissue in range(true.shape[1]):
        of = (predominant == tissue).astype(int)
        if min(len(set(who[of == 1])), len(set(who[of == 0]))) > 1:  # without one patient it is still defined
            areas.append(area(of, told[:, 1, tissue], who))
    square = ((told[:, 0] - true) ** 2).mean(axis=1)
    by_patient = np.bincount(who, square - square.mean())  # what each adds to the mean over images
    found = {ERROR: square.mean() + by_patient * len(by_patient) / len(square)}
    return found | ({PREDOMINANT: np.mean(areas, axis=0)} if areas else {})


def tissues(run: Run) -> pd.DataFrame:
    """Mean share, and how often it is predominant, by tissue, in training images; no rows where none is known."""
    size = run.profile.multitask
    return tables.reread(trained(run)[max(size.percents), size.seeds[0]].file(TABLE))


def read(run: Run) -> list[Job]:
    """The jobs that notebook 13 reads."""
    jobs = trained(run).values()
    return [*jobs, *(scores(run, job) for job in jobs)]


@dataclass(frozen=True)
class Outcomes:
    """Every measure by network and percentage of labels, on the images of those who decide."""

    run: Run

    @cached_property
    def found(self) -> Mapping[tuple[str, int, str], np.ndarray]:
        """Pseudo-values (S, P) by network, percentage and measure."""
        rows: dict[tuple[str, int, str], list[np.ndarray]] = {}
        for (percent, _), job in trained(self.run).items():
            with np.load(scores(self.run, job).file(FILE)) as made:
                for key in made.files:
                    name, measure = key.split("/")
                    rows.setdefault((name, percent, measure), []).append(made[key].astype(float))
        return {key: np.stack(psi) for key, psi in rows.items()}

    def patients(self, measure: str) -> int:
        """How many decide on a measure."""
        return max((psi.shape[1] for (_, _, of), psi in self.found.items() if of == measure), default=0)

    def measured(
        self, name: str, percent: int, measure: str, against: tuple[str, int] | None = None, relative: bool = False
    ) -> Estimate:
        """A measure, or by how much it is higher than that of `against`, where `relative` as a share of that.

        Trainings of one seed are a pair. A ratio's error is that of psi_a - (a / b) psi_b over b. KeyError where there
        is no such network or measure.
        """
        psi = self.found[name, percent, measure]
        if not against:
            return estimated(psi)
        other = self.found[*against, measure]
        if not relative:
            return estimated(psi - other)
        ratio = float(psi.mean() / other.mean())
        return estimated((psi - ratio * other) / other.mean(), ratio - 1)
