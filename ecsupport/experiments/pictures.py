"""The few pictures of phantoms and of own images that notebook 01 shows, as a job."""

from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run


def read(run: Run) -> list[Job]:
    """The jobs that notebook 01 reads."""
    return []
