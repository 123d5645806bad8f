"""Table 1's measurements as jobs: features of translated test MRI, and the anatomy that a segmenter finds in them."""

from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.experiments import instruments, translators


def read(run: Run) -> list[Job]:
    """The jobs that notebook 03 reads."""
    drawn = run.cohort is None
    return [
        *translators.tests(run), instruments.extractor(run), *([instruments.trained_segmenter(run)] if drawn else [])
    ]  # fmt: skip
