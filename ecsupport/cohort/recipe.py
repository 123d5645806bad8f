"""Recipes: the named, frozen dials of the phantom cohort, read from `data_manifests/phantom/<version>.toml`."""

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, fields
from functools import cache, cached_property

from ecsupport.core.errors import UserError
from ecsupport.core.paths import MANIFESTS

FOLDER = MANIFESTS / "phantom"


@dataclass(frozen=True)
class Recipe:
    """Dials of one cohort version. Decibels are relative to myometrium, shares lie in [0, 1]."""

    version: str
    junctional_db: float  # how far the junctional zone lies below myometrium
    faded_share: float  # share of patients whose junctional zone is nearly isoechoic
    gap_strength: float  # largest fading of a patch of the junctional zone, in anybody
    tumour_db: float
    tumour_texture_db: float  # shortcut dial: how much coarser a carcinoma's texture is
    endometrium_excess: float  # shortcut dial: how much thicker a carcinoma's endometrium is
    mass_share: float  # share of the endometrial width that a carcinoma's own mass takes
    invading_share: float
    deep_share: float
    depth_superficial: tuple[float, float]
    depth_deep: tuple[float, float]
    tongue_half_angle: tuple[float, float]
    aim: float  # standard deviation of a view's plane around the lesion; larger misses more
    echogenicity_sd: float
    texture_db: float
    shadows: float  # mean number of shadows in an image
    mri_texture: float
    polyp_share: float
    hyperplasia_share: float
    fibroid_share: float
    bladder_share: float

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all dials."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def load(version: str | Recipe) -> Recipe:
    """Recipe of a version; a recipe stands for itself, so that a tuning run can try dials that no file names."""
    return version if isinstance(version, Recipe) else _read(version)


@cache
def _read(version: str) -> Recipe:
    """Read a recipe's file; one with `base` takes that version's dials and changes the ones it names."""
    file = FOLDER / f"{version}.toml"
    if not file.is_file():
        known = ", ".join(sorted(f.stem for f in FOLDER.glob("*.toml")))
        raise UserError(f"unknown phantom version {version!r}. Choose one of: {known}")
    dials = tomllib.loads(file.read_text(encoding="utf-8"))
    if base := dials.pop("base", None):
        dials = asdict(_read(base)) | dials
    dials = {k: tuple(v) if isinstance(v, list) else v for k, v in dials.items() if k != "version"}
    wrong = set(dials) ^ ({f.name for f in fields(Recipe)} - {"version"})
    if wrong:
        raise UserError(f"{file.name}: unknown or missing dial {sorted(wrong)[0]!r}. Compare with phantom-v1.toml")
    return Recipe(version=version, **dials)
