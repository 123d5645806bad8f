"""The command line behind the Makefile; `python -m ecsupport --help` lists its commands."""

import argparse
import io
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ecsupport import bench, engine, execution, failures
from ecsupport.core import own_methods, owner, profiles, tables
from ecsupport.core.errors import UserError
from ecsupport.core.paths import FRESH
from ecsupport.core.profiles import Run

if TYPE_CHECKING:
    import pandas as pd

PROFILE = f"smoke, laptop or paper; by default {profiles.DEFAULT}, and smoke for own images"
STOPPED = "stopped; the next run goes on from the last checkpoint"
EXTRA = "let the manifest have columns that nothing reads"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 for a failure, 2 for a mistake the caller can mend, 130 when stopped.

    Where nobody reads what is said any longer (`... | head`), it ends without a word, with 1.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")  # a centre may have a name that a terminal cannot show
    try:
        try:
            return _run(arguments)
        finally:
            print(end="", flush=True)
    except BrokenPipeError:
        silence = os.open(os.devnull, os.O_WRONLY)
        for stream in streams:
            os.dup2(silence, stream.fileno())  # Python writes what is left when it ends
        return failures.FAILED


def _run(arguments: list[str] | None) -> int:
    _note_interrupts()
    try:
        options = _parser().parse_args(arguments)
        owner.follow_make(lambda: bool(failures.stops), lambda: print(STOPPED, file=sys.stderr, flush=True))
        status = options.command(options)
    except UserError as error:
        print(error, file=sys.stderr)
        status = failures.MISTAKEN
    except KeyboardInterrupt:
        status = failures.STOPPED
    except Exception as error:
        if not (words := failures.in_words(f"{type(error).__name__}: {error}")):
            raise
        print(words, file=sys.stderr)
        status = failures.MISTAKEN
    if failures.stops:
        print(STOPPED, file=sys.stderr)
        return failures.STOPPED
    return status


def _note_interrupts() -> None:
    """Remember that Ctrl-C was pressed, since Snakemake catches it and reports a failure only."""
    failures.stops.clear()

    def handler(number: int, _: object) -> None:
        failures.stops.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ecsupport", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, about: str, command: object, run: bool = False) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(command=command)
        if run:
            made.add_argument("--profile", default="", help=PROFILE)
            made.add_argument("--cohort", default="", metavar="CSV", help="manifest of your own images")
            made.add_argument("--methods", default="", metavar="FILE", help="translators and networks of your own")
        return made

    def whole(name: str, about: str, command: object) -> argparse.ArgumentParser:
        made = add(name, about, command, True)
        made.add_argument("--on", default="default", metavar="PLACE", help="folder in workflow/profiles")
        made.add_argument("--jobs", type=int, default=0, help="how many jobs at a time (the profile's threads)")
        made.add_argument("--train", action="store_true", help="train what is lacking, however long it takes")
        made.add_argument("--fresh", action="store_true", help="train anew what the archive holds")
        made.add_argument("--allow-extra", action="store_true", help=EXTRA)
        return made

    whole("reproduce", "every notebook, table and figure, then report.html", lambda o: _reproduce(_opened(o), o))
    item = whole("item", "one figure or table with what it needs", lambda o: _item(_opened(o), o))
    item.add_argument("item", help="e.g. table-7 or figure-5")
    execute = add(
        "execute", "one notebook, as Snakemake calls it", lambda o: execution.execute(_opened(o), o.name), True
    )
    execute.add_argument("name")
    unit = add(
        "unit", "some jobs, as Snakemake calls it", lambda o: execution.make_unit(_opened(o), o.unit, o.names), True
    )
    unit.add_argument("unit")
    unit.add_argument("names", nargs="+")
    add("jobs", "everything that is trained: name, state, minutes, size", lambda o: _jobs(_opened(o)), True)
    made = add(
        "make", "train or render some jobs with what they need, without Snakemake", lambda o: _make(_opened(o), o), True
    )
    kept = add(
        "archive", "store made jobs in figures/reference/<profile>/trained", lambda o: _archive(_opened(o), o), True
    )
    kept.add_argument("names", nargs="+", metavar="NAME", help="as for make")
    made.add_argument(
        "names", nargs="+", metavar="NAME", help="e.g. screening/lsnet/142, or screening/lsnet for all seeds"
    )
    made.add_argument("--at-once", type=int, default=1, metavar="N", help="in how many processes (1)")
    made.add_argument("--device", choices=profiles.DEVICES, default="", help="another than the profile's")
    again = add("verify", "train some archived jobs anew and compare", lambda o: _verify(_opened(o), o.number), True)
    again.add_argument("--number", type=int, default=3, metavar="N")
    look = add("check", "look through the manifest of your own images and name every mistake", _check)
    look.add_argument("cohort", metavar="manifest.csv")
    look.add_argument("--pixels", action="store_true", help="decode every picture too")
    look.add_argument("--allow-extra", action="store_true", help=EXTRA)
    look.add_argument("--profile", default="", help=PROFILE)
    files = add("export", "the phantoms as PNG files with a manifest, as your own images would stand", _export)
    files.add_argument("folder", type=Path)
    files.add_argument("--profile", default="", help=PROFILE)
    _ingest_options(add("ingest", "images of a hospital, DICOM or pictures, without anybody's name", _ingest))
    add("refresh", "store a fresh smoke run as the committed outputs", lambda _: engine.refresh())
    add("keep", "store the results that stand as figures/reference/<run>", lambda o: engine.keep(_opened(o)), True)
    bench = add("bench", "measure against the stated bounds", _bench)
    bench.add_argument("group", nargs="?", default="")
    bench.add_argument("--keep", action="store_true", help="store the measures for the notebooks that speak of them")
    add("readme", "regenerate the blocks and pictures of README.md and FINDINGS.md", _readme)
    return parser


def _opened(options: argparse.Namespace) -> Run:
    if options.methods:
        os.environ[own_methods.VARIABLE] = str(Path(options.methods).absolute())
    run = Run.open(options.profile, options.cohort)
    own_methods.methods()  # a mistake in them is said before anything starts
    return run


def _ingest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder with DICOM files or pictures")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="what holds no name")
    parser.add_argument("--private", type=Path, metavar="FOLDER", help="key and names; by default <out>-private")
    parser.add_argument("--table", type=Path, metavar="FILE", help="diagnoses, CSV or Excel: patient_id, label")
    parser.add_argument("--approve", action="store_true", help="write the manifest of what the contact sheet shows")
    parser.add_argument("--pictures", choices=("us", "mri"), default="us", help="modality of files that are no DICOM")
    parser.add_argument("--every", type=int, default=0, metavar="N", help="of a cine, every n-th frame")
    parser.add_argument("--frames", type=int, default=8, metavar="K", help="of a cine, k frames evenly (8)")
    parser.add_argument("--jobs", type=int, default=2, help="how many processes (2)")


def _jobs(run: Run) -> int:
    from ecsupport.experiments import catalogue, cohort  # noqa: PLC0415 - torch and pandas take seconds

    cohort.note(run)
    print("\n".join(catalogue.listing(run)))
    return engine.DONE


def _make(run: Run, options: argparse.Namespace) -> int:
    from ecsupport.experiments import catalogue, cohort  # noqa: PLC0415

    cohort.note(run)
    if options.device:
        run = replace(run, profile=replace(run.profile, device=options.device))
    print("\n".join(catalogue.make(run, options.names, options.at_once)))
    return engine.DONE


def _archive(run: Run, options: argparse.Namespace) -> int:
    from ecsupport.experiments import archive, catalogue  # noqa: PLC0415

    print("\n".join(map(str, archive.keep(run, catalogue.find(run, options.names)))))
    return engine.DONE


def _verify(run: Run, number: int) -> int:
    import numpy as np  # noqa: PLC0415

    from ecsupport.core import jobs  # noqa: PLC0415
    from ecsupport.experiments import catalogue, verify  # noqa: PLC0415

    every = list(catalogue.by_name(run).values())
    failed = False
    for job in verify.chosen(every, number, np.random.default_rng()):  # others every time
        minutes = job.minutes + sum(one.minutes for one in jobs.lacking(job.inputs.values(), whole=True))
        print(f"{job.name} (about {minutes:.1f} min with what it needs)", flush=True)
        found = verify.differences(job, every)
        print("\n".join(found) or "  as archived", flush=True)
        failed |= bool(found)
    return failures.FAILED if failed else engine.DONE


def _check(options: argparse.Namespace) -> int:
    """Print every mistake, or what the manifest holds and what was noticed in it."""
    run = Run.open(options.profile, options.cohort)
    if not run.cohort:
        raise UserError("name the manifest of your own images: make check COHORT=path/manifest.csv")
    print("\n".join(_look(run, options.pixels, options.allow_extra)[1]))
    return engine.DONE


def _look(run: Run, decode: bool, allow_extra: bool, most: int | None = None) -> tuple["pd.DataFrame", list[str]]:
    """The rows of a person's manifest, and what she is told of it; UserError with at most `most` of its mistakes."""
    from ecsupport.cohort import own_manifest, split  # noqa: PLC0415 - pandas and scikit-learn take seconds
    from ecsupport.evaluation.noticed import noticed  # noqa: PLC0415

    checked = own_manifest.check(run.cohort, decode=decode, allow_extra=allow_extra)
    checked.table.refuse(most)
    rows = split.of_run(checked.rows, run)
    images, patients, centres = (f"{count:,}" for count in (len(rows), *rows[["patient_id", "centre"]].nunique()))
    depth = "every picture decoded" if decode else "no picture opened; --pixels decodes them"
    told = [f"{run.cohort}: {images} images of {patients} patients from {centres} centres; {depth}"]
    table = noticed(rows, checked.facts, checked.table.ignored)
    if len(table):
        told += ["What we noticed:", engine.aligned(table.to_csv(index=False))]
    return checked.rows, told


def _prepare(run: Run, options: argparse.Namespace) -> engine.How:
    """Find every mistake in a person's manifest and pictures before anything starts, and say what more would cost."""
    if options.fresh:
        os.environ[FRESH] = "1"
    if run.cohort:
        from ecsupport.experiments import catalogue  # noqa: PLC0415

        checked, told = _look(run, True, options.allow_extra, most=tables.SHOWN)
        print("\n".join(told), file=sys.stderr)
        if not options.profile:
            print("\n".join(catalogue.costs(run, checked)), file=sys.stderr)
        return engine.How(options.on, options.jobs, options.train, checked)
    return engine.How(options.on, options.jobs, options.train)


def _reproduce(run: Run, options: argparse.Namespace) -> int:
    status = engine.reproduce(run, how=_prepare(run, options))
    report = run.notebooks / "report.html"
    if status == engine.DONE:
        print(f"notebooks  {run.notebooks}\nfigures    {run.figures}")
        if report.is_file():
            print(f"report     {report}")
    return status


def _item(run: Run, options: argparse.Namespace) -> int:
    return engine.show_item(run, options.item, _prepare(run, options))


def _export(options: argparse.Namespace) -> int:
    from ecsupport.cohort import export, manifest, split  # noqa: PLC0415

    run = Run.open(options.profile)
    rows = split.of_run(manifest.phantoms(run.profile.cohort), run)
    file = export.export(rows, options.folder, run.profile.image_size)
    print(f"{len(rows):,} images\nmanifest  {file}")
    return engine.DONE


def _ingest(options: argparse.Namespace) -> int:
    from ecsupport.ingest import running  # noqa: PLC0415

    names = ("source", "out", "private", "table", "approve", "pictures", "every", "frames", "jobs")
    running.ingest(running.Options(**{name: getattr(options, name) for name in names}))
    return engine.DONE


def _bench(options: argparse.Namespace) -> int:
    return bench.run(options.group, keep=options.keep)


def _readme(_: argparse.Namespace) -> int:
    from ecsupport.reporting import readme  # noqa: PLC0415 - with it comes matplotlib

    return readme.regenerate()


if __name__ == "__main__":
    sys.exit(main())
