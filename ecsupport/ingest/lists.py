"""What stands beside the images: the log, who is unmatched, the manifest, and for the private folder who is who."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from ecsupport.core.artefacts import replacing
from ecsupport.core.errors import UserError
from ecsupport.core.tables import is_formula
from ecsupport.ingest.diagnoses import Diagnosis
from ecsupport.ingest.identity import code
from ecsupport.ingest.journal import Entry, Journal

LOG, MANIFEST, UNMATCHED, PATIENTS = "log.csv", "manifest.csv", "unmatched.csv", "patients.csv"
OPEN = ("file", "outcome", "why", "images", "near_duplicates", "patient", "centre", "scanner", "modality", "sequence",
        "crop", "date_shifted")  # fmt: skip
SECRET = ("path", "patient_id", "centre_name", "scanner_name", "description")  # of the private log
COLUMNS = ("image", "patient_id", "centre", "modality", "sequence", "label", "split", "invasion_depth", "hash")


def write_logs(out: Path, private: Path, journal: Journal) -> None:
    """A line a file: into `out` without a name, into `private` with the path, patient, centre and scanner."""
    for folder, columns in ((out, OPEN), (private, (*SECRET, *OPEN))):
        _write(folder / LOG, columns, (_row(one, columns) for one in journal.entries(itemgetter("file"))))
    known = {(one["patient"], one["patient_id"]) for one in journal.entries() if one.get("patient")}
    _write(private / PATIENTS, ("patient", "patient_id"), [{"patient": p, "patient_id": i} for p, i in sorted(known)])


def _row(entry: Entry, columns: Sequence[str]) -> dict[str, Any]:
    told = {"outcome": "taken" if entry["images"] else "left out", "images": len(entry["images"])}
    told |= {"near_duplicates": entry.get("alike", 0), "date_shifted": entry.get("date", "")}
    return {name: told.get(name, entry.get(name, "")) for name in columns}


def why(entries: Iterable[Entry]) -> list[str]:
    """How many files were left out for which reason, the most frequent first."""
    counts = Counter(one["why"] for one in entries if one["why"])
    return [f"  {count:,}  {reason}" for reason, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def write_unmatched(out: Path, taken: Iterable[Entry], table: dict[str, Diagnosis]) -> list[str]:
    """List rows of the table without images and patients without a row; returns what a person is told."""
    patients = {one["patient_id"]: one["patient"] for one in taken}
    rows = sorted(found.row for who, found in table.items() if who not in patients)
    without = sorted(pseudonym for who, pseudonym in patients.items() if who not in table)
    lines = [{"side": "table", "row_or_patient": row, "what": "no images"} for row in rows]
    lines += [{"side": "images", "row_or_patient": one, "what": "no row in the table"} for one in without]
    _write(out / UNMATCHED, ("side", "row_or_patient", "what"), lines)
    told = [f"table: {len(rows):,} rows without images, {len(without):,} patients without a row ({UNMATCHED})"]
    stripped = {who.lstrip("0") for who in patients if who not in table}
    if lost := sum(who.lstrip("0") in stripped for who in table if who not in patients):
        told.append(f"table: {lost:,} of these rows differ only by leading zeros of the id. Write ids there as text")
    return told


def write_manifest(
    out: Path, key: bytes, approved: Sequence[tuple[Entry, dict[str, str]]], table: dict[str, Diagnosis]
) -> list[str]:
    """Write the manifest of approved images with a diagnosis; returns what a person is told. UserError where none is.

    Left out: patients without a centre or of two, unless the table names one, a picture that stands under two patients,
    and a second copy of one.
    """
    known = [(one, image) for one, image in approved if one["patient_id"] in table]
    centres: dict[str, set[str]] = {}
    owners: dict[str, set[str]] = {}
    for one, image in known:
        centres.setdefault(one["patient"], set()).add(_centre(key, one, table[one["patient_id"]]))
        owners.setdefault(image["pixels"], set()).add(one["patient"])
    rows, dropped, pixels = [], Counter(), set()
    for one, image in known:
        diagnosis, centre = table[one["patient_id"]], _centre(key, one, table[one["patient_id"]])
        if reason := (
            "no centre: write one into the table, column centre" if not centre
            else "a patient of two centres: write one of them into the table, column centre"
            if len(centres[one["patient"]]) > 1
            else "the same picture under two patients" if len(owners[image["pixels"]]) > 1
            else "the same picture once more" if image["pixels"] in pixels else ""
        ):  # fmt: skip
            dropped[reason] += 1
            continue
        pixels.add(image["pixels"])
        depth = "" if diagnosis.invasion_depth is None else diagnosis.invasion_depth
        rows.append({"image": image["image"], "patient_id": one["patient"], "centre": centre,
                     "modality": one["modality"], "sequence": one.get("sequence", ""), "label": diagnosis.label,
                     "split": diagnosis.split, "invasion_depth": depth, "hash": image["hash"]})  # fmt: skip
    told = [f"  {count:,} images are not in the manifest: {reason}" for reason, count in sorted(dropped.items())]
    if not rows:
        remedy = "See unmatched.csv and rejected.txt"
        raise UserError("\n".join([*told, f"no image is on the contact sheet, approved and diagnosed. {remedy}"]))
    _write(out / MANIFEST, COLUMNS, rows)
    return [*told, f"manifest   {len(rows):,} images of {len({row['patient_id'] for row in rows}):,} patients"]


def _centre(key: bytes, entry: Entry, diagnosis: Diagnosis) -> str:
    return code(key, "centre", diagnosis.centre) if diagnosis.centre else entry["centre"]


def _write(file: Path, columns: Sequence[str], rows: Iterable[dict]) -> None:
    """A CSV file whose cells no spreadsheet takes for formulas."""
    with replacing(file) as making, making.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            cells = {name: f"'{cell}" if is_formula(str(cell).strip()) else cell for name, cell in row.items()}
            writer.writerow(cells)
