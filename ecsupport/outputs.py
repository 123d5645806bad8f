"""What a run has made: executed notebooks and results files, each pair with a record of its content.

Snakemake knows when a file was written, not what it holds. Here what is no longer as its notebook left it is removed,
and Snakemake makes it again.
"""

import json
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ecsupport.core import paths
from ecsupport.core.artefacts import replacing, sha256
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import FOLDER, Run
from ecsupport.reporting.index import duration, written_notebooks

SKEW = 5.0  # seconds by which the clocks of a file server and of this machine may differ


def of(run: Run, name: str) -> tuple[Path, Path]:
    """The executed notebook and its results file, as workflow/Snakefile names them."""
    return run.notebooks / f"{name}.ipynb", run.figures / f"{name}.json"


def with_needs(names: Sequence[str]) -> list[str]:
    """Those notebooks and all that they need: Snakemake by itself makes no lost file whose readers look up to date."""
    wanted = set(names)
    for notebook in reversed(written_notebooks()):  # what a notebook needs stands above it
        if notebook.name in wanted:
            wanted.update(notebook.needs)
    return sorted(wanted)


def seal(run: Run, name: str) -> None:
    """Record the SHA-256 of both outputs of a notebook, as the last thing that is done about it."""
    sums = {file.name: sha256(file) for file in of(run, name)}
    with replacing(_record(run, name)) as path:
        path.write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")


def forget_broken(run: Run) -> list[str]:
    """Remove both outputs of each notebook whose record is absent or does not fit; returns the notebooks' names."""
    broken = [n.name for n in written_notebooks() if any(map(Path.exists, of(run, n.name))) and not whole(run, n.name)]
    for name in broken:
        for file in of(run, name):
            file.unlink(missing_ok=True)
    return broken


def whole(run: Run, name: str) -> bool:
    """Whether a notebook's outputs, and all files that they list, are as they were when it was finished.

    One dated in the future is not: it would look newer than whatever is changed from now on.
    """
    try:
        sums = json.loads(_record(run, name).read_text(encoding="utf-8"))
        if any(sha256(file) != sums[file.name] or _ahead(file) > SKEW for file in of(run, name)):
            return False
        return all(sha256(paths.workspace() / key) == entry["sha256"] for key, entry in _listed(run, name).items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sweep(run: Run) -> None:
    """Remove from the run's figures what no results file lists: a notebook no longer makes it."""
    names = [n.name for n in written_notebooks() if of(run, n.name)[1].is_file()]
    keep = {of(run, name)[1] for name in names} | {paths.workspace() / key for n in names for key in _listed(run, n)}
    for file in run.figures.iterdir():
        if file.is_file() and file not in keep:
            file.unlink()


def refuse_future(run: Run) -> None:
    """UserError where a file that notebooks are made from is dated in the future.

    What is made from it would be older than it, and taken for stale as soon as it is made.
    """
    late = sorted((ahead, file) for file in _sources(run) if (ahead := _ahead(file)) > SKEW)
    if late:
        ahead, file = late[-1]
        others = f" (and {len(late) - 1} more)" if len(late) > 1 else ""
        raise UserError(
            f"{file} is dated {duration([ahead / 60])} in the future{others}: what is made from it would look older "
            f"than it. Set this machine's clock, or: touch '{file}'"
        )


def _sources(run: Run) -> Iterator[Path]:
    """The files that workflow/Snakefile may name as inputs, but for results."""
    yield from (notebook.file for notebook in written_notebooks() if notebook.file.is_file())
    yield FOLDER / f"{run.profile.name}.toml"
    yield from chain((paths.ROOT / "ecsupport").rglob("*.py"), paths.MANIFESTS.glob("*/*.*"))
    yield from paths.reference().glob("bench/*.csv")
    if run.cohort:
        yield run.cohort


def _ahead(file: Path) -> float:
    return file.stat().st_mtime - time.time()


def _record(run: Run, name: str) -> Path:
    return run.notebooks / ".made" / f"{name}.json"


def _listed(run: Run, name: str) -> dict[str, dict[str, str]]:
    return json.loads(of(run, name)[1].read_text(encoding="utf-8"))["files"]
