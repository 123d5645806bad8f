"""Stored values of DICOM frames: header, byte length and codestream must agree (PS3.3 C.7.6.3, PS3.5 section 8).

A contradiction is refused by name, never guessed. Colours become RGB; grey levels are the concern of `grey`.
"""

import contextlib
import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import encaps, pixels, uid
from pydicom.dataset import Dataset, FileMetaDataset

from ecsupport.cohort.pictures import LARGEST
from ecsupport.ingest.outcome import LeftOut

logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # what it logs may quote names

SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3,
           "YBR_RCT": 3, "YBR_ICT": 3}  # fmt: skip
FULL = ("RGB", "YBR_FULL")
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
OTHER_JPEG = (uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGLSNearLossless)
COMPRESSED = (*JPEG, *JPEG_2000, *OTHER_JPEG, uid.RLELossless)
NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian,
          uid.DeflatedExplicitVRLittleEndian)  # fmt: skip
INFLATED = 2**29  # bytes that a deflated file may grow to; it must be held in memory
MOST_FRAMES = 100_000
UNDEFINED = 0xFFFFFFFF
META = 128 + 4 + 12  # bytes before the file's meta information: preamble, DICM, the element with its length


def read(file: Path) -> Dataset:
    """Everything before the pixel data. LeftOut where it cannot be read as DICOM, or is a directory of such files."""
    try:
        with warnings.catch_warnings(action="ignore"):
            with _opened(file) as source:
                header = pydicom.dcmread(source, force=True, stop_before_pixels=True)
            header.decode()
            _ = [header.get(name) for name in ("PatientID", "Modality", "Rows", "NumberOfFrames")]  # values are parsed
    except LeftOut:
        raise
    except Exception as error:  # a broken file may raise anything
        raise LeftOut(f"cannot be read as DICOM ({type(error).__name__})") from None
    if str(header.file_meta.get("MediaStorageSOPClassUID", "")) == uid.MediaStorageDirectoryStorage:
        raise LeftOut("a DICOMDIR; the files that it lists are found without it")
    return header


def check(header: Dataset) -> int:
    """Number of frames of a header whose image description is whole and contradicts itself nowhere; else LeftOut."""
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise LeftOut("no transfer syntax: how its bytes are to be read is not told")
    if syntax not in (*NATIVE, *COMPRESSED):
        raise LeftOut("a transfer syntax that is not read (video, or private)")
    if not header.get("Rows") or not header.get("Columns"):
        raise LeftOut("no image")
    photometric = header.get("PhotometricInterpretation")
    if photometric not in SAMPLES:
        raise LeftOut("a photometric interpretation that is missing or not read")
    frames = header.get("NumberOfFrames") or 1
    if header.Rows * header.Columns > LARGEST:
        raise LeftOut(f"{header.Columns:,} x {header.Rows:,} pixels, more than {LARGEST:,}")
    if not 1 <= frames <= MOST_FRAMES:
        raise LeftOut(f"a number of frames that is not 1 to {MOST_FRAMES:,}")
    if contradiction := _contradiction(header):
        raise LeftOut(contradiction)
    return int(frames)


def _contradiction(header: Dataset) -> str:
    """What in the image description contradicts itself, or empty."""
    syntax, photometric = header.file_meta.TransferSyntaxUID, header.PhotometricInterpretation
    allocated, stored, signed = (header.get(name) for name in ("BitsAllocated", "BitsStored", "PixelRepresentation"))
    consistent = stored and 1 < stored <= (allocated or 0) and header.get("HighBit", stored - 1) == stored - 1
    rules = (
        (header.get("SamplesPerPixel") == SAMPLES[photometric],
         f"{photometric} with another number of samples a pixel than {SAMPLES[photometric]}"),
        (allocated in (8, 16), "neither 8 nor 16 bits allocated"),
        (consistent, "bits stored, bits allocated and high bit contradict each other"),
        (signed in ((0, 1) if photometric.startswith("MONOCHROME") else (0,)),
         f"{photometric} with a pixel representation that it cannot have"),
        (SAMPLES[photometric] == 1 or header.get("PlanarConfiguration") in (0, 1),
         "three samples a pixel without a planar configuration of 0 or 1"),
        (not (photometric.startswith("MONOCHROME") and "RedPaletteColorLookupTableDescriptor" in header),
         f"{photometric} with a palette laid over its grey levels"),
        (photometric != "YBR_FULL_422" or syntax in (*NATIVE, *JPEG),
         "YBR_FULL_422 under a compression that does not subsample"),
        (photometric not in ("YBR_RCT", "YBR_ICT") or syntax in JPEG_2000, f"{photometric} without JPEG 2000"),
    )  # fmt: skip
    return next((contradiction for holds, contradiction in rules if not holds), "")


def values(file: Path, header: Dataset, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """Decoded frames, one at a time: (H, W) stored values, or (H, W, 3) uint8 RGB where the file has colours.

    Palettes are applied. LeftOut where bytes and header contradict each other, or a decoder fails.
    """
    frames, photometric = check(header), header.PhotometricInterpretation
    with _opened(file) as source, contextlib.ExitStack() as ended:
        _check_bytes(source, header, frames)
        converted = _check_codestream(source, header, frames)
        found = _decoded(source, header, indices, as_rgb=not converted)
        ended.callback(found.close)
        for _ in indices:
            try:
                with warnings.catch_warnings(action="error", category=UserWarning):
                    frame = next(found)
                    if photometric == "PALETTE COLOR":
                        frame = pixels.apply_color_lut(frame, header)
            except UserWarning:  # what pydicom would mend with a word of warning
                raise LeftOut("header and pixel data contradict each other") from None
            except Exception as error:  # a decoder may raise anything on a broken file
                raise LeftOut(f"the pixel data cannot be decoded ({type(error).__name__})") from None
            if frame.shape[:2] != (header.Rows, header.Columns):
                raise LeftOut("the decoded image has another size than the header says")
            yield _eight_bits(frame, header) if frame.ndim == 3 else frame


def _decoded(source: io.BufferedIOBase, header: Dataset, indices: Sequence[int], as_rgb: bool) -> Iterator[np.ndarray]:
    """Frames as header and codestream say; where the decoder converts colours by itself, they are not converted again.

    How the samples of a compressed frame lie is a matter of its codestream (PS3.5 8.2), whatever the header says.
    """
    options = {} if as_rgb else {"decoding_plugin": "pillow"}
    if header.file_meta.TransferSyntaxUID in (*JPEG, *JPEG_2000, *OTHER_JPEG) and header.SamplesPerPixel > 1:
        options["planar_configuration"] = 0
    return pixels.iter_pixels(source, indices=list(indices), as_rgb=as_rgb, **options)


def _eight_bits(colours: np.ndarray, header: Dataset) -> np.ndarray:
    palette = header.PhotometricInterpretation == "PALETTE COLOR"
    bits = header.RedPaletteColorLookupTableDescriptor[2] if palette else header.BitsStored
    return (
        colours.astype(np.uint8) if bits == 8 else (colours.astype(np.float64) * 255 / (2**bits - 1)).astype(np.uint8)
    )


def _opened(file: Path) -> io.BufferedIOBase:
    """The file opened; a deflated one as it was before, in memory and at most of INFLATED bytes."""
    with file.open("rb") as source:
        if uid.DeflatedExplicitVRLittleEndian.encode() in source.read(1024):
            meta = pydicom.filereader.read_file_meta_info(file)
            if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
                if "FileMetaInformationGroupLength" not in meta:
                    raise LeftOut("deflated, and where that begins is not told")
                source.seek(META + meta.FileMetaInformationGroupLength)
                del meta.FileMetaInformationGroupLength
                return _inflated(source, meta)
    return file.open("rb")


def _inflated(source: io.BufferedIOBase, meta: FileMetaDataset) -> io.BytesIO:
    whole, stream = io.BytesIO(), zlib.decompressobj(-zlib.MAX_WBITS)
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    whole.write(bytes(128) + b"DICM")
    pydicom.filewriter.write_file_meta_info(whole, meta, enforce_standard=False)
    whole.write(stream.decompress(source.read(), INFLATED))
    if stream.unconsumed_tail:
        raise LeftOut(f"deflated bytes that grow beyond {INFLATED // 2**20} MiB")
    whole.seek(0)
    return whole


def _check_bytes(source: io.BufferedIOBase, header: Dataset, frames: int) -> None:
    """LeftOut where the length of the pixel data is not the one that the header needs; leaves `source` at the value."""
    syntax = header.file_meta.TransferSyntaxUID
    source.seek(0)
    try:
        with warnings.catch_warnings(action="ignore"):
            pydicom.dcmread(source, force=True, stop_before_pixels=True, specific_tags=["Rows"])
    except Exception as error:
        raise LeftOut(f"cannot be read as DICOM ({type(error).__name__})") from None
    order = "<" if syntax.is_little_endian else ">"
    head = source.read(8 if syntax.is_implicit_VR else 12)
    if len(head) < 8 or struct.unpack(order + "HH", head[:4]) != (0x7FE0, 0x0010):
        raise LeftOut("no pixel data")
    (length,) = struct.unpack(order + "L", head[-4:])
    if (length == UNDEFINED) != syntax.is_encapsulated:
        raise LeftOut("the transfer syntax and the way in which the pixel data are stored contradict each other")
    if syntax.is_encapsulated:
        return
    start = source.tell()
    there = source.seek(0, io.SEEK_END) - start
    source.seek(start)
    samples = 2 if header.PhotometricInterpretation == "YBR_FULL_422" else header.SamplesPerPixel
    needed = frames * header.Rows * header.Columns * samples * header.BitsAllocated // 8
    if length not in (needed, needed + needed % 2):
        full = " (as many as colours without subsampling have)" if samples == 2 and length == needed // 2 * 3 else ""
        raise LeftOut(f"the header needs {needed:,} bytes of pixel data, the file has {length:,}{full}")
    if there < needed:
        raise LeftOut(f"cut short: {needed:,} bytes of pixel data are announced, {there:,} are there")


def _check_codestream(source: io.BufferedIOBase, header: Dataset, frames: int) -> bool:
    """LeftOut where a JPEG or JPEG 2000 codestream has other colours than the header says.

    True where the decoder will convert YCbCr to RGB by itself, since an Adobe marker asks for it.
    """
    syntax, photometric = header.file_meta.TransferSyntaxUID, header.PhotometricInterpretation
    if SAMPLES[photometric] == 1 or syntax not in (*JPEG, *JPEG_2000):
        return False
    try:
        stream = encaps.get_frame(source, 0, number_of_frames=frames)
        if syntax in JPEG_2000:
            mixed = stream[stream.index(b"\xff\x52") + 8] == 1  # COD: multiple component transformation
        else:
            with Image.open(io.BytesIO(stream), formats=["JPEG"]) as picture:
                told, ids = picture.info, bytes(layer[0] for layer in picture.layer)
    except Exception as error:
        raise LeftOut(f"the pixel data cannot be decoded ({type(error).__name__})") from None
    if syntax in JPEG_2000:
        if mixed != photometric.startswith(("YBR_RCT", "YBR_ICT")) and photometric != "RGB":
            kind = "mixed" if mixed else "unmixed"
            raise LeftOut(f"the header says {photometric}, the JPEG 2000 codestream holds {kind} colours")
        return False
    transform = told.get("adobe_transform")
    adobe = {0: "RGB", 1: "YBR"}.get(transform, "")
    stream_says = adobe or ("YBR" if "jfif" in told else "RGB" if ids.upper() == b"RGB" else "")
    if stream_says and stream_says != photometric[:3]:
        raise LeftOut(f"the header says {photometric}, the JPEG codestream {stream_says}")
    return transform == 1
