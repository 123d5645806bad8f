"""What the classifiers of study designs make of their own test sets and of the population (notebook 11)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ecsupport.cohort import population
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.evaluation import optimism
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.optimism import Optimism, Truth
from ecsupport.experiments import cohort, design_jobs, designs, networks
from ecsupport.screening.selection import THRESHOLD, area

REDRAWS = 200  # test sets of each training
IMAGES = design_jobs.WATCHED  # of each patient of a test set
MEASURES = {  # as weights of METRICS
    "AUC": {"roc_auc": 1.0},
    "sensitivity": {"sensitivity": 1.0},
    "specificity": {"specificity": 1.0},
    "balanced accuracy": {"sensitivity": 0.5, "specificity": 0.5},
    "predictive value": {"precision": 1.0},
}
Who = Callable[["Outcomes"], np.ndarray]


@dataclass(frozen=True)
class Row:
    """What a trial found. test_low, test_high: between these lie 95 % of single test sets' values, NaN for one a run.

    predicted: the optimism that theory gives, where it gives one
    """

    measure: str
    reported: float
    true: float
    optimism: float
    low: float
    high: float
    test_low: float = np.nan
    test_high: float = np.nan
    predicted: float = np.nan

    @classmethod
    def of(cls, measure: str, found: Optimism, single: np.ndarray | None = None, predicted: float = np.nan) -> "Row":
        """single: values of single test sets, of every training."""
        limits = (np.nan, np.nan) if single is None else np.quantile(single, [0.025, 0.975]).tolist()
        ends = (found.estimate, *found.interval)
        return cls(measure, float(found.reported.mean()), float(found.true.mean()), *ends, *limits, predicted)


@dataclass(frozen=True)
class Outcomes:
    """What the classifiers of a run's designs make of their test sets and of the population."""

    run: Run

    @cached_property
    def classifiers(self) -> Mapping[tuple[str, int], Job]:
        """By design and seed."""
        return design_jobs.classifiers(self.run)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the trainings."""
        return self.run.profile.design.seeds

    @cached_property
    def people(self) -> pd.DataFrame:
        """Rows of the population, with their finding."""
        rows = cohort.pool(design_jobs.phantoms(self.run), "population")
        return rows.assign(finding=population.finding(rows))

    @property
    def carcinoma(self) -> np.ndarray:
        """Which images of the population are of carcinomas."""
        return self.people["label"].to_numpy() == 1

    @property
    def invasive(self) -> np.ndarray:
        """Which are of invasive carcinomas."""
        return self.people["finding"].isin(population.INVASIVE).to_numpy()

    @property
    def plain(self) -> np.ndarray:
        """Which are of carcinomas or of normal uteri: nobody has another finding."""
        return self.carcinoma | (self.people["finding"] == "normal").to_numpy()

    def scores(self, design: str, seed: int) -> dict[str, np.ndarray]:
        """Probabilities by the rule of the weights: `test_auc`, `population_auc` and so on."""
        return networks.read_scores(design_jobs.scores(self.run, self.classifiers[design, seed]))

    def of_population(self, design: str, rule: str = "auc") -> np.ndarray:
        """Scores (S, n) of the population's images."""
        seeds = [seed for name, seed in self.classifiers if name == design]
        return np.stack([self.scores(design, seed)[f"population_{rule}"] for seed in seeds])

    def truth(
        self,
        design: str,
        measure: str = "AUC",
        positive: Who | None = None,
        among: Who | None = None,
        rule: str = "auc",
        threshold: float = THRESHOLD,
    ) -> Truth:
        """A measure in the population, by default of carcinomas against everybody else."""
        which = np.ones(len(self.people), bool) if among is None else among(self)
        label = (self.carcinoma if positive is None else positive(self))[which].astype(int)
        weigh = np.array([MEASURES[measure].get(name, 0.0) for name in METRICS])
        patient = self.people["patient_id"].to_numpy()[which]
        return optimism.truth(label, self.of_population(design, rule)[:, which], patient, weigh, threshold)

    def tested(self, design: str, seed: int) -> pd.DataFrame:
        """Images that a training is tested on: label, patient, and the score by the weights of largest area."""
        job = self.classifiers[design, seed]
        images = job.given["test_image"]
        patient = np.empty(len(images), object)
        for number in np.unique(images[:, 0]):
            pool = designs.rows_of(design_jobs.phantoms(self.run), designs.POOLS[number], seed)
            of = images[:, 0] == number
            patient[of] = pool["patient_id"].to_numpy()[images[of, 1]]
        score = self.scores(design, seed)["test_auc"]
        return pd.DataFrame({"label": job.given["test_label"], "patient": patient, "score": score})

    def watched(self, design: str, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
        """The test images of which every validation kept a score: label and patient, and scores (validations, n).

        Validations from which `auc` may choose.
        """
        job, rows = self.classifiers[design, seed], self.tested(design, seed)
        first = rows.groupby("patient").cumcount() < design_jobs.WATCHED
        history = pd.read_csv(job.file("history.csv")).dropna(subset=["auc"])
        selectable = history["step"] > design_jobs.settings(self.run).selectable_after("auc")
        return rows[first].reset_index(drop=True), np.load(job.file("watched.npy")).astype(float)[selectable]

    def drawn(
        self, rows: pd.DataFrame, seed: int, patients: int | None = None, images: int = IMAGES
    ) -> Iterator[np.ndarray]:
        """Places in `rows` of REDRAWS test sets, of the profile's number of patients of each class."""
        number = self.run.profile.design.test_patients if patients is None else patients
        rng = generator("trials", seed, number, images)
        label, patient = rows["label"].to_numpy(), rows["patient"].to_numpy()
        return optimism.test_sets(label, patient, number, images, REDRAWS, rng)

    def each(self, design: str, of: Callable[[np.ndarray, np.ndarray], float]) -> np.ndarray:
        """What a function of labels and scores gives on every test set of every training, (S, REDRAWS)."""
        found = []
        for seed in self.seeds:
            rows = self.tested(design, seed)
            label, score = rows["label"].to_numpy(), rows["score"].to_numpy()
            found.append([of(label[places], score[places]) for places in self.drawn(rows, seed)])
        return np.array(found)


def measured(measure: str, label: np.ndarray, score: np.ndarray) -> float:
    """One of MEASURES, on a test set."""
    called, ill = score >= THRESHOLD, label == 1
    if measure == "AUC":
        return area(score[ill], score[~ill])
    if measure == "predictive value":
        return float(ill[called].mean()) if called.any() else np.nan
    rates = {"sensitivity": called[ill].mean(), "specificity": (~called)[~ill].mean()}
    return float(sum(weight * rates[name] for name, weight in MEASURES[measure].items()))
