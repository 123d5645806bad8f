"""The engine: runs the notebooks that are stale under Snakemake, and makes the jobs that these lack.

Serves every figure and table of the paper. Snakemake decides what is stale (workflow/Snakefile); this module holds
the run's lock, tells a person what will be done and trains nothing long that was not asked for.
"""

import contextlib
import csv
import io
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ecsupport import clusters, outputs
from ecsupport.core import owner, paths
from ecsupport.core.artefacts import replacing
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.execution import AHEAD, BEGUN, PLAN, REMOTE, SAID, UNITS, cleaned
from ecsupport.failures import DONE, MISTAKEN, explain, say
from ecsupport.reporting.index import Notebook, duration, find_item, written_notebooks

if TYPE_CHECKING:
    import pandas as pd

WORKFLOW = paths.ROOT / "workflow"
HERE = "default"  # in place of a cluster
UNQUOTED = "'\"$`#{}\\\n"  # what Snakemake does not quote in the commands that it submits
UNASKED = 5.0  # minutes that a run trains without being asked to
SHOWN = 20  # lacking jobs that are named
LARGEST = 500_000  # bytes of a file that is kept as a reference
GRAPH = "graph.json"  # in the folder of a run: its jobs and notebooks as experiments/graph.py has drawn them
PATIENCE = 3.0  # seconds to wait for a lock: as long as the children of a dead owner take to notice


@dataclass(frozen=True)
class How:
    """How a run is made: where, how many jobs at a time, whether it may train long.

    place: a folder in `workflow/profiles`, or one of a person's own, with a config.yaml for Snakemake
    jobs: 0 stands for the threads of the profile;  checked: rows of a person's manifest, looked through
    """

    place: str = HERE
    jobs: int = 0
    train: bool = False
    checked: "pd.DataFrame | None" = None


def reproduce(run: Run, names: Sequence[str] = (), how: How = How()) -> int:
    """Bring notebooks and what they need up to date: all that are written, or those named; returns the exit status.

    Jobs that they lack are made first; where these take more than `UNASKED` minutes and nobody asked for them, they are
    named and nothing is done. UserError where another process works on the same run.
    """
    with _owned(run):
        outputs.refuse_future(run)
        _find_home(run)
        if how.checked is not None:
            from ecsupport.experiments import cohort  # noqa: PLC0415 - with it comes torch

            cohort.note(run, how.checked)
        for name, altered in outputs.set_aside(run).items():
            kept = f"; what was altered is kept: {', '.join(map(str, altered))}" if altered else ""
            say(f"{name}: not as it was when it was finished, so it runs again{kept}")
        targets = [str(path) for name in outputs.with_needs(names) for path in outputs.of(run, name)]
        workers = how.jobs or run.profile.threads
        snakemake = _snakemake(run, how.place, workers)
        notebooks = _stale(run, snakemake, targets, outputs.with_needs(names))
        if not notebooks:
            say(f"{run.name}: nothing to do, everything is up to date")
            return DONE
        names = [notebook.name for notebook in notebooks]
        if not _may_begin(run, names, workers, how.train):
            return MISTAKEN
        expected = duration(notebook.minutes.get(run.profile.name) for notebook in notebooks)
        count = f"{len(notebooks)} notebook{'s' if len(notebooks) > 1 else ''} to run"
        say(f"{run.name}: " + ", ".join(part for part in (count, expected) if part))
        shutil.rmtree(run.notebooks / "failed", ignore_errors=True)
        owner.announce()
        os.environ[PLAN] = " ".join(names)
        with _heard(run.notebooks / SAID) if how.place != HERE else contextlib.nullcontext():
            status, _ = snakemake(targets, names)
        if status != DONE:
            return explain(run, names)
        shutil.rmtree(run.notebooks / "failed", ignore_errors=True)
        outputs.sweep(run)
        return DONE


def show_item(run: Run, item: str, how: How = How()) -> int:
    """Re-make one published figure or table with what it needs, then print the table, or where the figure stands."""
    notebook = find_item(item)
    if not notebook.written:
        raise UserError(f"{item} is not yet: {notebook.name} ({notebook.title}) is still to be written")
    say(f"{item} is made by {notebook.name} ({notebook.title})")
    status = reproduce(run, [notebook.name], how)
    if status == DONE:
        from ecsupport.reporting.results import read_results  # noqa: PLC0415 - with it comes matplotlib, two seconds

        file = run.figures / notebook.items[item]
        why = read_results(run, notebook.name)["missing"].get(item)
        if why:
            raise UserError(f"{item} cannot be made from {run.name}: {why}")
        if file.suffix == ".csv":
            print(aligned(file.read_text(encoding="utf-8")))
            print(f"notebook  {outputs.of(run, notebook.name)[0]}")
        else:
            print(f"figure  {file}\ndata    {file.with_suffix('.csv')}")
    return status


def aligned(text: str) -> str:
    """The text of a CSV file as columns: numbers to the right, words to the left, a rule below the head."""
    rows = list(csv.reader(io.StringIO(text)))
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in rows
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def refresh() -> int:
    """Run `smoke`, then store its executed notebooks in `notebooks/` and its results in `figures/reference/smoke`."""
    run = Run.open("smoke")
    status = reproduce(run)
    if status != DONE:
        return status
    for notebook in written_notebooks():
        content = cleaned(json.loads((run.notebooks / notebook.file.name).read_text(encoding="utf-8")))
        text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        if text != notebook.file.read_text(encoding="utf-8"):
            with replacing(notebook.file) as path:
                path.write_text(text, encoding="utf-8")
            say(f"refreshed {notebook.file}")
    return keep(run)


def keep(run: Run) -> int:
    """Store the results that stand as `figures/reference/<run>`; long lists of images, and what is not ours, stay out.

    The archive of jobs stays. UserError where none stand, or for a person's own, which is not the companion's.
    """
    if run.cohort or run.methods:
        raise UserError(
            "results of own images or methods are not kept in the repository. Copy them to where they may be"
        )
    files = [f for f in outputs.standing(run) if f.parent == run.figures and f.stat().st_size <= LARGEST]
    if not files:
        raise UserError(f"no result stands in {run.figures}. Make one first, e.g. make table-1 PROFILE={run.name}")
    reference = paths.reference() / run.name
    fresh = reference.with_name(f".{run.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for file in files:
        shutil.copy(file, fresh)
    if (reference / "trained").is_dir():
        shutil.copytree(reference / "trained", fresh / "trained", copy_function=os.link)
    older = reference.with_name(f".{run.name}.old")
    shutil.rmtree(older, ignore_errors=True)
    if reference.is_dir():
        reference.rename(older)
    fresh.rename(reference)
    shutil.rmtree(older, ignore_errors=True)
    say(f"refreshed {reference}")
    return DONE


@contextlib.contextmanager
def _owned(run: Run) -> Iterator[None]:
    """Hold the run's lock: the system frees it when its owner dies, so that a dead owner never blocks."""
    try:
        held = FileLock(run.notebooks / ".lock").acquire(timeout=PATIENCE)
    except Timeout:
        problem = f"another process is working on {run.name} in {run.notebooks}"
        raise UserError(f"{problem}. Wait for it, or stop it") from None
    with held:
        yield


@contextlib.contextmanager
def _heard(file: Path) -> Iterator[None]:
    """Say what processes on other machines write into a file."""
    file.write_text("")
    done, said = threading.Event(), sys.stderr  # Snakemake's own is turned to its log

    def listen() -> None:
        with file.open(encoding="utf-8") as lines:
            while True:
                last = done.wait(1)
                said.write(lines.read())
                said.flush()
                if last:
                    break

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _may_begin(run: Run, names: Sequence[str], workers: int, asked: bool) -> bool:
    """Say which jobs the notebooks of these names lack; False where making them takes long and nobody asked for it."""
    from ecsupport.core import jobs  # noqa: PLC0415 - with it comes pandas
    from ecsupport.experiments import catalogue  # noqa: PLC0415

    lacking = jobs.lacking(job for name in names for job in catalogue.of_notebook(run, name))
    minutes = sum(job.minutes for job in lacking)
    ends: dict[Path, float] = {}  # minutes until each could be whole, its inputs made first
    for job in lacking:
        ends[job.place] = job.minutes + max([ends.get(one.place, 0.0) for one in job.inputs.values()], default=0.0)
    workers = min(workers, os.cpu_count() or 1)
    taken = max(minutes / workers, *ends.values(), 0.0)
    if lacking:
        count = f"{len(lacking)} job{'s' if len(lacking) > 1 else ''} to make"
        say(f"{run.name}: {count}, {duration([taken])} with {workers} at a time")
    if taken > UNASKED and not asked:
        for job in lacking[:SHOWN]:
            say(f"  {job.name}  {duration([job.minutes])}")
        if (more := len(lacking) - SHOWN) > 0:
            say(f"  and {more} more: python -m ecsupport jobs --profile {run.profile.name}")
        say("This is not trained unasked. Add TRAIN=1 to train it now; a run that is stopped goes on where it was")
        return False
    os.environ[AHEAD] = f"{len(lacking)} {minutes} {workers} {time.time()}"
    (run.notebooks / BEGUN).unlink(missing_ok=True)
    shutil.rmtree(run.notebooks / UNITS, ignore_errors=True)
    return True


def _snakemake(run: Run, place: str, workers: int) -> Callable[..., tuple[int, str]]:
    """Snakemake as a function of further arguments and of the notebooks that will run, whose lacking jobs it makes.

    What it says goes to `snakemake.log`, what it prints is returned. It runs within this process, so that it ends when
    this process is killed.
    """
    profile = WORKFLOW / "profiles" / place if (WORKFLOW / "profiles" / place).is_dir() else Path(place).absolute()
    if not (profile / "config.yaml").is_file():
        known = ", ".join(sorted(folder.name for folder in (WORKFLOW / "profiles").iterdir()))
        raise UserError(f"there is no {profile / 'config.yaml'}. Choose one of: {known}, or a folder with such a file")
    arguments = ["--snakefile", str(WORKFLOW / "Snakefile"), "--directory", str(run.notebooks), "--nolock"]
    arguments += ["--workflow-profile", str(profile)]
    if place == HERE:
        arguments += ["--cores", str(workers), "--resources", f"mem_mb={_memory()}", "gpu=1"]
    else:
        for path in (paths.ROOT, paths.notebooks(), run.notebooks, profile, run.cohort or Path()):
            if sign := set(str(path)) & set(UNQUOTED):
                raise UserError(f"a cluster's jobs cannot be given {sign.pop()} in {path}. Move it to another path")
        clusters.check(profile / "config.yaml")
        os.environ[REMOTE] = str(run.notebooks / SAID)
    named = {"profile": run.profile.name, "cohort": str(run.cohort or "")}
    log = run.notebooks / "snakemake.log"
    log.unlink(missing_ok=True)
    log.touch()
    home = Path.cwd()

    def call(more: list[str], stale: Sequence[str] = ()) -> tuple[int, str]:
        from snakemake.cli import main  # noqa: PLC0415 - takes two seconds

        from ecsupport.experiments import catalogue, graph  # noqa: PLC0415 - with it comes torch

        wanted = {notebook.name: catalogue.of_notebook(run, notebook.name) for notebook in written_notebooks()}
        printed = io.StringIO()
        try:
            with replacing(run.notebooks / GRAPH) as path:
                drawn = {"run": named, **graph.drawn(wanted, stale, workers)}
                path.write_text(json.dumps(drawn, indent=1) + "\n", encoding="utf-8")
            with log.open("a") as said, contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
                main([*more, *arguments])
        except SystemExit as end:
            return int(end.code or 0), printed.getvalue()
        finally:
            os.chdir(home)
            for file in (run.notebooks / ".snakemake").glob("metadata/*"):  # whose mode Snakemake forces
                file.chmod(log.stat().st_mode)
        return DONE, printed.getvalue()

    return call


def _stale(
    run: Run, snakemake: Callable[..., tuple[int, str]], targets: list[str], names: Sequence[str]
) -> list[Notebook]:
    """The notebooks that Snakemake would run, in reading order; where the archive is passed over, those it served too.

    targets, names: the files and the notebooks that are wanted
    """
    for notebook in written_notebooks():
        if not notebook.file.is_file():
            raise UserError(f"{notebook.file} does not exist. Write it, or remove its minutes from index.toml")
    status, summary = snakemake([*targets, "--summary"])
    if status != DONE:
        sys.exit(explain(run, []))
    rows = list(csv.DictReader(io.StringIO(summary), delimiter="\t"))
    pending = {row["rule"] for row in rows if row["plan"] == "update pending"}
    stale: list[Notebook] = []
    for notebook in written_notebooks():
        served = notebook.name in names and paths.FRESH in os.environ and _lacks(run, notebook.name)
        if f"notebook_{notebook.name}" in pending or served or {one.name for one in stale} & set(notebook.needs):
            stale.append(notebook)
    return stale


def _lacks(run: Run, name: str) -> bool:
    from ecsupport.core import jobs  # noqa: PLC0415
    from ecsupport.experiments import catalogue  # noqa: PLC0415

    return bool(jobs.lacking(catalogue.of_notebook(run, name)))


def _memory() -> int:
    """MB of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _find_home(run: Run) -> None:
    """Where HOME cannot be written, let a folder of the run be it: Snakemake, Jupyter and others keep files there."""
    try:
        tempfile.TemporaryFile(dir=Path.home()).close()
    except (OSError, RuntimeError):  # the latter: there is none
        (home := run.notebooks / ".home").mkdir(exist_ok=True)
        os.environ["HOME"] = str(home)
        os.environ.setdefault("USER", str(os.getuid()))  # in a container often nobody that the system knows
