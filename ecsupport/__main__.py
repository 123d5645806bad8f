"""The command line behind the Makefile; `python -m ecsupport --help` lists its commands."""

import argparse
import signal
import sys
from pathlib import Path

from ecsupport import bench, engine, failures
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.reporting import readme


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 for a failure, 2 for a mistake the caller can mend, 130 when stopped."""
    stopped = _note_interrupts()
    try:
        options = _parser().parse_args(arguments)
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
    if stopped:
        print("stopped; the next run goes on from the last finished notebook", file=sys.stderr)
        return failures.STOPPED
    return status


def _note_interrupts() -> list[int]:
    """Remember that Ctrl-C was pressed, since Snakemake catches it and reports a failure only."""
    seen: list[int] = []

    def handler(number: int, _: object) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    return seen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ecsupport", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, about: str, command: object, run: bool = False) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(command=command)
        if run:
            made.add_argument("--profile", default="smoke", help="smoke (default), laptop or paper")
            made.add_argument("--cohort", default="", metavar="CSV", help="manifest of your own images")
            made.add_argument("--on", default="default", metavar="PLACE", help="folder in workflow/profiles")
        return made

    def opened(options: argparse.Namespace) -> Run:
        return Run.open(options.profile, options.cohort)

    add("reproduce", "every notebook, table and figure, then report.html", lambda o: _reproduce(opened(o), o.on), True)
    item = add("item", "one figure or table with what it needs", lambda o: _item(opened(o), o), True)
    item.add_argument("item", help="e.g. table-7 or figure-5")
    execute = add("execute", "one notebook, as Snakemake calls it", lambda o: engine.execute(opened(o), o.name), True)
    execute.add_argument("name")
    files = add("export", "the phantoms as PNG files with a manifest, as your own images would stand", _export)
    files.add_argument("folder", type=Path)
    files.add_argument("--profile", default="smoke", help="smoke (default), laptop or paper")
    add("refresh", "store a fresh smoke run as the committed outputs", lambda _: engine.refresh())
    add("keep", "store the results that stand as figures/reference/<run>", lambda o: engine.keep(opened(o)), True)
    bench = add("bench", "measure against the stated bounds", _bench)
    bench.add_argument("group", nargs="?", default="")
    bench.add_argument("--keep", action="store_true", help="store the measures for the notebooks that speak of them")
    add("readme", "regenerate the README's generated blocks", _readme)
    return parser


def _check(run: Run) -> None:
    """Find every mistake in a person's manifest before any notebook starts."""
    if run.cohort:
        from ecsupport.cohort import manifest, split  # noqa: PLC0415 - pandas takes a second

        split.of_run(manifest.read(run.cohort), run)


def _reproduce(run: Run, place: str) -> int:
    _check(run)
    status = engine.reproduce(run, place=place)
    report = run.notebooks / "report.html"
    if status == engine.DONE:
        print(f"notebooks  {run.notebooks}\nfigures    {run.figures}")
        if report.is_file():
            print(f"report     {report}")
    return status


def _item(run: Run, options: argparse.Namespace) -> int:
    _check(run)
    return engine.show_item(run, options.item, options.on)


def _export(options: argparse.Namespace) -> int:
    from ecsupport.cohort import export, manifest, split  # noqa: PLC0415

    run = Run.open(options.profile)
    rows = split.of_run(manifest.phantoms(run.profile.cohort), run)
    file = export.export(rows, options.folder, run.profile.image_size, run.profile.threads)
    print(f"{len(rows):,} images\nmanifest  {file}")
    return engine.DONE


def _bench(options: argparse.Namespace) -> int:
    return bench.run(options.group, keep=options.keep)


def _readme(_: argparse.Namespace) -> int:
    return readme.regenerate()


if __name__ == "__main__":
    sys.exit(main())
