"""Clinical covariates of patients: six that are known before an operation (notebook 12), of phantoms or of a manifest.

A table of covariates has one row a patient, the columns of COVARIATES, float64; NaN is a value that is missing.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ecsupport.cohort import manifest


class Covariate(NamedTuple):
    """What is known of a patient. low, high: a value outside is an error, most likely of its unit."""

    words: str
    unit: str
    low: float
    high: float
    flag: bool = False
    log: bool = False  # whether networks see its logarithm


COVARIATES = {  # columns of a manifest, all of them optional
    "age": Covariate("age", "years", 15, 110),
    "postmenopausal": Covariate("menopausal status", "0 or 1", 0, 1, flag=True),
    "bmi": Covariate("body mass index", "kg/m²", 10, 90),
    "bleeding": Covariate("bleeding", "0 or 1", 0, 1, flag=True),
    "endometrial_thickness_mm": Covariate("endometrial thickness", "mm", 0.5, 80),
    "ca125_u_ml": Covariate("CA-125", "U/mL", 0.5, 20000, log=True),
}
NAMES = tuple(COVARIATES)


def read(cells: pd.Series) -> pd.Series:
    """The values of a column of text, named by a covariate; NaN where a cell is empty, no number or out of range."""
    of = COVARIATES[str(cells.name)]
    numbers = cells.str.lower().replace({"true": "1", "false": "0"}) if of.flag else cells
    found = pd.to_numeric(numbers, errors="coerce")
    return found.where(found.isin([0, 1]) if of.flag else found.between(of.low, of.high)).astype(float)


def of_patients(rows: pd.DataFrame) -> pd.DataFrame:
    """Covariates of the patients in rows of a manifest, by patient_id in order of appearance.

    Of phantoms they are drawn; of files they stand in the rows, where a column that is absent is missing for everybody.
    A patient's first known value counts: `own_manifest` refuses others.
    """
    if len(rows) and (rows["source"] != "file").all():
        found = manifest.patients(rows).set_index("patient_id")
    else:
        found = rows.reindex(columns=["patient_id", *NAMES]).groupby("patient_id", sort=False).first()
    return found[list(NAMES)].astype(float)


def values(table: pd.DataFrame) -> np.ndarray:
    """The table as networks see it, before it is standardised: (P, 6) float32, NaN where missing."""
    seen = {name: np.log(table[name]) if of.log else table[name] for name, of in COVARIATES.items()}
    return pd.DataFrame(seen).to_numpy(np.float32)


def exchanged(table: pd.DataFrame, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """The same with this share of each column's values exchanged at random between patients, column by column.

    The dial that weakens phantoms' covariates: distributions stay, what a value tells of its patient falls. At 1 it
    tells nothing.
    """
    found = table.copy()
    for name in table:
        places = rng.permutation(len(table))[: round(share * len(table))]
        found.iloc[places, table.columns.get_loc(name)] = table[name].to_numpy()[rng.permutation(places)]
    return found
