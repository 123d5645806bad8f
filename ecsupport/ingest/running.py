"""The whole of it: every new file is taken, side by side, and what became of it written down at once.

Names stay in the private folder, beside the output and never in it: the key, the journal, who is who, and what a person
decides (`crops.toml`, `sequences.toml`, `rejected.txt`).
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ecsupport.cohort.mri import SEQUENCES
from ecsupport.core import progress
from ecsupport.core.artefacts import replacing
from ecsupport.core.errors import UserError
from ecsupport.ingest import cine, diagnoses, grey, identity, lists, sheet, taking, walk
from ecsupport.ingest.journal import Entry, Journal, by_image
from ecsupport.ingest.taking import Plan
from ecsupport.ingest.walk import Source

CROPS, MAPPED = "crops.toml", "sequences.toml"
START = "spawn"  # a forked process would inherit the threads and locks of this one
AHEAD = 4  # files a process that wait for it
CROPS_HEAD = """# A box a scanner, in pixels of the whole frame; right and bottom are the first ones outside.
# Frames to draw on stand in the folder scanners. For example
# [s-0123456789ab]
# left = 100
# top = 60
# right = 900
# bottom = 700
"""
MAPPED_HEAD = """# What the scanner calls a sequence -> one of: {names}; or "" to leave it out.
"""


@dataclass(frozen=True)
class Options:
    """What a person asks for; see the command's help."""

    source: Path
    out: Path
    private: Path | None = None
    table: Path | None = None
    approve: bool = False
    pictures: str = "us"
    every: int = 0
    frames: int = cine.FRAMES
    jobs: int = 2  # processes; 0: all in this one


def ingest(options: Options, say: Callable[[str], None] = print) -> None:
    """Take what is new in a folder, or, with `approve`, write the manifest of what the contact sheet shows.

    UserError where a folder, a decision or the table cannot be used, or another run has the folder.
    """
    out = options.out.expanduser().resolve()
    private = (options.private or out.with_name(f"{out.name}-private")).expanduser().resolve()
    root = options.source.expanduser().resolve()
    if private.is_relative_to(out) or out.is_relative_to(private):
        raise UserError("the private folder and the output lie in each other. Name another --private")
    if root.is_relative_to(out) or out.is_relative_to(root) or private.is_relative_to(root):
        raise UserError("SOURCE, the output and the private folder lie in each other. Name another --out")
    if options.approve and options.table is None:
        raise UserError("--approve needs the diagnoses: name --table too")
    table = diagnoses.read(options.table.expanduser()) if options.table else None
    out.mkdir(parents=True, exist_ok=True)
    private.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with FileLock(private / "lock", timeout=0), contextlib.closing(Journal(private)) as journal:
            if len(journal) and not (private / identity.KEY).exists():
                raise UserError(
                    f"the key in {private} is gone: the same patient would get a second pseudonym. Restore it"
                )
            plan = Plan(root, out, private, identity.open_key(private), _crops(private), _mapped(private),
                        journal.windows, options.pictures, options.every, options.frames)  # fmt: skip
            if not options.approve:
                _take_new(plan, journal, options.jobs, say)
            if table is not None:
                told = lists.write_unmatched(out, journal.entries(taken=True), table)
                say("\n".join(told))
            if options.approve:
                approved = sheet.approved(private, journal.entries(by_image, taken=True))
                say("\n".join([*lists.write_manifest(out, plan.key, approved, table), f"{out / lists.MANIFEST}"]))
    except Timeout:
        raise UserError("another run works on this output. Wait for it, or stop it") from None


def _take_new(plan: Plan, journal: Journal, jobs: int, say: Callable[[str], None]) -> None:
    def known(source: Source) -> Entry | None:
        return journal.get(identity.code(plan.key, "file", source.name))

    def is_new(source: Source) -> bool:
        one = known(source)
        same = one and (one["size"], one["changed"], one["decided"]) == (source.size, source.changed, plan.decided(one))
        return not same or not all((plan.out / image["image"]).is_file() for image in one["images"])

    def waits(source: Source) -> bool:
        one = known(source)
        return bool(one) and one["why"] == taking.WAITING

    def which(wanted: Callable[[Source], bool]) -> Iterator[Source]:
        return filter(wanted, walk.files(plan.root))  # found anew each time: a list of them would grow with the folder

    total, new = sum(1 for _ in walk.files(plan.root)), sum(1 for _ in which(is_new))
    try:
        _note(plan, journal, _outcomes(plan, which(is_new), jobs), "files", new)
        windowed = replace(plan, windows=_windows(journal))
        if waiting := sum(1 for _ in which(waits)):
            _note(windowed, journal, _outcomes(windowed, which(waits), jobs), "MRI without a window", waiting)
    finally:  # stopped or not: what was taken so far is told, and nothing that was not
        lists.write_logs(plan.out, plan.private, journal)
        sheet.write(plan.out, plan.private, journal)
        _write_unknown(plan, journal)
    images = sum(len(one["images"]) for one in journal.entries())
    say(f"{total:,} files, {new:,} of them new; {images:,} images in all. Left out:")
    say("\n".join(lists.why(journal.entries())) or "  nothing")
    say(f"Look at {plan.out / sheet.SHEET}, then run the same command again with --approve and --table.")
    say(f"Which file is which stands in {plan.private}: keep that folder from anyone who gets the images.")


def _note(plan: Plan, journal: Journal, outcomes: Iterable[Entry], about: str, total: int) -> None:
    """Write each outcome down as it comes; images that an earlier one had and this one lacks are removed."""
    for entry in progress.bar(outcomes, about, total):
        before = journal.get(entry["file"]) or {"images": []}
        journal.add(entry)
        for image in {one["image"] for one in before["images"]} - {one["image"] for one in entry["images"]}:
            (plan.out / image).unlink(missing_ok=True)


def _windows(journal: Journal) -> dict[str, tuple[float, float]]:
    """Windows by series; that of a series is set once, from all its files that are there then."""
    sketches: dict[str, list[list[float]]] = {}
    for one in journal.entries():
        if one["why"] == taking.WAITING and one["series"] not in journal.windows:
            sketches.setdefault(one["series"], []).append(one["sketch"])
    for series, found in sketches.items():
        journal.add({"series": series, "limits": grey.series_window(found)})
    return dict(journal.windows)


def _outcomes(plan: Plan, sources: Iterator[Source], jobs: int) -> Iterator[Entry]:
    """Entries of all files, in the order in which they are done; a decoder that crashes takes no other file along."""
    if jobs < 1:
        yield from (taking.take(plan, source) for source in sources)
        return
    while True:
        running: dict[Future, Source] = {}
        try:
            with _processes(jobs) as pool:
                while True:
                    for source in islice(sources, AHEAD * jobs - len(running)):
                        running[pool.submit(taking.take, plan, source)] = source
                    if not running:
                        return
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        entry = done.result()
                        del running[done]
                        yield entry
        except BrokenProcessPool:
            for source in running.values():  # one of these: each alone
                yield _alone(plan, source)


def _alone(plan: Plan, source: Source) -> Entry:
    try:
        with _processes(1) as pool:
            return pool.submit(taking.take, plan, source).result()
    except BrokenProcessPool:
        return taking.crashed(plan, source)


@contextlib.contextmanager
def _processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context(START), _begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """A process that leaves Ctrl-C to its parent, and ends with it however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _crops(private: Path) -> dict[str, taking.Box]:
    found = {}
    for scanner, box in _decisions(private / CROPS, CROPS_HEAD).items():
        sides = [box.get(side) for side in ("left", "top", "right", "bottom")] if isinstance(box, dict) else [None]
        whole = all(isinstance(side, int) for side in sides)
        if not whole or not (0 <= sides[0] < sides[2] and 0 <= sides[1] < sides[3]):
            raise UserError(f"{private / CROPS}, [{scanner}]: no box. Write left, top, right, bottom in whole pixels")
        found[scanner] = tuple(sides)
    return found


def _mapped(private: Path) -> dict[str, str]:
    found = _decisions(private / MAPPED, MAPPED_HEAD.format(names=", ".join(SEQUENCES)))
    for name in found.values():
        if name not in (*SEQUENCES, ""):
            raise UserError(f'{private / MAPPED}: no sequence. Write one of: {", ".join(SEQUENCES)}; or ""')
    return found


def _decisions(file: Path, head: str) -> dict[str, Any]:
    """What a person wrote; where there is no file yet, one that says how."""
    if not file.exists():
        with replacing(file) as making:
            making.write_text(head, encoding="utf-8")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise UserError(f"{file} is no TOML. Mend it, or remove it: it is written anew") from None


def _write_unknown(plan: Plan, journal: Journal) -> None:
    """Add descriptions that nobody has mapped to the file in which a person does, as comments."""
    file = plan.private / MAPPED
    text = file.read_text(encoding="utf-8-sig")
    unknown = {one["description"] for one in journal.entries() if one.get("sequence") == "" and one["why"]}
    quoted = sorted('"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"' for one in unknown - plan.mapped.keys())
    lines = [f'# {name} = ""' for name in quoted if name.isprintable() and name not in text]
    if lines:
        with replacing(file) as making:
            making.write_text(text.rstrip("\n") + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
