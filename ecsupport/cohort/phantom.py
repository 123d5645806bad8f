"""Phantom patients and their images: each a pure function of cohort version, patient, index, modality and size."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from ecsupport.cohort import mri, ultrasound
from ecsupport.cohort.anatomy import TISSUES, Blob, Tongue, Uterus, View, section
from ecsupport.cohort.recipe import Recipe, load
from ecsupport.core.seeds import generator

MM = 33.0  # millimetres in half an image width
MODALITIES = ("us", "mri")
REVISION = 1  # what a recipe's dials are made into, pixel by pixel


@dataclass(frozen=True)
class Pool:
    """Patients of one purpose: id prefix, share of carcinomas, and the `source` written in manifests.

    dials: of the recipe, with values of this pool's own, where its patients are drawn with a finding that is given
    """

    prefix: str
    carcinoma_share: float
    source: str
    dials: Mapping[str, float] = field(default_factory=dict)


POOLS = {
    "carcinoma": Pool("EC", 1.0, "phantom"),
    "control": Pool("NU", 0.0, "phantom"),
    "mri": Pool("MR", 1.0, "phantom"),
    "extra": Pool("XC", 0.0, "phantom_extra"),
    "instrument": Pool("IN", 0.5, "instrument"),
    "extended": Pool("EX", 0.5, "extended"),
    "tuning_carcinoma": Pool("TC", 1.0, "tuning"),
    "tuning_control": Pool("TN", 0.0, "tuning"),
}
_NONE = {"hyperplasia_share": 0.0, "polyp_share": 0.0}
FINDINGS: dict[str, tuple[str, float, Mapping[str, float]]] = {  # leading finding: letter, share of carcinomas, dials
    "normal": ("N", 0.0, _NONE | {"fibroid_share": 0.0}),
    "hyperplasia": ("H", 0.0, {"hyperplasia_share": 1.0}),
    "polyp": ("P", 0.0, {"hyperplasia_share": 0.0, "polyp_share": 1.0}),
    "fibroid": ("F", 0.0, _NONE | {"fibroid_share": 1.0}),
    "carcinoma without invasion": ("C", 1.0, {"invading_share": 0.0}),
    "superficial invasion": ("S", 1.0, {"invading_share": 1.0, "deep_share": 0.0}),
    "deep invasion": ("D", 1.0, {"invading_share": 1.0, "deep_share": 1.0}),
}
POOLS |= {  # patients whose finding is given: of a screened population, and of studies of it
    f"{purpose}, {finding}": Pool(purpose[0].upper() + letter, share, purpose, dials)
    for purpose in ("population", "study")
    for finding, (letter, share, dials) in FINDINGS.items()
}
_POOL_OF = {pool.prefix: pool for pool in POOLS.values()}


@dataclass(frozen=True)
class Patient:
    """A phantom patient. Thickness in mm, CA-125 in U/mL, age in years; `diagnosis` is the leading finding."""

    patient_id: str
    centre: str
    diagnosis: str  # carcinoma, hyperplasia, polyp or normal
    age: int
    postmenopausal: bool
    bmi: float
    bleeding: bool
    endometrial_thickness: float
    ca125: float
    uterus: Uterus

    @property
    def carcinoma(self) -> bool:
        """The positive class of `task = cohort`."""
        return self.diagnosis == "carcinoma"


@dataclass(frozen=True)
class Truth:
    """What is known of one image. `labels`: (size, size) uint8 index into `TISSUES`; `proportions`: (11,), sum 1."""

    labels: np.ndarray
    proportions: np.ndarray
    invasion_depth: float
    visible_depth: float
    visible: bool

    def mask(self, tissue: str) -> np.ndarray:
        """Boolean mask (size, size) of one tissue."""
        return self.labels == TISSUES.index(tissue)


def patient_id(pool: str, number: int) -> str:
    """Identifier of the `number`-th patient of a pool, e.g. `EC00001`."""
    return f"{POOLS[pool].prefix}{number:05d}"


@lru_cache(maxsize=4096)
def patient(version: str | Recipe, name: str) -> Patient:
    """Draw a patient. The relation of the covariates to the diagnosis is stated in data_manifests/phantom/README.md."""
    pool = _POOL_OF[name[:2]]
    recipe = replace(load(version), **pool.dials)
    rng = generator(recipe.version, name, "patient")
    draw = rng.random()
    if rng.random() < pool.carcinoma_share:
        diagnosis = "carcinoma"
    elif draw < recipe.hyperplasia_share:
        diagnosis = "hyperplasia"
    else:
        diagnosis = "polyp" if draw < recipe.hyperplasia_share + recipe.polyp_share else "normal"
    centre = ultrasound.CENTRES[rng.choice(5, p=(0.30, 0.25, 0.20, 0.15, 0.10))]
    uterus = _uterus(diagnosis, recipe, rng)

    carcinoma = diagnosis == "carcinoma"
    age = int(np.clip(rng.normal(60 if carcinoma else 49, 10), 22, 88))
    postmenopausal = bool(rng.random() < 1 / (1 + np.exp(-(age - 51) / 2)))
    bmi = float(np.clip(rng.normal(27.5 if carcinoma else 24.5, 4), 16, 50))
    bleeding = bool(rng.random() < {"carcinoma": 0.85, "hyperplasia": 0.5, "polyp": 0.4, "normal": 0.1}[diagnosis])
    thickness = float(np.clip(2 * uterus.endometrium_width * MM + rng.normal(0, 0.5), 1, None))
    ca125 = float(np.exp(rng.normal(2.7 + 0.3 * carcinoma + 0.8 * uterus.invasion_depth, 0.6)))
    return Patient(name, centre, diagnosis, age, postmenopausal, round(bmi, 1), bleeding, round(thickness, 1),
                   round(ca125, 1), uterus)  # fmt: skip


def _uterus(diagnosis: str, recipe: Recipe, rng: np.random.Generator) -> Uterus:
    def harmonics(sd: float) -> tuple[tuple[float, float], ...]:
        return tuple(zip(rng.normal(0, sd, 3).tolist(), rng.uniform(0, 2 * np.pi, 3).tolist(), strict=True))

    carcinoma = diagnosis == "carcinoma"
    length = rng.uniform(0.74, 0.96)
    width = length * rng.uniform(0.54, 0.68)
    thin, thick = rng.uniform(0.055, 0.13), rng.uniform(0.10, 0.20)
    lining = thick if diagnosis in ("hyperplasia", "polyp") or (carcinoma and rng.random() < 0.5) else thin
    if carcinoma:
        lining = max(lining, 0.08) * (1 + recipe.endometrium_excess * rng.uniform(0.5, 1))
    contrast = rng.uniform(0.1, 0.35) if rng.random() < recipe.faded_share else rng.uniform(0.8, 1)
    gap = (rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.8), rng.uniform(0, recipe.gap_strength))
    cavity = ("line", "hidden", "fluid")[rng.choice(3, p=(0.6, 0.3, 0.1))]
    fibroids = tuple(
        Blob(rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.9), rng.uniform(0.06, 0.15))
        for _ in range(rng.integers(1, 4) if rng.random() < recipe.fibroid_share else 0)
    )
    polyp = None
    if diagnosis == "polyp":
        polyp = Blob(rng.uniform(0, 2 * np.pi), rng.uniform(-0.8, 0.8), rng.uniform(0.45, 0.8))
    mass, tongues = None, ()
    if carcinoma:
        mass = Blob(rng.uniform(0, 2 * np.pi), rng.uniform(-0.7, 0.7), recipe.mass_share * rng.uniform(0.6, 1.1))
        if rng.random() < recipe.invading_share:
            tongues = _tongues(recipe, rng)
    return Uterus(
        length=length,
        width=width,
        pear=rng.uniform(0.05, 0.2),
        bend=rng.uniform(-0.18, 0.18),
        serosa_harmonics=harmonics(0.015),
        endometrium_length=length * rng.uniform(0.55, 0.7),
        endometrium_width=lining,
        endometrium_harmonics=harmonics(0.05),
        junctional_thickness=rng.uniform(0.045, 0.075),
        junctional_contrast=contrast,
        junctional_gap=gap,
        cavity=cavity,
        cavity_width=rng.uniform(0.03, 0.06) if cavity == "fluid" else 0.008,
        polyp=polyp,
        fibroids=fibroids,
        mass=mass,
        tongues=tongues,
        bladder=(rng.uniform(0.15, 0.3), rng.uniform(-0.6, 0.6)) if rng.random() < recipe.bladder_share else None,
    )


def _tongues(recipe: Recipe, rng: np.random.Generator) -> tuple[Tongue, ...]:
    """One to three tongues around a common site; the first is the deepest."""
    low, high = recipe.depth_deep if rng.random() < recipe.deep_share else recipe.depth_superficial
    site, plane = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
    depth = rng.uniform(low, high)
    first = Tongue(site, rng.uniform(*recipe.tongue_half_angle), depth, plane, rng.uniform(0.6, 1.1))
    others = tuple(
        Tongue(
            site + rng.normal(0, 0.8),
            rng.uniform(*recipe.tongue_half_angle),
            depth * rng.uniform(0.5, 0.95),
            plane + rng.normal(0, 0.2),
            rng.uniform(0.5, 1.0),
        )
        for _ in range(rng.integers(0, 3))
    )
    return (first, *others)


def view(version: str | Recipe, name: str, index: int, modality: str) -> View:
    """Draw the `index`-th view of a patient; the examiner aims at the lesion where there is one."""
    recipe, uterus = load(version), patient(version, name).uterus
    rng = generator(recipe.version, name, index, modality, "view")
    target = uterus.tongues[0].plane if uterus.tongues else 0.0
    waves = zip(2 * np.pi / rng.uniform(0.7, 2.0, 4), rng.uniform(0, 2 * np.pi, (4, 2)), strict=True)
    return View(
        kind="sagittal" if rng.random() < 0.65 else "axial",
        rotation=rng.normal(0, 0.35),
        offset=(rng.normal(0, 0.06), rng.normal(0.02, 0.06)),
        scale=rng.uniform(0.88, 1.08),
        plane=rng.normal(target, recipe.aim),
        surroundings=tuple((float(k * np.cos(a)), float(1.4 * k * np.sin(a)), float(phase)) for k, (a, phase) in waves),
    )


def sequence(index: int) -> str:
    """MRI sequence of the `index`-th image of a patient: the protocol's sequences in turn."""
    return mri.SEQUENCES[index % len(mri.SEQUENCES)]


def render(
    version: str | Recipe, name: str, index: int, modality: str, size: int, dtype: type = np.float32
) -> np.ndarray:
    """Image of a phantom. Returns (size, size) uint8.

    The random stream of the picture is keyed by the size too: a larger image is another draw of the same anatomy.
    """
    who, recipe = patient(version, name), load(version)
    rng = generator(recipe.version, name, index, modality, size)
    cut = view(version, name, index, modality)
    if modality == "us":
        return ultrasound.render(who.uterus, cut, who.centre, recipe, rng, size, dtype)
    return mri.render(who.uterus, cut, sequence(index), recipe, rng, size, dtype)


def truth(version: str | Recipe, name: str, index: int, modality: str, size: int) -> Truth:
    """Exact masks, tissue proportions and invasion of the image that `render` gives for the same arguments."""
    uterus, cut = patient(version, name).uterus, view(version, name, index, modality)
    x, y = np.meshgrid(*[((np.arange(size) + 0.5) * 2 / size - 1)] * 2)
    weights = section(uterus, cut, x, y, edge=1.5 / size).weights()
    return Truth(
        labels=weights.argmax(axis=0).astype(np.uint8),
        proportions=weights.mean(axis=(1, 2)),
        invasion_depth=uterus.invasion_depth,
        visible_depth=cut.visible_depth(uterus),
        visible=cut.shows_invasion(uterus),
    )


def recipe_hash(version: str | Recipe, name: str, index: int, modality: str) -> str:
    """Sixteen hex digits that name what an image is made from: dials, patient, index and modality."""
    words = f"{load(version).digest}:{name}:{index}:{modality}"
    return hashlib.sha256(words.encode()).hexdigest()[:16]
