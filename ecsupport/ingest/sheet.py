"""The contact sheet: every image that was taken, by centre and scanner, for a person to look at before any counts."""

import html
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from ecsupport.core.artefacts import replacing
from ecsupport.ingest.journal import Entry

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


def write(out: Path, private: Path, taken: Sequence[Entry]) -> None:
    """Write the sheet into `out`, and into `private` which images (path -> SHA-256) it shows."""
    blocks = [HEAD]
    shown = {}
    ordered = sorted(taken, key=lambda one: (one["centre"], one["scanner"], one["images"][0]["image"]))
    for (centre, scanner), entries in groupby(ordered, key=lambda one: (one["centre"], one["scanner"])):
        group = list(entries)
        images = sum(len(one["images"]) for one in group)
        title = f"{centre or 'no centre'}, {scanner}: {images:,} images of {len({one['patient'] for one in group}):,}"
        blocks.append(f"<h2>{html.escape(title)} patients</h2><section>")
        for one in group:
            for image in one["images"]:
                shown[image["image"]] = image["hash"]
                blocks.append(_figure(one, image["image"]))
        blocks.append("</section>")
    with replacing(out / SHEET) as making:
        making.write_text("\n".join(blocks) + "</html>\n", encoding="utf-8")
    with replacing(private / SHOWN) as making:
        making.write_text(json.dumps(shown), encoding="utf-8")


def approved(private: Path, taken: Sequence[Entry]) -> list[tuple[Entry, dict[str, str]]]:
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
