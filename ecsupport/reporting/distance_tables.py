"""The tables of notebook 03: distances of translations to real ultrasound, their uncertainty, and the anatomy kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import nn

from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.evaluation import kept_anatomy
from ecsupport.evaluation.extrapolation import frechet_infinity
from ecsupport.evaluation.feature_sets import (
    Estimate,
    Floor,
    jackknife,
    jackknife_difference,
    mean_pairwise_distance,
    memorisation,
    real_floor,
)
from ecsupport.evaluation.frechet import frechet_distance, value_or_reason
from ecsupport.evaluation.kernel_distance import kernel_distance
from ecsupport.evaluation.probes import mean_by_patient
from ecsupport.experiments import anatomy, cohort, distances, translators
from ecsupport.experiments.translators import labels
from ecsupport.instruments import features
from ecsupport.paper.published import load_numbers

SCALE = {"mri": "MRI, untranslated", "matched": "MRI, ultrasound's histogram"}
DISTANCES = {"fid": frechet_distance, "kid": kernel_distance}  # by the published names
COLUMNS = ["images", "number", "seeds", "published_fid", "published_kid"]
COLUMNS += ["frechet", "frechet_sd", "frechet_infinity", "kernel", "kernel_sd"]
KEPT = ("dice_junctional_zone", "dice", "boundary_mm", "status")  # measures of kept anatomy
SIZES = (20, 30, 50, 80, 120)  # images of each half
GROUPS = 20  # of a jackknife


@dataclass(frozen=True)
class Sets:
    """Features, (N, d) float64 each, and the patients of their images, (N,).

    translated: by model and seed, seeds ascending;  real: by the names of `distances.REAL`
    patients: by `mri` (of translations too), `real` and `training`
    """

    translated: dict[str, dict[int, np.ndarray]]
    real: dict[str, np.ndarray]
    patients: dict[str, np.ndarray]


def read_sets(run: Run) -> Sets:
    """The features that the jobs of notebook 03 measured. UserError where they are lacking."""
    translated: dict[str, dict[int, np.ndarray]] = {name: {} for name in labels()}
    for (model, seed), job in sorted(distances.translated_features(run).items()):
        translated[model][seed] = np.load(job.file("features.npy")).astype(np.float64)
    with np.load(distances.real_features(run).file("features.npz")) as file:
        real = {name: file[name].astype(np.float64) for name in distances.REAL}
    return Sets(translated, real, {name: distances.patients(run, name) for name in ("mri", "real", "training")})


def table_1(sets: Sets | None) -> tuple[pd.DataFrame, dict[str, Floor | str]]:
    """Table 1, and its floors by distance; of `None` the published columns alone, and no floor.

    Columns: images, number (of images), seeds, published_fid, published_kid, frechet, frechet_sd, frechet_infinity,
    kernel, kernel_sd; SD over training seeds. A distance that cannot be computed is its reason.
    """
    lines = []
    for name, label in labels().items():
        of = list(sets.translated[name].values()) if sets else []
        lines.append({"images": label, "seeds": len(of)} | _published(name) | _distances(sets, of))
    for name, label in SCALE.items() if sets else ():
        lines.append({"images": label, "seeds": 0} | _distances(sets, [sets.real[name]]))
    floors = _floors(sets) if sets else {}
    if sets:
        means = {name: found if isinstance(found, str) else found.mean for name, found in floors.items()}
        line = {"images": "real ultrasound, other patients", "number": len(sets.patients["mri"]), "seeds": 0}
        lines.append(line | means)
    return pd.DataFrame(lines).reindex(columns=COLUMNS), floors


def _published(name: str) -> dict[str, float]:
    cells = {key: f"text.results.sg_cyclegan.{key}_{name}" for key in ("fid", "kid")}
    if name == "sg_cyclegan":
        cells = {"fid": "text.results.sg_cyclegan.fid", "kid": "text.results.sg_cyclegan.kid.mean"}
    numbers = load_numbers()["value"]
    return {f"published_{key}": numbers.get(cell, np.nan) for key, cell in cells.items()}


def _distances(sets: Sets | None, of_seeds: Sequence[np.ndarray]) -> dict[str, float | str]:
    if not of_seeds:
        return {"number": 0}
    real, (of_real, of_mri) = sets.real["real"], (sets.patients[name] for name in ("real", "mri"))

    def infinite(values: np.ndarray) -> float:
        return frechet_infinity(real, values, of_real, of_mri, rng=generator("03", "infinity")).value

    line: dict[str, float | str] = {"number": len(of_seeds[0])}
    line["frechet"], line["frechet_sd"] = over_seeds(lambda values: frechet_distance(real, values), of_seeds)
    line["frechet_infinity"], _ = over_seeds(infinite, of_seeds)
    line["kernel"], line["kernel_sd"] = over_seeds(lambda values: kernel_distance(real, values), of_seeds)
    return line


def over_seeds(distance: Callable[[np.ndarray], float], of_seeds: Sequence[np.ndarray]) -> tuple[float | str, float]:
    """Mean and SD of a distance over trained networks, (N, d) each, or the reason why it cannot be computed."""
    found = [value_or_reason(distance, one) for one in of_seeds]
    numbers = [value for value in found if not isinstance(value, str)]
    if not numbers:
        return found[0], np.nan
    return float(np.mean(numbers)), float(np.std(numbers)) if len(numbers) > 1 else np.nan


def _floors(sets: Sets) -> dict[str, Floor | str]:
    real, training = (sets.real[name] for name in ("real", "training"))
    patients = sets.patients["real"], sets.patients["training"], len(sets.patients["mri"])
    return {
        name: value_or_reason(real_floor, distance, real, training, *patients, rng=generator("03", "floor"))
        for name, distance in (("frechet", frechet_distance), ("kernel", kernel_distance))
    }


def fid_and_kid(run: Run, network: nn.Module) -> pd.DataFrame:
    """Both distances with another network's features, one row a translator: columns translator, seed, fid, kid.

    UserError where the translations, which no archive keeps, are not made.
    """
    size, made = run.profile.translation.image_size, translators.tests(run)
    ultrasound = cohort.open_pool(cohort.pixels(run, "ultrasound", size).folder).images if made else None
    real = features.features(network, ultrasound[distances.measured(run)["real"]]) if made else None
    rows = []
    for job in made:
        of = features.features(network, cohort.open_pool(job.folder).images)
        _, model, seed, _ = job.name.split("/")
        rows.append((labels()[model], int(seed), *(value_or_reason(one, real, of) for one in DISTANCES.values())))
    return pd.DataFrame(rows, columns=["translator", "seed", "fid", "kid"])


class Compared(NamedTuple):
    """SG-CycleGAN less another model, by `fid` or `kid`: estimate or reason, and over how many pairs of trainings."""

    model: str
    kind: str
    pairs: int
    found: Estimate | str


def differences(sets: Sets | None, why_not: str) -> list[Compared]:
    """SG-CycleGAN against every other translator by either distance; `why_not` is the reason where sets are None."""
    compared = []
    for name in labels():
        if name == "sg_cyclegan":
            continue
        shared = sorted(sets.translated["sg_cyclegan"].keys() & sets.translated[name]) if sets else []
        for kind, distance in DISTANCES.items():
            found = "not trained in this profile" if sets else why_not
            if shared:
                ours, theirs = ([sets.translated[of][seed] for seed in shared] for of in ("sg_cyclegan", name))
                found = value_or_reason(
                    jackknife_difference, distance, sets.real["real"], ours, theirs, sets.patients["real"],
                    sets.patients["mri"], rng=generator("03", kind), groups=GROUPS,
                )  # fmt: skip
            compared.append(Compared(name, kind, len(shared), found))
    return compared


def difference_table(compared: Sequence[Compared]) -> pd.DataFrame:
    """Columns less, distance, difference, low, high, uncorrected, seeds, scope; only differences with an interval."""
    rows = [
        (labels()[name], kind, found.corrected, found.low, found.high, found.value, found.n_seeds, found.scope)
        for name, kind, _, found in compared
        if not isinstance(found, str) and not np.isnan(found.low)
    ]
    columns = ["less", "distance", "difference", "low", "high", "uncorrected", "seeds", "scope"]
    return pd.DataFrame(rows, columns=columns)


def diversity(sets: Sets) -> tuple[pd.DataFrame, Estimate | str]:
    """Diversity over seeds and nearest training neighbours of the first seed, one row a translator; SG-CycleGAN's own.

    Columns: translator, diversity, low, high, nearest, nearest_low, nearest_high, nearer_than_any_real, expected.
    """
    rows, ours = [], "not trained in this profile"
    mri, real = sets.patients["mri"], sets.patients["real"]
    for name, label in labels().items():
        every = list(sets.translated[name].values())
        if not every:
            continue
        row = {"translator": label}
        diverse = value_or_reason(_diversity, sets, every)
        if name == "sg_cyclegan":
            ours = diverse
        if not isinstance(diverse, str):
            row |= {"diversity": diverse.corrected, "low": diverse.low, "high": diverse.high}
        near = value_or_reason(
            memorisation, every[0], sets.real["real"], sets.real["training"], mri, real, rng=generator("03", "nearest")
        )
        if not isinstance(near, str):
            row |= {"nearest": near.ratio, "nearest_low": near.low, "nearest_high": near.high}
            row |= {"nearer_than_any_real": near.nearer, "expected": near.expected}
        rows.append(row)
    return pd.DataFrame(rows), ours


def _diversity(sets: Sets, of_seeds: Sequence[np.ndarray]) -> Estimate:
    """Mean distance between images of different patients, translations over real ultrasound: one number a seed."""
    mri, real = sets.patients["mri"], sets.patients["real"]

    def ratio(kept_real: np.ndarray, kept_mri: np.ndarray) -> np.ndarray:
        translated = [mean_pairwise_distance(of[kept_mri], mri[kept_mri]) for of in of_seeds]
        return np.array(translated) / mean_pairwise_distance(sets.real["real"][kept_real], real[kept_real])

    return jackknife(ratio, [real, mri], rng=generator("03", "variety"), groups=GROUPS)


def by_number(sets: Sets) -> pd.DataFrame:
    """Distances of real to real: columns images (of each half of the training patients), frechet, kernel; 20 draws."""
    every, ids, rows = sets.real["training"], sets.patients["training"], []
    for number in SIZES:
        rng = generator("03", "size", number)
        for _ in range(20):
            names = rng.permutation(np.unique(ids))
            first = np.isin(ids, names[: len(names) // 2])
            pair = [every[of][rng.permutation(of.sum())[:number]] for of in (first, ~first)]
            if min(map(len, pair)) == number:
                rows.append((number, *(value_or_reason(distance, *pair) for distance in DISTANCES.values())))
    return pd.DataFrame([row for row in rows if not isinstance(row[1], str)], columns=["images", "frechet", "kernel"])


@dataclass(frozen=True)
class Kept:
    """How much anatomy translations keep.

    table: one row a translator and the ceiling last: images, zone_found, and of each of `KEPT` the mean over patients,
    its interval (_low, _high) and its _floor;  survival: columns of `kept_by_depth` and images_of, first seeds
    of_image: (seeds, N) by model and measure;  seeds: by model;  patients: of the MRI, (N,)
    """

    table: pd.DataFrame
    survival: pd.DataFrame
    of_image: dict[str, dict[str, np.ndarray]]
    seeds: dict[str, list[int]]
    patients: np.ndarray


def read_kept(run: Run, cut: float) -> Kept:
    """What the jobs found in translations and in real ultrasound; cut: the judge's threshold, of `anatomy.verdict`."""
    patients = distances.patients(run, "mri")
    rows, survival, of_image = [], [], {}
    seeds: dict[str, list[int]] = {name: [] for name in labels()}
    jobs = anatomy.translated(run)
    for model, seed in sorted(jobs):
        seeds[model].append(seed)
    for name in (name for name in labels() if seeds[name]):
        tables = [anatomy.table(jobs[name, seed], "anatomy.csv") for seed in seeds[name]]
        of_image[name] = _by_measure(tables, cut)
        floor = _by_measure(tables, cut, "other_")
        row = {"images": labels()[name], "zone_found": np.mean([table["found"].mean() for table in tables])}
        for column in KEPT:
            found = by_patient(of_image[name][column], patients, "kept")
            row |= {column: found.value, f"{column}_low": found.low, f"{column}_high": found.high}
            row[f"{column}_floor"] = mean_by_patient(floor[column], patients).mean()
        rows.append(row)
        survival.append(_by_depth(tables[0], cut, patients, labels()[name]))
    job = anatomy.real(run)
    best, sick = anatomy.table(job, "ceiling.csv"), cohort.pool(run, "ultrasound").iloc[job.given["carcinomas"]]
    ceiling = {name: mean_by_patient(of, sick["patient_id"])[0] for name, of in _by_measure([best], cut).items()}
    rows.append({"images": "real ultrasound (ceiling)", "zone_found": best["found"].mean()} | ceiling)
    survival.append(_by_depth(best, cut, sick["patient_id"], "real ultrasound"))
    return Kept(pd.DataFrame(rows), pd.concat(survival), of_image, seeds, patients)


def by_patient(values: np.ndarray, patients: np.ndarray, word: str) -> Estimate:
    """Mean over patients of a measure of images, (seeds, N), with the interval of a jackknife over patients."""

    def mean(mask: np.ndarray) -> np.ndarray:
        return mean_by_patient(values[:, mask], patients[mask])

    return jackknife(mean, [patients], rng=generator("03", word), groups=GROUPS)


def _by_measure(tables: Sequence[pd.DataFrame], cut: float, prefix: str = "") -> dict[str, np.ndarray]:
    """Every measure of `KEPT` as (seeds, N); `prefix` other_ takes the exchanged anatomy."""
    found = {name: np.array([table[prefix + name] for table in tables], float) for name in KEPT if name != "status"}
    status = []
    for table in tables:
        depth = table[f"{prefix}visible_depth"]  # NaN where no exchange exists
        status.append(np.where(depth.isna(), np.nan, kept_anatomy.status_kept(table["invasion"] >= cut, depth)))
    return found | {"status": np.array(status, float)}


def _by_depth(table: pd.DataFrame, cut: float, patients: Sequence[str], label: str) -> pd.DataFrame:
    found = kept_anatomy.kept_by_depth(
        table["invasion"] >= cut, table["visible_depth"], patients, generator("03", "depth")
    )
    return found.assign(images_of=label)
