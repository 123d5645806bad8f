"""What one process of a run does: a notebook executed by papermill, or jobs made; called by Snakemake's rules."""

import contextlib
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecsupport import outputs
from ecsupport.core import owner, paths, progress
from ecsupport.core.artefacts import replacing, sha256
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.failures import DONE, FAILED, MISTAKEN, in_words, leave, say
from ecsupport.reporting.index import duration, find_notebook
from ecsupport.reporting.own_images import leave_phantoms_out

PLAN = "ECSUPPORT_PLAN"  # names of the notebooks of this run, for "[2/4]"
AHEAD = "ECSUPPORT_AHEAD"  # jobs of this run: their number, their minutes, how many at a time, when it began
BEGUN = "begun.txt"  # minutes of each job that was begun
REMOTE = "ECSUPPORT_REMOTE"  # where a process on another machine writes what it says
SAID = "said.txt"
UNITS = "units"  # in the folder of a run: a file a unit that is whole


def make_unit(run: Run, unit: str, names: Sequence[str]) -> int:
    """Make jobs, one line each: what Snakemake's rule calls. Returns the exit status.

    What went wrong is left in `failed/<unit>.txt` for the owner of the run to tell.
    """
    _begin()
    os.environ[progress.HEADLESS] = "1"  # a line a job, since other units speak too
    from ecsupport.core import jobs  # noqa: PLC0415 - with it comes pandas
    from ecsupport.experiments import catalogue  # noqa: PLC0415 - and torch

    try:
        wanted = catalogue.find(run, names)
        jobs.make(wanted, lambda group: [_tell(run, job.name, job.minutes) for job in group], whole=True)
        (run.notebooks / UNITS).mkdir(exist_ok=True)
        (run.notebooks / UNITS / unit).touch()
        return DONE
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        words = str(error) if isinstance(error, UserError) else in_words(text)
        told = words or f"{text}\n\n{traceback.format_exc()}"
        # on a full disk it is whole or absent: `explain` then tries by itself
        with contextlib.suppress(OSError), replacing(run.notebooks / "failed" / f"{unit}.txt") as kept:
            kept.write_text(told, encoding="utf-8")
        return MISTAKEN if words else FAILED


def _tell(run: Run, name: str, minutes: float) -> None:
    """Say which job is begun, and how long all that is left may take, judged by what was begun before."""
    number, total, workers, began = (float(part) for part in os.environ.get(AHEAD, "0 0 1 0").split())
    with (begun := run.notebooks / BEGUN).open("a", encoding="utf-8") as file:
        file.write(f"{minutes}\n")
    before = [float(line) for line in begun.read_text(encoding="utf-8").split()][:-1]
    left = (total - sum(before)) / workers
    passed = (time.time() - began) / 60
    if sum(before) > total / 10 and passed > 0:  # estimates are of another machine; a clock can jump back
        left *= passed * workers / sum(before)
    say(f"[{len(before) + 1}/{number:.0f}] {name}" + (f" ({duration([left])} left)" if total else ""))


def execute(run: Run, name: str) -> int:
    """Execute one notebook by papermill: what Snakemake's rule calls. Returns the exit status.

    The notebook is written to `failed/` while it runs and takes its place only when its results file stands.
    """
    _begin()
    notebook = find_notebook(name)
    plan = os.environ.get(PLAN, "").split()
    step = f"[{plan.index(name) + 1}/{len(plan)}] " if name in plan else ""
    expected = duration([notebook.minutes.get(run.profile.name)])
    say(f"{step}{name} — {notebook.title}" + (f" ({expected})" if expected else ""))
    begin = time.monotonic()
    os.environ |= kernel_environment()
    executed, results = outputs.of(run, name)
    unfinished = run.notebooks / "failed" / executed.name
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)

    import papermill  # noqa: PLC0415 - takes two seconds
    import zmq  # noqa: PLC0415
    from jupyter_client.manager import AsyncKernelManager  # noqa: PLC0415
    from traitlets.config import Config  # noqa: PLC0415

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it logs it raises too

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
    if run.cohort:
        leave_phantoms_out(unfinished, run.cohort.stem)
    unfinished.replace(executed)
    outputs.seal(run, name)
    say(f"      {name} done in {time.monotonic() - begin:.0f} s")
    return DONE


def _literal(path: Path) -> str:
    """A path as papermill takes it, which puts parameters where braces are."""
    return str(path).replace("{", "{{").replace("}", "}}")


def kernel_environment() -> dict[str, str]:
    """Environment variables under which every notebook is executed, here and when it is checked."""
    limits = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
    return {
        **{f"{name}_NUM_THREADS": "1" for name in limits},  # they run side by side, and to the same digits everywhere
        "OMP_WAIT_POLICY": "PASSIVE",  # where the cores are shared, a thread that spins takes them from the others
        "PYTHONHASHSEED": "0",
        progress.HEADLESS: "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # pictures in the notebook, screen or none
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, whatever the user has installed
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def cleaned(notebook: dict[str, Any]) -> dict[str, Any]:
    """An executed notebook (nbformat 4 as a dictionary) as it is committed.

    Without papermill's cells and metadata, times and the stderr stream; with outputs, counts from 1, and stable ids.
    What a kernel under load printed in several pieces is one piece.
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
            cell["outputs"] = _joined([output for output in cell["outputs"] if output.get("name") != "stderr"])
            for output in cell["outputs"]:
                if "execution_count" in output:
                    output["execution_count"] = count
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _joined(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    joined: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] == "stream" and joined and joined[-1].get("name") == output["name"]:
            text = "".join(["".join(joined[-1]["text"]), "".join(output["text"])])
            joined[-1] = {**joined[-1], "text": text.splitlines(keepends=True)}
        else:
            joined.append(output)
    return joined


def _begin() -> None:
    """End at once by Ctrl-C, and soon after the parent; speak to where the owner of the run listens."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    owner.follow()
    if file := os.environ.get(REMOTE):
        sys.stderr = Path(file).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - until the process ends
