"""Rendering speed on one core beside a prototype's and a hundred 512 x 512 FFTs; how fast a manifest is checked."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from ecsupport.bench import Measure, measure
from ecsupport.cohort import phantom

# images/s of the prototype, one core; its FFT time was not noted, so an idle core of the same kind stands in for it
PROTOTYPE = {("us", 64): 643, ("mri", 64): 404, ("us", 320): 24, ("mri", 320): 48}
IDLE_FFTS = 0.27  # seconds for a hundred 512 x 512 FFTs there


def hundred_ffts() -> float:
    """Seconds, best of three."""
    field, best = np.random.default_rng(0).random((512, 512)), np.inf
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(100):
            np.fft.fft2(field)
        best = min(best, time.perf_counter() - start)
    return best


def images_per_second(modality: str, size: int) -> float:
    """Best of five batches; patients are drawn beforehand, as they are in any run of more than one image."""
    names = [phantom.patient_id("tuning_carcinoma", i) for i in range(40 if size < 100 else 6)]
    for name in names:
        phantom.patient("phantom-v1", name)
    phantom.render("phantom-v1", names[0], 0, modality, size)
    best = 0.0
    for repeat in range(5):
        start = time.perf_counter()
        for name in names:
            phantom.render("phantom-v1", name, repeat, modality, size)
        best = max(best, len(names) / (time.perf_counter() - start))
    return best


@measure("cohort")
def rendering() -> Iterator[Measure]:
    """Images per second at both sizes; the bound moves with the speed of the machine in this run."""
    ffts = hundred_ffts()
    yield Measure("a hundred 512 x 512 FFTs", ffts, "s")
    for (modality, size), rate in PROTOTYPE.items():
        bound = rate * min(1.0, IDLE_FFTS / ffts)
        rate_here = images_per_second(modality, size)
        yield Measure(f"render {modality} at {size} px", rate_here, "images/s", bound, at_least=True)


ROWS, PICTURES = 100_000, 1_000


@measure("cohort")
def looking_through() -> Iterator[Measure]:
    """A manifest of 100,000 rows without its pixels, and pictures of 640 x 480 with them, on both cores."""
    with tempfile.TemporaryDirectory() as name:
        folder, number = Path(name), np.arange(ROWS)
        for start in range(0, ROWS, 100):
            (folder / f"{start // 100}").mkdir()
            for one in range(start, start + 100):
                (folder / f"{start // 100}" / f"{one}.png").touch()
        rows = pd.DataFrame({
            "image": [f"{one // 100}/{one}.png" for one in number], "patient_id": [f"P{one // 5}" for one in number],
            "centre": "north", "modality": "us", "label": number // 5 % 2,
        })  # fmt: skip
        rows.to_csv(folder / "many.csv", index=False)
        yield Measure(f"check {ROWS:,} rows", seconds("check", folder / "many.csv"), "s", 20)
        field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(PICTURES + 480, 640)), 1)
        grey = np.uint8(np.clip(128 + 200 * field, 0, 255))
        for one in range(PICTURES):
            Image.fromarray(grey[one : one + 480]).save(folder / f"{one}.png")
        few = rows.head(PICTURES).assign(image=[f"{one}.png" for one in range(PICTURES)])
        few.to_csv(folder / "few.csv", index=False)
        without = seconds("check", folder / "few.csv")
        taken = seconds("check", "--pixels", folder / "few.csv", ECSUPPORT_WORKSPACE=folder) - without
        yield Measure("decode pictures of 640 x 480", PICTURES / taken, "images/s", 200, at_least=True)


def seconds(*arguments: object, **environment: object) -> float:
    """How long a command of ours takes, its start included."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "ecsupport", *map(str, arguments)]
    subprocess.run(
        command, check=True, capture_output=True, env=os.environ | {k: str(v) for k, v in environment.items()}
    )
    return time.perf_counter() - start
