"""The patient-level split: 8:1:1 for ultrasound with balanced validation and test, 2:1 for MRI (Results, "Data")."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ecsupport.cohort.manifest import PLACES, check_splits, target
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator

ULTRASOUND = {"train": 8, "validation": 1, "test": 1}
MRI = {"train": 2, "test": 1}
BALANCED = ("validation", "test")


def of_run(images: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The split of a run's manifest: own images by ratio alone, phantoms with the profile's exact counts.

    UserError as `assign`, and where the test set has fewer than two patients of a class: nothing can then be said
    about other patients.
    """
    size = run.profile.cohort
    exact = {} if run.cohort else {"validation": size.validation_positives, "test": size.test_positives}
    rng = generator("own images" if run.cohort else size.version, "split")
    images = assign(images, task=run.profile.task, rng=rng, positives=exact)
    test = images[(images["split"] == "test") & (images["modality"] == "us")]
    patients = test.groupby(target(test, run.profile.task))["patient_id"].nunique().reindex((1, 0), fill_value=0)
    if patients.min() < 2:
        raise UserError(
            f"the test set holds {patients[1]} positive and {patients[0]} negative patients, and intervals over "
            "patients need two of each. About fifteen patients of each class give that; add some, or fill split"
        )
    return images


def assign(
    images: pd.DataFrame, *, task: str, rng: np.random.Generator, positives: Mapping[str, int] | None = None
) -> pd.DataFrame:
    """Fill `split` of every image that has none: as the patient's other images, else all ultrasound, then MRI.

    `positives` gives exact numbers of positive ultrasound images, e.g. `{"validation": 320, "test": 336}`; what
    balancing leaves over becomes `unused`. An MRI patient who has ultrasound too keeps her split. Rows keep
    their order; the result does not depend on it. UserError where a split would miss a class.
    """
    images = images.copy()
    images["split"] = images["split"].astype("str")
    positive = target(images, task)
    _inherit(images)
    open_us = (images["modality"] == "us") & (images["split"] == "")
    if open_us.any():
        part = images[open_us]
        images.loc[open_us, "split"] = split(part, positive[open_us], ULTRASOUND, rng=rng, exact=positives or {})
        placed = images[open_us]
        for name in BALANCED:
            if not (placed["split"] == name).any():
                raise UserError(
                    f"the {name} set would hold no image of one class. "
                    "At least six patients of each class are needed; add some, or fill the split column"
                )
    _inherit(images)
    open_mri = (images["modality"] == "mri") & (images["split"] == "")
    if open_mri.any():
        one_class = pd.Series(1, index=images.index[open_mri])
        images.loc[open_mri, "split"] = split(images[open_mri], one_class, MRI, rng=rng, balance=())
    check_splits(images)
    return images


def _inherit(images: pd.DataFrame) -> None:
    """Give every image without a split the split or pool of another image of its patient, where there is one."""
    placed = images[images["split"].isin(PLACES)].drop_duplicates("patient_id").set_index("patient_id")["split"]
    blank = images["split"] == ""
    images.loc[blank, "split"] = images["patient_id"].map(placed).astype(object).fillna("").astype("str")


def split(
    images: pd.DataFrame,
    positive: pd.Series,
    ratios: Mapping[str, int],
    *,
    rng: np.random.Generator,
    exact: Mapping[str, int] | None = None,
    balance: tuple[str, ...] = BALANCED,
) -> pd.Series:
    """Split by patient within class and centre. Returns the split's name for every row of `images`.

    A patient is positive if any of her images is. Each class is drawn at evenly spaced positions along its patients
    in order of centre, so that every split gets its ratio of patients and every centre its share. Then, in the splits
    named in `balance`, images of the larger class are dropped at random until both classes are equal.
    """
    patients = pd.DataFrame({
        "centre": images.groupby("patient_id")["centre"].first(),
        "positive": positive.groupby(images["patient_id"]).max(),
        "images": images.groupby("patient_id").size(),
    }).sort_index()  # fmt: skip
    chosen = pd.Series("train", index=patients.index)
    for label in (1, 0):
        group = patients[patients["positive"] == label]
        group = group.iloc[rng.permutation(len(group))].sort_values("centre", kind="stable")
        wanted = {name: count for name, count in (exact or {}).items() if label and count}
        chosen[group.index] = _draw(group, ratios, wanted, rng)
    drawn = images["patient_id"].map(chosen)
    ordered = images["image"].sort_values(kind="stable").index
    for name in balance:
        rows = {c: [i for i in ordered if drawn[i] == name and positive[i] == c] for c in (0, 1)}
        keep = min(map(len, rows.values()))
        for surplus in rows.values():
            drawn[[surplus[i] for i in rng.permutation(len(surplus))[keep:]]] = "unused"
    return drawn


def _draw(
    group: pd.DataFrame, ratios: Mapping[str, int], exact: Mapping[str, int], rng: np.random.Generator
) -> pd.Series:
    """Split one class: systematic draws for all but the first split, then swaps until the exact counts are met."""
    chosen = pd.Series(next(iter(ratios)), index=group.index)
    for name in list(ratios)[1:]:
        free = chosen.index[chosen == next(iter(ratios))]
        count = round(len(group) * ratios[name] / sum(ratios.values()))
        places = ((np.arange(count) + rng.random()) * len(free) / max(count, 1)).astype(int)
        chosen[free[places]] = name
    for name, images in exact.items():
        _swap_until(group, chosen, name, images, next(iter(ratios)))
    return chosen


def _swap_until(group: pd.DataFrame, chosen: pd.Series, name: str, wanted: int, other: str) -> None:
    """Exchange patients of one centre between `name` and `other` until `name` holds exactly `wanted` images."""
    sizes, centres = group["images"].to_numpy(), group["centre"].to_numpy()
    while lacking := wanted - sizes[chosen == name].sum():
        inside, outside = np.flatnonzero(chosen == name), np.flatnonzero(chosen == other)
        gain = sizes[outside][None, :] - sizes[inside][:, None]  # (inside, outside)
        left = np.where(centres[inside][:, None] == centres[outside][None, :], np.abs(lacking - gain), np.inf)
        if not left.size or left.min() >= abs(lacking):
            raise UserError(
                f"no choice of whole patients gives the {name} set exactly {wanted} positive images "
                f"({wanted - lacking} is the nearest found). Set {name}_positives to that, or to 0"
            )
        i, j = np.unravel_index(left.argmin(), left.shape)
        chosen.iloc[inside[i]], chosen.iloc[outside[j]] = other, name
