"""Picture files of a person: decoded in one way, and what each file tells before anything is trained on it.

A picture becomes grey as it is meant to be seen: turned as its orientation tag says, transparency laid on black.
"""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ecsupport.core import jobs, progress
from ecsupport.core.artefacts import sha256
from ecsupport.core.errors import row_error
from ecsupport.core.jobs import Job

if TYPE_CHECKING:
    import pandas as pd

REVISION = 1  # what is told of a picture
BLOCK = 512
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")  # EPS and others would start a program
KINDS = "PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000"
DIGITS = 64  # of a SHA-256
LARGEST = 40_000_000  # pixels; more is a scan or a mosaic, and decoding it takes the memory of a whole batch
ORIENTATION = 274  # EXIF tag
BITS = 258  # TIFF tag
FINGERPRINT = 16  # side of the perceptual hash, in bits
BLACK = 4  # grey level up to which a border counts as black
EXPORT = "Export it again, as 8-bit PNG"
FACTS = (
    *("fault", "format", "mode", "width", "height", "orientation", "transparent"),
    *("pixels", "two_valued", "border", "black_border", "fingerprint"),
)


def hashes(files: list[Path]) -> list[str]:
    """SHA-256 of each file's bytes, DIGITS hexadecimal digits; where it cannot be read, why, in fewer letters."""

    def one(file: Path) -> str:
        try:
            return sha256(file)
        except OSError as error:
            return (error.strerror or "unreadable")[: DIGITS - 1]

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, files))


def facts(images: "pd.DataFrame", manifest: Path) -> "pd.DataFrame":
    """What each picture of a manifest (columns image, hash) tells, in its order; decoded once and kept in the store.

    Columns: fault (why it cannot be taken, or empty), format, mode, width, height (pixels, as stored), orientation
    (EXIF, 1 upright), transparent, pixels (SHA-256 of the grey levels), two_valued, border (mean grey level of the
    outermost pixels, 0 to 255), black_border (their share that is black), fingerprint (perceptual hash, see
    `fingerprint`). UserError where a file was changed or lost since its hash was taken.
    """
    import pandas as pd  # noqa: PLC0415 - takes half a second, and who only decodes needs none

    listed = [images.iloc[start : start + BLOCK][["image", "hash"]] for start in range(0, len(images), BLOCK)]
    make = partial(_write_facts, manifest=str(manifest))
    told = [Job("facts", make, {"revision": REVISION}, given={"images": block}) for block in listed]
    jobs.make(told)
    rows = [row for one in told for row in json.loads(one.file("facts.json").read_text(encoding="utf-8"))]
    return pd.DataFrame(rows, index=images.index, columns=list(FACTS))


def _write_facts(folder: Path, job: Job, manifest: str) -> None:
    def told(name: str, known: str) -> dict[str, Any]:
        raw = content(manifest, name, known)
        try:
            pixels, head = decode(raw)
        except ValueError as error:
            return {"fault": str(error)}
        return {"fault": "", **head, **_seen(np.asarray(pixels))}

    images = job.given["images"]
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside Python's lock; processes would take longer to start
        rows = list(progress.bar(pool.map(told, images["image"], images["hash"]), "pictures", len(images)))
    (folder / "facts.json").write_text(json.dumps(rows), encoding="utf-8")


def content(manifest: str, name: str, known: str) -> bytes:
    """Bytes of a manifest's file whose SHA-256 is known; UserError where they are others by now, or cannot be read."""
    try:
        raw = (Path(manifest).parent / name).read_bytes()
    except OSError as error:
        raise row_error(manifest, name, f"the image cannot be read ({error.strerror})", "Start the run again") from None
    if sha256(raw) != known:
        raise row_error(manifest, name, "the image has changed since it was listed", "Start the run again")
    return raw


def decode(raw: bytes) -> tuple[Image.Image, dict[str, Any]]:
    """A picture file's grey levels, 8 bits, and what its head tells (see `facts`). ValueError as of `opened`."""
    upright, told = opened(raw)
    return upright.convert("L"), told


def opened(raw: bytes) -> tuple[Image.Image, dict[str, Any]]:
    """A picture file upright and laid on black, in its own colours, and what its head tells (see `facts`).

    ValueError saying why it cannot be taken: no picture, cut short, several frames, more than 8 bits a channel, more
    than LARGEST pixels.
    """
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > LARGEST:
                raise ValueError(f"{width:,} x {height:,} pixels, more than {LARGEST:,}")
            if (frames := getattr(picture, "n_frames", 1)) > 1:
                raise ValueError(f"{frames} frames in one file")
            if _deep(picture, raw):
                raise ValueError(f"mode {picture.mode}: more than 8 bits a channel, whose grey scale only you know")
            told = {"format": picture.format, "mode": picture.mode, "width": width, "height": height}
            orientation = picture.getexif().get(ORIENTATION, 1)
            upright, transparent = _on_black(ImageOps.exif_transpose(picture))
            upright.load()
            return upright, {**told, "orientation": int(orientation), "transparent": transparent}
    except UnidentifiedImageError:
        raise ValueError("DICOM" if raw[128:132] == b"DICM" else f"no picture of {KINDS}") from None
    except Image.DecompressionBombError:
        raise ValueError(f"more than {LARGEST:,} pixels") from None
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # a decoder may raise anything on a broken file
        raise ValueError(str(error) or type(error).__name__) from error


def fingerprint(pixels: np.ndarray) -> str:
    """Perceptual hash of a picture (H, W) uint8: whether grey levels rise from left to right, on a coarse grid.

    256 bits as hexadecimal digits; they survive another size, format, or a little contrast.
    """
    coarse = Image.fromarray(pixels).resize((FINGERPRINT + 1, FINGERPRINT), Image.Resampling.BOX, reducing_gap=2.0)
    levels = np.asarray(coarse).astype(np.int16)
    return np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes().hex()


def _seen(pixels: np.ndarray) -> dict[str, Any]:
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return {
        "pixels": sha256(f"{pixels.shape} ".encode() + pixels.tobytes()),
        "two_valued": Image.fromarray(pixels).getcolors(2) is not None,
        "border": round(float(border.mean()), 2),
        "black_border": round(float((border <= BLACK).mean()), 4),
        "fingerprint": fingerprint(pixels),
    }


def _on_black(picture: Image.Image) -> tuple[Image.Image, bool]:
    """The picture laid on black, and whether anything of it was transparent."""
    if not picture.has_transparency_data:
        return picture, False
    picture = picture.convert("RGBA")
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, picture), picture.getextrema()[3][0] < 255


def _deep(picture: Image.Image, raw: bytes) -> bool:
    """Whether a channel has more than 8 bits: Pillow cuts 16-bit colours to 8 without a word, so the file is asked."""
    if picture.mode.startswith(("I", "F")):
        return True
    if picture.format == "PNG":
        return raw[24] > 8  # bit depth in IHDR
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(BITS, 1)
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    if picture.format == "JPEG2000":
        return (raw[raw.index(b"\xff\x4f\xff\x51") + 42] & 0x7F) + 1 > 8  # Ssiz of the codestream's SIZ marker
    return False
