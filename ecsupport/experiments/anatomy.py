"""How much anatomy translations keep, as jobs: what a segmenter and judge find, beside what is known of phantoms.

Every anatomy of a phantom is drawn here; of own images nothing is known, so that they have none of these jobs.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ecsupport.cohort import phantom, structures
from ecsupport.core import tables
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import device, reproducible
from ecsupport.evaluation import kept_anatomy
from ecsupport.experiments import cohort, instruments, translators
from ecsupport.instruments import segmenter

MOST = 600  # ultrasound images of the acceptance, and of the threshold
EXAMPLES = 5  # patients, of whom one MRI each is shown
SHOWN = ("cyclegan", "sg_cyclegan")  # models whose first seed's translations are shown
SPEED = 150.0  # images of 64 pixels that are drawn, read and compared in a second, on one core


def read(run: Run) -> list[Job]:
    """The jobs on anatomy that notebook 03 reads; none for own images."""
    return [] if run.cohort else [real(run), *translated(run).values()]


def real(run: Run) -> Job:
    """The segmenter and judge on real ultrasound of patients that they have not seen.

    acceptance.csv: measure, condition, value;  verdict.json: accepted, reasons, and cut, the judge's threshold, chosen
    on training patients;  ceiling.csv: columns of `compare`, invasion and visible_depth, one row for every carcinoma of
    `given`. UserError for own images, as `structures.known`.
    """
    rows = cohort.pool(run, "ultrasound")
    unseen = _some(np.flatnonzero(rows["split"].isin(["validation", "test"])), "unseen")
    given = {"unseen": unseen, "training": _some(np.flatnonzero(rows["split"] == "train"), "threshold")}
    given["carcinomas"] = unseen[rows["label"].to_numpy()[unseen] == 1]
    return _job(run, "anatomy/real", _read_real, {"ultrasound": _pixels(run, "ultrasound")}, given)


def _some(rows: np.ndarray, word: str) -> np.ndarray:
    return rows[np.sort(generator("03", word).permutation(len(rows))[:MOST])]


def translated(run: Run) -> dict[tuple[str, int], Job]:
    """What is found in every translator's test translations, by model and seed; none where nothing is translated.

    anatomy.csv: one row a test MRI, in the order of `translators.sources`, with
        the columns of `kept_anatomy.compare`, held against the anatomy of the MRI;
        other_..., the same held against that of another patient's MRI, NaN where no exchange exists;
        invasion, the judge's probability;  visible_depth, other_visible_depth, of the MRI and of the exchanged one
    examples.npz, of the first seed of `SHOWN`: mri, picture (k, S, S) uint8; true, found (k, S, S), their structures
    """
    found = {}
    for made in translators.tests(run):
        _, model, seed, _ = made.name.split("/")
        shown = model in SHOWN and int(seed) == min(translators.seeds(run, model))
        given = {
            "mri": translators.sources(run, "test")["mri"],
            "shown": translators.shown(run, EXAMPLES if shown else 0),
        }
        inputs = {"translations": made, "mri": _pixels(run, "mri")}
        found[model, int(seed)] = _job(run, f"anatomy/{model}/{seed}", _read_translations, inputs, given)
    return found


def _job(
    run: Run, name: str, make: Callable[[Path, Job], None], inputs: dict[str, Job], given: dict[str, np.ndarray]
) -> Job:
    size, number = run.profile.translation.image_size, sum(map(len, given.values()))
    return Job(
        name,
        make,
        {"size": size, "revision": [kept_anatomy.REVISION, structures.REVISION, phantom.REVISION]},
        {"segmenter": instruments.trained_segmenter(run), **inputs},
        given,
        minutes=number / SPEED / 60 * (size / 64) ** 2,
        memory=1 + 12e-9 * number * size**2,
        device=run.profile.device,
        archived=("*",),
    )


def _pixels(run: Run, name: str) -> Job:
    return cohort.pixels(run, name, run.profile.translation.image_size)


def _read_real(folder: Path, job: Job) -> None:
    pool = cohort.open_pool(job.inputs["ultrasound"].folder)
    known = {name: structures.known(pool.rows.iloc[rows], job.recipe["size"]) for name, rows in job.given.items()}
    table = pd.DataFrame(columns=["measure", "condition", "value"])
    told = {"accepted": False, "reasons": [], "cut": None}
    with reproducible(1):
        read = _reader(job)
        try:
            found = kept_anatomy.accept(
                read, pool.images[job.given["unseen"]], known["unseen"].labels, known["unseen"].visible_depth,
                pool.rows["patient_id"].to_numpy()[job.given["unseen"]], generator("03", "moved"),
            )  # fmt: skip
            table, told["reasons"] = found.measured, list(found.reasons)
            judged = read(pool.images[job.given["training"]]).invasion
            told |= {"cut": kept_anatomy.threshold(judged, known["training"].visible), "accepted": bool(found.accepted)}
        except ValueError as reason:  # one patient has most images, or all views show invasion
            told["reasons"].append(str(reason))
        ceiling = read(pool.images[job.given["carcinomas"]])
    table.to_csv(folder / "acceptance.csv", index=False, lineterminator="\n")
    (folder / "verdict.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    compared = kept_anatomy.compare(ceiling.structures, known["carcinomas"].labels)
    compared = compared.assign(invasion=ceiling.invasion, visible_depth=known["carcinomas"].visible_depth)
    compared.to_csv(folder / "ceiling.csv", index=False, lineterminator="\n")


def _read_translations(folder: Path, job: Job) -> None:
    mri, made = (cohort.open_pool(job.inputs[name].folder) for name in ("mri", "translations"))
    rows, shown = mri.rows.iloc[job.given["mri"]], job.given["shown"]
    known = structures.known(rows, job.recipe["size"])
    with reproducible(1):
        reading = _reader(job)(made.images[:])
    table = kept_anatomy.compare(reading.structures, known.labels)
    try:
        other = kept_anatomy.exchanged(rows["patient_id"], generator("03", "exchanged"))
        floor = kept_anatomy.compare(reading.structures, known.labels[other])
        floor["visible_depth"] = known.visible_depth[other]
    except ValueError:  # one patient has more than half of the MRI
        floor = pd.DataFrame(np.nan, range(len(table)), [*table.columns, "visible_depth"])
    table = table.assign(invasion=reading.invasion, visible_depth=known.visible_depth)
    table = table.join(floor.drop(columns=["shown", "found"]).add_prefix("other_"))
    table.to_csv(folder / "anatomy.csv", index=False, lineterminator="\n")
    if len(shown):
        pictures = {"mri": mri.images[job.given["mri"]][shown], "picture": made.images[shown]}
        layers = {"true": known.labels[shown], "found": reading.structures[shown]}
        np.savez_compressed(folder / "examples.npz", **pictures, **layers)


def _reader(job: Job) -> Callable[[np.ndarray], structures.Reading]:
    network = segmenter.restore(job.inputs["segmenter"].folder).to(device(job.device))
    return lambda images: segmenter.read(network, images)


def verdict(job: Job) -> tuple[kept_anatomy.Acceptance, float | None]:
    """Whether segmenter and judge were accepted on real ultrasound, and from which probability a view is invading."""
    told = json.loads(job.file("verdict.json").read_text(encoding="utf-8"))
    measured = table(job, "acceptance.csv")
    return kept_anatomy.Acceptance(told["accepted"], tuple(told["reasons"]), measured), told["cut"]


def table(job: Job, name: str) -> pd.DataFrame:
    """A table that one of these jobs wrote, every number as it was."""
    return tables.reread(job.file(name))


def read_examples(run: Run) -> dict[str, dict[str, np.ndarray]]:
    """The pictures and structures that are shown, by model: mri, picture, true and found, (k, S, S) uint8 each."""
    found = {}
    for model in SHOWN:
        with np.load(translated(run)[model, min(translators.seeds(run, model))].file("examples.npz")) as file:
            found[model] = dict(file)
    return found
