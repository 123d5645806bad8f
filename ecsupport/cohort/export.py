"""Phantoms as files: a folder as a person with images of her own would have it, its manifest included."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from PIL import Image

from ecsupport.cohort.images import render
from ecsupport.cohort.manifest import COLUMNS
from ecsupport.core import progress
from ecsupport.core.errors import UserError

MANIFEST = "manifest.csv"
LEFT_OUT = ("source", "hash")  # a person's manifest has none; reading it finds them


def export(images: pd.DataFrame, folder: Path, size: int) -> Path:
    """Write a phantom manifest's images as PNG files beside a `manifest.csv`; returns the path of the latter.

    Pictures are (size, size), 8-bit grey, and stand in `<modality>/<patient_id>`. The folder is whole or absent.
    UserError where it exists and is not empty.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty. Name a new folder, or remove that one")
    names = [f"{modality}/{who}/{index}.png" for _, who, modality, index in images["image"].str.split("/")]
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    making.mkdir()
    try:
        columns = [column for column in COLUMNS if column not in LEFT_OUT]
        with _naming(folder):
            for name, phantom in zip(names, progress.bar(images["image"].tolist(), "images"), strict=True):
                (making / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(render(phantom, size)).save(making / name)
            images.assign(image=names)[columns].to_csv(making / MANIFEST, index=False, lineterminator="\n")
        making.rename(folder)  # takes the place of an empty folder too
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder / MANIFEST


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Have an error name the folder where the system does not: a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise
