"""What is known of phantom images: the structures of the uterus and whether invasion shows (claims on Figure 1)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from ecsupport.cohort import phantom
from ecsupport.cohort.anatomy import TISSUES
from ecsupport.core import progress
from ecsupport.core.errors import row_error

REVISION = 1  # which tissues are one structure, and where its front lies
STRUCTURES = {  # what the segmenter tells apart, and the phantoms' tissues of each
    "background": ("fat", "soft_tissue", "bladder", "serosa"),
    "myometrium": ("myometrium", "fibroid"),
    "junctional_zone": ("junctional_zone",),
    "endometrium": ("endometrium", "cavity", "polyp"),
    "tumour": ("tumour",),
}


@dataclass(frozen=True)
class Known:
    """What is known of phantom images: labels (N, S, S) uint8, index into `STRUCTURES`; visible (N,) bool, whether
    the view shows invasion; visible_depth (N,) float64, how deep, as a fraction of the wall."""

    labels: np.ndarray
    visible: np.ndarray
    visible_depth: np.ndarray


@dataclass(frozen=True)
class Reading:
    """What is found in images: structures (N, S, S) uint8, index into `STRUCTURES`; invasion (N,) float64, 0 to 1."""

    structures: np.ndarray
    invasion: np.ndarray


def known(images: pd.DataFrame, size: int) -> Known:
    """The exact anatomy of phantom images. images: rows of a manifest, of either modality; size: side in pixels.

    UserError for an image that is no phantom: of a file nothing is known.
    """
    table = np.array([_structure(tissue) for tissue in TISSUES], np.uint8)
    truths = []
    for name in progress.bar(images["image"].tolist(), "anatomy"):
        parts = name.split("/")
        if len(parts) != 4 or parts[2] not in phantom.MODALITIES or not parts[3].isdigit():
            raise row_error("manifest", name, "no phantom, so its anatomy is not known", "Leave its measures out")
        version, patient, modality, index = parts
        truths.append(phantom.truth(version, patient, int(index), modality, size))
    labels = [table[truth.labels] for truth in truths]
    return Known(
        np.stack(labels) if labels else np.empty((0, size, size), np.uint8),
        np.array([truth.visible for truth in truths], bool),
        np.array([truth.visible_depth for truth in truths], float),
    )


def front(labels: np.ndarray) -> np.ndarray:
    """Where the tumour touches the wall: its pixels beside myometrium or junctional zone, (N, S, S) bool.

    labels: (N, S, S), index into `STRUCTURES`. Pixels that share an edge or a corner are beside each other.
    """
    names = list(STRUCTURES)
    wall = np.isin(labels, [names.index("myometrium"), names.index("junctional_zone")])
    beside = ndimage.binary_dilation(wall, np.ones((1, 3, 3)))
    return beside & (labels == names.index("tumour"))


def _structure(tissue: str) -> int:
    return next(number for number, tissues in enumerate(STRUCTURES.values()) if tissue in tissues)
