"""The contact sheet: every image that was taken, by centre and scanner, for a person to look at before any counts."""

import html
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from ecsupport.core.artefacts import replacing
from ecsupport.ingest.journal import Entry, Journal, by_image

SHEET, SHOWN = "contact_sheet.html", "shown.json"
REJECTED = "rejected.txt"
THUMBNAIL = 170  # pixels of its longer side
HEAD = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Contact sheet</title>
<style>
body {{ font: 14px sans-serif; margin: 1.5em; background: #fff; color: #222 }}
section {{ display: flex; flex-wrap: wrap; gap: 10px }}
figure {{ margin: 0; width: {THUMBNAIL}px; font-size: 11px }}
figure a {{ display: flex; width: {THUMBNAIL}px; height: {THUMBNAIL}px; background: #ddd; align-items: center }}
img {{ max-width: {THUMBNAIL}px; max-height: {THUMBNAIL}px; margin: auto }}
svg {{ float: right; border: 1px solid #999; background: #eee }}
.proposal {{ outline: 3px solid #e69f00 }}
</style>
<h1>Contact sheet</h1>
<p>Look at every picture: no name, no text, tissue only, not cut off. Orange: the box is a proposal, drawn by nobody.
A click shows the picture whole. Write what must not count into rejected.txt in the private folder, a line each: an
image's, a patient's or a scanner's code. Draw a box in crops.toml there where a proposal is wrong. Then run the same
command again with --approve. Not for clinical use.</p>
"""


def write(out: Path, private: Path, journal: Journal) -> None:
    """Write the sheet into `out`, and into `private` which images (path -> SHA-256) it shows."""
    with replacing(out / SHEET) as making, making.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{block}\n" for block in _blocks(journal))
    with replacing(private / SHOWN) as making, making.open("w", encoding="utf-8") as lines:
        shown = (image for one in journal.entries(by_image, taken=True) for image in one["images"])
        pairs = (f"{json.dumps(image['image'])}: {json.dumps(image['hash'])}" for image in shown)
        lines.write("{" + next(pairs, ""))
        lines.writelines(f",\n{pair}" for pair in pairs)
        lines.write("}\n")


def _blocks(journal: Journal) -> Iterator[str]:
    yield HEAD
    patients: dict[tuple[str, str], set[str]] = {}
    images: Counter[tuple[str, str]] = Counter()
    for one in journal.entries(taken=True):
        patients.setdefault(_group(one), set()).add(one["patient"])
        images[_group(one)] += len(one["images"])
    ordered = journal.entries(lambda one: (*_group(one), by_image(one)), taken=True)
    for (centre, scanner), entries in groupby(ordered, _group):
        number = len(patients[centre, scanner])
        title = f"{centre or 'no centre'}, {scanner}: {images[centre, scanner]:,} images of {number:,} patients"
        yield f"<h2>{html.escape(title)}</h2><section>"
        yield from (_figure(one, image["image"]) for one in entries for image in one["images"])
        yield "</section>"
    yield "</html>"


def _group(entry: Entry) -> tuple[str, str]:
    return entry["centre"], entry["scanner"]


def approved(private: Path, taken: Iterable[Entry]) -> list[tuple[Entry, dict[str, str]]]:
    """Entry and image of all that stands on the sheet as it is now and that nobody has rejected."""
    file = private / SHOWN
    shown = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    rejects = private / REJECTED
    rejected = set(rejects.read_text(encoding="utf-8-sig").split()) if rejects.exists() else set()
    return [
        (one, image)
        for one in taken
        if not {one["patient"], one["scanner"], one["file"]} & rejected
        for image in one["images"]
        if shown.get(image["image"]) == image["hash"]
        and not {image["image"], Path(image["image"]).name, Path(image["image"]).stem} & rejected
    ]


def _figure(entry: Entry, image: str) -> str:
    how = entry.get("crop", "whole")
    marked = ' class="proposal"' if how == "proposal" else ""
    text = f"{entry['patient']}<br>{Path(image).stem}<br>{entry.get('sequence') or how}"
    return (
        f'<figure><a href="{image}"{marked}><img loading="lazy" src="{image}" alt=""></a>'
        f"<figcaption>{_outline(entry)}{text}</figcaption></figure>"
    )


def _outline(entry: Entry) -> str:
    """Where in its frame the picture was: a small drawing, without what was around it."""
    if "box" not in entry:
        return ""
    left, top, right, bottom, width, height = entry["box"]
    return (
        f'<svg width="40" height="{round(40 * height / width)}" viewBox="0 0 {width} {height}">'
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" fill="#666"/></svg>'
    )
