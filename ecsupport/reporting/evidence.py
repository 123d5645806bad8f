"""The committed evidence that README and FINDINGS quote: tables of one profile, links to headings, printed intervals.

Everything is read from `figures/reference`; nothing is computed from images, so that a page is made in a second.
"""

import json
from decimal import ROUND_HALF_UP, Context
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from ecsupport.core import paths, tables
from ecsupport.core.errors import UserError
from ecsupport.paper.published import TRAINING
from ecsupport.reporting.index import read_index
from ecsupport.reporting.ledger import NOT_YET

KEPT = ("smoke", "laptop")  # profiles whose results are committed; the last that has a ledger is quoted


def profile() -> str:
    """Name of the profile that is quoted: the last of `KEPT` whose ledger is committed; UserError where none is."""
    whole = [name for name in KEPT if (paths.reference() / name / "ledger.csv").is_file()]
    if not whole:
        raise UserError(f"{paths.reference()} holds no ledger.csv. Make one: python -m ecsupport keep --profile smoke")
    return whole[-1]


def trained() -> bool:
    """Whether that profile tests the claims that rest on training."""
    return profile() != KEPT[0]


def file(name: str) -> Path:
    """Path of a committed result of the quoted profile, or of one before it that has it; UserError where none has."""
    found = [paths.reference() / one / name for one in KEPT[: KEPT.index(profile()) + 1]]
    there = [path for path in found if path.is_file()]
    if not there:
        again = f"python -m ecsupport keep --profile {profile()}"
        raise UserError(f"{found[-1]} is absent. Keep that run's results: {again}")
    return there[-1]


def table(name: str) -> pd.DataFrame:
    """The committed table `<name>.csv` of the quoted profile, as it was written; raises as `file` does."""
    return tables.reread(file(f"{name}.csv"))


def ledger() -> pd.DataFrame:
    """The ledger of the quoted profile; of notebooks that it has not made yet, what the one before says of claims.

    Of those alone that do not rest on training.
    """
    quoted, *before = [table_of(one, "ledger") for one in reversed(KEPT[: KEPT.index(profile()) + 1])]
    for older in before:
        waiting = (quoted["verdict"] == NOT_YET) & (quoted["rests_on"] != TRAINING)
        rows = older.set_index("id").reindex(quoted.loc[waiting, "id"]).reset_index()[quoted.columns]
        quoted = pd.concat([quoted[~waiting], rows.set_index(quoted.index[waiting])]).sort_index()
    return quoted


def table_of(profile: str, name: str) -> pd.DataFrame:
    """The committed table `<name>.csv` of a profile."""
    return tables.reread(paths.reference() / profile / f"{name}.csv")


def bench(group: str = "screening") -> pd.DataFrame:
    """Measures that `make bench KEEP=1` kept, by name: columns value, low, high, unit, machine."""
    return pd.read_csv(paths.reference() / "bench" / f"{group}.csv").set_index("name")


def address(number: str, heading: str) -> str:
    """Where a heading of the notebook of that number stands, from the repository's root: `notebooks/07_...#Does-...`.

    UserError where no such notebook or heading stands: a page must not lead nowhere.
    """
    notebook = next((n for n in read_index() if n.name.startswith(f"{number}_")), None)
    if notebook is None or heading not in headings(notebook.file):
        raise UserError(f"notebook {number} has no heading {heading!r}. Name one that it has where the page is made")
    return f"notebooks/{notebook.file.name}#{anchor(heading)}"


def link(number: str, heading: str) -> str:
    """Markdown link to a heading, e.g. of `link("07", "Does the interval cover?")`; raises as `address` does."""
    return f"[{number} · {heading}]({address(number, heading)})"


def anchor(heading: str) -> str:
    """What Jupyter and nbviewer call a heading in an address."""
    return quote(heading.replace(" ", "-"), safe="-,:")


@lru_cache(maxsize=64)
def headings(notebook: Path) -> tuple[str, ...]:
    """The headings of a notebook, without their signs, in order."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    lines = [line for c in cells if c["cell_type"] == "markdown" for line in "".join(c["source"]).splitlines()]
    return tuple(line.lstrip("#").strip() for line in lines if line.startswith("#"))


def number(value: float, digits: int = 3) -> str:
    """Significant digits, halves up, with a true minus sign; whole numbers as such, thousands with commas: `5,025`."""
    if value == int(value) or 1000 <= abs(value) < 1e7:
        return f"{value:,.0f}".replace("-", "−")
    rounded = Context(prec=digits, rounding=ROUND_HALF_UP).create_decimal(repr(float(value)))
    text, _, power = f"{float(rounded):#.{digits}g}".rstrip(".").partition("e")
    return f"{text} × 10^{int(power)}".replace("-", "−") if power else text.replace("-", "−")


def interval(value: float, low: float | None = None, high: float | None = None, unit: str = "") -> str:
    """`0.120 (0.0500 to 0.190) s`; without limits the value alone, empty where there is none."""
    if pd.isna(value):
        return ""
    limits = "" if low is None or pd.isna(low) else f" ({number(low)} to {number(high)})"
    return f"{number(value)}{limits} {unit}".rstrip()
