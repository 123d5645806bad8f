"""What trained networks make of patients from whom none has learnt, opened for notebooks 04 to 06."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ecsupport.cohort import manifest
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.experiments import networks

WORDS = {"test": "the test set", "extended": "{number} unseen phantom patients"}


@dataclass(frozen=True)
class Tested:
    """Images of patients and their scores.

    rows: of the manifest;  truth: (N,) 0 or 1;  scores: by network, one row (N,) float64 a training run;
    described: whose images these are, in words
    """

    rows: pd.DataFrame
    truth: np.ndarray
    scores: Mapping[str, list[np.ndarray]]
    described: str = WORDS["test"]

    @classmethod
    def of(cls, run: Run, patients: str, scores: Mapping[str, list[np.ndarray]]) -> "Tested":
        """patients: `test` or `extended`, with the networks' scores for them in the order of `networks.patients`."""
        rows = networks.patients(run, patients)
        truth = manifest.target(rows, run.profile.task).to_numpy()
        number = rows["patient_id"].nunique()
        return cls(rows, truth, scores, WORDS[patients].format(number=f"{number:,}"))

    @property
    def patients(self) -> np.ndarray:
        """Whose image each is, (N,)."""
        return self.rows["patient_id"].to_numpy()

    @property
    def number(self) -> int:
        """Of patients."""
        return self.rows["patient_id"].nunique()


def opened(
    run: Run,
    trained: Mapping[tuple[str, int], Job],
    names: Mapping[str, str] | None = None,
    patients: str = "test",
) -> Tested:
    """Scores of trained networks by (name, seed), under their names or those that `names` gives them.

    patients: `test`, or those of `networks.deciding`, on whom every claim about these networks rests.
    """
    scores: dict[str, list[np.ndarray]] = {}
    for (name, _), job in trained.items():
        found = networks.read_scores(networks.scores(run, job))[patients]
        scores.setdefault((names or {}).get(name, name), []).append(found)
    return Tested.of(run, patients, scores)
