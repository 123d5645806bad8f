"""What LSNet's kept keys and gradients are, measured once in trained networks (Figure 7 and its claims)."""

from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.experiments import networks


def read(run: Run) -> list[Job]:
    """The jobs that notebook 05 reads, beside the networks of Table 3 and their scores."""
    trained = networks.table_3(run).values()
    return [*trained, *(networks.scores(run, job) for job in trained)]


def read_ablations(run: Run) -> list[Job]:
    """The jobs that notebook 06 reads."""
    trained = networks.arms(run).values()
    return [*trained, *(networks.scores(run, job) for job in trained)]
