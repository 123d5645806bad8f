"""Missing clinical data as jobs: arms trained on bags and covariates, and their AUC at each rate (notebook 12)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from ecsupport.backbone import mobilevit
from ecsupport.cohort import covariates, manifest
from ecsupport.core.jobs import Job
from ecsupport.core.pixels import Rows
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import reproducible
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.components import Estimate, estimated
from ecsupport.evaluation.pseudo_values import pseudo_values
from ecsupport.experiments import cohort, difficulty, networks
from ecsupport.related import bag_training, bidirectional, fusion, missingness
from ecsupport.related.bidirectional import ARMS
from ecsupport.related.missingness import BY_AGE, BY_DIAGNOSIS, KINDS, MECHANISMS, RATES

REVISIONS = {
    "training": bag_training.REVISION,
    "losses": bidirectional.REVISION,
    "network": fusion.REVISION,
    "mobilevit": mobilevit.REVISION,
}
MASKS = 20
READING = 0.0004  # minutes that one core takes for a patient under all conditions
SPEED = 112.0  # images of 64 pixels that one core trains on in a second, at stem stride 1
HARDER = "harder"  # of `difficulty.VERSIONS`
AREA = METRICS.index("roc_auc")
LOGISTIC, INDICATOR = "covariates alone", "missing values alone"  # readings that need no network
FILE = "areas.npz"
Score = Callable[[np.ndarray], np.ndarray]


class Condition(NamedTuple):
    """What is missing at the bedside. At rate 0 and 1 kind and mechanism make no difference."""

    kind: str
    mechanism: str
    rate: float


CONDITIONS = (
    Condition(KINDS[0], MECHANISMS[0], 0.0),
    *(Condition(*which) for which in product(KINDS, MECHANISMS, RATES[1:-1])),
    Condition(KINDS[0], MECHANISMS[0], 1.0),
)


class Patients(NamedTuple):
    """rows: images by their place in their pool, with the column `who`, a patient's number;  label: (P,);

    table: covariates by patient, as in `covariates.of_patients`
    """

    rows: pd.DataFrame
    label: np.ndarray
    table: pd.DataFrame


def whose(run: Run) -> Run:
    """The run whose patients these are: of own images itself, else of harder phantoms, on which no image suffices."""
    return run if run.cohort else difficulty.runs(run)[HARDER]


def _named(run: Run, job: Job) -> Job:
    return job if run.cohort else difficulty.named(run, whose(run), HARDER, job)


def known(run: Run) -> bool:
    """Whether anything clinical is known of the patients: of phantoms always, of own images where columns say so."""
    rows = cohort.rows(run) if run.cohort else pd.DataFrame()
    return run.cohort is None or bool(rows.reindex(columns=list(covariates.NAMES)).notna().any(axis=None))


@cohort.once
def patients(run: Run, which: str) -> Patients:
    """Ultrasound patients of `train`, or of those who decide (`networks.deciding`), phantoms' covariates weakened."""
    run = whose(run)
    rows = cohort.pool(run, networks.POOL_OF.get(which, "ultrasound"))
    rows = rows[(rows["modality"] == "us") & (rows["split"] == which)]
    if which == "train" and run.cohort is None:
        target = manifest.target(rows, run.profile.task)
        number = rows["patient_id"].groupby(target).transform(lambda of: pd.factorize(of)[0])
        rows = rows[number < run.profile.clinical.patients]
    who, _ = pd.factorize(rows["patient_id"])
    label = manifest.target(rows, run.profile.task).groupby(who).max().to_numpy(np.int64)
    if run.cohort is None:
        table = covariates.of_patients(rows)
        table = covariates.exchanged(table, run.profile.clinical.exchanged, generator("clinical", which, "exchanged"))
    else:
        table = covariates.of_patients(cohort.rows(run)).loc[rows["patient_id"].drop_duplicates()]
    return Patients(rows.assign(who=who), label, table)


def trained(run: Run) -> dict[tuple[str, int], Job]:
    """The arms by name and seed; none where nothing clinical is known."""
    if not known(run):
        return {}
    return {(name, seed): _trained(run, name, seed) for name in ARMS for seed in whose(run).profile.clinical.seeds}


def _trained(run: Run, name: str, seed: int) -> Job:
    size, learnt = whose(run).profile.clinical, patients(run, "train")
    sizes = {"batch": size.batch, "bag": size.bag, "steps": size.steps, "rate": size.rate}
    images = size.steps * size.batch * size.bag
    area = (size.image_size / 64 / size.stem_stride) ** 2
    job = Job(
        f"clinical/{networks.slug(name)}/{seed}",
        _train,
        {"arm": name, "seed": seed, **sizes, "stem_stride": size.stem_stride, "revision": REVISIONS},
        {"images": cohort.pixels(whose(run), "ultrasound", size.image_size)},
        {
            "places": learnt.rows.index.to_numpy(),
            "patient": learnt.rows["who"].to_numpy(np.int64),
            "label": learnt.label,
            "values": _values(learnt, name, seed),
        },
        minutes=images / SPEED / 60 * area,
        memory=1 + networks.HELD[False] * size.batch * size.bag * area,
        device=run.profile.device,
        archived=(bag_training.HISTORY,),
    )
    return _named(run, job)


def _values(of: Patients, name: str, seed: int) -> np.ndarray:
    """What the networks see of covariates, (P, K) float32; of the negative control another patient's."""
    table = of.table
    if ARMS[name].shuffled:
        rng = generator("clinical", seed, "shuffled", len(table))
        table = table.iloc[rng.permutation(len(table))]
    return covariates.values(table)


def _train(folder: Path, job: Job) -> None:
    pixels = cohort.open_pool(job.inputs["images"].folder).images
    arrays = {**job.given, "image": Rows((pixels, job.given["places"]))}
    recipe = {name: value for name, value in job.recipe.items() if name != "revision"}
    bag_training.train(folder, arrays, recipe, job.key, job.device)


def scores(run: Run, job: Job) -> Job:
    """Pseudo-values of the AUC of each reading under every condition: `areas.npz`, by name (C, P) float16."""
    size, decide = whose(run).profile.clinical, networks.deciding(run)
    tested = patients(run, decide)
    name, seed = job.recipe["arm"], job.recipe["seed"]
    network = size.bag * len(tested.label) / SPEED / 120 * (size.image_size / 64 / size.stem_stride) ** 2
    found = Job(
        f"scores/{job.name}",
        _score,
        {"masks": MASKS, "strength": missingness.STRENGTH, "conditions": [list(c) for c in CONDITIONS], "revision": 1},
        {"trained": job, "images": cohort.pixels(whose(run), networks.POOL_OF[decide], size.image_size)},
        {
            "places": tested.rows.index.to_numpy(),
            "patient": tested.rows["who"].to_numpy(np.int64),
            "label": tested.label,
            "age": tested.table["age"].to_numpy(float),
            "values": _values(tested, name, seed),
        },
        minutes=network + READING * len(tested.label) * len(ARMS[name].read_as(name)),
        device=run.profile.device,
        archived=("*",),
    )
    return _named(run, found)


def _score(folder: Path, job: Job) -> None:
    of, arm = job.inputs["trained"].recipe, ARMS[job.inputs["trained"].recipe["arm"]]
    given, label = job.given, job.given["label"]
    pixels = cohort.open_pool(job.inputs["images"].folder).images
    with reproducible(1):
        network = bag_training.restore(job.inputs["trained"].folder, of, given["values"].shape[1], job.device)
        places = bag_training.first_images(given["patient"], len(label), of["bag"])
        image = bag_training.embed(network, Rows((pixels, given["places"])), places)
        found = {}
        for reading, fill in arm.read_as(of["arm"]):
            score = partial(bag_training.scores, network, arm, image, fill=fill)
            found[reading] = areas(score, given["values"], label, given["age"])
    np.savez_compressed(folder / FILE, **{name: psi.astype(np.float16) for name, psi in found.items()})


def areas(score: Score, values: np.ndarray, label: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Pseudo-values of the AUC (C, P), the mean over MASKS masks, by `CONDITIONS`.

    score: a function of values (P, K), NaN where missing, to scores (P,)
    """
    who = np.arange(len(label))
    found = []
    for condition in CONDITIONS:
        rows = np.stack([score(one) for one in masked(values, condition, label, age)])  # (M, P)
        found.append(pseudo_values(label, rows, who)[0][..., AREA].mean(axis=0))
    return np.stack(found)


def masked(values: np.ndarray, condition: Condition, label: np.ndarray, age: np.ndarray) -> Iterator[np.ndarray]:
    """The values under MASKS masks of a condition; one mask where all masks are the same."""
    driver = {BY_AGE: age, BY_DIAGNOSIS: label.astype(float)}.get(condition.mechanism, label)
    columns = 1 if condition.kind == KINDS[0] else values.shape[1]
    for number in range(MASKS if 0 < condition.rate < 1 else 1):
        rng = generator("clinical", condition.kind, condition.mechanism, "mask", number)  # of every rate: nested
        ranks = missingness.ranks(condition.mechanism, driver, columns, rng)
        yield np.where(missingness.missing(ranks, condition.rate), np.float32(np.nan), values)


def read(run: Run) -> list[Job]:
    """The jobs that notebook 12 reads."""
    jobs = trained(run).values()
    return [*jobs, *(scores(run, job) for job in jobs)]


@dataclass(frozen=True)
class Outcomes:
    """AUC by reading and condition, on the patients who decide."""

    run: Run

    @cached_property
    def tested(self) -> Patients:
        """Who decides."""
        return patients(self.run, networks.deciding(self.run))

    @cached_property
    def areas(self) -> Mapping[str, np.ndarray]:
        """Pseudo-values (S, C, P) by reading; of readings without a network S is 1."""
        found: dict[str, list[np.ndarray]] = {}
        for job in trained(self.run).values():
            with np.load(scores(self.run, job).file(FILE)) as made:
                for reading in made.files:
                    found.setdefault(reading, []).append(made[reading].astype(float))
        values, age = covariates.values(self.tested.table), self.tested.table["age"].to_numpy(float)
        for reading, score in ((LOGISTIC, logistic(patients(self.run, "train"))), (INDICATOR, gaps)):
            found[reading] = [areas(score, values, self.tested.label, age)]
        return {reading: np.stack(rows) for reading, rows in found.items()}

    @cached_property
    def mechanisms(self) -> tuple[str, ...]:
        """Of missingness, as far as what they depend on is known of those who decide."""
        aged = self.tested.table["age"].notna().any()
        return tuple(name for name in MECHANISMS if aged or name != BY_AGE)

    @cached_property
    def telling(self) -> str:
        """Where values that are missing from the manifest tell the class by themselves, how well; else empty."""
        found = self.area(INDICATOR, at(0.0))
        if found.low <= 0.5 <= found.high:
            return ""
        return f"which values the manifest lacks tells the class by itself, with an AUC of {found.value:.2f}"

    def area(self, reading: str, condition: Condition, less: tuple[str, Condition] | None = None) -> Estimate:
        """An AUC, or how much higher it is than that of `less`; two trainings of one seed are a pair."""
        psi = self.areas[reading][:, CONDITIONS.index(condition)]
        if less:
            psi = psi - self.areas[less[0]][:, CONDITIONS.index(less[1])]  # one row is every training's
        return estimated(psi)


def at(rate: float, kind: str = KINDS[0], mechanism: str = MECHANISMS[0]) -> Condition:
    """The condition of this rate; kind and mechanism make no difference where nothing, or all, is missing."""
    return Condition(kind, mechanism, rate) if 0 < rate < 1 else Condition(KINDS[0], MECHANISMS[0], rate)


def logistic(learnt: Patients) -> Score:
    """A logistic regression on standardised covariates, mean fill, as a function of values to scores."""
    values = covariates.values(learnt.table)
    centre, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)

    def standard(values: np.ndarray) -> np.ndarray:
        return np.nan_to_num((values - centre) / np.where(scale > 0, scale, 1.0))

    model = LogisticRegression().fit(standard(values), learnt.label)
    return lambda values: model.decision_function(standard(values))


def gaps(values: np.ndarray) -> np.ndarray:
    """How many values of each patient are missing: what the gap alone tells of the diagnosis."""
    return np.isnan(values).sum(axis=1).astype(float)
