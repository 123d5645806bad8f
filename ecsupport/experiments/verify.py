"""Whether the archive can be believed: some of its trainings made anew on this machine, and held against it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ecsupport.core import jobs
from ecsupport.core.errors import UserError
from ecsupport.core.jobs import Job

RECORDS = ("history.csv", "losses.csv")  # of networks and of translators
FIRST, CLOSE = 20, 1e-3  # rows of a record that have to agree, and how well
LEAST, TIMES = 0.05, 4.0  # by how much outcomes may differ: this, or so many SDs over archived seeds


def chosen(every: Sequence[Job], number: int, rng: np.random.Generator) -> list[Job]:
    """Archived trainings at random, of those with a record of their losses; UserError where none is archived."""
    archived = [job for job in every if job.archives and set(RECORDS) & set(job.archived)]
    if not archived:
        raise UserError("the archive of this profile holds no training. Archived are those of: laptop, once trained")
    return [archived[place] for place in rng.permutation(len(archived))[:number]]


def differences(job: Job, others: Sequence[Job]) -> list[str]:
    """Train an archived job anew, away from the store, and say in what it differs from the archive, if in anything.

    The first `FIRST` rows of its record have to agree within `CLOSE`, relative or absolute. A translator's have not
    where a GPU made the one and a CPU makes the other, since their noise has other generators. The outcome (the mean of
    the last tenth of every column) may differ by `TIMES` standard deviations of the archived trainings that differ in
    the seed alone, or `LEAST`, relative, where that is more. What it is made from is made first where it is lacking.
    others: the jobs among which those trainings are.
    """
    jobs.make(job.inputs.values(), whole=True)
    (name,) = set(RECORDS) & set(job.archived)
    with tempfile.TemporaryDirectory() as folder:
        job.make(Path(folder), job)
        new = pd.read_csv(Path(folder) / name).select_dtypes("number")
    old = pd.read_csv(job.archives[0] / name).select_dtypes("number")
    if list(old) != list(new) or len(old) != len(new):
        return [f"{job.name}: {len(new)} rows of {', '.join(new)}; archived are {len(old)} of {', '.join(old)}"]
    found = []
    alike = name != "losses.csv" or jobs.device_of(job.archives[0]) == job.device
    near = np.isclose(new[:FIRST], old[:FIRST], CLOSE, CLOSE, equal_nan=True) | (not alike)
    for column in old.columns[~near.all(axis=0)]:
        row = int(np.flatnonzero(~near[:, old.columns.get_loc(column)])[0])
        found.append(
            f"{job.name}: {column} in row {row + 1} is {new[column][row]:.6g}, archived {old[column][row]:.6g}"
        )
    family = [one for one in others if one.archives and one.name.rpartition("/")[0] == job.name.rpartition("/")[0]]
    ends = pd.DataFrame([_end(pd.read_csv(one.archives[0] / name)) for one in family])[list(old)]
    allowed = np.fmax(LEAST * _end(old).abs(), TIMES * ends.std().fillna(0))
    apart = (_end(new) - _end(old)).abs()
    both_none = _end(new).isna() & _end(old).isna()
    for column in old.columns[~((apart <= allowed) | both_none).to_numpy()]:
        was, now = _end(old)[column], _end(new)[column]
        found.append(f"{job.name}: {column} ends at {now:.4g}, archived {was:.4g}; seeds differ by less")
    return found


def _end(record: pd.DataFrame) -> pd.Series:
    return record.select_dtypes("number").tail(max(1, len(record) // 10)).mean()
