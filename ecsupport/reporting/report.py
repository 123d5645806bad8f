"""The report: one self-contained HTML page with verdicts, every table, every figure and what they were made from.

Serves the whole paper. Pictures are embedded and nothing is fetched from anywhere; links lead to the executed
notebooks beside the page. It holds no time and no path of the machine, so that equal runs give equal bytes.
"""

import base64
import html
import math
import platform
import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import pandas as pd

from ecsupport.core.artefacts import replacing
from ecsupport.reporting.index import find_notebook
from ecsupport.reporting.ledger import NOT_YET, VERDICTS, verdict_counts
from ecsupport.reporting.results import Results, banner, cohort_name, listed_file, read_results

TITLE = "Efficient endometrial carcinoma screening via cross-modal synthesis and gradient distillation"
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn", "statsmodels", "matplotlib")
MOST_ROWS, FIRST_ROWS = 40, 8  # a longer table shows only its first rows; the rest stands in its file

_STYLE = """
:root { --ink: #1d2329; --faint: #66707a; --rule: #d9dee3; --tint: #f5f7f9;
        --supported: #00785a; --refuted: #b34700; --undecided: #7a6a00; }
* { box-sizing: border-box; }
body { font: 15px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: var(--ink);
       max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; font-weight: 600; max-width: 46rem; }
h2 { font-size: 1.2rem; margin: 3rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 2rem 0 .4rem; }
p.lead, .faint, figcaption, caption { color: var(--faint); }
a { color: #0b5f96; }
nav { margin: 1rem 0 0; font-size: .9rem; display: flex; flex-wrap: wrap; }
nav a { margin-right: 1.2em; white-space: nowrap; }
.banner { border-left: 4px solid #e69f00; background: #fff8e8; padding: .7em 1em; margin: 1.5rem 0; font-weight: 600; }
.counts { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; padding: 0; list-style: none; }
.counts li { border: 1px solid var(--rule); border-radius: 6px; padding: .5rem 1rem; min-width: 7rem; }
.counts b { display: block; font-size: 1.6rem; line-height: 1.2; font-weight: 600; }
.scroll { overflow-x: auto; margin: .5rem 0 1.2rem; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; border-bottom: 2px solid var(--ink); white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.claim { min-width: 24rem; }
td.claim small { display: block; color: var(--faint); }
.verdict { white-space: nowrap; font-weight: 600; color: var(--faint); }
.verdict.supported { color: var(--supported); } .verdict.refuted { color: var(--refuted); }
.verdict.undecided { color: var(--undecided); } tr.waiting td { color: var(--faint); }
figure { margin: .5rem 0 1.5rem; } figure img { max-width: 100%; height: auto; border: 1px solid var(--rule); }
figcaption, caption { font-size: .86rem; text-align: left; } caption { padding-bottom: .3rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.5rem; font-size: .86rem; margin: 0 0 1rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
code { font: .82rem/1.4 ui-monospace, Menlo, Consolas, monospace; background: var(--tint); overflow-wrap: anywhere; }
details summary { cursor: pointer; }
@media print { body { max-width: none; padding: 0; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def write_report(results: Results, ledger: pd.DataFrame) -> None:
    """Write `runs/<run>/report.html` and list it among `results`, those of the notebook that keeps the ledger.

    `ledger`: as from `claims_ledger`. The page shows what the notebooks needed by that notebook have written.
    """
    run = results.run
    names = list(results.notebook.needs)
    records = {name: read_results(run, name) for name in names}
    titles = {name: find_notebook(name).title for name in names}
    sections = [_section(results, name, titles[name], records[name]) for name in names]
    links = [("Verdicts", "verdicts"), ("Claims", "claims"), *((titles[n], n) for n in names), ("Provenance", "made")]
    body = [
        "<header>",
        f"<h1>{_text(TITLE)}</h1>",
        f'<p class="lead">Reproduced: profile {_text(run.profile.name)}, cohort {_text(cohort_name(run))}.</p>',
        f'<div class="banner">{_text(repr(banner(run)))}</div>',
        "<nav>" + "".join(f'<a href="#{anchor}">{_text(label)}</a>' for label, anchor in links) + "</nav>",
        "</header>",
        _verdicts(ledger),
        _claims(ledger, set(names)),
        *sections,
        _provenance(results, records),
    ]
    _write_page(results, f"Report: {run.name}", body, "report.html")


def write_audit_page(results: Results, audited: pd.DataFrame) -> None:
    """Write `runs/<run>/audit.html`: every verdict of the audit with its witness, by table, and list it.

    `audited`: as from `audit.rules.audit`, columns id, table, row, column, printed, rule, verdict, witness.
    """
    shade = {"consistent": "supported", "inconsistent": "refuted"}
    body = ["<header><h1>An audit of every published number</h1>", f'<p class="lead">{_text(TITLE)}.</p></header>']
    body.append(
        '<p class="faint">A verdict says whether numbers that are printed agree with each other, with the stated '
        "numbers of images and with the formulas. “Inconsistent” means that they cannot all be right as "
        "printed; not which of them, nor why.</p>"
    )
    head = [("Row", ""), ("Column", ""), ("Printed", "number"), ("Verdict", ""), ("Witness", "")]
    for table, rows in audited.groupby("table", sort=False):
        counts = ", ".join(f"{n} {verdict}" for verdict, n in rows["verdict"].value_counts().items())
        lines = [
            f'<tr><td>{_text(r.row)}</td><td>{_text(r.column)}</td><td class="number">{_text(r.printed)}</td>'
            f'<td class="verdict {shade.get(r.verdict, "")}">{r.verdict}</td>'
            f'<td class="claim">{_text(r.witness)}<small>{_text(r.rule)}</small></td></tr>'
            for r in rows.itertuples()
        ]
        name = _text(str(table).replace("_", " ").capitalize())
        body.append(f"<details><summary><b>{name}</b>: {counts}</summary>{_table(_head(head), lines)}</details>")
    _write_page(results, "Audit of every published number", body, "audit.html")


def _write_page(results: Results, title: str, body: list[str], name: str) -> None:
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )
    file = results.run.notebooks / name
    with replacing(file) as path:
        path.write_text(page, encoding="utf-8")
    results.add(file, "page")


def _text(value: Any) -> str:
    return html.escape(str(value))


def _number(value: float | None, apart_from: float = math.nan) -> str:
    """Four significant digits, or six where four would make the value look like the margin."""
    if value is None or pd.isna(value):
        return ""
    short = f"{value:.4g}"
    return f"{value:.6g}" if float(short) == apart_from != value else short


def _verdicts(ledger: pd.DataFrame) -> str:
    counts = verdict_counts(ledger)
    parts = "".join(
        f'<li class="verdict {name.replace(" ", "-")}"><b>{counts[name]}</b>{name}</li>'
        for name in VERDICTS
        if counts[name]
    )
    rule = (
        "A claim is supported or refuted only where the 95 % interval of this run's estimate lies wholly on one side "
        "of the margin that was written down beforehand; otherwise it is undecided. Counts and identities are decided "
        "by themselves. Printed is the number that the paper gives with the claim; this run's value is that of the "
        "quantity named below the claim."
    )
    return f'<h2 id="verdicts">Verdicts</h2>\n<ul class="counts">{parts}</ul>\n<p class="faint">{rule}</p>'


def _claims(ledger: pd.DataFrame, made: set[str]) -> str:
    head = [("Claim", ""), ("Printed", "number"), ("This run", "number"), ("95 % interval", "number")]
    head += [("Claimed", "number"), ("Verdict", ""), ("Notebook", "")]
    rows = []
    for row in ledger.to_dict("records"):
        name, margin = row["notebook"], row["margin"]
        link = f'<a href="{_text(name)}.ipynb">{_text(name)}</a>' if name in made else _text(name)
        interval = f"{_number(row['low'], margin)} to {_number(row['high'], margin)}" if pd.notna(row["low"]) else ""
        claimed = f"{row['direction']} {_number(margin)}" if pd.notna(margin) else ""
        details = " · ".join(_text(part) for part in (row["where"], row["estimand"], row["unit"]) if part)
        note = f"<small>{_text(row['note'])}</small>" if row["note"] else ""
        verdict = f'<span class="verdict {row["verdict"].replace(" ", "-")}">{row["verdict"]}</span>'
        cells = [
            f'<td class="claim">{_text(row["claim"])}<small>{details}</small>{note}</td>',
            *(
                f'<td class="number">{_text(text)}</td>'
                for text in (row["published"], _number(row["computed"], margin), interval, claimed)
            ),
            f"<td>{verdict}</td><td>{link}</td>",
        ]
        waiting = ' class="waiting"' if row["verdict"] == NOT_YET else ""
        rows.append(f"<tr{waiting}>{''.join(cells)}</tr>")
    return '<h2 id="claims">Claims</h2>\n' + _table(_head(head), rows)


def _head(columns: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<th class="{kind}">{_text(label)}</th>' if kind else f"<th>{_text(label)}</th>" for label, kind in columns
    )


def _table(head: str, rows: list[str], caption: str = "") -> str:
    title = f"<caption>{_text(caption)}</caption>" if caption else ""
    lines = "\n".join(rows)
    return f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>\n{lines}\n</tbody></table></div>'


def _section(results: Results, name: str, title: str, record: dict[str, Any]) -> str:
    """Everything that one notebook has written: published figures and tables by their number, the rest by file name."""
    parts = [f'<h2 id="{_text(name)}">{_text(title)}</h2>']
    parts.append(f'<p class="faint">Executed notebook: <a href="{_text(name)}.ipynb">{_text(name)}.ipynb</a></p>')
    for item, why in record["missing"].items():
        parts.append(
            f"<p>{_text(item.replace('-', ' ').capitalize())} cannot be made from these images: {_text(why)}.</p>"
        )
    for key, entry in record["files"].items():
        file = key.rsplit("/", 1)[-1]
        published = re.fullmatch(r"(figure|table)_(\w{1,3})\.(png|csv)", file)
        label = f"{published[1].capitalize()} {published[2].upper()}" if published else ""
        caption = entry["caption"] or file
        if label and entry["kind"] in ("table", "figure") and not caption.startswith(label):
            parts.append(f"<h3>{label}</h3>")
        if entry["kind"] == "table":
            parts.append(_csv(results, name, file, caption))
        elif entry["kind"] == "figure":
            picture = base64.b64encode(listed_file(results.run, name, file).read_bytes()).decode()
            parts.append(
                f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,{picture}">'
                f"<figcaption>{_text(caption)}</figcaption></figure>"
            )
    return "\n".join(parts)


def _csv(results: Results, name: str, file: str, caption: str) -> str:
    """A table's file as HTML, its cells as they stand in the file, columns of numbers to the right."""
    frame = pd.read_csv(listed_file(results.run, name, file), dtype=str, keep_default_na=False)
    numeric = {c: pd.to_numeric(frame[c].replace("", pd.NA), errors="coerce").notna().any() for c in frame}
    kinds = {column: "number" if right else "" for column, right in numeric.items()}
    shown = len(frame) if len(frame) <= MOST_ROWS else FIRST_ROWS
    rows = [
        "<tr>" + "".join(f'<td class="{kinds[c]}">{_text(cell)}</td>' for c, cell in row.items()) + "</tr>"
        for row in frame.head(shown).to_dict("records")
    ]
    rest = len(frame) - shown
    more = f'<p class="faint">and {rest} more rows in {_text(file)}</p>' if rest > 0 else ""
    return _table(_head((str(c), kinds[c]) for c in frame), rows, caption) + more


def _provenance(results: Results, records: dict[str, dict[str, Any]]) -> str:
    run = results.run
    facts = {
        "Profile": f"{run.profile.name}: {run.profile.description}",
        "Cohort": cohort_name(run),
        "Task": run.profile.task,
        "Image side": f"{run.profile.image_size} pixels",
        "Bootstrap resamples": run.profile.bootstrap_resamples,
        "Training seeds": ", ".join(map(str, run.profile.seeds)),
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "Packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }
    parts = ['<h2 id="made">Provenance</h2>', _facts(facts)]
    for name, record in records.items():
        digests = {**{f"results {name}": record["digest"]}, **record["code"]}
        parts.append(
            f"<details><summary>{_text(name)}: SHA-256 of results and code</summary>{_facts(digests)}</details>"
        )
    return "\n".join(parts)


def _facts(facts: dict[str, Any]) -> str:
    return "<dl>" + "".join(f"<dt>{_text(key)}</dt><dd>{_text(value)}</dd>" for key, value in facts.items()) + "</dl>"
