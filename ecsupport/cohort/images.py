"""Pixels of a manifest's rows, rendered or read once and kept in the store in blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ecsupport.cohort import phantom, pictures
from ecsupport.core import progress
from ecsupport.core.artefacts import Spec, ensure_all
from ecsupport.core.errors import UserError, row_error

BLOCK = 512
REVISION = 1  # how files are turned grey and resized


@dataclass(frozen=True)
class Stream:
    """Images as blocks of at most BLOCK, (b, size, size) uint8, one of them mapped at a time; it may be read again."""

    folders: tuple[Path, ...]
    count: int

    def __len__(self) -> int:
        """Number of images."""
        return self.count

    def __iter__(self) -> Iterator[np.ndarray]:
        for folder in self.folders:
            yield np.load(folder / "images.npy", mmap_mode="r")


def load(images: pd.DataFrame, size: int, *, manifest: Path | None = None, workers: int = 1) -> np.ndarray:
    """Images of the rows, in their order. Returns (N, size, size) uint8, grey, all of them in memory; see `stream`."""
    parts = list(stream(images, size, manifest=manifest, workers=workers))
    return np.concatenate(parts) if parts else np.empty((0, size, size), np.uint8)


def stream(images: pd.DataFrame, size: int, *, manifest: Path | None = None, workers: int = 1) -> Stream:
    """Images of the rows, in their order, for reading block by block: more than fit into memory.

    Phantoms are rendered; files are read from beside `manifest`, turned grey and resized (bicubic, antialiased).
    Only blocks that the store lacks are made, `workers` at a time; the bytes do not depend on `workers`.
    UserError names the row of an image that cannot be read, and a size that is no number of pixels.
    """
    if not isinstance(size, int | np.integer) or size < 1:
        raise UserError(f"images of size {size!r}: the side is a whole number of pixels. Give it, e.g. 64")
    specs = []
    for start in range(0, len(images), BLOCK):
        block = images.iloc[start : start + BLOCK]
        arguments = {"images": block["image"].tolist(), "hashes": block["hash"].tolist(), "size": size}
        if manifest is None:
            specs.append(Spec("images", make_phantoms, arguments))
        else:
            specs.append(Spec("images", make_files, {**arguments, "manifest": str(manifest)}))
    return Stream(tuple(ensure_all(specs, workers if len(specs) > workers else 1, "images")), len(images))


def write(file: Path, images: pd.DataFrame, size: int, manifest: Path | None = None) -> None:
    """Write the images of the rows into one file, (N, size, size) uint8, to be mapped: row i is image i.

    Phantoms are rendered; files are read from beside `manifest`, turned grey and resized (bicubic, antialiased).
    UserError names the row of an image that cannot be read, or is not the file of its hash.
    """
    pixels = np.lib.format.open_memmap(file, "w+", np.uint8, (len(images), size, size))
    listed = list(zip(images["image"], images["hash"], strict=True))
    for row, (name, known) in enumerate(progress.bar(listed, "images")):
        if manifest is None:
            pixels[row] = _render(name, size)
        else:
            pixels[row] = _read(manifest, name, known, size)
    pixels.flush()


def _render(name: str, size: int) -> np.ndarray:
    version, patient, modality, index = name.split("/")
    return phantom.render(version, patient, int(index), modality, size)


def _read(manifest: Path, name: str, known: str, size: int) -> np.ndarray:
    try:
        picture, _ = pictures.decode(pictures.content(str(manifest), name, known))
    except ValueError as error:
        raise row_error(manifest, name, f"cannot read the image ({error})", pictures.EXPORT) from error
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


def make_phantoms(folder: Path, images: list[str], hashes: list[str], size: int) -> None:
    """Render a block into `folder`; `hashes` only make the artefact know its recipes."""
    np.save(folder / "images.npy", np.stack([_render(name, size) for name in progress.bar(images, "images")]))


def make_files(folder: Path, images: list[str], hashes: list[str], size: int, manifest: str) -> None:
    """Read a block of files into `folder`; UserError where one cannot be read, or is not the file of that hash."""
    listed = progress.bar(list(zip(images, hashes, strict=True)), "images")
    np.save(folder / "images.npy", np.stack([_read(Path(manifest), name, known, size) for name, known in listed]))
