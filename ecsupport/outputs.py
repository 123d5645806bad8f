"""What a run has made: executed notebooks and results files, each pair with a record of its content.

Snakemake knows when a file was written, not what it holds. Here what is no longer as its notebook left it is set aside,
and Snakemake makes it again. Only what is to the byte as a notebook left it is ever deleted.
"""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from ecsupport.core import paths
from ecsupport.core.artefacts import read_record, sha256, write_record
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
    """Record the SHA-256 of both outputs of a notebook, as the last thing that is done about it.

    And of the files that it lists, and of those that it listed before and no longer does.
    """
    before = _recorded(run, name)
    files = {key: entry["sha256"] for key, entry in _listed(run, name).items()}
    former = before.get("former", {}) | before.get("files", {})
    record: dict[str, Any] = {file.name: sha256(file) for file in of(run, name)}
    record |= {"files": files, "former": {key: digest for key, digest in former.items() if key not in files}}
    write_record(_record(run, name), record)


def set_aside(run: Run) -> dict[str, list[Path]]:
    """Clear away both outputs of each notebook whose record is absent or does not fit.

    Returns the notebooks' names, each with the files of it that somebody altered, where they stand now: they are
    moved to `altered/`, since they may hold what a person wrote.
    """
    broken = [n.name for n in written_notebooks() if any(map(Path.exists, of(run, n.name))) and not whole(run, n.name)]
    return {name: _clear(run, name) for name in broken}


def whole(run: Run, name: str) -> bool:
    """Whether a notebook's outputs, and all files that they list, are as they were when it was finished.

    One dated in the future is not: it would look newer than whatever is changed from now on.
    """
    try:
        record = _recorded(run, name)
        if any(not _holds(file, record.get(file.name)) or _ahead(file) > SKEW for file in of(run, name)):
            return False
        return all(_holds(paths.workspace() / key, entry["sha256"]) for key, entry in _listed(run, name).items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def standing(run: Run) -> set[Path]:
    """The results files that stand, and all files that they list."""
    names = [n.name for n in written_notebooks() if of(run, n.name)[1].is_file()]
    return {of(run, name)[1] for name in names} | {paths.workspace() / key for n in names for key in _listed(run, n)}


def sweep(run: Run) -> None:
    """Remove the files that a notebook once made and none makes now, unless somebody has altered them."""
    records = {file.stem: _recorded(run, file.stem) for file in _record(run, "").parent.glob("[!.]*.json")}
    former = [record.get("former", {}) for record in records.values()]
    for name in records.keys() - {notebook.name for notebook in written_notebooks()}:
        results = of(run, name)[1]
        former += [records[name].get("files", {}), {results: records[name].get(results.name)}]
    keep = standing(run)
    for key, digest in chain.from_iterable(map(dict.items, former)):
        if (file := paths.workspace() / key) not in keep and _holds(file, digest):
            file.unlink()


def state(file: Path) -> str | None:
    """SHA-256 of a file; None where it cannot be read."""
    try:
        return sha256(file)
    except (OSError, ValueError):  # the latter: a name that no file can have
        return None


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


def _clear(run: Run, name: str) -> list[Path]:
    record = _recorded(run, name)
    sums = {file: record.get(file.name) for file in of(run, name)}
    sums |= {paths.workspace() / key: digest for key, digest in record.get("files", {}).items()}
    altered = [file for file, digest in sums.items() if file.exists() and not _holds(file, digest)]
    moved = [_moved(file, run.notebooks / "altered") for file in altered]
    for file in of(run, name):
        file.unlink(missing_ok=True)
    return moved


def _moved(file: Path, folder: Path) -> Path:
    """Where the file stands in that folder now; what was moved there before keeps its name."""
    folder.mkdir(exist_ok=True)
    names = chain([file.name], (f"{file.stem}-{number}{file.suffix}" for number in count(2)))
    place = next(place for name in names if not (place := folder / name).exists())
    shutil.move(file, place)
    return place


def _holds(file: Path, digest: str | None) -> bool:
    return digest is not None and state(file) == digest


def _record(run: Run, name: str) -> Path:
    return run.notebooks / ".made" / f"{name}.json"


def _recorded(run: Run, name: str) -> dict[str, Any]:
    """The record of a notebook; empty where there is none that is as it was written."""
    try:
        return read_record(_record(run, name))
    except (OSError, ValueError):
        return {}


def _listed(run: Run, name: str) -> dict[str, dict[str, str]]:
    return json.loads(of(run, name)[1].read_text(encoding="utf-8"))["files"]
