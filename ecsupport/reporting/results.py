"""Results: the one way in which a notebook writes tables, figures and estimates, with what they were made from.

Serves every figure and table of the paper. The results file `figures/<run>/<notebook>.json` is written last: where it
stands, what it lists is whole. It holds no time and no path of the machine, so that equal runs give equal bytes.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ecsupport.core import code, paths, tables
from ecsupport.core.artefacts import replacing, sha256
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.reporting.index import find_notebook

PHANTOMS = (
    "Phantom images with known anatomy; evidence about the method and the code, never about patients. "
    "Not for clinical use."
)
OWN_IMAGES = "Images of the manifest {name}. Research use only; not for clinical use."
FOOTER_HEIGHT = 0.2  # inches, below the drawing
DPI = 150  # of a picture's file
EDGE = 0.03  # inches, around what reaches beyond the figure


def cohort_name(run: Run) -> str:
    """Name of the images behind a run: the phantom cohort's version, or the manifest's name."""
    return run.cohort.stem if run.cohort else run.profile.cohort.version


@dataclass(frozen=True)
class Banner:
    """A sentence shown at the head of a notebook and of the report: what the images are evidence of."""

    text: str

    def _repr_html_(self) -> str:
        style = "border-left:4px solid #E69F00;background:#FFF8E8;color:#222;padding:.5em .8em;margin:.3em 0"
        return f'<div style="{style}"><strong>{self.text}</strong></div>'

    def __repr__(self) -> str:
        return self.text


def banner(run: Run) -> Banner:
    """The banner of a run: phantoms are named as such, own images by their manifest."""
    return Banner(OWN_IMAGES.format(name=cohort_name(run)) if run.cohort else PHANTOMS)


class Results:
    """What one notebook writes. Call `table`, `figure` and `estimate` as results arise and `finish` in the last cell.

    UserError where the results of a needed notebook do not stand; with `partial` those that stand are enough.
    """

    def __init__(self, run: Run, notebook: str, partial: bool = False) -> None:
        self.run = run
        self.notebook = find_notebook(notebook)
        needed = [need for need in self.notebook.needs if not partial or results_file(run, need).is_file()]
        # digests of the results that this notebook rests on, by notebook
        self.there = {need: read_results(run, need)["digest"] for need in needed}
        self._files: dict[str, dict[str, str]] = {}
        self._estimates: list[dict[str, Any]] = []
        self._missing: dict[str, str] = {}

    def table(self, frame: pd.DataFrame, name: str, caption: str = "") -> None:
        """Write `<name>.csv`: numbers to six significant digits, without the index."""
        self._csv(frame, name, "table", caption)

    def figure(
        self,
        figure: Figure,
        name: str,
        data: pd.DataFrame,
        caption: str = "",
        *,
        no_images: bool = False,
        phantoms: bool = False,
        of: str = "",
    ) -> None:
        """Write `<name>.png` with a line of provenance below it, and what it draws beside it as `<name>.csv`.

        `no_images`: the picture is drawn from the paper's numbers or from simulated ones, and from no image.
        `phantoms`: it is drawn from phantoms also where the run is about own images.  `of`: name of the images behind
        it, where they are others than the run's.
        """
        _add_footer(figure, self._footer(no_images, phantoms, of))
        self._csv(data, name, "data", caption)
        shown = figure.dpi
        figure.set_dpi(DPI)  # at which letters have other widths
        _fix_layout(figure)
        whole = Bbox.union([figure.bbox_inches, figure.get_tightbbox().padded(EDGE)])  # nothing is cut off
        with replacing(self.run.figures / f"{name}.png") as path:
            figure.savefig(path, dpi=DPI, bbox_inches=whole, metadata={"Software": None})
        figure.set_dpi(shown)
        self.add(self.run.figures / f"{name}.png", "figure", caption)

    def estimate(
        self,
        claim: str,
        value: float | None,
        low: float | None = None,
        high: float | None = None,
        *,
        n: int | None = None,
        unit: str = "",
        p: float | None = None,
        degrees: float | None = None,
        floor: float | None = None,
        exact: bool = False,
        trained: bool = False,
        assessable: bool = True,
        note: str = "",
    ) -> None:
        """Put one row into the claims ledger: this run's value of a claim's estimand, in the claim's unit.

        `low` and `high` are the 95 % interval, `n` the number of patients or images behind it, `p` the p-value of the
        claim, for Holm's adjustment within its family (None: that of the interval, whose t has `degrees` of freedom;
        None: normal). `floor` is the distance of real images to real ones, in parts of which a smallest effect may be
        given. `exact` marks a count or an identity that has no sampling error. `trained` marks what rests on networks
        trained in this run: a profile that ranks nothing shows it without deciding. `assessable=False` says that this
        run cannot speak to the claim; `note` then says why, and `trained` whether that is so because of the networks:
        longer training might change it.
        """
        degrees = None if degrees is None or np.isnan(degrees) else degrees  # nothing varies
        numbers = {"value": value, "low": low, "high": high, "p": p, "degrees": degrees, "floor": floor}
        plain = {key: None if number is None else float(number) for key, number in numbers.items()}
        odd = [key for key, number in plain.items() if number is not None and not math.isfinite(number)]
        if odd:
            raise ValueError(f"estimate of {claim}: {odd[0]} is {plain[odd[0]]}; give a number or assessable=False")
        if (low is None) != (high is None) or (low is not None and not plain["low"] <= plain["high"]):
            raise ValueError(f"estimate of {claim}: the interval {low} to {high} is none")
        if assessable == (value is None) or not (assessable or note):
            raise ValueError(f"estimate of {claim}: give a value, or assessable=False and a note that says why")
        if any(row["claim"] == claim for row in self._estimates):
            raise ValueError(f"estimate of {claim}: given twice")
        if trained and not self.run.profile.ranks:
            note = "; ".join(filter(None, [note, f"{self.run.profile.name} trains too briefly to decide"]))
        record = {"n": None if n is None else int(n), "unit": unit, "exact": exact, "assessable": assessable}
        record["decides"] = not trained or self.run.profile.ranks
        self._estimates.append({"claim": claim, **plain, **record, "note": note})

    @property
    def estimates(self) -> list[dict[str, Any]]:
        """The rows given to `estimate` so far."""
        return list(self._estimates)

    def missing(self, items: Sequence[str], why: str) -> None:
        """Say that items which the index promises cannot be made from this cohort, and why: the report repeats it."""
        unknown = set(items) - set(self.notebook.items)
        if unknown:
            raise ValueError(f"{self.notebook.name} promises no {unknown.pop()} in index.toml")
        self._missing |= dict.fromkeys(items, why)

    def read(self, notebook: str, name: str) -> pd.DataFrame:
        """A table that a needed notebook has made, as it was written; raises as `needed` does."""
        return tables.reread(self.needed(notebook, name))

    def needed(self, notebook: str, name: str) -> Path:
        """Path of a file that a needed notebook has made, checked against its hash.

        UserError where the index names no such need; ValueError where that notebook makes no such file.
        """
        if notebook not in self.there:
            raise UserError(f"{self.notebook.name} reads {notebook}. Add that to its needs in index.toml")
        return listed_file(self.run, notebook, name)

    def add(self, path: Path, kind: str, caption: str = "") -> None:
        """List a file that is already written, such as the report, among the results."""
        key = path.relative_to(paths.workspace()).as_posix()
        self._files[key] = {"kind": kind, "caption": caption, "sha256": sha256(path)}

    def finish(self) -> None:
        """Write the results file, last; ValueError where an item of the index is neither made nor called missing."""
        made = {Path(key).name for key in self._files}
        missing = [i for i, name in self.notebook.items.items() if name not in made and i not in self._missing]
        if missing:
            raise ValueError(f"{self.notebook.name} has not made {missing[0]} ({self.notebook.items[missing[0]]})")
        record = {
            "notebook": self.notebook.name,
            "profile": self.run.profile.name,
            "cohort": cohort_name(self.run),
            "manifest": sha256(self.run.cohort) if self.run.cohort else None,
            "code": {module: _source(code.module_file(module)) for module in sorted(code.imports(self.notebook.file))},
            "needs": self.there,
            "files": self._files,
            "missing": self._missing,
            "estimates": self._estimates,
        }
        with replacing(results_file(self.run, self.notebook.name)) as path:
            path.write_text(json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")

    def _csv(self, frame: pd.DataFrame, name: str, kind: str, caption: str) -> None:
        with replacing(self.run.figures / f"{name}.csv") as path:
            frame.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
        self.add(self.run.figures / f"{name}.csv", kind, caption)

    def _footer(self, no_images: bool, phantoms: bool, of: str) -> str:
        if no_images:
            return f"{self.notebook.name} · no image of this cohort is behind this picture"
        run = Run(self.run.profile) if phantoms else self.run
        kind = [] if run.cohort else ["phantom images, not patients"]
        return " · ".join([of or cohort_name(run), run.profile.name, self.notebook.name, *kind])


def results_file(run: Run, notebook: str) -> Path:
    """Where a notebook's results file stands."""
    return run.figures / f"{notebook}.json"


def read_results(run: Run, notebook: str) -> dict[str, Any]:
    """The results file of a notebook, with its own SHA-256 as `digest`; UserError where it is absent."""
    file = results_file(run, notebook)
    if not file.is_file():
        cohort = f" COHORT={run.cohort}" if run.cohort else ""
        raise UserError(
            f"{notebook} has no results for {run.name} yet. Run it first: make reproduce PROFILE={run.profile.name}"
            + cohort
        )
    return {**json.loads(file.read_text(encoding="utf-8")), "digest": sha256(file)}


def listed_file(run: Run, notebook: str, name: str) -> Path:
    """Path of a file that a notebook lists among its results, checked against its hash."""
    files = {
        Path(key).name: (paths.workspace() / key, entry) for key, entry in read_results(run, notebook)["files"].items()
    }
    if name not in files:
        raise ValueError(f"{notebook} lists no {name}; it makes: {', '.join(files)}")
    path, entry = files[name]
    if not path.is_file() or sha256(path) != entry["sha256"]:
        raise UserError(f"{path} is not what {notebook} wrote. Remake it: make reproduce PROFILE={run.profile.name}")
    return path


def _source(file: Path) -> str:
    """SHA-256 over a module's file and those of all that it imports."""
    return sha256(" ".join(map(sha256, [file, *code.closure(file)])).encode())


def _fix_layout(figure: Figure) -> None:
    """Lay the figure out, to six digits: each time its last digits may differ, and with them a whole pixel."""
    for _ in range(2):  # by drawing: labels are known the first time, and have their room the second
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        axis.set_position(np.round(axis.get_position(original=True).bounds, 6))


def _add_footer(figure: Figure, text: str) -> None:
    """Write one small grey line in a strip reserved below the drawing."""
    strip = FOOTER_HEIGHT / figure.get_figheight()
    engine = figure.get_layout_engine()
    if engine is not None and "rect" in engine.get():
        engine.set(rect=(0, strip, 1, 1 - strip))
    figure.text(0.995, 0.15 * strip, text, ha="right", va="bottom", fontsize=6, color="0.45")
