"""What share of a view each tissue covers (notebook 13): of phantoms measured, of a manifest four optional columns."""

import numpy as np
import pandas as pd

from ecsupport.cohort.structures import STRUCTURES

TISSUES = {  # tissue: the structures of it; all shares of a view add up to 1
    "tumour": ("tumour",),
    "endometrium": ("endometrium",),
    "myometrium": ("myometrium", "junctional_zone"),
    "other": ("background",),
}
NAMES = tuple(f"share_{tissue}" for tissue in TISSUES)  # columns of a manifest
REVISION = 1  # which structures are one tissue
ROUNDED = 0.02  # by which the shares of an image may miss 1


def of_labels(labels: np.ndarray) -> np.ndarray:
    """(N, S, S) uint8, index into `structures.STRUCTURES` -> (N, 4) float32, in the order of TISSUES."""
    index = list(STRUCTURES)
    areas = [np.isin(labels, [index.index(name) for name in names]).mean(axis=(1, 2)) for names in TISSUES.values()]
    return np.stack(areas, axis=1).astype(np.float32)


def read(cells: pd.Series) -> pd.Series:
    """The shares of a column of text; NaN where a cell is empty, no number or not in [0, 1]."""
    numbers = pd.to_numeric(cells, errors="coerce")
    return numbers.where(numbers.between(0, 1)).astype(float)


def of_rows(rows: pd.DataFrame) -> np.ndarray:
    """Shares (N, 4) float32 that stand in rows of a manifest, scaled to add up to 1; NaN where they do not."""
    shares = rows.reindex(columns=list(NAMES)).to_numpy(float)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
