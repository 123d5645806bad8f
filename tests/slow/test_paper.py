"""The profile `paper` on a CPU: a step of its largest trainings in memory, and all of its jobs in miniature."""

import subprocess
import sys
from dataclasses import replace

import pytest

from ecsupport.core import jobs, profiles
from ecsupport.core.profiles import Run
from ecsupport.experiments import catalogue, networks, translators
from ecsupport.screening.settings import Settings

PAPER = profiles.load("paper")
STEP = """
import resource, tempfile
from dataclasses import replace
from pathlib import Path
import numpy as np
from ecsupport.core import profiles
from ecsupport.core.training import reproducible

PAPER, NAME = profiles.load("paper"), "{name}"
SIZE = PAPER.image_size if "{kind}" == "screening" else PAPER.translation.image_size
grey = np.random.default_rng(0).integers(0, 256, (64, SIZE, SIZE), np.uint8)
with reproducible(1):
    if "{kind}" == "screening":
        from ecsupport.screening.batches import Batches
        from ecsupport.screening.settings import Settings
        from ecsupport.screening.training import ScreeningTraining

        label, settings = np.tile([0, 1], 32), Settings.of(PAPER, NAME)
        arrays = dict(image=grey, label=label, real=label == label)
        arrays |= dict(validation_image=grey[:4], validation_label=label[:4])
        run = ScreeningTraining(Path(tempfile.mkdtemp()), settings, arrays, 1, "cpu")
        batch = Batches(arrays, settings, 1).at(0)
        run.step(0, batch, run.teach(0, batch, {{settings.gradient_of}}))
    else:
        from ecsupport.translation import training
        from ecsupport.translation.settings import Settings

        start = training.start(NAME, Settings.of(PAPER.translation), 1)
        training.TranslatorTraining(start, dict(mri=grey, us=grey, show=grey[:1]), 1).take_step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("screening", "lsnet"),
        ("screening", "mobilenet_v2_wide"),
        ("translation", "sg_cyclegan"),
        ("translation", "munit"),
    ],
)
def test_a_step_takes_no_more_memory_than_its_job_says(kind, name):
    run = Run(PAPER)
    said = (
        networks.memory(PAPER.image_size, Settings.of(PAPER, name))
        if kind == "screening"
        else translators.translator(run, name, 42).memory
    )
    text = STEP.format(kind=kind, name=name)
    taken = float(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout)
    print(f"{name}: {taken:.1f} GB, said {said:.1f}")
    assert taken <= said


def test_all_jobs_run_in_miniature(tmp_path, monkeypatch):
    """Sizes, widths and precision of the paper; few patients, 20 steps, of translators two, which take a minute."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    few = {"carcinoma": 20, "control": 20, "mri": 8, "extra": 8, "instrument": 12}
    counts = {f"{name}_patients": n for name, n in few.items()} | {f"{name}_images": 2 * n for name, n in few.items()}
    none = {"extended_patients": 4, "validation_positives": 0, "test_positives": 0}
    screening = {"mixed_steps": 12, "real_steps": 8, "validate_every": 10, "instrument_steps": 20, "batch": 4}
    small = replace(
        PAPER,
        ranks=False,  # its notebook 11 would show laptop's networks
        device="cpu",
        seeds=(42,),
        cohort=replace(PAPER.cohort, **counts, **none),
        translation=replace(PAPER.translation, steps=2, batch=2, seeds=(42,), peer_seeds=(42,)),
        downstream=replace(
            PAPER.downstream, real_positives=8, real_negatives=12, added=8, batch=4, steps=20, validate_every=10
        ),
        screening=replace(PAPER.screening, **screening, ablation_seeds=(42,), priorities=1),
        design=replace(profiles.load("smoke").design, seeds=(42,)),
    )
    every = list(catalogue.by_name(Run(small)).values())
    jobs.make(every, lambda group: print(*(job.name for job in group), flush=True), whole=True)
    assert {job.state for job in every} == {"made"}
