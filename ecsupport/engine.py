"""The engine: runs the notebooks that are stale, each by papermill under Snakemake, and says what happens.

Serves every figure and table of the paper. Snakemake decides what is stale (workflow/Snakefile); this module holds
the run's lock, tells a person what will be done and keeps a failed notebook.
"""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ecsupport import outputs
from ecsupport.core import paths, progress, tables
from ecsupport.core.artefacts import replacing, sha256
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.failures import DONE, FAILED, explain, leave, say
from ecsupport.reporting.index import Notebook, duration, find_item, find_notebook, written_notebooks

WORKFLOW = paths.ROOT / "workflow"
PLAN = "ECSUPPORT_PLAN"  # names of the notebooks of this run, for "[2/4]"
LARGEST = 500_000  # bytes of a file that is kept as a reference
PATIENCE = 3.0  # seconds to wait for a lock: as long as the children of a dead owner take to notice


def reproduce(run: Run, names: Sequence[str] = (), place: str = "default") -> int:
    """Bring notebooks and what they need up to date: all that are written, or those named; returns the exit status.

    `place` names the folder in `workflow/profiles` that says where notebooks run. UserError where another process
    works on the same run.
    """
    with _owned(run):
        outputs.refuse_future(run)
        _find_home(run)
        _note_images(run)
        for name, altered in outputs.set_aside(run).items():
            kept = f"; what was altered is kept: {', '.join(map(str, altered))}" if altered else ""
            say(f"{name}: not as it was when it was finished, so it runs again{kept}")
        targets = [str(path) for name in outputs.with_needs(names) for path in outputs.of(run, name)]
        snakemake = _snakemake(run, place)
        notebooks = _stale(run, snakemake, targets)
        if not notebooks:
            say(f"{run.name}: nothing to do, everything is up to date")
            return DONE
        expected = duration(notebook.minutes.get(run.profile.name) for notebook in notebooks)
        count = f"{len(notebooks)} notebook{'s' if len(notebooks) > 1 else ''} to run"
        say(f"{run.name}: " + ", ".join(part for part in (count, expected) if part))
        shutil.rmtree(run.notebooks / "failed", ignore_errors=True)
        os.environ[PLAN] = " ".join(notebook.name for notebook in notebooks)
        status, _ = snakemake(targets)
        if status != DONE:
            return explain(run, [notebook.name for notebook in notebooks])
        shutil.rmtree(run.notebooks / "failed", ignore_errors=True)
        outputs.sweep(run)
        return DONE


def show_item(run: Run, item: str, place: str = "default") -> int:
    """Re-make one published figure or table with what it needs, then print the table, or where the figure stands."""
    notebook = find_item(item)
    if not notebook.written:
        raise UserError(f"{item} is not yet: {notebook.name} ({notebook.title}) is still to be written")
    say(f"{item} is made by {notebook.name} ({notebook.title})")
    status = reproduce(run, [notebook.name], place)
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


def execute(run: Run, name: str) -> int:
    """Execute one notebook by papermill: what Snakemake's rule calls. Returns the exit status.

    The notebook is written to `failed/` while it runs and takes its place only when its results file stands.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this process at once; its kernel follows
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    notebook = find_notebook(name)
    plan = os.environ.get(PLAN, "").split()
    step = f"[{plan.index(name) + 1}/{len(plan)}] " if name in plan else ""
    expected = duration([notebook.minutes.get(run.profile.name)])
    say(f"{step}{name} — {notebook.title}" + (f" ({expected})" if expected else ""))
    begin = time.monotonic()
    os.environ |= kernel_environment(run.profile.threads)
    executed, results = outputs.of(run, name)
    unfinished = run.notebooks / "failed" / executed.name
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)

    import papermill  # noqa: PLC0415 - takes two seconds
    import zmq  # noqa: PLC0415
    from jupyter_client.manager import AsyncKernelManager  # noqa: PLC0415
    from traitlets.config import Config  # noqa: PLC0415

    class Kernel(AsyncKernelManager):
        async def start_kernel(self, **options: Any) -> None:
            """Start it; what it says beside its cells, mostly while it ends, is kept beside the failed notebook."""
            with unfinished.with_suffix(".log").open("w") as said:
                await super().start_kernel(stderr=said, **options)

    try:
        papermill.execute_notebook(
            _literal(notebook.file),
            _literal(unfinished),
            parameters={"profile": run.profile.name, "cohort": str(run.cohort or "")},
            kernel_name="python3",
            progress_bar={"leave": False} if sys.stderr.isatty() else False,
            cwd=str(paths.notebooks()),
            config=Config({"KernelManager": {"transport_encryption": "auto" if zmq.has("curve") else "disabled"}}),
            kernel_manager_class=Kernel,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        )
    except papermill.PapermillExecutionError:
        return FAILED  # the owner of the run reads what happened from the notebook
    except Exception as error:
        leave(unfinished, error)
        return FAILED
    if not results.is_file():
        say(f"{name}: wrote no results. Its last cell must call results.finish()")
        return FAILED
    unfinished.replace(executed)
    outputs.seal(run, name)
    say(f"      {name} done in {time.monotonic() - begin:.0f} s")
    return DONE


def _literal(path: Path) -> str:
    """A path as papermill takes it, which puts parameters where braces are."""
    return str(path).replace("{", "{{").replace("}", "}}")


def kernel_environment(threads: int) -> dict[str, str]:
    """Environment variables under which every notebook is executed, here and when it is checked."""
    limits = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
    return {
        **{f"{name}_NUM_THREADS": str(threads) for name in limits},
        "OMP_WAIT_POLICY": "PASSIVE",  # where the cores are shared, a thread that spins takes them from the others
        "PYTHONHASHSEED": "0",
        progress.HEADLESS: "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # pictures in the notebook, screen or none
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, whatever the user has installed
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


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

    The archive of jobs stays. UserError where none stand, or for own images, which do not belong into a repository.
    """
    if run.cohort:
        raise UserError("results of own images are not kept in the repository. Copy them to where they may be")
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
    shutil.rmtree(reference, ignore_errors=True)
    fresh.rename(reference)
    say(f"refreshed {reference}")
    return DONE


def cleaned(notebook: dict[str, Any]) -> dict[str, Any]:
    """An executed notebook (nbformat 4 as a dictionary) as it is committed.

    Without papermill's cells and metadata, times and the stderr stream; with outputs, counts from 1, and stable ids.
    """
    cells = [c for c in notebook["cells"] if "injected-parameters" not in c["metadata"].get("tags", [])]
    seen: set[str] = set()
    count = 0
    for position, cell in enumerate(cells, start=1):
        tags = cell["metadata"].get("tags", [])
        cell["metadata"] = {"tags": tags} if tags else {}
        if cell.get("id", "") in seen | {""}:
            cell["id"] = f"cell-{position:02d}-{sha256(''.join(cell['source']).encode())[:8]}"
        seen.add(cell["id"])
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
            for output in cell["outputs"]:
                if "execution_count" in output:
                    output["execution_count"] = count
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


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


def _snakemake(run: Run, place: str) -> Callable[[list[str]], tuple[int, str]]:
    """Snakemake as a function of further arguments; what it says goes to `snakemake.log`, what it prints is returned.

    It runs within this process, so that it ends when this process is killed.
    """
    profile = WORKFLOW / "profiles" / place
    if not profile.is_dir():
        known = ", ".join(sorted(folder.name for folder in profile.parent.iterdir()))
        raise UserError(f"there is no {place!r} in {profile.parent}. Choose one of: {known}")
    arguments = ["--snakefile", str(WORKFLOW / "Snakefile"), "--directory", str(run.notebooks), "--nolock"]
    arguments += ["--workflow-profile", str(profile)]
    named = {"profile": run.profile.name, "cohort": str(run.cohort or "")}
    arguments += ["--config", f"run={json.dumps(named)}"]  # as JSON: a path may hold what YAML takes for syntax
    log = run.notebooks / "snakemake.log"
    log.unlink(missing_ok=True)
    log.touch()
    home = Path.cwd()

    def call(more: list[str]) -> tuple[int, str]:
        from snakemake.cli import main  # noqa: PLC0415 - takes two seconds

        printed = io.StringIO()
        try:
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


def _stale(run: Run, snakemake: Callable[[list[str]], tuple[int, str]], targets: list[str]) -> list[Notebook]:
    """The notebooks that Snakemake would run, in reading order."""
    for notebook in written_notebooks():
        if not notebook.file.is_file():
            raise UserError(f"{notebook.file} does not exist. Write it, or remove its minutes from index.toml")
    status, summary = snakemake([*targets, "--summary"])
    if status != DONE:
        sys.exit(explain(run, []))
    rows = list(csv.DictReader(io.StringIO(summary), delimiter="\t"))
    pending = {row["rule"] for row in rows if row["plan"] == "update pending"}
    return [notebook for notebook in written_notebooks() if f"notebook_{notebook.name}" in pending]


def _find_home(run: Run) -> None:
    """Where HOME cannot be written, let a folder of the run be it: Snakemake, Jupyter and others keep files there."""
    try:
        tempfile.TemporaryFile(dir=Path.home()).close()
    except (OSError, RuntimeError):  # the latter: there is none
        (home := run.notebooks / ".home").mkdir(exist_ok=True)
        os.environ["HOME"] = str(home)
        os.environ.setdefault("USER", str(os.getuid()))  # in a container often nobody that the system knows


def _note_images(run: Run) -> None:
    """Keep `images.txt`, the SHA-256 of every image of a person's manifest: Snakemake sees there what has changed.

    UserError where the run's folder belongs to another manifest of the same name.
    """
    if not run.cohort:
        return
    names = tables.read(run.cohort, ["image"], allow_extra=True).columns.get("image", [])
    with ThreadPoolExecutor() as pool:
        states = pool.map(outputs.state, (run.cohort.parent / name for name in names))
    lines = [str(run.cohort), *(f"{name} {state or 'absent'}" for name, state in zip(names, states, strict=True))]
    text, note = "\n".join(lines) + "\n", run.notebooks / "images.txt"
    before = note.read_text(encoding="utf-8") if note.is_file() else ""
    if before and (other := before.split("\n")[0]) != lines[0]:
        raise UserError(f"{run.notebooks} belongs to {other}. Rename your manifest, or remove that folder")
    if text != before:
        with replacing(note) as path:
            path.write_text(text, encoding="utf-8")


def _die_with(parent: int) -> None:
    """End this process soon after its parent: a killed run leaves no notebook running."""
    while os.getppid() == parent:
        time.sleep(0.3)
    os._exit(FAILED)
