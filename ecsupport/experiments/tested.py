"""What the networks of Tables 3 to 5 make of patients that none has seen, opened for notebooks 05 and 06."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ecsupport.cohort import manifest
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.experiments import networks


@dataclass(frozen=True)
class Tested:
    """The test images and their scores.

    rows: of the manifest;  truth: (N,) 0 or 1;  scores: by network, one row (N,) float64 a training run
    """

    rows: pd.DataFrame
    truth: np.ndarray
    scores: Mapping[str, list[np.ndarray]]

    @property
    def patients(self) -> np.ndarray:
        """Whose image each is, (N,)."""
        return self.rows["patient_id"].to_numpy()

    @property
    def number(self) -> int:
        """Of patients."""
        return self.rows["patient_id"].nunique()


def opened(run: Run, trained: Mapping[tuple[str, int], Job], names: Mapping[str, str] | None = None) -> Tested:
    """Scores of trained networks by (name, seed), under their names or those that `names` gives them."""
    rows = networks.patients(run, "test")
    scores: dict[str, list[np.ndarray]] = {}
    for (name, _), job in trained.items():
        scores.setdefault((names or {}).get(name, name), []).append(probabilities(run, job)["test"])
    return Tested(rows, manifest.target(rows, run.profile.task).to_numpy(), scores)


def probabilities(run: Run, job: Job) -> dict[str, np.ndarray]:
    """What `networks.scores` holds of a trained network, each (N,) float64."""
    with np.load(networks.scores(run, job).file("scores.npz")) as found:
        return {name: found[name].astype(float) for name in found}


def unseen(run: Run) -> dict[str, pd.DataFrame]:
    """Rows of the cohort's patients that no network has seen: `test`, and `instrument` where both classes are there.

    Phantoms that stand in for instrument patients are no patients of a person's own cohort.
    """
    found = {"test": networks.patients(run, "test")}
    more = networks.patients(run, "instrument")
    stand_in = run.cohort is not None and set(more["source"]) == {"instrument"}
    if not stand_in and manifest.target(more, run.profile.task).nunique() == 2:
        found["instrument"] = more
    return found
