"""Rendering speed on one core, against a prototype's rates, beside the time of a hundred 512 x 512 FFTs."""

import time
from collections.abc import Iterator

import numpy as np

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
