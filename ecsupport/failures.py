"""Failures in our words: a full disk, a folder that cannot be written, a notebook that stopped; and exit statuses.

An error of the command itself and one that a failed notebook has kept are known by the same text.
"""

import ast
import contextlib
import errno
import json
import re
import sys
import tempfile
from pathlib import Path

from ecsupport import clusters
from ecsupport.core import paths
from ecsupport.core.artefacts import replacing
from ecsupport.core.profiles import Run

DONE, FAILED, MISTAKEN, STOPPED = 0, 1, 2, 130  # exit statuses
stops: list[int] = []  # signals by which a person has stopped this command
FULL = "no space left in"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ENTRY = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
QUOTED = r"""('[^'\n]*'|"[^"\n]*")"""
SYSTEM = re.compile(rf"\[Errno (\d+)\] ([^:\n]*)(?:: (?:{QUOTED} -> )?{QUOTED})?")  # how Python prints an OSError
CUT_SHORT = re.compile(  # how NumPy and PyTorch say that a file could not be written to its end
    r"\d+ requested and \d+ written|PytorchStreamWriter failed|inline_container\.cc:\d+\] \. unexpected pos"
)
KILLED = re.compile(r" -m ecsupport (?:unit|execute) (\S+) .*' died with <Signals\.\w+: \d+>\.")  # in Snakemake's log
SKEWED = re.compile(r"WorkflowError in rule (?:notebook_)?(\S+) .*\n\s*Output .* has older modification time")
DEAD = re.compile(r"DeadKernelError|RuntimeError: Kernel died before replying")  # of papermill
ENDED = (
    "its process was ended from outside, by a person or by the system for want of memory. Call again: what is whole "
    "stays, and trainings go on from their last checkpoints"
)
BACK = "the clock jumped back, so what it made looks older than what it was made from. Call again: it is made anew"
TRIAL = 2**20  # bytes


def say(line: str) -> None:
    """Write a line for a person, at once: two notebooks may speak at a time."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def in_words(text: str) -> str | None:
    """What a person can do about an error of that text, where it is one of the machine's and not of the code."""
    found = SYSTEM.search(text)
    number, file = (int(found[1]), ast.literal_eval(found[4]) if found[4] else None) if found else (None, None)
    workspace = paths.workspace()
    ours = file is None or Path(file).is_relative_to(workspace) or workspace.is_relative_to(file)
    if number in NO_SPACE or CUT_SHORT.search(text):
        where = Path(file).parent if file else f"{workspace} (or in {tempfile.gettempdir()}, for temporary files)"
        return f"{FULL} {where}. Free space" + (", or point ECSUPPORT_WORKSPACE to another disk" if ours else "")
    if number in NO_ENTRY and file is not None:
        remedy = "Point ECSUPPORT_WORKSPACE to a folder that can be written" if ours else "Change its permissions"
        return f"{file}: {found[2].lower()}. {remedy}"
    return None


def leave(file: Path, error: Exception) -> None:
    """Say what stopped papermill itself; where it is the machine, leave that in place of the notebook for `explain`."""
    text, said = f"{type(error).__name__}: {error}", file.with_suffix(".log")
    ended = DEAD.match(text) and not (said.is_file() and "Traceback" in said.read_text(errors="replace"))
    words = f"{file.stem}: {ENDED}" if ended else in_words(text)
    if not words:
        say(f"{file.stem}: {text}")
        return
    kept = {"output_type": "error", "ename": "UserError", "evalue": words}
    with contextlib.suppress(OSError):  # then `explain` tries by itself whether the disk is full
        file.unlink(missing_ok=True)
        with replacing(file) as path:
            path.write_text(json.dumps({"cells": [{"execution_count": None, "outputs": [kept]}]}), encoding="utf-8")


def explain(run: Run, names: list[str]) -> int:
    """Say what went wrong, from the notebooks and jobs kept in `failed/`, if nobody has stopped it; the exit status."""
    if stops:
        return STOPPED
    kept = [run.notebooks / "failed" / f"{name}.ipynb" for name in names]
    kept = [file for file in kept if file.is_file() and file.stat().st_size]  # Snakemake touches the log of a success
    log = (run.notebooks / "snakemake.log").read_text(encoding="utf-8")
    told = dict.fromkeys(KILLED.findall(log), ENDED) | dict.fromkeys(SKEWED.findall(log), BACK)
    on_nodes = {name: (why, file) for name, why, file in clusters.ended(run, log)}
    told |= {name: why for name, (why, _) in on_nodes.items() if why}
    kept = [file for file in kept if file.stem not in told]
    words, lines = [f"{name}: {problem}" for name, problem in told.items()] + clusters.refused(log), []
    of_jobs = sorted((run.notebooks / "failed").glob("*.txt"))  # in our words, or with a traceback
    for name in sorted(on_nodes.keys() - told.keys() - {file.stem for file in [*of_jobs, *kept]}):
        lines += [f"{name} failed on its node", f"      what was said there: {on_nodes[name][1]}"]
    for file in of_jobs:
        problem, _, traceback = file.read_text(encoding="utf-8").partition("\n\n")
        if traceback:
            lines += [f"a job failed: {problem}", f"      kept for reading: {file}"]
        else:
            words.append(problem)
    for file in kept:
        count, name, message = _error(file)
        if in_our_words := message if name == "UserError" else in_words(f"{name}: {message}"):
            words.append(in_our_words)
            continue
        where = f" in cell [{count}]" if name else ""
        lines.append(f"{file.stem} failed{where}" + (f": {name}: {message}" if name else ""))
        lines.append(f"      kept for reading: {file}")
        log = file.with_suffix(".log")
        if log.is_file() and log.stat().st_size:
            lines.append(f"      what its kernel said: {log}")
    if not words and (reason := _trial(run.notebooks) or (None if kept or lines else in_words(tail(run)))):
        words = [reason]
    if full := [line for line in words if line.startswith(FULL)]:
        words, lines = full[:1], []  # all else follows from that
    for line in lines or ([] if words else [tail(run)]):
        say(line)
    for line in dict.fromkeys(words):
        say(line)
    return MISTAKEN if words else FAILED


def tail(run: Run) -> str:
    """The end of what Snakemake has said."""
    lines = (run.notebooks / "snakemake.log").read_text(encoding="utf-8").splitlines()
    return "\n".join(["Snakemake stopped:", *lines[-15:]])


def _trial(folder: Path) -> str | None:
    """Why a small file cannot be written into `folder`, in words; None where it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(TRIAL))
    except OSError as error:
        return in_words(str(error))
    return None


def _error(file: Path) -> tuple[int | None, str, str]:
    """Count of the cell that raised, the exception's name and its message; empty where no cell did."""
    with contextlib.suppress(ValueError):  # empty until papermill has begun
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if output["output_type"] == "error":
                    return cell["execution_count"], output["ename"], output["evalue"]
    return None, "", ""
