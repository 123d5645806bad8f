"""Write down the frozen phantom cohorts: the smoke manifest, counts and digests, reference pictures.

    python data_manifests/phantom/freeze.py

Run once for a version, after its difficulty is tuned. Tests hold the cohort against what stands here.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ecsupport.cohort import manifest, phantom, population, split
from ecsupport.core import artefacts, profiles
from ecsupport.core.paths import ROOT
from ecsupport.core.seeds import generator

HERE = Path(__file__).parent
OTHERS = ("phantom-v1-easier", "phantom-v1-harder")  # of laptop's sizes
FURTHER = ("extended", "population", "study")  # pools that stand outside the cohort
PICTURES = [
    (pool, n, i, m) for pool in ("carcinoma", "control") for n, i in ((1, 0), (2, 3)) for m in phantom.MODALITIES
]


def frozen(name: str, version: str = "") -> tuple[pd.DataFrame, dict]:
    """Manifest of a profile with its split, and the row of `digests.csv` that sums it up; of another version too."""
    profile = profiles.load(name)
    size = replace(profile.cohort, version=version or profile.cohort.version)
    images = manifest.phantoms(size)
    done = split.assign(
        images, task=profile.task, rng=generator(size.version, "split"),
        positives={"validation": size.validation_positives, "test": size.test_positives},
    )  # fmt: skip
    cohort = done[done["source"] == "phantom"]
    us, mri = (cohort[cohort["modality"] == m] for m in ("us", "mri"))
    row = {"profile": _named(name, version), "version": size.version, "images": len(done)}
    row |= {"patients": done["patient_id"].nunique()}
    for part in manifest.SPLITS:
        row |= {f"{part}_{c}": int(((us["split"] == part) & (us["label"] == label)).sum())
                for c, label in (("carcinoma", 1), ("control", 0))}  # fmt: skip
    row |= {f"{part}_mri": int((mri["split"] == part).sum()) for part in split.MRI}
    return done, row | {"sha256": artefacts.sha256(manifest.to_csv(done).encode())}


def further(name: str, pool: str, version: str = "") -> dict:
    """The row of `digests.csv` of a profile's pool `extended`, `population` or `study`; of another version too.

    Its patients stand in the columns of the test set.
    """
    size, of_designs = profiles.load(name).cohort, profiles.load(name).design
    size = replace(size, version=version or size.version)
    images = {
        "extended": lambda: manifest.extended(size),
        "population": lambda: population.population(size.version, of_designs.population_patients),
        "study": lambda: population.study(size.version, of_designs.study_carcinomas, of_designs.study_controls),
    }[pool]()
    row = {"profile": f"{_named(name, version)}, {pool}", "version": size.version, "images": len(images)}
    row |= {"patients": images["patient_id"].nunique()}
    row |= {f"{part}_{c}": int((images["label"] == label).sum()) if part == "test" else 0
            for part in manifest.SPLITS for c, label in (("carcinoma", 1), ("control", 0))}  # fmt: skip
    row |= {f"{part}_mri": 0 for part in split.MRI}
    return row | {"sha256": artefacts.sha256(manifest.to_csv(images).encode())}


def _named(name: str, version: str) -> str:
    return f"{name}, {version}" if version else name


def main() -> None:
    """Write all three."""
    rows = []
    for name in profiles.names():
        done, row = frozen(name)
        rows.append(row)
        if name == "smoke":
            (HERE / "smoke.csv").write_text(manifest.to_csv(done))
    rows += [further(name, pool) for pool in FURTHER for name in profiles.names()]
    for version in OTHERS:
        rows += [frozen("laptop", version)[1], further("laptop", "extended", version)]
    pd.DataFrame(rows).to_csv(HERE / "digests.csv", index=False, lineterminator="\n")
    pictures = {
        f"{pool}-{n}-{i}-{m}": phantom.render("phantom-v1", phantom.patient_id(pool, n), i, m, 64)
        for pool, n, i, m in PICTURES
    }
    np.savez_compressed(ROOT / "tests" / "data" / "phantom_v1.npz", **pictures)


if __name__ == "__main__":
    main()
