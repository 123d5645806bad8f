"""The report: one self-contained HTML page with verdicts, every table, every figure and what they were made from.

Serves the whole paper. How a page looks stands in `pages/`, what is in it here. Pictures are embedded and nothing is
fetched from anywhere; links lead to the executed notebooks beside the page. It holds no time and no path of the
machine, so that equal runs give equal bytes.
"""

import base64
import math
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ecsupport.core.artefacts import replacing
from ecsupport.reporting.index import find_notebook
from ecsupport.reporting.ledger import verdict_counts
from ecsupport.reporting.results import Results, banner, cohort_name, listed_file, read_results
from ecsupport.reporting.shown import in_words, why_none

TITLE = "Efficient endometrial carcinoma screening via cross-modal synthesis and gradient distillation"
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn", "statsmodels", "matplotlib")
MOST_ROWS, FIRST_ROWS = 40, 8  # a longer table shows only its first rows; the rest stands in its file
PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("pages")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


def write_report(results: Results, ledger: pd.DataFrame) -> None:
    """Write `runs/<run>/report.html` and list it among `results`, those of the notebook that keeps the ledger.

    `ledger`: as from `claims_ledger`. The page shows what the notebooks have written that it needs and that are there.
    """
    run = results.run
    names = list(results.there)
    _write_page(
        results,
        "report.html",
        title=f"Report: {run.name}",
        profile=run.profile.name,
        cohort=cohort_name(run),
        banner=repr(banner(run)),
        counts=verdict_counts(ledger),
        claims=[_claim(row, row["notebook"] in names) for row in ledger.to_dict("records")],
        sections=[_section(results, name) for name in names],
        made_from=_made_from(results),
    )


def write_audit_page(results: Results, audited: pd.DataFrame) -> None:
    """Write `runs/<run>/audit.html`: every verdict of the audit with its witness, by table, and list it.

    `audited`: as from `audit.rules.audit`, columns id, table, row, column, printed, rule, verdict, witness.
    """
    tables = []
    for table, rows in audited.groupby("table", sort=False):
        counts = ", ".join(f"{n} {verdict}" for verdict, n in rows["verdict"].value_counts().items())
        tables.append((str(table).replace("_", " ").capitalize(), counts, rows.to_dict("records")))
    _write_page(results, "audit.html", title="Audit of every published number", tables=tables)


def _write_page(results: Results, name: str, **content: Any) -> None:
    file = results.run.notebooks / name
    with replacing(file) as path:
        path.write_text(PAGES.get_template(name).render(paper=TITLE, **content), encoding="utf-8")
    results.add(file, "page")


def _number(value: float | None, apart_from: float = math.nan) -> str:
    """Four significant digits, or six where four would make the value look like the margin."""
    if value is None or pd.isna(value):
        return ""
    short = f"{value:.4g}"
    return f"{value:.6g}" if float(short) == apart_from != value else short


def _claim(row: dict[str, Any], made: bool) -> dict[str, Any]:
    """A row of the ledger as the page shows it; `made`: its notebook stands beside the page."""
    margin = row["margin"]
    interval = why_none(row["low"], row["high"])
    if pd.notna(row["low"]) and not interval:
        interval = f"{_number(row['low'], margin)} to {_number(row['high'], margin)}"
    claimed = f"{row['direction']} {_number(margin)}" if pd.notna(margin) else ""
    return {
        **{key: row[key] for key in ("claim", "note", "verdict", "notebook")},
        "details": " · ".join(row[key] for key in ("where", "estimand", "unit") if row[key]),
        "numbers": (row["published"], _number(row["computed"], margin), interval, claimed),
        "made": made,
    }


def _section(results: Results, name: str) -> dict[str, Any]:
    """Everything that one notebook has written: published figures and tables by their number, the rest by file name."""
    record = read_results(results.run, name)
    files = []
    for key, entry in record["files"].items():
        file = key.rsplit("/", 1)[-1]
        published = re.fullmatch(r"(figure|table)_(\w{1,3})\.(png|csv)", file)
        label = f"{published[1].capitalize()} {published[2].upper()}" if published else ""
        caption = entry["caption"] or file
        shown = {"name": file, "caption": caption, "label": "" if caption.startswith(label) else label}
        if entry["kind"] == "table":
            files.append({**shown, **_csv(listed_file(results.run, name, file))})
        elif entry["kind"] == "figure":
            picture = base64.b64encode(listed_file(results.run, name, file).read_bytes()).decode()
            files.append({**shown, "kind": "figure", "picture": picture})
    digests = {f"results {name}": record["digest"], **record["code"]}
    title = find_notebook(name).title
    return {"name": name, "title": title, "missing": record["missing"], "files": files, "digests": digests}


def _csv(path: Path) -> dict[str, Any]:
    """A table's cells as they stand in its file, columns of numbers to the right."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    numeric = {c: pd.to_numeric(frame[c].replace("", pd.NA), errors="coerce").notna().any() for c in frame}
    shown = len(frame) if len(frame) <= MOST_ROWS else FIRST_ROWS
    return {
        "kind": "table",
        "columns": [(str(column), "number" if right else "") for column, right in numeric.items()],
        "rows": in_words(frame.head(shown)).to_numpy().tolist(),
        "rest": len(frame) - shown,
    }


def _made_from(results: Results) -> dict[str, Any]:
    run = results.run
    return {
        "Profile": run.profile.name if run.cohort else f"{run.profile.name}: {run.profile.description}",
        "Cohort": cohort_name(run),
        "Task": run.profile.task,
        "Image side": f"{run.profile.image_size} pixels",
        "Bootstrap resamples": run.profile.bootstrap_resamples,
        "Training seeds": ", ".join(map(str, run.profile.seeds)),
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "Packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }
