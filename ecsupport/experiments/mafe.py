"""What the first seed's translators make, and what SG-CycleGAN's shared extractor knows: Figures 1 and 2, as jobs.

Each is None where nothing can be translated, or where it lacks images of test patients.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ecsupport.cohort import phantom, structures
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import device, reproducible, torch_generator
from ecsupport.evaluation import probes
from ecsupport.evaluation.probes import channel_summary, dice, pixel_probe, probe_scores
from ecsupport.experiments import cohort, translators
from ecsupport.translation import inference, models, released, training
from ecsupport.translation.inference import to_tensor
from ecsupport.translation.settings import Settings
from ecsupport.translation.sg_cyclegan import SGCycleGAN

SHOWN = 6  # patients of Figure 1
CHANNELS = 4  # of Figure 2
EXTRACTORS = ("trained", "unguided", "start")  # SG-CycleGAN's, the unguided network's, SG-CycleGAN's before training
PER_PATIENT, MOST = 4, 400  # images in which the junctional zone is sought
BATCH = 64
SPEED = 100.0  # images of 64 pixels whose features are computed in a second, of width 16 and on one core


def read(run: Run) -> list[Job]:
    """The jobs that notebook 02 reads; none where nothing can be translated."""
    if not translators.translatable(run):
        return []
    measured = (examples(run), maps(run), modality(run), junctional_zone(run), released_steps(run))
    return [*translators.translators(run).values(), *_pools(run).values(), *(job for job in measured if job)]


def table(job: Job, name: str) -> pd.DataFrame:
    """A table that a job here made, every number as it was."""
    return pd.read_csv(job.file(f"{name}.csv"))


def arrays(job: Job, name: str) -> dict[str, np.ndarray]:
    """The arrays that a job here made, by name."""
    with np.load(job.file(f"{name}.npz")) as found:
        return dict(found)


def ultrasound(run: Run) -> np.ndarray:
    """Rows of the pool `ultrasound`: carcinomas of test patients."""
    rows = cohort.pool(run, "ultrasound")
    return np.flatnonzero((rows["split"] == "test") & (rows["label"] == 1))


def examples(run: Run) -> Job | None:
    """The patients of Figure 1: examples.npz, (k, S, S) uint8 each.

    mri: of `translators.shown`, in its order;  one array a compared translator, under its name: their translations by
    the first seed, as they stand among the translations of the test;  ultrasound: of other patients, one image each
    """
    places = translators.shown(run, SHOWN)
    if not translators.translatable(run) or not len(places):
        return None
    of = ultrasound(run)
    others = pd.Series(cohort.pool(run, "ultrasound")["patient_id"].to_numpy()[of], of).drop_duplicates()
    made = {
        model: translators.translations(run, model, translators.seeds(run, model)[0], "test")
        for model in translators.COMPARED
    }
    given = {"shown": places, "mri": translators.sources(run, "test")["mri"][places]}
    given["ultrasound"] = others.index.to_numpy()[:SHOWN]
    return _job(run, "examples/translations", _gather, {}, {**made, **_pools(run)}, given)


def _gather(folder: Path, job: Job) -> None:
    found = {}
    for name, made in job.inputs.items():
        found[name] = cohort.open_pool(made.folder).images[job.given.get(name, job.given["shown"])]
    np.savez_compressed(folder / "examples.npz", **found)


def maps(run: Run) -> Job | None:
    """Figure 2, for the first MRI and the first ultrasound image of `examples`: maps.npz.

    channels: (4,) int, those of E that vary most in both images;  mri, ultrasound: (4, S, S) float32, their values
    """
    of = examples(run)
    if of is None or not len(of.given["ultrasound"]):
        return None
    given = {name: of.given[name][:1] for name in ("mri", "ultrasound")}
    return _job(run, "mafe/maps", _map, {}, {"sg_cyclegan": _trained(run, "sg_cyclegan"), **_pools(run)}, given)


def _map(folder: Path, job: Job) -> None:
    with reproducible(1):
        network = _restored(job, "sg_cyclegan")
        found = {name: features(network, _images(job, name, name))[0] for name in job.given}  # (C, S, S) each
    varies = np.minimum(*[of.std(axis=(1, 2)) for of in found.values()])
    channels = np.argsort(-varies)[:CHANNELS]
    np.savez_compressed(folder / "maps.npz", channels=channels, **{name: of[channels] for name, of in found.items()})


def modality(run: Run) -> Job | None:
    """Is the modality gone? scores.csv, one row an image of test patients, MRI first.

    ultrasound: 0 or 1;  patient_id;  one column each of `EXTRACTORS`: the score of a logistic probe on the features'
    means and standard deviations by channel, fitted to the images that translators learn from
    """
    given = {"mri": translators.sources(run, "test")["mri"], "ultrasound": ultrasound(run)}
    if not translators.translatable(run) or not all(map(len, given.values())):
        return None
    given |= {"learnt_mri": translators.halves(run)[0], "learnt_ultrasound": translators.ultrasound(run)}
    return _job(run, "mafe/modality", _tell_modality, {}, {**_both(run), **_pools(run)}, given)


def _tell_modality(folder: Path, job: Job) -> None:
    sets = {
        prefix: np.concatenate([_images(job, name, prefix + name) for name in ("mri", "ultrasound")])
        for prefix in ("", "learnt_")
    }
    label = np.repeat([0, 1], [len(job.given[name]) for name in ("mri", "ultrasound")])
    learnt = np.repeat([0, 1], [len(job.given[f"learnt_{name}"]) for name in ("mri", "ultrasound")])
    patients = np.concatenate([_patients(job, name) for name in ("mri", "ultrasound")])
    scores = pd.DataFrame({"ultrasound": label, "patient_id": patients})
    with reproducible(1):
        for name, network in _extractors(job).items():
            fitted, unseen = (features(network, sets[prefix], channel_summary) for prefix in ("learnt_", ""))
            scores[name] = probe_scores(fitted, learnt, unseen)
    scores.to_csv(folder / "scores.csv", index=False, lineterminator="\n")


def junctional_zone(run: Run) -> Job | None:
    """Is the structure kept? dice.csv, one row an ultrasound image of test patients; None for own images.

    patient_id;  one column each of `EXTRACTORS`: Dice of the junctional zone with where a probe of single pixels sees
    it, fitted to features of MRI. Draws the phantoms' anatomy.
    """
    if modality(run) is None or run.cohort:
        return None
    rows = {"mri": translators.halves(run)[0], "ultrasound": ultrasound(run)}
    given = {
        name: cohort.pool(run, name).iloc[of].groupby("patient_id").head(PER_PATIENT).head(MOST).index.to_numpy()
        for name, of in rows.items()
    }
    recipe = {"anatomy": [structures.REVISION, phantom.REVISION]}
    return _job(run, "mafe/junctional_zone", _find_zone, recipe, {**_both(run), **_pools(run)}, given)


def _find_zone(folder: Path, job: Job) -> None:
    zone = list(structures.STRUCTURES).index("junctional_zone")
    pictures, masks = {}, {}
    for name, rows in job.given.items():
        pool = cohort.open_pool(job.inputs[name].folder)
        pictures[name] = pool.images[rows]
        masks[name] = structures.known(pool.rows.iloc[rows], pictures[name].shape[-1]).labels == zone
    found = pd.DataFrame({"patient_id": _patients(job, "ultrasound")})
    with reproducible(1):
        for name, network in _extractors(job).items():
            seen, unseen = (Features(network, pictures[of]) for of in ("mri", "ultrasound"))
            called = pixel_probe(seen, masks["mri"], unseen, generator("02", "pixels"))
            found[name] = dice(called, masks["ultrasound"])
    found.to_csv(folder / "dice.csv", index=False, lineterminator="\n")


def released_steps(run: Run) -> Job | None:
    """What two departures of the released code do to a trained SG-CycleGAN: released.csv, of one batch and its losses.

    Columns quantity and value: length of the generators' gradient over the discriminators' own, cosine between the
    gradient of a released step and of the described one, and parameters with the dynamic region convolution.
    """
    if not translators.translatable(run):
        return None
    batch = run.profile.translation.batch
    given = {"mri": translators.halves(run)[0][:batch], "ultrasound": translators.ultrasound(run)[:batch]}
    as_released = _released(Settings.of(run.profile.translation))
    recipe = {"settings": as_released.to_json(), "released": models.revisions("sg_cyclegan", as_released)}
    inputs = {"sg_cyclegan": _trained(run, "sg_cyclegan"), **_pools(run)}
    return _job(run, "mafe/released", _step_as_released, recipe, inputs, given)


def _released(settings: Settings) -> Settings:
    return replace(settings, **released.SETTINGS)


def _step_as_released(folder: Path, job: Job) -> None:
    with reproducible(1):
        network = _restored(job, "sg_cyclegan", judges=True)
        on = next(network.parameters()).device
        batch = [to_tensor(_images(job, name, name)).to(on) for name in ("mri", "ultrasound")]
        judges, settings = network.discriminator_parameters(), network.settings

        def noise() -> torch.Generator:
            return torch_generator("02", "released", device=on.type)

        def gradient(loss: torch.Tensor) -> torch.Tensor:
            network.zero_grad()
            loss.backward()
            return torch.cat([p.grad.flatten() for p in judges])

        *_, cache = network.generator_step(*batch, 1.0, noise())
        own = gradient(network.discriminator_step(*batch, cache)[0])
        network.settings = replace(settings, unfrozen=True)
        added = gradient(network.generator_step(*batch, 1.0, noise())[0])
    of_released = 4 * own + 3 * added  # four parts, of which three are not cleared
    described, enlarged = (
        models.build("sg_cyclegan", of, torch_generator("02", "released")).parameter_report()["mri_to_us"]
        for of in (settings, _released(settings))
    )
    found = {
        "length of the generators' gradient over the discriminators' own": float(added.norm() / own.norm()),
        "cosine between a released step's gradient and the described one": float(
            torch.dot(of_released, own) / of_released.norm() / own.norm()
        ),
        "parameters of one direction with the dynamic region convolution, times": enlarged / described,
    }
    frame = pd.DataFrame(found.items(), columns=["quantity", "value"])
    frame.to_csv(folder / "released.csv", index=False, lineterminator="\n")


def features(
    network: SGCycleGAN, images: np.ndarray, of: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> np.ndarray:
    """MAFE features of images (N, S, S) uint8 as (N, C, S, S) float32, or what `of` makes of them, batch by batch."""
    return np.concatenate([of(part) for part in Features(network, images)])


@dataclass(frozen=True)
class Features:
    """MAFE features of images (N, S, S) uint8 as parts (n, C, S, S) float32, computed anew each time they are asked."""

    network: SGCycleGAN
    images: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        on = next(self.network.parameters()).device
        for start in range(0, len(self.images), BATCH):
            with torch.no_grad():
                yield self.network.features(to_tensor(self.images[start : start + BATCH]).to(on)).cpu().numpy()


def _job(
    run: Run,
    name: str,
    make: Callable[[Path, Job], None],
    recipe: Mapping[str, object],
    inputs: dict[str, Job],
    given: dict[str, np.ndarray],
) -> Job:
    """A measurement of the first seed, which holds the features of a batch at a time."""
    size, number = run.profile.translation, sum(map(len, given.values()))
    area, channels = (size.image_size / 64) ** 2, size.width // 2
    held = 3 * 4e-9 * channels * size.image_size**2 * BATCH
    return Job(
        f"{name}/{size.seeds[0]}",
        make,
        {**recipe, "revision": [probes.REVISION, inference.REVISION]},
        inputs,
        given,
        minutes=len(EXTRACTORS) * number / SPEED / 60 * area * (size.width / 16) ** 2,
        memory=1 + held,
        device=run.profile.device,
        archived=("*",),
    )


def _trained(run: Run, model: str) -> Job:
    return translators.translator(run, model, translators.seeds(run, model)[0])


def _both(run: Run) -> dict[str, Job]:
    return {model: _trained(run, model) for model in ("sg_cyclegan", translators.UNGUIDED)}


def _pools(run: Run) -> dict[str, Job]:
    return {name: cohort.pixels(run, name, run.profile.translation.image_size) for name in ("mri", "ultrasound")}


def _restored(job: Job, model: str, untrained: bool = False, judges: bool = False) -> SGCycleGAN:
    """A translator; of its trained weights those from MRI to ultrasound alone, or with its discriminators too."""
    folder = job.inputs[model].folder
    return training.restore(folder, untrained, generator_alone=not judges).to(device(job.device))


def _extractors(job: Job) -> dict[str, SGCycleGAN]:
    networks = (
        _restored(job, "sg_cyclegan"),
        _restored(job, "unguided"),
        _restored(job, "sg_cyclegan", untrained=True),
    )
    return dict(zip(EXTRACTORS, networks, strict=True))


def _images(job: Job, pool: str, rows: str) -> np.ndarray:
    return cohort.open_pool(job.inputs[pool].folder).images[job.given[rows]]


def _patients(job: Job, pool: str) -> np.ndarray:
    return cohort.open_pool(job.inputs[pool].folder).rows["patient_id"].to_numpy()[job.given[pool]]
