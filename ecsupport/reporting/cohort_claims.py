"""The claims of notebook 01: counts and distances between shares, which the number decides, and why where it cannot."""

import numpy as np
import pandas as pd

from ecsupport.cohort import split
from ecsupport.reporting.results import Results

FEWEST = 50  # patients of a class, for shares by centre and for 8 : 1 : 1 by whole patients
FEWEST_SCANNED = 30  # patients with MRI, for 2 : 1


def measure(rows: pd.DataFrame) -> dict[str, float]:
    """The value of each claim on the ultrasound of a cohort; rows: of a manifest with its splits, without pools."""
    us, placed, patients = _parts(rows)
    shares = {label: patients[patients["label"] == label]["split"].value_counts(normalize=True) for label in (1, 0)}
    images_of = placed.groupby(["split", "label"]).size()
    pairs = len(split.ULTRASOUND) * us["centre"].nunique()
    return {
        "class_imbalance_extreme": (us["label"] == 0).mean(),
        "split_by_patient": (placed.groupby("patient_id")["split"].nunique() > 1).sum(),
        "split_8_1_1": max(abs(shares[1][s] - r / 10) for s, r in split.ULTRASOUND.items()),
        "every_split_has_every_centre": pairs - len(placed.drop_duplicates(["split", "centre"])),
        "split_balances_centres": _apart(patients),
        "validation_and_test_balanced": max(abs(images_of[s, 0] - images_of[s, 1]) for s in split.BALANCED),
    }


def _parts(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Ultrasound; the images of it that stand in a split; one row a patient and split."""
    us = rows[rows["modality"] == "us"]
    placed = us[us["split"].isin(split.ULTRASOUND)]
    return us, placed, placed.drop_duplicates(["patient_id", "split"])


def _apart(patients: pd.DataFrame) -> float:
    """The largest total variation distance, 0 to 1, of a smaller split's shares of centres from those in training."""
    shares = patients.groupby(["label", "split"])["centre"].value_counts(normalize=True).unstack(fill_value=0)
    apart = [
        0.5 * np.abs(shares.loc[label, s] - shares.loc[label, "train"]).sum()
        for label in (1, 0)
        for s in split.BALANCED
    ]
    return max(apart)


def too_little(results: Results, rows: pd.DataFrame) -> dict[str, str]:
    """Why this cohort cannot speak to some claims of `measure`, by claim; rows as there."""
    us, _, patients = _parts(rows)
    found, n_centres = {}, us["centre"].nunique()
    if not results.run.cohort and results.run.profile.name != "paper":
        found["class_imbalance_extreme"] = "the profile sets the classes' sizes; see profile paper"
    if n_centres == 1:
        one = "the manifest names one centre"
        found |= {"every_split_has_every_centre": one, "split_balances_centres": one}
    fewest = patients.groupby(["split", "label"]).size().min()
    if fewest < FEWEST and n_centres > 1:
        why = f"patients of a class in the smallest split: {fewest}, too few for shares of {n_centres} centres"
        found["split_balances_centres"] = why
    if (smallest := patients.groupby("split").size().min()) < n_centres:
        found["every_split_has_every_centre"] = f"patients in the smallest split: {smallest}, centres: {n_centres}"
    carcinomas = (patients["label"] == 1).sum()
    if carcinomas < FEWEST:
        why = f"{carcinomas} carcinoma patients are too few for whole patients to come near 8 : 1 : 1"
        found["split_8_1_1"] = why
    return found


def book(results: Results, rows: pd.DataFrame) -> None:
    """Put the claims of `measure`, and that of the split of MRI, into the ledger; rows as there."""
    why, number = too_little(results, rows), len(_parts(rows)[2])
    for claim, value in measure(rows).items():
        if claim in why:
            results.estimate(claim, None, assessable=False, note=why[claim])
        else:
            results.estimate(claim, value, exact=True, n=number)
    mri = rows[rows["modality"] == "mri"]
    scans = mri["patient_id"].nunique()
    if scans >= FEWEST_SCANNED:
        value = abs(mri[mri["split"] == "train"]["patient_id"].nunique() / scans - 2 / 3)
        results.estimate("mri_split_2_1", value, exact=True, n=scans)
    else:
        note = f"patients with MRI: {scans}, too few to split 2 : 1"
        results.estimate("mri_split_2_1", None, assessable=False, note=note)
