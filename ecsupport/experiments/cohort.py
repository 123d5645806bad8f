"""The cohort's images as jobs: which rows stand in which pool, and each pool's pixels once for every size."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from ecsupport.cohort import images, manifest, own_manifest, phantom, population, split
from ecsupport.core import tables
from ecsupport.core.artefacts import replacing
from ecsupport.core.errors import UserError
from ecsupport.core.jobs import Job
from ecsupport.core.pixels import Rows
from ecsupport.core.profiles import Profile, Run

ROWS, IMAGES = "rows.csv", "images.npy"
NOTE = "manifest.csv"
Made = TypeVar("Made")
_asked: dict[Run, pd.DataFrame] = {}  # rows of runs that are only asked about: nothing of them is written
SPEED = 1000.0  # images of 64 pixels that are rendered, or read, in a second


class Pool(NamedTuple):
    """Images of a pool: manifest rows, and pixels (N, S, S) uint8 mapped from disk; row i is image i for life."""

    rows: pd.DataFrame
    images: np.ndarray


def once(function: Callable[..., Made]) -> Callable[..., Made]:
    """Keep what a function of a run (its first argument) gives, until own images are noted anew."""
    kept = lru_cache(maxsize=256)(lambda _, *arguments: function(*arguments))

    @wraps(function)
    def call(run: Run, *arguments: Any) -> Made:
        stamp = 0
        if run.cohort and (file := run.notebooks / NOTE).is_file():
            stamp = file.stat().st_mtime_ns
        return kept((stamp, id(_asked.get(run))), run, *arguments)

    return call


@once
def rows(run: Run) -> pd.DataFrame:
    """The run's manifest with its splits, one row an image. UserError where own images were not looked at yet."""
    if run.cohort is None:
        return _phantoms(run.profile)
    if run in _asked:
        return _asked[run]
    file = run.notebooks / NOTE
    if not file.is_file():
        raise UserError(
            f"{file} is absent: the images of {run.cohort} were not looked at yet. Let cohort.note(run) do it"
        )
    return tables.reread(file)


@lru_cache(maxsize=4)
def _phantoms(profile: Profile) -> pd.DataFrame:
    return split.of_run(manifest.phantoms(profile.cohort), Run(profile))


def note_once(run: Run, checked: pd.DataFrame) -> None:
    """`note` where nobody has; UserError where the manifest or an image has changed since, amidst a run."""
    file = run.notebooks / NOTE
    if file.is_file() and file.read_text(encoding="utf-8") != manifest.to_csv(split.of_run(checked, run)):
        raise UserError(
            f"{run.cohort} or its images have changed since they were looked at, so that jobs and notebooks would not "
            f"speak of the same. Begin again: make reproduce COHORT={run.cohort}"
        )
    note(run, checked)


def note(run: Run, checked: pd.DataFrame | None = None) -> None:
    """Look at a person's own images and keep their manifest with its splits and every file's SHA-256.

    checked: rows of `own_manifest.check(..., decode=True)` where it was done before. All that is planned, made and
    read afterwards rests on this table; it is written only where it changes. UserError for a mistake in the manifest,
    and where the run's folder belongs to another manifest of the same name.
    """
    if run.cohort is None:
        return
    file, owner = run.notebooks / NOTE, run.notebooks / "cohort.txt"
    if owner.is_file() and (other := owner.read_text(encoding="utf-8")) != str(run.cohort):
        raise UserError(f"{run.notebooks} belongs to {other}. Rename your manifest, or remove that folder")
    if checked is None:
        found = own_manifest.check(run.cohort, decode=True, allow_extra=True)  # which fills the hashes
        found.table.refuse(tables.SHOWN)
        checked = found.rows
    for place, text in ((owner, str(run.cohort)), (file, manifest.to_csv(split.of_run(checked, run)))):
        if not place.is_file() or place.read_text(encoding="utf-8") != text:
            with replacing(place) as path:
                path.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def asked(run: Run, checked: pd.DataFrame) -> Iterator[None]:
    """Within, what the run would be made of is known, and nothing of it is written. checked: as in `note`."""
    _asked[run] = split.of_run(checked, run)
    try:
        yield
    finally:
        del _asked[run]


@once
def pool(run: Run, name: str) -> pd.DataFrame:
    """The manifest rows of a pool, counted from 0.

    ultrasound, mri: of the cohort's splits; unused images stand in none.  extra: MRI that no translator sees.
    instrument: patients set aside for measuring instruments; where a person's manifest has none, phantoms.
    extended: the further phantom patients on whom claims are decided; with a person's manifest there are none.
    population, study: the phantoms of trials of study designs.
    Covariates of a person's manifest are left out: no image depends on them.
    """
    if name in ("population", "study"):
        version, size = run.profile.cohort.version, run.profile.design
        if name == "population":
            return population.population(version, size.population_patients)
        return population.study(version, size.study_carcinomas, size.study_controls)
    if name == "extended":
        return manifest.extended(run.profile.cohort) if run.cohort is None else rows(run).iloc[:0]
    every = rows(run)[list(manifest.COLUMNS)]
    used = every["split"].isin(manifest.SPLITS[:3])
    of = {
        "ultrasound": used & (every["modality"] == "us"),
        "mri": used & (every["modality"] == "mri"),
        "extra": every["split"] == "extra",
        "instrument": every["split"] == "instrument",
    }[name]
    if name == "instrument" and not of.any():
        every = _phantoms(run.profile)
        of = every["split"] == "instrument"
    return every[of].reset_index(drop=True)


@once
def pixels(run: Run, name: str, size: int) -> Job:
    """The images of a pool at a size, as `open_pool` reads them."""
    wanted = pool(run, name)
    drawn = run.cohort is None or (name == "instrument" and set(wanted["source"]) == {"instrument"})
    return Job(
        f"pixels/{name}/{size}",
        partial(write, where=None if drawn else run.cohort),
        {"size": size, "revision": phantom.REVISION if drawn else images.REVISION},
        given={"rows": wanted},
        minutes=len(wanted) / SPEED / 60 * (size / 64) ** 2,
        disk=gigabytes(len(wanted), size),
    )


def gigabytes(number: int, size: int, each: float = 1) -> float:
    """What so many images take, at so many bytes a pixel."""
    return 1e-9 * each * number * size**2


def write(folder: Path, job: Job, where: Path | None) -> None:
    """Draw or read the images of `job.given["rows"]`, `where` being a person's manifest: what `open_pool` reads."""
    images.write(folder / IMAGES, job.given["rows"], job.recipe["size"], where)
    (folder / ROWS).write_text(manifest.to_csv(job.given["rows"]), encoding="utf-8")


def open_pool(folder: Path) -> Pool:
    """What `pixels`, or a job of translations, made."""
    return Pool(tables.reread(folder / ROWS), np.load(folder / IMAGES, mmap_mode="r"))


def placed(pool: int, rows: np.ndarray) -> np.ndarray:
    """Rows of a pool as `images_of` takes them: (N, 2) int64."""
    return np.stack([np.full(len(rows), pool), rows], axis=1).astype(np.int64)  # (N, 2)


def images_of(pools: Mapping[int, Job], images: np.ndarray) -> Rows:
    """Images of several pools as a set: (N, 2), the number of each one's pool and its row there; none is copied."""
    parts = np.split(images, np.flatnonzero(np.diff(images[:, 0])) + 1)  # rows that follow one another in one pool
    return Rows(*((open_pool(pools[part[0, 0]].folder).images, part[:, 1]) for part in parts))
