"""Profiles: how large a run is. A frozen dataclass read from a TOML file; an unknown key is an error."""

import tomllib
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from ecsupport.core import own_methods, paths
from ecsupport.core.errors import UserError

DEFAULT = "smoke"  # of phantoms; laptop as soon as its evidence is archived
FOLDER = Path(__file__).with_suffix("")
TASKS = ("cohort", "invasion")
DEVICES = ("cpu", "cuda")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class CohortSize:
    """Patients and images of each pool; the paper's counts are in Results, "Data".

    `extended_patients` decide claims and have four ultrasound images each (`cohort.manifest.extended`).
    `validation_positives` and `test_positives` are exact image counts for the positive class; 0 leaves them to 8:1:1.
    """

    version: str
    carcinoma_patients: int
    carcinoma_images: int
    control_patients: int
    control_images: int
    mri_patients: int
    mri_images: int
    extra_patients: int
    extra_images: int
    instrument_patients: int
    instrument_images: int
    extended_patients: int
    validation_positives: int
    test_positives: int


@dataclass(frozen=True)
class TranslationSize:
    """The translators: image side in pixels, width of the first layer, halvings, residual blocks, batch, steps.

    `precision` is that of the networks' arithmetic, `seeds` are those of CycleGAN and SG-CycleGAN, `peer_seeds` those
    of the others; all else is what `translation.settings` says.
    """

    image_size: int
    width: int
    downsamplings: int
    residual_blocks: int
    batch: int
    steps: int
    precision: str
    decay_from: float
    enlarged: float
    discriminator_width: int
    normalised_discriminators: bool
    seeds: tuple[int, ...]
    peer_seeds: tuple[int, ...]


@dataclass(frozen=True)
class DownstreamSize:
    """Table 2 where positives are scarce: images of the real training set by class, and images added to it.

    `added` is the number of images of each class that an arm adds, `steps` of `batch` images the length of every
    classifier's training, `rate` its highest learning rate, `stem_stride` that of the classifier.
    """

    real_positives: int
    real_negatives: int
    added: int
    stem_stride: int
    batch: int
    steps: int
    rate: float
    validate_every: int


@dataclass(frozen=True)
class Rates:
    """Highest learning rates of screening networks in the first phase, and `real`, the second phase's share of them.

    5e-4 and a tenth in the paper; few steps need higher ones, each network the best of one grid. Dense twins have
    LSNet's, and networks of a person's own too where she says no other.
    """

    lsnet: float
    teacher: float
    mobilenet: float
    efficientnet: float
    mobilevit: float
    real: float

    def of(self, network: str) -> float:
        """That of a network, or of its family, e.g. of `lsnet_dense`."""
        own = own_methods.methods()
        if network in own.networks:
            return own.rates.get(network, self.lsnet)
        return next(getattr(self, f.name) for f in fields(self) if network.startswith(f.name))


@dataclass(frozen=True)
class ScreeningSize:
    """The screening networks: stem stride, teacher's width against the released one, batch, steps of both phases.

    `instrument_steps` are those of the feature extractor, `ablation_seeds` the training seeds of Tables 4 and 5;
    `priorities` of the arms of Tables 4 and 5 are trained (`screening.ablations`).
    """

    stem_stride: int
    teacher_width: float
    batch: int
    mixed_steps: int
    real_steps: int
    weight_decay: float
    validate_every: int
    instrument_steps: int
    ablation_seeds: tuple[int, ...]
    priorities: int
    rates: Rates


@dataclass(frozen=True)
class DesignSize:
    """The trials of study designs: images, the classifier's training as in `ScreeningSize`, and who is looked at.

    `images` of each class are learnt from, of `study_carcinomas` and `study_controls` patients; a test set has
    `test_patients` of each class, and the truth is that of `population_patients`.
    """

    image_size: int
    stem_stride: int
    batch: int
    mixed_steps: int
    real_steps: int
    rate: float
    validate_every: int
    images: int
    study_carcinomas: int
    study_controls: int
    test_patients: int
    population_patients: int
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class ClinicalSize:
    """Missing clinical data: bags of `bag` images of `batch` patients a step, `rate` the highest learning rate.

    patients: of each class of phantoms from whom is learnt, at most, and exchanged: share of phantoms' covariates that
    are exchanged between patients, so that neither images nor covariates suffice alone
    """

    image_size: int
    stem_stride: int
    batch: int
    bag: int
    steps: int
    rate: float
    patients: int
    exchanged: float
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class MultitaskSize:
    """Multitask self-distillation: `steps` of `batch` labelled images, `rate` the highest learning rate.

    percents: of patients whose labels are known, of those whose labels may be known at all
    """

    image_size: int
    stem_stride: int
    batch: int
    steps: int
    rate: float
    percents: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """One run's sizes. `task` selects the endpoint, `image_size` is the side in pixels, `threads` the CPU threads.

    `ranks` says whether its trainings are long enough to tell one method from another.
    """

    name: str
    description: str
    ranks: bool
    task: str
    image_size: int
    bootstrap_resamples: int
    seeds: tuple[int, ...]
    threads: int
    device: str
    cohort: CohortSize
    translation: TranslationSize
    downstream: DownstreamSize
    screening: ScreeningSize
    design: DesignSize
    clinical: ClinicalSize
    multitask: MultitaskSize


def names() -> list[str]:
    """Names of the profiles that exist."""
    return sorted(f.stem for f in FOLDER.glob("*.toml"))


def load(name: str) -> Profile:
    """Read `profiles/<name>.toml`; UserError for an unknown profile, an unknown, missing or ill-typed key."""
    file = FOLDER / f"{name}.toml"
    if name not in names():
        raise UserError(f"unknown profile {name!r}. Choose one of: {', '.join(names())}")
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file.name}: not valid TOML ({error}). Mend that line") from error
    profile = _build(Profile, {"name": name, **values}, file.name)
    words = ((profile, "task", TASKS), (profile, "device", DEVICES), (profile.translation, "precision", PRECISIONS))
    for section, key, known in words:
        if (value := getattr(section, key)) not in known:
            raise UserError(f"{file.name}: {key} = {value!r} is unknown. Choose one of: {', '.join(known)}")
    return profile


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    known = {f.name: f.type for f in fields(kind)}
    unknown, missing = sorted(set(values) - set(known)), sorted(set(known) - set(values))
    if unknown or missing:
        problem = f"unknown key {unknown[0]!r}" if unknown else f"missing key {missing[0]!r}"
        raise UserError(f"{where}: {problem}. Keys are: {', '.join(known)}")
    built = {}
    for key, value in values.items():
        if is_dataclass(known[key]) and isinstance(value, dict):
            built[key] = _build(known[key], value, f"{where} [{key}]")
        elif known[key] == tuple[int, ...] and isinstance(value, list):
            built[key] = tuple(value)
        elif type(value) is known[key]:
            built[key] = value
        else:
            raise UserError(
                f"{where}: {key} = {value!r} should be of type {getattr(known[key], '__name__', known[key])}"
            )
    return kind(**built)


@dataclass(frozen=True)
class Run:
    """A profile on a cohort: the embedded phantoms, or a person's own manifest (`cohort`, a CSV path).

    methods: the file with methods of a person's own that take part
    """

    profile: Profile
    cohort: Path | None = None
    methods: Path | None = None

    @classmethod
    def open(cls, profile: str = "", cohort: str = "") -> "Run":
        """Build the run of the two notebook parameters; UserError where the profile or the manifest does not exist.

        Without a profile that of the evidence, `DEFAULT`, and `smoke` for own images: a first look. Own methods are
        those that the environment names (`own_methods`).
        """
        path = Path(cohort).expanduser().resolve() if cohort else None
        if path and not path.is_file():
            why = "is no file" if path.exists() else "does not exist"
            raise UserError(f"manifest {path} {why}. Give COHORT the path of a CSV file")
        return cls(load(profile or ("smoke" if path else DEFAULT)), path, own_methods.file())

    @property
    def name(self) -> str:
        """Folder name of the run: the profile's, with the manifest's after it for own images, then own methods'."""
        own = f"-{self.cohort.stem}" if self.cohort else ""
        return self.profile.name + own + (f"+{self.methods.stem}" if self.methods else "")

    @property
    def figures(self) -> Path:
        """Folder of the run's tables, pictures and ledger."""
        return paths.workspace() / "figures" / self.name

    @property
    def notebooks(self) -> Path:
        """Folder of the run's executed notebooks and report."""
        return paths.workspace() / "runs" / self.name
