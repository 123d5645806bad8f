"""The README's pictures, cut from committed figures and drawn from committed tables: small, and of one message each."""

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from scipy import ndimage

from ecsupport.audit.verdicts import AT_A_GLANCE
from ecsupport.core import paths
from ecsupport.core.artefacts import replacing
from ecsupport.paper.published import TRAINING
from ecsupport.reporting import evidence, style
from ecsupport.reporting.audit_plots import VERDICT_COLOURS
from ecsupport.reporting.ledger import COLOURS, VERDICTS

DPI = 200
WIDTH = 8.0  # inches, of the whole; a README is about 800 pixels wide
SMALL = (2.75, 1.9)  # inches, of a finding's picture: three stand in a row
LEAST = 40  # pixels, of an image's side in a committed figure; letters are smaller
ARMS = {  # ratio of times that was kept: its name in the picture
    "LSNet over dense": "as described",
    "as described over dense": "Eq. 14 of\nreleased code",
    "shared keys over dense": "shared keys",
}


def panels(name: str) -> list[list[np.ndarray]]:
    """The images of a committed figure, row by row: what is not white, about square, and larger than any letter.

    Each is (S, S) or (S, S, 3) uint8. ValueError where the rows do not hold equally many.
    """
    picture = np.asarray(Image.open(evidence.file(name)).convert("RGB"))
    parts, _ = ndimage.label((picture < 250).any(axis=2), structure=np.ones((3, 3)))
    found = []
    for vertical, horizontal in ndimage.find_objects(parts):
        height, width = vertical.stop - vertical.start, horizontal.stop - horizontal.start
        if min(height, width) > LEAST and abs(height - width) < 0.1 * height:
            found.append((vertical, horizontal))
    rows: list[list[tuple[slice, slice]]] = []
    for place in sorted(found, key=lambda at: at[0].start):
        if not rows or place[0].start > rows[-1][0][0].stop:
            rows.append([])
        rows[-1].append(place)
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"{name}: its rows hold {[len(row) for row in rows]} images. It is no grid")
    return [[picture[at] for at in sorted(row, key=lambda at: at[1].start)] for row in rows]


def pipeline() -> Figure:
    """The whole project in one row: six steps, each with a real thumbnail and the numbers of its notebooks."""
    named = list(dict.fromkeys(evidence.table("figure_1")["row"]))
    translated = panels("figure_1.png")
    if len(translated) != len(named):
        raise ValueError(f"figure_1.png has {len(translated)} rows of images, figure_1.csv names {len(named)}")
    ultrasound, *_, kept = panels("gradient_maps.png")[0]
    source, synthetic = (translated[named.index(row)][0] for row in ("MRI", "SG-CycleGAN"))
    steps: list[tuple[str, str, Callable[[Axes], None]]] = [
        ("phantom MRI", "01", lambda axis: _show(axis, source)),
        ("SG-CycleGAN:\ninto ultrasound", "02 · 03", lambda axis: _show(axis, synthetic)),
        ("with phantom\nultrasound", "04", lambda axis: _show(axis, ultrasound)),
        ("LSNet: keys chosen\nby gradients", "05 · 06", lambda axis: _show(axis, kept)),
        ("scores, intervals,\nscreening, readers", "07 · 08 · 09", _roc),
        ("printed numbers\nand claims checked", "10 · 99", _squares),
    ]
    figure, axes = plt.subplots(1, len(steps), figsize=(WIDTH, 1.95), layout="none")
    side, gap, left = 0.135, 0.0345, 0.008
    for i, (axis, (name, notebooks, draw)) in enumerate(zip(axes, steps, strict=True)):
        x = left + i * (side + gap)
        axis.set_position((x, 0.30, side, side * WIDTH / 1.95))
        draw(axis)
        axis.set(xticks=[], yticks=[])
        axis.set_title(notebooks, loc="center", fontsize=9, fontweight="bold")
        figure.text(x + side / 2, 0.27, name, ha="center", va="top", fontsize=8.5)
        if i:
            sign = "+" if notebooks == "04" else "→"
            figure.text(x - gap / 2, 0.30 + side * WIDTH / 1.95 / 2, sign, ha="center", va="center", fontsize=13)
    trained = "" if evidence.trained() else ", trained for seconds"
    note = (
        f"bold: notebooks · profile {evidence.profile()}{trained} · phantom images, not patients; not for clinical use"
    )
    figure.text(0.995, 0.01, note, ha="right", va="bottom", fontsize=7, color="0.4")
    return figure


def _show(axis: Axes, image: np.ndarray) -> None:
    axis.imshow(image, interpolation="nearest", aspect="auto")
    axis.spines[:].set_visible(False)


def _roc(axis: Axes) -> None:
    """LSNet's mean ROC curve of the quoted profile."""
    curve = evidence.table("figure_4")
    curve = curve[curve["arm"] == "LSNet"]
    axis.plot([0, 1], [0, 1], color="0.75", lw=0.8)
    axis.plot(curve["false_positive_rate"], curve["mean"], color=style.SERIES[0], lw=2)
    axis.set(xlim=(0, 1), ylim=(0, 1.02), aspect="auto")
    axis.text(0.95, 0.08, "ROC", ha="right", fontsize=8.5)


def _squares(axis: Axes) -> None:
    """One square a printed number of Tables 1 to 8, in the order of print, coloured by its worst verdict."""
    codes = evidence.table("audit_verdicts")["verdict"].map(AT_A_GLANCE.index).to_numpy(float)
    side = int(np.ceil(np.sqrt(len(codes))))
    squares = np.append(codes, np.full(side * side - len(codes), np.nan)).reshape(side, side)
    colours = ListedColormap(VERDICT_COLOURS)
    axis.pcolormesh(np.ma.masked_invalid(squares), cmap=colours, vmin=-0.5, vmax=3.5, edgecolor="white", lw=0.4)
    axis.invert_yaxis()
    axis.spines[:].set_visible(False)


def _small(title: str, left: float, bottom: float) -> tuple[Figure, Axes]:
    """A finding's picture, whose axis begins at these shares of its width and height: laid out alike everywhere."""
    figure = plt.figure(figsize=SMALL, layout="none")
    figure.text(0.01, 0.98, title, va="top", fontsize=9.5)
    return figure, figure.add_axes((left, bottom, 0.97 - left, 0.86 - bottom))


def printed_numbers() -> Figure:
    """Share of each table's numbers under each verdict of the audit."""
    cells = evidence.table("audit_verdicts")
    cells = cells[cells["where"] != "table_1"]  # lost in the text at hand
    tables = list(dict.fromkeys(cells["where"]))
    figure, axis = _small("Which printed numbers agree", 0.18, 0.24)
    left = np.zeros(len(tables))
    for name, colour in zip(AT_A_GLANCE, VERDICT_COLOURS, strict=True):
        share = np.array([(cells.loc[cells["where"] == table, "verdict"] == name).mean() for table in tables])
        axis.barh(range(len(tables)), share, left=left, color=colour, edgecolor="white", height=0.9)
        left += share
    axis.set_yticks(range(len(tables)), [table.replace("_", " ").capitalize() for table in tables])
    axis.invert_yaxis()
    axis.set(xticks=[], xlim=(0, 1))
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    short = ("consistent", "on other images", "inconsistent", "not decidable")
    marks = [Line2D([], [], marker="s", ls="", color=colour) for colour in VERDICT_COLOURS]
    figure.legend(marks, short, loc="lower center", ncols=2, handletextpad=0.2, columnspacing=1.0, borderpad=0)
    return figure


def attention_times() -> Figure:
    """Time of one image with sparse attention over that with dense attention, three kinds, with intervals."""
    rows = evidence.bench().loc[list(ARMS)].rename(columns={"value": "estimate"}).reset_index()
    heights = list(range(len(rows)))[::-1]
    figure, axis = _small("Sparse attention as described is slower", 0.33, 0.24)
    style.intervals(axis, rows, heights, style.SERIES[0])
    for height, row in zip(heights, rows.itertuples(), strict=True):
        place, side = (row.estimate, "center") if row.estimate > 1 else (0.97, "right")
        axis.text(place, height + 0.18, f"{row.estimate:.2f}×", ha=side, va="bottom", fontsize=8)
    axis.axvline(1, color="0.5", lw=0.8, ls="--")
    axis.set_xscale("log")
    axis.set_xticks([0.7, 1, 1.5, 2, 3], ["0.7", "1", "1.5", "2", "3"])
    axis.minorticks_off()
    axis.set_yticks(heights, ARMS.values())
    axis.set(xlim=(0.62, 3.2), ylim=(-0.5, len(rows) - 0.3))
    axis.set_xlabel("← faster than dense | slower →", x=0.42)
    return figure


def coverage() -> Figure:
    """How often a nominal 95 % interval holds the truth, one dot a metric: images resampled, and patients."""
    rows = evidence.table("coverage").set_index("interval").loc[["patient, BCa", "image, percentile"]]
    figure, axis = _small("Printed intervals may be too narrow", 0.27, 0.24)
    for height, (colour, (_, row)) in enumerate(zip(style.colours("patients", "images"), rows.iterrows(), strict=True)):
        axis.plot(row.to_numpy(float), [height] * len(row), "o", color=colour)
    axis.axvline(0.95, color="0.5", lw=0.8, ls="--")
    axis.text(0.94, 0.5, "aimed at", ha="right", va="center", fontsize=8)
    axis.set_yticks([0, 1], ["patients\nresampled", "images\nresampled"])
    axis.set(xlim=(0.6, 1.0), xticks=[0.6, 0.7, 0.8, 0.95], ylim=(-0.5, 1.5), xlabel="coverage, simulated")
    return figure


def verdicts() -> Figure:
    """How many of the claims that rest on training stand under each verdict."""
    ledger = evidence.ledger()
    counts = ledger.loc[ledger["rests_on"] == TRAINING, "verdict"].value_counts()
    names = [name for name in VERDICTS if name in counts]
    figure, axis = _small(f"{counts.sum()} claims, tested on phantoms", 0.46, 0.04)
    axis.barh(names, counts[names], color=[COLOURS[name] for name in names], height=0.8)
    for place, name in enumerate(names):
        axis.text(counts[name], place, f" {counts[name]}", va="center", fontsize=8)
    axis.invert_yaxis()
    axis.set(xticks=[], xlim=(0, 1.15 * counts.max()))
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(length=0)
    return figure


DRAWN: dict[str, Callable[[], Figure]] = {
    "pipeline": pipeline,
    "printed_numbers": printed_numbers,
    "attention_times": attention_times,
    "coverage": coverage,
    "verdicts": verdicts,
}


def file(name: str) -> Path:
    """Where a picture of `DRAWN` is committed."""
    return paths.reference() / "readme" / f"{name}.png"


def write(name: str, path: Path) -> None:
    """Draw one of `DRAWN` into a PNG file, the same bytes from the same evidence on one machine."""
    style.use()
    figure = DRAWN[name]()
    with replacing(path) as making:
        figure.savefig(making, dpi=DPI, metadata={"Software": None}, format="png")
    plt.close(figure)
