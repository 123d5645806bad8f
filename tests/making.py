"""Trainings as jobs on arrays of a test: recipe, checkpoint and restoring are those of the run's own jobs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecsupport.core import jobs, profiles
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.experiments import instruments, networks, translators
from ecsupport.instruments import features, segmenter
from ecsupport.screening import training as screening
from ecsupport.screening.settings import Settings
from ecsupport.translation import training as translation
from ecsupport.translation.settings import Settings as TranslatorSettings

RUN = Run(profiles.load("smoke"))
Arrays = Mapping[str, np.ndarray]


def fit(job: Job) -> Path:
    """The folder of a job, which is made where it is lacking."""
    jobs.make([job])
    return job.folder


def student(settings: Settings, arrays: Arrays, seed: int) -> Job:
    """The job of a screening network."""
    job = networks.network(RUN, "test", settings, seed, synthetic=False)
    job = replace(job, make=_teach_one, make_together=_teach, inputs={}, given=arrays)
    return replace(job, together=screening.teaching(**arguments(job)))


def arguments(job: Job) -> dict[str, Any]:
    """What a student's training is given beside its arrays."""
    return {**job.recipe, "data": _name(job), "device": job.device}


def _name(job: Job) -> str:
    return Job("data", job.make, {}, given=job.given).key


def _teach_one(folder: Path, job: Job) -> None:
    screening.train(folder, job.given, **arguments(job))


def _teach(wanted: Sequence[tuple[Path, Job]]) -> Iterator[Path]:
    yield from screening.train_together([(folder, arguments(job)) for folder, job in wanted], wanted[0][1].given)


def translator(model: str, images: Arrays, settings: TranslatorSettings, seed: int) -> Job:
    """The job of a translator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TranslatorSettings, "of", lambda *_: settings)
        job = translators.translator(RUN, model, seed)
    return replace(job, make=_translate, inputs={}, given=images)


def _translate(folder: Path, job: Job) -> None:
    translation.train(folder, job.given, data=_name(job), device=job.device, **job.recipe)


def extractor(content: Arrays, steps: int, seed: int, tasks: Sequence[str] = features.TASKS) -> Job:
    """The job of a feature extractor."""
    return _instrument(instruments.extractor(RUN), _extractor, content, steps=steps, seed=seed, tasks=list(tasks))


def _extractor(folder: Path, job: Job) -> None:
    features.train(folder, job.given, job.recipe["steps"], job.recipe["seed"], job.recipe["tasks"])


def reader(content: Arrays, steps: int, seed: int) -> Job:
    """The job of a segmenter and judge."""
    return _instrument(instruments.trained_segmenter(RUN), _reader, content, steps=steps, seed=seed)


def _reader(folder: Path, job: Job) -> None:
    segmenter.train(folder, job.given, job.recipe["steps"], job.recipe["seed"])


def _instrument(job: Job, make: Any, content: Arrays, **recipe: Any) -> Job:
    return replace(job, make=make, recipe={**job.recipe, **recipe}, inputs={}, given=content)
