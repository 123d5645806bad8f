"""Study designs: which images a classifier learns from, is validated and tested on, under each (notebook 11).

A design is a function from a study, whose patients are in five folds, to the images that are learnt from, validated
and tested on. All designs learn from the same number of images for the same number of steps, so that only the choice of
images tells them apart. A seed moves the fold that is tested, the draw of images, first weights and batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecsupport.cohort import population
from ecsupport.cohort.ultrasound import CENTRES
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.experiments import cohort, translators
from ecsupport.screening.arms import Labelled

FOLDS = 5  # the seed's is tested, the next one validated, the others learnt from
VALIDATED = 2  # images of a patient
POOLS = ("study", "translations", "tested translations")  # an image is the number of its pool, and its row
OF_POSITIVES = CENTRES[0::2][:2]  # where a class is bound to centres; half of the patients are theirs


class Sets(NamedTuple):
    """Images (N, 2), the number of their pool and their row in it, with their labels."""

    learnt: Labelled
    validation: Labelled
    test: Labelled


Design = Callable[["Study"], Sets]


@dataclass(frozen=True)
class Study:
    """The patients of a study as one seed divides them; every array has one entry an image of the pool `study`."""

    run: Run
    seed: int

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Of the manifest."""
        return cohort.pool(self.run, "study")

    @cached_property
    def patient(self) -> np.ndarray:
        """Whose image it is: numbers from 0."""
        return pd.factorize(self.rows["patient_id"])[0]

    @cached_property
    def number(self) -> np.ndarray:
        """Which of her patient's images it is, from 0."""
        return self.rows.groupby("patient_id").cumcount().to_numpy()

    @cached_property
    def finding(self) -> np.ndarray:
        """The leading finding, one of `population.MIX`."""
        return population.finding(self.rows).to_numpy(str)

    @cached_property
    def carcinoma(self) -> np.ndarray:
        """Which images are of carcinomas."""
        return self.rows["label"].to_numpy() == 1

    @cached_property
    def centre(self) -> np.ndarray:
        """By name."""
        return self.rows["centre"].to_numpy(str)

    @cached_property
    def fold(self) -> np.ndarray:
        """Folds of patients, each with its share of every finding, counted from the one that this seed tests."""
        order = generator("designs", "folds").permutation(self.patient.max() + 1)[self.patient]
        place = pd.Series(order).groupby(self.finding).rank(method="dense").to_numpy(int)
        return (place - self.place) % FOLDS

    @property
    def place(self) -> int:
        """The seed's, among the profile's."""
        return self.run.profile.design.seeds.index(self.seed)

    def rng(self, *words: str | int) -> np.random.Generator:
        """Of the seed, for what the words say."""
        return generator("designs", self.seed, *words)

    def take(self, of: np.ndarray, number: int | None = None, images: int | None = None) -> np.ndarray:
        """Some rows of a mask: at most `number`, patients taking turns, and at most `images` a patient."""
        places = np.flatnonzero(of if images is None else of & (self.number < images))
        turn = self.rng("turns").permutation(self.patient.max() + 1)[self.patient[places]]
        return places[np.lexsort((turn, self.number[places]))][:number]

    def labelled(self, positive: np.ndarray, negative: np.ndarray) -> Labelled:
        """Rows of the study of both classes."""
        images = np.concatenate([positive, negative])
        return Labelled(_images("study", images), np.repeat([1, 0], [len(positive), len(negative)]))

    def split(self, positive: np.ndarray, negative: np.ndarray) -> Sets:
        """Patients of these two masks by folds; the profile's number of images of each class is learnt from."""
        number = self.run.profile.design.images
        learnt, validation, test = (self.fold > 1, self.fold == 1, self.fold == 0)
        return Sets(
            self.labelled(*(self.take(of & learnt, number) for of in (positive, negative))),
            self.labelled(*(self.take(of & validation, images=VALIDATED) for of in (positive, negative))),
            self.labelled(*(self.take(of & test) for of in (positive, negative))),
        )

    def some(self, of: np.ndarray, share: float) -> np.ndarray:
        """A mask of the images of a share of the patients."""
        return of & (self.rng("some").permutation(self.patient.max() + 1) < share * self.patient.max())[self.patient]


@cohort.once
def study(run: Run, seed: int) -> Study:
    """The study as this seed divides it, whose arrays are made once."""
    return Study(run, seed)


def sound(study: Study) -> Sets:
    """Carcinomas against the controls of the clinic, patients split."""
    return study.split(study.carcinoma, ~study.carcinoma)


def without_findings(study: Study) -> Sets:
    """Carcinomas against normal uteri, as in the paper's cohort."""
    return study.split(study.carcinoma, study.finding == "normal")


def invasion(study: Study) -> Sets:
    """Invasive carcinomas against everybody else: the endpoint that the paper names."""
    invasive = np.isin(study.finding, population.INVASIVE)
    return study.split(invasive, ~invasive)


def shuffled(study: Study) -> Sets:
    """The sound design with the labels of what is learnt from in random order."""
    sets = sound(study)
    label = study.rng("shuffled").permutation(sets.learnt.label)
    return sets._replace(learnt=Labelled(sets.learnt.images, label))


def synthetic(study: Study) -> Sets:
    """The sound design with synthetic positives throughout: those of other MRI patients are tested."""
    rows = translated(study.run, study.seed, "training").given["rows"]
    positive, who = np.flatnonzero(rows["label"] == 1), rows["patient_id"].to_numpy(str)
    patients = study.rng("synthetic").permutation(np.unique(who[positive]))
    validated = np.isin(who[positive], patients[: max(1, len(patients) // FOLDS)])
    tested = np.arange(len(translated(study.run, study.seed, "test").given["rows"]))
    positives = (
        _images("translations", positive[~validated]),
        _images("translations", positive[validated]),
        _images("tested translations", tested),
    )
    parts = []
    for images, of in zip(positives, sound(study), strict=True):
        negative = of.of(0)
        label = np.repeat([1, 0], [len(images), len(negative.label)])
        parts.append(Labelled(np.concatenate([images, negative.images]), label))
    return Sets(*parts)


def by_image(images: int) -> Design:
    """Images are split, not patients: so many of each patient, and as many images as elsewhere."""

    def design(study: Study) -> Sets:
        parts: list[list[np.ndarray]] = [[], [], []]
        learnt = study.run.profile.design.images
        for of in (study.carcinoma, ~study.carcinoma):
            rows = study.take(of, images=images)
            patients = pd.unique(study.patient[rows])[: round(learnt / 0.8 / images)]
            rows = study.rng("images").permutation(rows[np.isin(study.patient[rows], patients)])
            ends = [len(rows) * 8 // 10, len(rows) * 9 // 10]
            for part, places in zip(parts, np.split(rows, ends), strict=True):
                part.append(places)
        return Sets(*(study.labelled(*part) for part in parts))

    return design


def bound(share: float) -> Design:
    """Each class has this share of its patients from centres of its own."""

    def design(study: Study) -> Sets:
        return study.split(*own_centres(study, share))

    return design


def centre_left_out(study: Study) -> Sets:
    """Nine of ten patients from centres of their class, one of the centres kept for the test: another one each seed."""
    positive, negative = own_centres(study, 0.9)
    own = study.centre == CENTRES[study.place % len(CENTRES)]
    sets = study.split(positive & ~own, negative & ~own)
    return sets._replace(test=study.labelled(study.take(positive & own), study.take(negative & own)))


def own_centres(study: Study, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Masks of positive and negative images: of each class this share of the patients is from its own centres."""
    theirs = np.isin(study.centre, OF_POSITIVES)
    kept = study.some(np.ones_like(theirs), (1 - share) / share)
    return study.carcinoma & (theirs | kept), ~study.carcinoma & (~theirs | kept)


def _images(pool: str, rows: np.ndarray) -> np.ndarray:
    return cohort.placed(POOLS.index(pool), rows)


def translated(run: Run, seed: int, what: str) -> Job:
    """SG-CycleGAN's translations that a seed uses, of `training` sets or of the `test`."""
    there = run.profile.translation.seeds
    own = seed if seed in there else there[run.profile.design.seeds.index(seed) % len(there)]
    return translators.translations(run, "sg_cyclegan", own, what)


def rows_of(run: Run, pool: str, seed: int) -> pd.DataFrame:
    """The manifest rows of one of POOLS."""
    if pool == "study":
        return cohort.pool(run, "study")
    return translated(run, seed, "test" if pool.startswith("tested") else "training").given["rows"]


DESIGNS: dict[str, Design] = {
    "sound": sound,
    "without-findings": without_findings,
    "invasion": invasion,
    "synthetic": synthetic,
    **{f"by-image-{images}": by_image(images) for images in (4, 8, 16)},
    **{f"centre-{percent}": bound(percent / 100) for percent in (75, 90, 100)},
    "centre-left-out": centre_left_out,
    "shuffled": shuffled,
}
