"""One flipped bit in every kind of file that a run makes, or that the archive holds: noticed, and made again."""

import json
import re
import shutil

import pytest

from ecsupport import outputs
from ecsupport.core import artefacts, jobs, paths
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.reporting.index import written_notebooks

# of what lies beside the results in runs/smoke, what nobody reads, what only has to exist, or what is written anew
READ_BY_NOBODY = {".lock", "snakemake.log", "begun.txt", "units", "graph.json"}
SNAKEMAKES_OWN = ".snakemake"  # tried in the last test
KEY = re.compile("[0-9a-f]{20}")
FLIPS = 5  # in each kind of file


def flip(file, rng):
    """Change one bit of a file, as another file in its place: it may be a link that other tests share."""
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    file.unlink()
    file.write_bytes(content)


def of_jobs(folder):
    """A file of each kind that jobs have made in a folder, by the first word of a job's name and the file's."""
    kinds = {}
    for file in sorted(folder.rglob("*")):
        inner = file.relative_to(folder).parts
        if file.is_file() and any(map(KEY.fullmatch, inner)):
            kinds[inner[0], file.name] = file
    return kinds


def known(folder):
    """What a whole job's record tells, without the way in which it is written; None where the job is not whole."""
    try:
        note = jobs.record(folder)
    except ValueError:
        return None
    return note if jobs.verified(folder, note["key"]) else None


def missed(kinds, folder, rng):
    """The kinds of file of jobs of which a flipped bit is not noticed."""
    found = []
    for kind, original in kinds.items():
        (place,) = [above for above in original.parents if KEY.fullmatch(above.name)]
        copy = folder / "/".join(kind) / place.name
        for _ in range(FLIPS):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(place, copy)
            before = known(copy)
            assert before is not None, f"{place} is not whole to begin with"
            flip(copy / original.relative_to(place), rng)
            unnoticed = original.name == jobs.PROVENANCE and before  # a blank of a record may change
            if known(copy) not in (None, unnoticed):
                found.append(kind)
    return found


def test_a_bit_of_what_a_job_made_is_noticed(smoke, tmp_path):
    kinds = of_jobs(smoke / "store")
    assert {"translator", "screening", "pixels", "scores", "features"} <= {first for first, _ in kinds}
    assert missed(kinds, tmp_path, generator("flipped", "store")) == []


@pytest.mark.parametrize("profile", sorted(folder.parent.name for folder in paths.reference().glob("*/trained")))
def test_a_bit_of_the_archive_is_noticed(tmp_path, profile):
    kinds = of_jobs(paths.reference() / profile / "trained")
    assert missed(kinds, tmp_path, generator("flipped", profile)) == []


def test_a_bit_of_any_result_is_noticed(used_smoke, monkeypatch):
    """Of every table, picture, page, executed notebook, results file and record."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(used_smoke))
    run, rng = Run.open("smoke"), generator("flipped", "results")
    names = [notebook.name for notebook in written_notebooks()]
    assert all(outputs.whole(run, name) for name in names)
    files = {file for folder in (run.figures, run.notebooks) for file in folder.rglob("*") if file.is_file()}
    passed_over = READ_BY_NOBODY | {SNAKEMAKES_OWN}
    files = {file for file in files if not passed_over & set(file.relative_to(used_smoke).parts)}
    for file in sorted(files):
        before, content = records(run, names), file.read_bytes()
        flip(file, rng)
        assert not all(outputs.whole(run, name) for name in names) or records(run, names) == before, file
        file.write_bytes(content)
    assert all(outputs.whole(run, name) for name in names)


def records(run, names):
    """What the records of notebooks say, without the way in which they are written."""
    return [artefacts.read_record(run.notebooks / ".made" / f"{name}.json") for name in names]


def test_what_was_flipped_is_made_again_to_the_same_bytes(used_smoke, ecsupport):
    """One bit in each file of two notebooks, and in all that Snakemake remembers."""
    rng = generator("flipped", "again")
    folder, mended = used_smoke / "figures" / "smoke", ("10_published_number_audit", "99_claims_ledger")
    before = {file: file.read_bytes() for file in folder.iterdir()}
    for name in mended:
        for listed in json.loads((folder / f"{name}.json").read_text())["files"]:
            flip(used_smoke / listed, rng)
        flip(folder / f"{name}.json", rng)
    for file in (used_smoke / "runs" / "smoke" / ".snakemake" / "metadata").iterdir():
        flip(file, rng)
    done = ecsupport("reproduce", "--profile", "smoke", ECSUPPORT_WORKSPACE=used_smoke)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert [line for line in done.stderr.splitlines() if "not as it was" in line] != []
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    done = ecsupport("reproduce", "--profile", "smoke", ECSUPPORT_WORKSPACE=used_smoke)
    assert "nothing to do" in done.stderr
