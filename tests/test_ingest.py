"""A hospital's folder comes out without a name, whole under faults, and as a manifest that the companion accepts."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import dicom_files as make
import numpy as np
import openpyxl
import pytest
from PIL import Image, PngImagePlugin
from pydicom import uid

from ecsupport import __main__ as cli
from ecsupport.cohort import own_manifest
from ecsupport.core.errors import UserError
from ecsupport.ingest import diagnoses, identity, journal, running, sheet, taking
from ecsupport.ingest.running import Options

PLANTED = ("DOE", "JANE", "4711", "STJOSEPH", "Quack", "19611224", "20210305", "holiday")


def us(seed, patient, **tags):
    frame, (left, top, right, bottom) = make.fan(seed=seed)
    box = make.regions((left, top, right - 1, bottom - 1))
    return make.dataset(make.with_name(frame), PatientID=patient, **({"SequenceOfUltrasoundRegions": box} | tags))


def hospital(folder, patients=4, images=2):
    """Patients with ultrasound each in a folder of her own; returns the folder."""
    for number in range(patients):
        for index in range(images):
            make.save(us(10 * number + index, f"P{number:03}"), folder / f"P{number:03}" / f"im{index}.dcm")
    return folder


def ingest(source, out, **options):
    told = []
    running.ingest(Options(source, out, **{"jobs": 0} | options), told.append)
    return "\n".join(told)


def log(out):
    with (out / "log.csv").open(newline="") as lines:
        return {row["file"]: row for row in csv.DictReader(lines)}


def reasons(out):
    return {row["path"]: row["why"] for row in csv.DictReader((private(out) / "log.csv").open(newline=""))}


def private(out):
    return out.with_name(f"{out.name}-private")


def table(file, rows, header="patient_id,label"):
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


# --- the whole way ----------------------------------------------------------------------------------------------------


def test_a_folder_becomes_a_manifest_that_is_accepted(tmp_path):
    source, out = hospital(tmp_path / "in", patients=20, images=1), tmp_path / "out"
    rows = [f"P{number:03},{number % 2}" for number in range(20)] + ["P999,1"]
    diagnosed = table(tmp_path / "t.csv", rows)
    with pytest.raises(UserError, match="needs the diagnoses"):
        ingest(source, out, approve=True)
    told = ingest(source, out, table=diagnosed)
    assert "20 files, 20 of them new; 20 images" in told and "1 rows without images" in told
    assert not (out / "manifest.csv").exists()  # nobody has looked yet
    (private(out) / "rejected.txt").write_text(next(iter(log(out).values()))["patient"] + "\n")
    assert "19 images of 19 patients" in ingest(source, out, table=diagnosed, approve=True)
    manifest = own_manifest.read(out / "manifest.csv")
    assert len(manifest) == 19 and set(manifest["label"]) == {0, 1} and set(manifest["modality"]) == {"us"}
    frame, (left, top, right, bottom) = make.fan(seed=0)
    kept = {Image.open(out / name).size for name in manifest["image"]}
    assert (right - left, bottom - top) in kept
    found = [np.asarray(Image.open(out / name)) for name in manifest["image"]]
    assert sum(np.array_equal(one, frame[top:bottom, left:right]) for one in found) <= 1


def test_images_that_nobody_has_seen_do_not_count(tmp_path):
    source, out = hospital(tmp_path / "in", patients=2, images=1), tmp_path / "out"
    diagnosed = table(tmp_path / "t.csv", ["P000,1", "P001,0", "P002,1"])
    ingest(source, out)
    make.save(us(77, "P002"), source / "later.dcm")
    assert "2 images of 2 patients" in ingest(source, out, table=diagnosed, approve=True)
    assert "3 files, 1 of them new; 3 images" in ingest(source, out)
    assert "3 images of 3 patients" in ingest(source, out, table=diagnosed, approve=True)
    (out / sheet.approved(private(out), _entries(out))[0][1]["image"]).write_bytes(b"other")
    entries = _entries(out)
    assert len(sheet.approved(private(out), entries)) == 3


def _entries(out):
    with contextlib.closing(journal.Journal(private(out))) as found:
        return list(found.entries(journal.by_image, taken=True))


def test_who_was_seen_in_two_centres_or_stands_under_two_names_is_left_out_and_told(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    make.save(us(1, "A"), source / "a1")
    make.save(us(2, "A", InstitutionName="South"), source / "a2")
    make.save(us(3, "B"), source / "b")
    make.save(us(3, "C"), source / "c")
    make.save(us(4, "D"), source / "d")
    make.save(us(4, "D"), source / "d_again")
    ingest(source, out)
    told = ingest(source, out, table=table(tmp_path / "t", ["A,1", "B,0", "C,1", "D,0"]), approve=True)
    assert "2 images are not in the manifest: a patient of two centres" in told
    assert "2 images are not in the manifest: the same picture under two patients" in told
    assert "1 images are not in the manifest: the same picture once more" in told
    assert "1 images of 1 patients" in told
    named = table(tmp_path / "t", ["A,1,North", "B,0,", "C,1,", "D,0,"], "patient_id,label,centre")
    assert "3 images of 2 patients" in ingest(source, out, table=named, approve=True)


# --- nobody's name out ------------------------------------------------------------------------------------------------


def everything(folder):
    """All bytes below a folder with all names, PNG chunks and text inflated too."""
    for file in sorted(folder.rglob("*")):
        yield str(file.relative_to(folder)).encode()
        if file.is_file():
            raw = file.read_bytes()
            yield raw
            if raw.startswith(b"\x89PNG"):
                place, packed = 8, b""
                while place < len(raw):
                    length, kind = int.from_bytes(raw[place : place + 4], "big"), raw[place + 4 : place + 8]
                    assert kind in (b"IHDR", b"IDAT", b"IEND"), kind
                    packed += raw[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
                    place += 12 + length
                yield zlib.decompress(packed)


def test_no_planted_identity_is_in_any_output_or_message(tmp_path, capfd):
    source, out = tmp_path / "DOE_JANE_4711", tmp_path / "out"
    secret = {
        "PatientName": "DOE^JANE", "PatientID": "4711", "InstitutionName": "STJOSEPH", "StudyDate": "20210305",
        "ReferringPhysicianName": "Quack", "PatientBirthDate": "19611224", "PatientComments": "holiday",
        "StationName": "STJOSEPH-DOE", "DeviceSerialNumber": "4711", "SeriesDescription": "DOE JANE holiday",
    }  # fmt: skip
    make.save(us(1, **_renamed(secret)), source / "JANE" / "DOE_20210305.dcm")
    outside = {"SequenceOfUltrasoundRegions": make.regions((0, 0, 900, 9))}
    make.save(us(2, **_renamed(secret | outside)), source / "DOE1")
    make.save(us(3, **_renamed(secret | {"PhotometricInterpretation": "DOE"})), source / "DOE2")
    make.save(us(4, **_renamed(secret | {"Modality": "MR", "SOPClassUID": make.MR})), source / "DOE3")
    (source / "DOE4.dcm").write_bytes(bytes(128) + b"DICM" + b"DOE^JANE 4711" * 9)
    frame, _ = make.fan(seed=5)
    tags = PngImagePlugin.PngInfo()
    tags.add_text("Comment", "DOE^JANE 4711")
    (source / "STJOSEPH" / "4711").mkdir(parents=True)
    Image.fromarray(frame).save(source / "STJOSEPH" / "4711" / "holiday.png", pnginfo=tags)
    exif = Image.Exif()
    exif[0x010E], exif[0x0132] = "DOE^JANE 4711", "2021:03:05 10:00:00"
    Image.fromarray(make.fan(seed=6)[0]).save(source / "STJOSEPH" / "4711" / "DOE.jpg", exif=exif)
    diagnosed = table(tmp_path / "Quack.csv", ["4711,1,DOE JANE holiday", "DOE,0,x"], "patient_id,label,remark")
    out.mkdir()
    os.utime(source / "DOE1", (1.6e9, 1.6e9))
    said = []
    for more in ([], ["--approve"]):
        assert cli.main(["ingest", *map(str, (source, "--out", out, "--table", diagnosed, "--jobs", 0)), *more]) == 0
        said += map(str.encode, capfd.readouterr())
    bad = table(tmp_path / "bad.csv", ["4711,DOE"])
    assert cli.main(["ingest", *map(str, (source, "--out", out, "--table", bad, "--jobs", 0))]) == 2
    said += map(str.encode, capfd.readouterr())
    assert b"row 1: no label" in said[-1]
    assert (out / "manifest.csv").exists() and len(log(out)) == 7
    for text in [*everything(out), *said]:
        for planted in PLANTED:
            assert planted.lower().encode() not in text.lower(), planted
    assert (
        private(out).stat().st_mode & 0o077 == 0
        and "doe jane holiday" in (private(out) / "log.csv").read_text().lower()
    )


def _renamed(tags):
    return {"patient": tags["PatientID"], **{name: value for name, value in tags.items() if name != "PatientID"}}


def test_pseudonyms_need_the_key_and_dates_keep_their_intervals(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    one, other = identity.open_key(tmp_path / "a"), identity.open_key(tmp_path / "b")
    assert identity.open_key(tmp_path / "a") == one != other
    assert identity.code(one, "patient", "4711") != identity.code(other, "patient", "4711")
    assert identity.code(one, "patient", "4711") == identity.code(one, "patient", "4711")
    codes = {identity.code(one, "patient", str(number)) for number in range(5000)}
    assert len(codes) == 5000
    days = [np.datetime64(identity.shifted(one, "4711", day)) for day in ("20200101", "20200131")]
    assert days[1] - days[0] == np.timedelta64(30, "D") and days[0] != np.datetime64("2020-01-01")
    moved = {identity.shifted(one, str(number), "20200101") for number in range(3000)}
    assert len(moved) > 600 and "2020-01-01" not in moved
    assert [identity.shifted(one, "p", text) for text in ("", "2020", "99999999", "name")] == [""] * 4
    (tmp_path / "a" / "key").write_text("short")
    with pytest.raises(UserError, match="holds no key"):
        identity.open_key(tmp_path / "a")


# --- what a person decides --------------------------------------------------------------------------------------------


def test_a_box_drawn_once_holds_for_the_scanner_and_is_taken_up_on_the_next_run(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    several = make.regions((0, 0, 99, 99), (100, 100, 199, 199))
    make.save(us(1, "A", SequenceOfUltrasoundRegions=several, ManufacturerModelName="2"), source / "a")
    frame, _ = make.fan(seed=2)
    make.save(make.dataset(make.with_name(frame), PatientID="B"), source / "b")
    ingest(source, out)
    assert reasons(out) == {"a": "several regions of 2D tissue; draw the one to keep in crops.toml", "b": ""}
    scanners = {row["scanner"] for row in log(out).values()}  # a frame of each, to draw on
    assert len(scanners) == 2 and {file.stem for file in (private(out) / "scanners").iterdir()} == scanners
    assert 'class="proposal"' in (out / "contact_sheet.html").read_text()
    box = "".join(f"[{one}]\nleft = 40\ntop = 20\nright = 280\nbottom = 230\n" for one in scanners)
    (private(out) / "crops.toml").write_text(box)
    ingest(source, out)
    assert {row["crop"] for row in log(out).values()} == {"drawn"}
    assert {Image.open(file).size for file in out.rglob("*.png")} == {(240, 210)}
    assert "2 files, 0 of them new" in ingest(source, out)
    (private(out) / "crops.toml").write_text(box.replace("right = 280", "right = 30", 1))
    with pytest.raises(UserError, match="no box"):
        ingest(source, out)


def mr(values, **tags):
    tags = {"PatientID": "M", "Modality": "MR", "SOPClassUID": make.MR, "SeriesDescription": "t2_tse"} | tags
    return make.dataset(values.astype(np.uint16), stored=12, **tags)


def test_mri_without_a_window_is_shown_by_its_series_and_sequences_are_mapped(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    rng = np.random.default_rng(0)
    dim, bright = rng.integers(0, 400, (64, 64)), rng.integers(0, 4000, (64, 64))
    make.save(mr(dim, SeriesInstanceUID="1.2.3"), source / "s1")
    make.save(mr(bright, SeriesInstanceUID="1.2.3"), source / "s2")
    make.save(mr(dim, SeriesInstanceUID="1.2.4"), source / "alone")
    make.save(mr(dim, SeriesDescription="pelvis 3"), source / "unknown")
    make.save(mr(dim, SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), source / "capture")
    ingest(source, out)
    why = reasons(out)
    assert [why[name] for name in ("s1", "s2", "alone")] == ["", "", ""]
    assert why["unknown"].startswith("a sequence that is not recognised") and why["capture"].startswith("no MR image")
    levels = {one["path"]: np.asarray(Image.open(out / one["images"][0]["image"])) for one in _entries(out)}
    assert levels["s1"].max() < 64 and levels["s2"].max() == 255 and levels["alone"].max() == 255
    assert "5 files, 0 of them new" in ingest(source, out)
    mapped = private(out) / "sequences.toml"
    assert '# "pelvis 3" = ""' in mapped.read_text()
    mapped.write_text(mapped.read_text().replace('# "pelvis 3" = ""', '"pelvis 3" = "t1"'))
    assert "5 files, 1 of them new" in ingest(source, out)
    assert {row["sequence"] for row in log(out).values() if row["outcome"] == "taken"} == {"t1", "t2"}
    mapped.write_text('"pelvis 3" = "T7"\n')
    with pytest.raises(UserError, match="no sequence. Write one of: t2, t1"):
        ingest(source, out)


def test_a_cine_gives_few_frames_of_one_patient_and_no_doppler(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    frames = [np.repeat(make.fan(seed=seed // 3)[0][..., None], 3, axis=2) for seed in range(12)]
    frames[11] = frames[11].copy()
    frames[11][120:150, 140:170] = [230, 30, 20]
    make.save(make.dataset(np.stack(frames), "RGB", PatientID="A"), source / "cine")
    make.save(make.dataset(frames[11], "RGB", PatientID="A"), source / "doppler")
    ingest(source, out, frames=12)
    assert reasons(out) == {"cine": "", "doppler": "Doppler colour"}
    row = next(row for row in log(out).values() if row["outcome"] == "taken")
    assert (row["images"], row["near_duplicates"]) == ("4", "7")
    assert len({file.parent for file in out.rglob("*.png")}) == 1
    ingest(source, out, every=6)
    assert len(list(out.rglob("*.png"))) == 2  # frames of the earlier run are gone


# --- faults -----------------------------------------------------------------------------------------------------------


def command(source, out, *more):
    arguments = [sys.executable, "-m", "ecsupport", "ingest", source, "--out", out, *more]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(list(map(str, arguments)), env=os.environ | {"OMP_NUM_THREADS": "1"}, **piped)


def wait_for(file, lines=1):
    for _ in range(3000):
        if file.exists() and file.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.02)
    raise AssertionError("nothing was taken")


def descendants(process):
    """Processes of its group that still run (Linux: from /proc)."""
    found = []
    for one in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            text = one.read_text()
            fields = text[text.rindex(")") + 2 :].split()
            if int(fields[2]) == process.pid and fields[0] != "Z":
                found.append(int(one.parent.name))
    return found


def test_killed_or_stopped_it_goes_on_and_ends_as_if_undisturbed(tmp_path):
    source = hospital(tmp_path / "in", patients=20, images=6)
    calm, out = tmp_path / "calm", tmp_path / "out"
    ingest(source, calm)
    private(out).mkdir(mode=0o700)
    (private(out) / "key").write_bytes((private(calm) / "key").read_bytes())
    for number, how in ((5, signal.SIGKILL), (60, signal.SIGINT)):
        process = command(source, out, "--jobs", "1")
        wait_for(private(out) / "journal.jsonl", number)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (130 if how == signal.SIGINT else -9), said
        assert "Traceback" not in said
        for _ in range(200):
            if not descendants(process):
                break
            time.sleep(0.02)
        assert not descendants(process)  # nothing keeps running
    before = (private(out) / "journal.jsonl").read_bytes().count(b"\n")
    assert 60 <= before < 120
    (private(out) / "journal.jsonl").open("ab").write(b'{"file": "f-cut sho')
    told = ingest(source, out)
    assert f"120 files, {120 - before} of them new" in told
    for name in ("log.csv", "contact_sheet.html"):
        assert (out / name).read_bytes() == (calm / name).read_bytes()
    kept = {file.relative_to(out): file.read_bytes() for file in out.rglob("*.png")}
    assert kept == {file.relative_to(calm): file.read_bytes() for file in calm.rglob("*.png")}
    assert not list(out.rglob(".*"))  # nothing half written


def test_only_what_is_new_or_changed_or_lost_is_taken(tmp_path, monkeypatch):
    source, out = hospital(tmp_path / "in"), tmp_path / "out"
    ingest(source, out)
    taken, take = [], taking.take
    monkeypatch.setattr(taking, "take", lambda plan, one: taken.append(one.name) or take(plan, one))
    ingest(source, out)
    assert taken == []
    make.save(us(99, "P009"), source / "new.dcm")
    make.save(us(98, "P000"), source / "P000" / "im0.dcm")
    next(iter((out / "us").rglob(f"{_code(out, 'P001/im1.dcm')}*.png"))).unlink()
    ingest(source, out)
    assert sorted(taken) == ["P000/im0.dcm", "P001/im1.dcm", "new.dcm"]


def _code(out, name):
    return next(one["file"] for one in _entries(out) if one["path"] == name)


def test_a_decoder_that_crashes_takes_no_other_file_along(tmp_path, monkeypatch):
    source, out = hospital(tmp_path / "in", patients=3, images=1), tmp_path / "out"
    take = taking.take

    def crash(plan, one):
        if one.name == "P001/im0.dcm":
            os.kill(os.getpid(), signal.SIGKILL)
        return take(plan, one)

    monkeypatch.setattr(taking, "take", crash)
    monkeypatch.setattr(crash, "__qualname__", "take")
    monkeypatch.setattr(crash, "__module__", taking.__name__)  # found by its name in the other process
    monkeypatch.setattr(running, "START", "fork")
    ingest(source, out, jobs=1)
    why = reasons(out)
    assert why.pop("P001/im0.dcm").startswith("a decoder crashed on it")
    assert why == {"P000/im0.dcm": "", "P002/im0.dcm": ""}


def test_a_full_disk_or_a_folder_that_cannot_be_written_is_one_message(tmp_path, monkeypatch, capfd):
    source, out = hospital(tmp_path / "in", patients=2, images=1), tmp_path / "out"
    (tmp_path / "file").write_text("")
    assert cli.main(["ingest", str(source), "--out", str(tmp_path / "file" / "out"), "--jobs", "0"]) == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert "not a directory" in said and "Traceback" not in said
    whole = Path.write_bytes

    def full(self, raw):
        if self.suffix == ".png" and len(list((tmp_path / "out").rglob("*.png"))) > 1:
            raise OSError(28, "No space left on device", str(self))
        return whole(self, raw)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            ingest(source, out)
    assert len(log(out)) == 1 and len(list(out.rglob("*.png"))) == 1
    assert "2 files, 1 of them new; 2 images" in ingest(source, out)


def test_two_runs_folders_in_each_other_a_lost_key_and_a_damaged_journal_are_refused(tmp_path):
    source, out = hospital(tmp_path / "in", patients=1, images=1), tmp_path / "out"
    ingest(source, out)
    with running.FileLock(private(out) / "lock"), pytest.raises(UserError, match="another run works"):
        ingest(source, out)
    for options in ({"private": out / "key"}, {"private": tmp_path}):
        with pytest.raises(UserError, match="lie in each other"):
            ingest(source, out, **options)
    with pytest.raises(UserError, match="SOURCE, the output"):
        ingest(source, source / "out")
    with pytest.raises(UserError, match="SOURCE is no folder"):
        ingest(tmp_path / "nowhere", tmp_path / "other")
    file = private(out) / "journal.jsonl"
    good = file.read_bytes()
    file.write_bytes(b"{x" + good)
    with pytest.raises(UserError, match="a damaged line, 0 bytes from the beginning"):
        ingest(source, out)
    file.write_bytes(good)
    (private(out) / "key").unlink()
    with pytest.raises(UserError, match="the key in .* is gone"):
        ingest(source, out)


# --- the table of diagnoses -------------------------------------------------------------------------------------------

ROWS = [("patient_id", "label", "invasion_depth", "Befund"), ("007", "1", "0,5", "Müller, früh"), ("12", "0", "", "–")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_any_separator_and_encoding_is_read(tmp_path, encoding, separator):
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(ROWS)
    (tmp_path / "t").write_bytes(text.getvalue().encode(encoding))
    found = diagnoses.read(tmp_path / "t")
    assert {who: (one.label, one.invasion_depth) for who, one in found.items()} == {"007": (1, 0.5), "12": (0, None)}


def test_chinese_tables_and_spreadsheets_are_read(tmp_path):
    (tmp_path / "t").write_bytes("患者编号,标签,中心\n0012,1,协和\n0013,0,协和\n".encode("gb18030"))
    assert list(diagnoses.read(tmp_path / "t")) == ["0012", "0013"]
    book = openpyxl.Workbook()
    book.active.append(["about this table"])
    page = book.create_sheet()
    for row in ROWS:
        page.append(row)
    page.append((13, 1.0, 0.25, None))
    page["A4"].number_format = "0000"
    book.save(tmp_path / "t.xlsx")
    found = diagnoses.read(tmp_path / "t.xlsx")
    assert {who: one.label for who, one in found.items()} == {"007": 1, "12": 0, "0013": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("patient_id,label\nA,2\n", "row 1: no label"),
        ("patient_id,label\nA,1\nA,0\n", "row 2: another diagnosis, centre or split than row 1"),
        ("patient_id,label\n,1\n", "row 1: no patient"),
        ("patient_id,label\n1.2E+11,1\n", "row 1: a rounded number"),
        ("patient_id,label,invasion_depth\nA,1,30%\n", "row 1: an invasion depth"),
        ("patient_id,label,split\nA,1,later\n", "row 1: an unknown split"),
        ("name,findings\nA,1\n", "no columns patient_id and label"),
        ("patient_id,label,id\nA,1,2\n", "columns 1 and 3 are both patient_id"),
        ('patient_id,label\n"A,1\n', "row 1: no label|quotes"),
        ("\0\0", "no text"),
        ("PK\3\4xx", "cannot be read"),
    ],
)
def test_a_mistake_in_the_table_is_told_by_row_and_never_shown(tmp_path, text, words):
    (tmp_path / "t").write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        diagnoses.read(tmp_path / "t")
    assert "30%" not in str(caught.value) and "later" not in str(caught.value)


def test_lost_zeros_of_ids_are_told_and_not_guessed(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    make.save(us(1, "007"), source / "a")
    told = ingest(source, out, table=table(tmp_path / "t", ["7,1", "8,0"]))
    assert (
        "2 rows without images, 1 patients without a row" in told and "1 of these rows differ only by leading" in told
    )
    assert json.loads((private(out) / "shown.json").read_text())


def test_pixels_are_exactly_those_of_the_region(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    frame, (left, top, right, bottom) = make.fan(seed=8)
    make.save(us(8, "A"), source / "a", uid.JPEG2000Lossless)
    ingest(source, out)
    (file,) = out.rglob("*.png")
    assert np.array_equal(np.asarray(Image.open(file)), frame[top:bottom, left:right])
