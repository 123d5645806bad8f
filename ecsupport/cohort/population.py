"""A screened population whose truth is known, and patients for studies of it: phantoms with given findings.

Findings and their shares are assumptions of a clinic to which women with bleeding are referred, not taken from data.
Ten in a hundred have a carcinoma, eight of these ten an invasive one. Within a class study and population have the same
mix, so that a study of whole patients can be without error.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ecsupport.cohort import manifest, phantom

MIX = {
    "normal": 0.50,
    "hyperplasia": 0.14,
    "polyp": 0.14,
    "fibroid": 0.12,
    "carcinoma without invasion": 0.02,
    "superficial invasion": 0.04,
    "deep invasion": 0.04,
}
INVASIVE = ("superficial invasion", "deep invasion")
CARCINOMA = ("carcinoma without invasion", *INVASIVE)
CONTROL = tuple(finding for finding in MIX if finding not in CARCINOMA)
POPULATION_IMAGES, STUDY_IMAGES = 2, 16  # of each patient
_FINDING_OF = {f"{purpose}{letter}": name for purpose in "PS" for name, (letter, *_) in phantom.FINDINGS.items()}


def population(version: str, patients: int) -> pd.DataFrame:
    """Manifest of a screened population with the findings of MIX, POPULATION_IMAGES ultrasound images a patient."""
    return _drawn(version, "population", _numbers(patients, tuple(MIX)), POPULATION_IMAGES)


def study(version: str, carcinomas: int, controls: int) -> pd.DataFrame:
    """Manifest of patients for studies of that population, each class in its mix, STUDY_IMAGES images a patient."""
    numbers = _numbers(controls, CONTROL) | _numbers(carcinomas, CARCINOMA)
    return _drawn(version, "study", numbers, STUDY_IMAGES)


def finding(rows: pd.DataFrame) -> pd.Series:
    """The leading finding of the patient of every row, one of MIX."""
    return rows["patient_id"].str[:2].map(_FINDING_OF)


def _numbers(patients: int, findings: tuple[str, ...]) -> dict[str, int]:
    """So many patients in the mix of these findings; whole numbers that sum to `patients`."""
    share = np.cumsum([MIX[name] for name in findings]) / sum(MIX[name] for name in findings)
    ends = np.round(share * patients).astype(int)
    return dict(zip(findings, np.diff(ends, prepend=0).tolist(), strict=True))


def _drawn(version: str, purpose: str, numbers: Mapping[str, int], images: int) -> pd.DataFrame:
    every = [
        row
        for name, number in numbers.items()
        for row in manifest.rows(version, f"{purpose}, {name}", "us", np.full(number, images))
    ]
    return manifest.frame(every).assign(split=purpose)
