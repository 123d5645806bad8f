"""Pixels of a manifest's rows: phantoms are rendered, a person's files read, turned grey and resized."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ecsupport.cohort import phantom, pictures
from ecsupport.core import progress
from ecsupport.core.errors import UserError, row_error

REVISION = 1  # how files are turned grey and resized


def read(images: pd.DataFrame, size: int, manifest: Path | None = None) -> np.ndarray:
    """Images of the rows, in their order, in memory: (N, size, size) uint8, grey. The rest is as in `write`."""
    pixels = np.empty((len(images), _side(size), size), np.uint8)
    _fill(pixels, images, manifest)
    return pixels


def write(file: Path, images: pd.DataFrame, size: int, manifest: Path | None = None) -> None:
    """Write the images of the rows into one file, (N, size, size) uint8, to be mapped: row i is image i.

    Phantoms are rendered; files are read from beside `manifest`, turned grey and resized (bicubic, antialiased).
    UserError names the row of an image that cannot be read, or is not the file of its hash, and a size that is no
    number of pixels.
    """
    pixels = np.lib.format.open_memmap(file, "w+", np.uint8, (len(images), _side(size), size))
    _fill(pixels, images, manifest)
    pixels.flush()


def _side(size: int) -> int:
    if not isinstance(size, int | np.integer) or size < 1:
        raise UserError(f"images of size {size!r}: the side is a whole number of pixels. Give it, e.g. 64")
    return size


def _fill(pixels: np.ndarray, images: pd.DataFrame, manifest: Path | None) -> None:
    size, listed = pixels.shape[1], list(zip(images["image"], images["hash"], strict=True))
    for row, (name, known) in enumerate(progress.bar(listed, "images")):
        pixels[row] = render(name, size) if manifest is None else _read(manifest, name, known, size)


def render(name: str, size: int) -> np.ndarray:
    """The phantom image of that name in a manifest, (size, size) uint8."""
    version, patient, modality, index = name.split("/")
    return phantom.render(version, patient, int(index), modality, size)


def _read(manifest: Path, name: str, known: str, size: int) -> np.ndarray:
    try:
        picture, _ = pictures.decode(pictures.content(str(manifest), name, known))
    except ValueError as error:
        raise row_error(manifest, name, f"cannot read the image ({error})", pictures.EXPORT) from error
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))
