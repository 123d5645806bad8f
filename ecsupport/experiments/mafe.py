"""What a trained SG-CycleGAN's shared extractor knows, measured once (Figure 2 and its claims)."""

from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.experiments import translators


def read(run: Run) -> list[Job]:
    """The jobs that notebook 02 reads."""
    return [*translators.translators(run).values(), *translators.tests(run)]
