"""Every job of a run by name: what is trained for each table, what state it is in, and what is like a mistyped name."""

import difflib
from collections.abc import Collection, Iterable, Sequence
from importlib import import_module

import pandas as pd

from ecsupport.core import jobs, processes, profiles
from ecsupport.core.errors import UserError
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.experiments import work

READ = {  # the function of this room that names the jobs a notebook reads; other notebooks read results of these
    "01_data_split": "pictures.read",
    "02_sg_cyclegan_training": "mafe.read",
    "03_fid_kid_evaluation": "distances.read",
    "04_downstream_utility": "downstream.read",
    "05_lsnet_distillation": "keys.read",
    "06_ablations": "keys.read_ablations",
    "11_design_on_trial": "design_jobs.read",
    "12_missing_clinical_data": "clinical.read",
    "13_multitask_self_distillation": "multitask.read",
    "14_easier_and_harder_images": "difficulty.read",
}


def of_notebook(run: Run, name: str) -> list[Job]:
    """The jobs that a notebook reads."""
    if name not in READ:
        return []
    module, function = READ[name].split(".")
    return getattr(import_module(f"ecsupport.experiments.{module}"), function)(run)  # with it comes torch


def by_name(run: Run, wanted: Collection[str] = ()) -> dict[str, Job]:
    """All jobs of a run, each after its inputs. ValueError where two that differ have one name.

    wanted: names of jobs; where all are found, jobs of notebooks further down are left out, which takes seconds.
    """
    found: dict[str, Job] = {}

    def enter(job: Job) -> None:
        for one in job.inputs.values():
            enter(one)
        if found.setdefault(job.name, job).key != job.key:
            raise ValueError(f"two jobs are named {job.name}")

    for name in READ:
        for job in of_notebook(run, name):
            enter(job)
        if wanted and found.keys() >= set(wanted):
            break
    return found


def find(run: Run, names: Sequence[str]) -> list[Job]:
    """The jobs of these names; where one is no job's, those whose names begin with it and a slash.

    UserError with the nearest names where there are none.
    """
    every = by_name(run, names)
    found: list[Job] = []
    for name in names:
        below = f"{name.rstrip('/')}/"
        of = [every[name]] if name in every else [job for one, job in every.items() if one.startswith(below)]
        if not of:
            near = difflib.get_close_matches(name, every, 3, 0.4)
            like = f" Near it: {', '.join(near)}." if near else ""
            raise UserError(f"no job of {run.name} is named {name!r}.{like} All: python -m ecsupport jobs")
        found += of
    return found


def listing(run: Run) -> list[str]:
    """One line a job: name, state, estimated minutes of one core, memory, disk; size and device if made; the sums."""
    every = by_name(run)
    width = max(map(len, every))
    lines = []
    for name, job in every.items():
        folder = job.find(*(f for f in job.archived if f != "*"))
        made = ""
        if folder:
            size = sum(f.stat().st_size for f in folder.rglob("*")) / 1e6
            made = f"{size:9.1f} MB on disk, made on {jobs.device_of(folder)}"
        asked = f"{job.minutes:8.1f} min{job.memory:6.1f} GB{job.disk:6.2f} GB"
        lines.append(f"{name:{width}}  {job.state:8}  {asked}{made}")
    lacking = jobs.lacking(every.values())
    most, disk = max(job.memory for job in every.values()), sum(job.disk for job in every.values())
    sums = f"{len(every)} jobs, {len(lacking)} lacking: {_hours(lacking)}"
    sums = f"{sums}; {disk:.0f} GB of disk in all, {most:.0f} GB of memory at most"
    operations = work.total(run, every.values())
    return [*lines, sums, *([f"Trainings: {work.in_words(operations)}"] if operations else [])]


def costs(run: Run, checked: pd.DataFrame) -> list[str]:
    """What the longer profiles would cost on a person's images, one line each; checked: as in `cohort.note`."""
    from ecsupport.experiments import cohort  # noqa: PLC0415 - with it comes torch

    lines = [f"{run.name} is a first look, whose trainings are too short to rank anything. Longer ones:"]
    for name in ("laptop", "paper"):
        longer = Run(profiles.load(name), run.cohort)
        with cohort.asked(longer, checked):
            every = by_name(longer).values()
        lines.append(f"  PROFILE={name}: {len(every)} jobs, {_hours(every)}")
    return lines


def _hours(wanted: Iterable[Job]) -> str:
    return f"about {sum(job.minutes for job in wanted) / 60:,.1f} h of one core"


def make(run: Run, names: Sequence[str], at_once: int = 1) -> list[str]:
    """Make the jobs of these names and what they are made from, some of them `at_once`; a line a job.

    Returns where the named ones lie.
    """
    wanted = find(run, names)
    left = jobs.lacking(wanted, whole=True)
    total, done = len(left), 0

    def told(group: list[Job]) -> None:
        nonlocal done
        minutes = sum(job.minutes for job in left[done:])
        done += len(group)
        print(f"[{done}/{total}] {', '.join(job.name for job in group)} (about {minutes:.1f} min left)", flush=True)

    if at_once > 1:
        processes.make(wanted, at_once, told, whole=True)
    else:
        jobs.make(wanted, told, whole=True)
    return [f"{job.name}  {job.find(*(f for f in job.archived if f != '*'))}" for job in wanted]
