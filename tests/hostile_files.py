"""Files that a hospital's folder may hold and nobody wants: each with the outcome that is right, as `walk` names it."""

import io
import os
import struct
import tempfile
import zlib
from pathlib import Path

import dicom_files as make
import numpy as np
from PIL import Image
from pydicom import encaps, uid

TAKEN = ""


def write(folder, beside):
    """Write all of them below a folder, with what links lead to in `beside`; returns path -> words of its outcome.

    Pictures stand in a patient's folder, p.
    """
    outcomes = {}
    for files in (_pictures, _broken_pictures, _dicom, _lying_dicom, _broken_dicom):
        for name, (raw, words) in files().items():
            file = folder / "p" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(raw)
            outcomes[f"p/{name}"] = words
    return outcomes | _places(folder, beside)


def _saved(picture, kind, **options):
    raw = io.BytesIO()
    picture.save(raw, kind, **options)
    return raw.getvalue()


def _grey(seed=0):
    return Image.fromarray(make.fan(seed=seed)[0])


def _colour(seed):
    return _grey(seed).convert("RGB")


def _pictures():
    """Unusual but whole: what is seen in them is taken, or its kind is named."""
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(make.fan(seed=1)[0].astype(np.uint16) * 257)
    clear = _colour(2)
    clear.putalpha(Image.fromarray(np.full((240, 320), 255, np.uint8)))
    deep_colour = _chunks((320, 240, 16, 2), bytes((1 + 320 * 6) * 240))
    return {
        "palette.png": (_saved(_grey(10).convert("P"), "PNG"), TAKEN),
        "alpha.png": (_saved(clear, "PNG"), TAKEN),
        "cmyk.jpg": (_saved(_colour(11).convert("CMYK"), "JPEG"), TAKEN),
        "turned.jpg": (_saved(_colour(12), "JPEG", exif=turned), TAKEN),
        "plain.tif": (_saved(_grey(13), "TIFF"), TAKEN),
        "plain.bmp": (_saved(_grey(14), "BMP"), TAKEN),
        "plain.webp": (_saved(_colour(15), "WEBP", lossless=True), TAKEN),
        "plain.jp2": (_saved(_grey(16), "JPEG2000"), TAKEN),
        "plain.gif": (_saved(_grey(17), "GIF"), TAKEN),
        "is_a_png.dcm": (_saved(_grey(18), "PNG"), TAKEN),
        "is_a_png": (_saved(_grey(19), "PNG"), TAKEN),
        "dithered.png": (_saved(_grey(20).convert("1"), "PNG"), "no fan was found"),
        "deep.png": (_saved(deep, "PNG"), "more than 8 bits"),
        "deep.tif": (_saved(deep, "TIFF"), "more than 8 bits"),
        "deep_colour.png": (deep_colour, "more than 8 bits"),
        "float.tif": (_saved(_grey().convert("F"), "TIFF"), "more than 8 bits"),
        "animated.gif": (_saved(_grey(0), "GIF", save_all=True, append_images=[_grey(1)]), "2 frames"),
        "pages.tif": (_saved(_grey(0), "TIFF", save_all=True, append_images=[_grey(1)]), "2 frames"),
        "animated.webp": (_saved(_colour(0), "WEBP", save_all=True, append_images=[_colour(1)]), "2 frames"),
        "one_pixel.png": (_saved(Image.new("L", (1, 1), 255), "PNG"), "no fan|less than 32 pixels"),
        "slim.png": (_saved(Image.new("L", (30000, 20), 255), "PNG"), "no fan|less than 32 pixels"),
        "strip.png": (_saved(Image.new("L", (3000, 40), 200), "PNG"), "no fan|8 times as long"),
        "black.png": (_saved(Image.new("L", (320, 240)), "PNG"), "no fan was found"),
        "doppler.png": (_saved(_doppler(), "PNG"), "Doppler colour"),
    }


def _doppler():
    pixels = np.array(_colour(21))
    pixels[120:150, 140:170] = [230, 30, 20]
    return Image.fromarray(pixels)


def _chunks(head, pixels):
    """A PNG of any size, depth and pixels."""
    width, height, depth, kind = head
    text = b"\x89PNG\r\n\x1a\n"
    for name, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(pixels)),
        (b"IEND", b""),
    ):
        text += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return text


def _broken_pictures():
    png, jpeg = _saved(_grey(), "PNG"), _saved(_grey(), "JPEG")
    return {
        "bomb.png": (_chunks((60000, 60000, 8, 0), bytes(1000)), "more than 40,000,000 pixels"),
        "bomb.bmp": (b"BM" + struct.pack("<IIIIiiHH", 100, 0, 54, 40, 50000, 50000, 1, 24) + bytes(24), "more than"),
        "cut.png": (png[: len(png) // 2], "broken"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "broken"),
        "head_only.png": (png[:33], "no picture|broken"),
        "magic_only.png": (png[:8], "no picture|broken"),
        "magic_only.jpg": (b"\xff\xd8\xff", "no picture|broken"),
        "no_rows.png": (_chunks((0, 0, 8, 0), b""), "no picture|broken"),
        "flipped.png": (png[:40] + bytes([png[40] ^ 255]) + png[41:], "no picture|broken"),
        "noise.jpg": (jpeg[:20] + bytes(range(256)) * 20, "no picture|broken"),
        "riff.webp": (b"RIFF" + bytes(200), "no picture|broken"),
        "tiff_loop.tif": (b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 8), "no picture|broken"),
        "empty.png": (b"", "an empty file"),
        "zeros.png": (bytes(500), "neither DICOM nor a picture"),
        "text.jpg": (b"Dear colleague, ...", "neither DICOM nor a picture"),
        "script.svg": (b"<svg onload='alert(1)'/>", "neither DICOM nor a picture"),
        "print.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "neither DICOM nor a picture"),
        "archive.zip": (b"PK\3\4" + bytes(60), "neither DICOM nor a picture"),
    }


def _file(ds, syntax=uid.ExplicitVRLittleEndian):
    with tempfile.TemporaryDirectory() as place:
        return make.save(ds, Path(place) / "f", syntax).read_bytes()


def _frame(seed=0, **tags):
    frame, (left, top, right, bottom) = make.fan(seed=seed)
    box = {"SequenceOfUltrasoundRegions": make.regions((left, top, right - 1, bottom - 1))}
    return make.dataset(frame, **(box | tags))


def _dicom():
    return {
        "no_extension": (_file(_frame(30)), TAKEN),
        "wrong_extension.png": (_file(_frame(31)), TAKEN),
        "odd_name_=cmd|x.dcm": (_file(_frame(32)), TAKEN),
        "ct.dcm": (_file(_frame(Modality="CT")), "neither ultrasound nor MRI"),
        "no_modality.dcm": (_file(_frame(Modality="")), "neither ultrasound nor MRI"),
        "no_patient.dcm": (_file(_frame(PatientID="")), "no patient id"),
        "blank_patient.dcm": (_file(_frame(PatientID="   ")), "no patient id"),
        "formula_patient.dcm": (_file(_frame(33, PatientID="=cmd|'/C calc'!A1")), TAKEN),
        "says_no_name_burned_in.dcm": (_file(_frame(34, BurnedInAnnotation="NO")), TAKEN),
        "m_mode.dcm": (_file(_frame(SequenceOfUltrasoundRegions=make.regions((0, 0, 99, 99), form=2))), "no region"),
        "tiny.dcm": (_file(make.dataset(np.full((4, 4), 99, np.uint8))), "less than 32 pixels|no fan"),
        "video.dcm": (_renamed(_file(_frame()), uid.ExplicitVRLittleEndian, "1.2.840.10008.1.2.4.100"), "not read"),
    }


def _renamed(raw, old, new):
    """The file with another transfer syntax in its head, and the lengths that go with it."""

    def padded(text):
        return text.encode() + b"\0" * (len(text) % 2)

    def element(text):
        return b"\x02\0\x10\0UI" + struct.pack("<H", len(padded(text))) + padded(text)

    start = raw.index(b"\x02\0\0\0UL\x04\0") + 8
    length = int.from_bytes(raw[start : start + 4], "little") + len(padded(new)) - len(padded(str(old)))
    raw = raw[:start] + struct.pack("<I", length) + raw[start + 4 :]
    assert element(str(old)) in raw
    return raw.replace(element(str(old)), element(new))


def _lying_dicom():
    whole = _file(_frame())
    place = whole.index(b"\xe0\x7f\x10\x00OB\0\0") + 8
    encapsulated = _frame()
    encapsulated.PixelData = encaps.encapsulate([b"garbage!" * 50])
    encapsulated["PixelData"].is_undefined_length = True
    without = _frame()
    del without.PixelData
    garbage = {}
    for name, syntax in (("jpeg", uid.JPEGBaseline8Bit), ("jpeg_2000", uid.JPEG2000Lossless), ("rle", uid.RLELossless),
                         ("jpeg_ls", uid.JPEGLSLossless), ("jpeg_lossless", uid.JPEGLosslessSV1)):  # fmt: skip
        encapsulated.file_meta.TransferSyntaxUID = syntax
        raw = io.BytesIO()
        encapsulated.save_as(raw, enforce_file_format=True)
        garbage[f"garbage_{name}.dcm"] = (raw.getvalue(), "cannot be decoded")
    return garbage | {
        "short.dcm": (whole[:-1000], "cut short"),
        "longer_than_there_is.dcm": (whole[:place] + struct.pack("<I", 2**31) + whole[place + 4 :], "header needs"),
        "shorter_than_told.dcm": (whole[:place] + struct.pack("<I", 100) + whole[place + 4 :], "header needs"),
        "undefined_length.dcm": (whole[:place] + b"\xff" * 4 + whole[place + 4 :], "contradict each other"),
        "no_pixel_data.dcm": (_file(without), "no pixel data"),
        "not_encapsulated.dcm": (_renamed(whole, uid.ExplicitVRLittleEndian, str(uid.RLELossless)), "contradict"),
        "65535_frames.dcm": (_file(_frame(NumberOfFrames=65535)), "header needs"),
        "many_frames.dcm": (_file(_frame(NumberOfFrames=10**9)), "number of frames"),
        "wide.dcm": (_file(_frame(Columns=65535)), "header needs"),
        "letters_as_frames.dcm": (whole.replace(b"CS\x02\0US", b"CS\x02\0U\0"), "neither ultrasound nor MRI"),
    }


def _broken_dicom():
    nested = make.dataset(np.zeros((8, 8), np.uint8))
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    deep = b"".join(b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + item for _ in range(3000))
    raw = _file(nested)
    start = raw.index(b"\x08\0\x16\0UI")
    return {
        "nested.dcm": (raw[:start] + deep, "cannot be read|more memory|neither"),
        "head_only.dcm": (bytes(128) + b"DICM", "cannot be read|neither|no transfer syntax"),
        "noise.dcm": (
            bytes(128) + b"DICM" + np.random.default_rng(0).bytes(5000),
            "cannot be read|neither|no transfer",
        ),
        "no_preamble": (b"\x08\0\x16\0" + np.random.default_rng(1).bytes(300), "cannot be read|neither|no transfer"),
        "cut_in_head.dcm": (raw[:200], "cannot be read|neither|no transfer"),
        "bad_deflate.dcm": (
            _renamed(raw, uid.ExplicitVRLittleEndian, str(uid.DeflatedExplicitVRLittleEndian)),
            "cannot be read",
        ),
        "empty.dcm": (b"", "an empty file"),
    }


def _places(folder, beside):
    """Links, pipes and folders; nothing behind them is read."""
    inside = folder / "p" / "no_extension"
    (beside / "secret").mkdir(parents=True)
    (beside / "secret" / "im.dcm").write_bytes(_file(_frame(40)))
    (folder / "out_file").symlink_to(beside / "secret" / "im.dcm")
    (folder / "out_folder").symlink_to(beside / "secret")
    (folder / "up").symlink_to("..")
    (folder / "absolute").symlink_to("/etc/hostname")
    (folder / "nothing").symlink_to("gone")
    (folder / "loop").symlink_to("loop")
    (folder / "inside").symlink_to(inside)
    os.mkfifo(folder / "pipe")
    Image.fromarray(make.fan(seed=41)[0]).save(folder / "top.png")
    leads_out = "leads out of the folder"
    return {"out_file": leads_out, "out_folder": leads_out, "up": leads_out, "absolute": leads_out,
            "nothing": "cannot be read", "loop": "cannot be read|a link to itself", "inside": TAKEN,
            "pipe": "no regular file", "top.png": "no patient"}  # fmt: skip
