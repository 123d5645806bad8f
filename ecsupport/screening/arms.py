"""The arms of Table 2: what a classifier is trained on, as printed and done right (Downstream Task Performance).

As printed, positives are 10,000 real images and negatives are synthetic. So many real positives do not exist, and all
of the paper's MRI show carcinoma, so that there is no negative to translate. What can be done is the reverse: positives
synthetic, negatives real (`printed`). Synthetic and positive are then one and the same, so that a network which tells
real from synthetic has learnt all there is to learn, and better images can make it worse. The other arms
(`unconfounded`) share one real training set, in which positives are scarce, and differ in what is added to it alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

PRINTED_NUMBER = 10_000  # images a class
REAL_ONLY, DUPLICATED, NEW = "real only", "+ duplicated real positives", "+ new real positives"


@dataclass(frozen=True)
class Labelled:
    """Images with their classes: images (N, ...), what stands for each, label (N,) int64, 1 = positive.

    images: any array with one entry an image; jobs give the number of its pool and its row there, (N, 2) int64
    """

    images: np.ndarray
    label: np.ndarray

    def __post_init__(self) -> None:
        if len(self.images) != len(self.label):
            raise ValueError(f"{len(self.images)} images and {len(self.label)} labels, expected as many of each")

    def take(self, places: np.ndarray | Sequence[int]) -> "Labelled":
        """The images at these places (int), in this order; a place may stand more than once."""
        places = np.asarray(places, np.int64)
        return Labelled(self.images[places], np.asarray(self.label, np.int64)[places])

    def of(self, value: int) -> "Labelled":
        """The images of one class, 0 or 1."""
        return self.take(np.flatnonzero(self.label == value))


def scarce(
    label: np.ndarray, patient_id: np.ndarray, positives: int, negatives: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A small real training set chosen by patient, and the positives that are left of other patients.

    label, patient_id: (N,) of the real training images. Patients come in random order, each with all her images of
    the class, until there are as many as wanted; of the last one some images are left out at random. Fewer where
    there are not as many. Returns two ascending arrays of places: the training set, and the pool of new real
    positives, which holds no image of a patient in the training set.
    """
    label, patient_id = np.asarray(label), np.asarray(patient_id)
    chosen = []
    for value, wanted in ((1, positives), (0, negatives)):
        places = rng.permutation(np.flatnonzero(label == value))
        order = rng.permutation(np.unique(patient_id[places]))
        rank = {patient: number for number, patient in enumerate(order)}
        turn = np.argsort([rank[patient] for patient in patient_id[places]], kind="stable")
        chosen.append(places[turn[:wanted]])
    seen = np.isin(patient_id, patient_id[np.concatenate(chosen)])
    return np.sort(np.concatenate(chosen)), np.flatnonzero((label == 1) & ~seen)


def unconfounded(
    real: Labelled,
    new: Labelled,
    translated: Mapping[str, Labelled],
    mri: Mapping[str, Labelled],
    rng: np.random.Generator,
) -> dict[str, Labelled]:
    """What each arm adds to the same real images, by the arm's name.

    real: the scarce training set;  new: the pool of new real positives (`scarce` gives both);  translated: by
    translator;  mri: by name, as they are and with the ultrasound's histogram.  The last two hold the same MRI of both
    classes, which no translator has seen; ValueError where their labels differ.

    - `real only`: nothing.
    - `+ X`: the positives of translator X. Synthetic then still tells positive, though positive not synthetic.
    - `+ X, both classes`: its negatives too. Where half of each class is drawn from each source
      (`Settings.synthetic_share`), the source of an image tells nothing about its class.
    - `+ MRI, both classes` and the like: without translation. Where these help as much, translation has added nothing.
    - `+ duplicated real positives`: as many copies of the real positives, in turn. Batches are balanced, so that copies
      hardly change an image's chance: the distance from `real only` is that of one training run from another.
    - `+ new real positives`: as many of other patients, or as there are: the ceiling. They come of more patients
      than the MRI do, which no translator can make up for.

    An arm that has nothing to add is left out, and so is one of both classes where a class is missing.
    """
    sources = {**translated, **mri}
    number = _positives(sources)
    added = {f"+ {name}": images.of(1) for name, images in translated.items()}
    added |= {f"+ {name}, both classes": images for name, images in sources.items() if set(images.label) == {0, 1}}
    added[DUPLICATED] = real.take(np.resize(np.flatnonzero(real.label == 1), number))
    added[NEW] = new.take(rng.choice(len(new.label), min(number, len(new.label)), replace=False))
    return {REAL_ONLY: real.take([])} | {arm: images for arm, images in added.items() if len(images.label)}


def printed(
    real: Labelled, translated: Mapping[str, Labelled], rng: np.random.Generator, number: int = PRINTED_NUMBER
) -> tuple[Labelled, dict[str, Labelled]]:
    """The printed protocol in its only feasible reading: real negatives, and by translator the synthetic positives.

    real: the whole real training set;  translated: by translator, the same MRI; ValueError where their labels differ.
    Against the printed sentence the labels are swapped: the synthetic images are the positives, since all of the
    paper's MRI show carcinoma, and the real ones are negative, since 10,000 real positives do not exist. Each class
    holds `number` images, or as many as both have, the same for all translators. Class and source are confounded.
    """
    positives, negatives = _positives(translated), real.of(0)
    number = min(number, positives, len(negatives.label))
    places = rng.choice(positives, number, replace=False)
    kept = negatives.take(rng.choice(len(negatives.label), number, replace=False))
    return kept, {name: images.of(1).take(places) for name, images in translated.items()}


def _positives(sources: Mapping[str, Labelled]) -> int:
    labels = [images.label for images in sources.values()] or [np.empty(0)]
    for name, label in zip(sources, labels, strict=False):
        if not np.array_equal(label, labels[0]):
            raise ValueError(f"the labels of {name!r} are not those of {next(iter(sources))!r}, expected the same MRI")
    return int((labels[0] == 1).sum())


def contents(sets: Mapping[str, tuple[Labelled, Labelled]]) -> pd.DataFrame:
    """How many images an arm consists of, by (real, added): one row an arm, four columns."""
    return pd.DataFrame.from_dict(
        {arm: [int((part.label == value).sum()) for part in parts for value in (1, 0)] for arm, parts in sets.items()},
        orient="index",
        columns=["real +", "real -", "added +", "added -"],
    )
