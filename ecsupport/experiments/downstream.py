"""Table 2 as jobs: the classifiers of every arm and their scores on the test patients."""

from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run


def read(run: Run) -> list[Job]:
    """The jobs that notebook 04 reads."""
    return []
