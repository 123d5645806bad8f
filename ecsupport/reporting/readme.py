"""What is generated of README.md and FINDINGS.md: three findings with pictures, all findings, and three tables.

The tables are what a profile asks for, figure or table → notebook → artefact → minutes, and equation → function →
notebook. A block stands between `<!-- begin items -->` and `<!-- end items -->`; what is between is replaced.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache

from ecsupport.core import paths, profiles
from ecsupport.core.artefacts import replacing
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.experiments import catalogue, work
from ecsupport.reporting import audit_findings, code_findings, evidence, readme_plots, training_findings
from ecsupport.reporting.index import natural, read_index

EQUATIONS = 18  # numbered in the paper
WIDTH = 260  # pixels, of a small picture: three stand in a row


def items() -> str:
    """Markdown table of every published figure and table: where it is made, its committed copy, minutes by profile."""
    rows = [(item, file, notebook) for notebook in read_index() for item, file in notebook.items.items()]
    lines = ["| Figure or table | Notebook | Artefact | Minutes, once its jobs are made |", "|---|---|---|---|"]
    for item, file, notebook in sorted(rows, key=lambda row: natural(row[0])):
        kind, _, number = item.partition("-")
        label = f"{kind.capitalize()} {number.upper()}".strip()
        name, artefact, minutes = f"{notebook.name}: {notebook.title}", "not yet", ""
        if notebook.written:
            name = f"[{notebook.name}](notebooks/{notebook.name}.ipynb): {notebook.title}"
            kept = [place for place in evidence.KEPT if (paths.reference() / place / file).is_file()]
            links = ", ".join(f"[{place}](figures/reference/{place}/{file})" for place in kept)
            artefact = f"{file}: {links}" if kept else file
            minutes = ", ".join(f"{time:g} ({profile})" for profile, time in notebook.minutes.items())
        lines.append(f"| {label} | {name} | {artefact} | {minutes} |")
    return "\n".join(lines)


def equations() -> str:
    """Markdown table of equations 1 to 18: functions whose docstring names the equation, notebooks that show it.

    A docstring says `Equation n` (or `Equations n and m`); a notebook writes `\\tag{n}` where it shows the formula.
    """
    functions: dict[int, list[str]] = {}
    for file in sorted((paths.ROOT / "ecsupport").rglob("*.py")):
        for name, docstring in _documented(ast.parse(file.read_text(encoding="utf-8"))):
            for numbers in re.findall(r"Equations? (\d+(?:(?:, | and )\d+)*)", docstring):
                for number in map(int, re.findall(r"\d+", numbers)):
                    where = f"`{file.parent.name}.{file.stem}.{name}`"
                    if where not in functions.setdefault(number, []):
                        functions[number].append(where)
    told: dict[int, list[str]] = {}
    for notebook in read_index():
        if notebook.written:
            for number in sorted(set(re.findall(r"\\\\tag\{(\d+)\}", notebook.file.read_text(encoding="utf-8")))):
                told.setdefault(int(number), []).append(f"[{notebook.name[:2]}](notebooks/{notebook.name}.ipynb)")
    lines = ["| Equation | Function | Notebook |", "|---|---|---|"]
    for number in range(1, EQUATIONS + 1):
        cells = (", ".join(found.get(number, [])) or "not yet" for found in (functions, told))
        lines.append(f"| {number} | {' | '.join(cells)} |")
    return "\n".join(lines)


@cache
def sizes() -> str:
    """Markdown table of what each profile asks for, all of its jobs made, by the estimates of the job list."""
    lines = [
        "| Profile | Jobs | All of them, on one core | Memory of a job, at most | Disk | GPU |",
        "|---|---|---|---|---|---|",
    ]
    loaded = sorted(map(profiles.load, profiles.names()), key=lambda of: of.cohort.carcinoma_images * of.image_size)
    for profile in loaded:
        every = catalogue.by_name(Run(profile)).values()
        minutes, disk = (sum(getattr(job, what) for job in every) for what in ("minutes", "disk"))
        long = f"{minutes:.0f} min" if minutes < 60 else f"{minutes / 60:,.0f} h"
        memory, gpu = max(job.memory for job in every), "asked for" if profile.device == "cuda" else "not needed"
        if operations := work.total(Run(profile), every):
            gpu = f"{gpu}; trainings are {work.in_words(operations)}"
        cells = (profile.name, len(every), long, f"{memory:.0f} GB", f"{disk:.1f} GB", gpu)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _documented(tree: ast.AST, within: str = "") -> Iterator[tuple[str, str]]:
    """Name, with its class, and docstring of every function and class; of `__init__` the class's name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = within if node.name == "__init__" else f"{within}.{node.name}".lstrip(".")
            yield name, ast.get_docstring(node) or ""
            yield from _documented(node, name)


def first_screen() -> str:
    """Markdown table of three findings: a small picture each, and below it one line with a link to the evidence.

    Once a profile is kept that tests what rests on training, its verdicts take the place of the third.
    """
    pictures = " | ".join(
        f'<img src="figures/reference/readme/{name}.png" width="{WIDTH}" alt="{name.replace("_", " ")}">'
        for name in pictured()[1:]
    )
    lines = " | ".join(f"{text} ([{number}]({evidence.address(number, head)}))" for text, number, head in _three())
    return f"| {pictures} |\n|---|---|---|\n| {lines} |"


def pictured() -> list[str]:
    """Names of the pictures that the README shows, the pipeline first."""
    return ["pipeline", "printed_numbers", "attention_times", "verdicts" if evidence.trained() else "coverage"]


def _three() -> list[tuple[str, str, str]]:
    """The line below each small picture, and the notebook and heading that show it."""
    counts, slower = audit_findings.audit_counts(), evidence.bench().loc["LSNet over dense", "value"]
    agree = f"{counts['consistent']:,} of {sum(counts.values()):,} checks of printed numbers agree"
    fits = f"Table 2 fits {audit_findings.table_2_sizes()} test images, not {audit_findings.stated_sizes()}"
    times = evidence.number(slower, 2)
    if evidence.trained():
        third = (training_findings.headline(), "99", "What has been tested")
    else:
        least, most = (evidence.number(100 * share, 2) for share in audit_findings.covered().agg(["min", "max"]))
        held = f"intervals as printed hold the truth in {least} to {most} of 100 cases"
        third = (f"Simulated with patients whose images are alike, {held}.", "07", "Does the interval cover?")
    return [
        (f"{agree}; {fits}.", "10", "The eight tables at a glance"),
        (
            f"LSNet's sparse attention as described takes {times} times as long as dense attention.",
            "05", "The same attention three ways",
        ),
        third,
    ]  # fmt: skip


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {  # by page
    "README.md": {"findings": first_screen, "sizes": sizes, "items": items, "equations": equations},
    "FINDINGS.md": {
        "published": audit_findings.published,
        "code": code_findings.code,
        "trainings": training_findings.trainings,
    },
}


def with_blocks(page: str, text: str) -> str:
    """The text of a page with every generated block made anew; UserError where a block has no place."""
    for name, make in BLOCKS[page].items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        block = make()
        text, places = pattern.subn(lambda match, block=block: f"{match[1]}{block}\n{match[2]}", text)
        if places != 1:
            raise UserError(
                f"{page} has {places} places for the block {name!r}. "
                f"Give it one: <!-- begin {name} --> and <!-- end {name} --> on lines of their own"
            )
    return text


def regenerate() -> int:
    """Rewrite the generated blocks of README.md and FINDINGS.md, and their pictures; returns the exit status 0."""
    for page in BLOCKS:
        file = paths.ROOT / page
        text = with_blocks(page, file.read_text(encoding="utf-8"))
        with replacing(file) as path:
            path.write_text(text, encoding="utf-8")
    for name in readme_plots.DRAWN:
        if name in pictured():
            readme_plots.write(name, readme_plots.file(name))
        else:
            readme_plots.file(name).unlink(missing_ok=True)
    return 0
