"""From stored values to what a viewer shows: modality LUT, VOI LUT or window, inversion (PS3.3 C.11.1, C.11.2).

The order is the standard's. MRI without a window is shown between two percentiles of its series, see `PERCENTILES`.
"""

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from ecsupport.ingest.outcome import LeftOut

PERCENTILES = (1.0, 99.0)  # of a series without a window; each slice weighs alike
SKETCH = 200  # quantiles by which a slice tells its values
MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")  # functional groups of enhanced images
KEYWORDS = (
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "VOILUTSequence", "WindowCenter", "WindowWidth"),
    *("VOILUTFunction", "PixelRepresentation", "BitsStored", "BitsAllocated", "PhotometricInterpretation"),
)


def of_frame(header: Dataset, index: int) -> Dataset:
    """What turns the values of one frame into grey levels: its own functional group, the shared one, the file's."""
    own, found = header.get("PerFrameFunctionalGroupsSequence") or [], Dataset()
    if own and index >= len(own):
        raise LeftOut("fewer functional groups than frames")
    for group in [*(header.get("SharedFunctionalGroupsSequence") or [])[:1], *own[index : index + 1]]:
        for macro in MACROS:
            for item in (group.get(macro) or [])[:1]:
                found.update({element.tag: element for element in item})
    for keyword in KEYWORDS:
        if keyword in header and keyword not in found:
            found[keyword] = header[keyword]
    return found


def rescaled(stored: np.ndarray, frame: Dataset) -> np.ndarray:
    """Values after the modality LUT or the rescale of this frame: (H, W) float64, or uint16 of a LUT."""
    if frame.get("ModalityLUTSequence"):
        return _looked_up(stored, frame.ModalityLUTSequence[0])
    slope, intercept = _rescale(frame)
    return stored * slope + intercept


def has_window(frame: Dataset) -> bool:
    """Whether the frame says how its values are to be shown."""
    return bool(frame.get("VOILUTSequence")) or frame.get("WindowWidth") is not None


def sketch(values: np.ndarray) -> list[float]:
    """SKETCH quantiles of a slice's values, the middles of as many equal shares."""
    return np.quantile(values.astype(np.float64), (np.arange(SKETCH) + 0.5) / SKETCH).tolist()


def series_window(sketches: list[list[float]]) -> tuple[float, float]:
    """The PERCENTILES of all values of a series, from the sketches of its slices."""
    low, high = np.percentile(np.concatenate(sketches), PERCENTILES)
    return float(low), float(high)


def shown(values: np.ndarray, frame: Dataset, header: Dataset, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Rescaled values as 8-bit grey levels, (H, W) uint8, 0 black.

    By the VOI LUT or the first window, else between `limits`, else over all that the stored bits can hold.
    """
    inverse = header.get("PresentationLUTShape") == "INVERSE"
    if header.get("PresentationLUTSequence") or (inverse and header.PhotometricInterpretation == "MONOCHROME2"):
        raise LeftOut("a presentation LUT that contradicts the photometric interpretation, or is a table")
    if frame.get("VOILUTSequence"):
        table = frame.VOILUTSequence[0]
        share = _looked_up(values, table) / (2.0 ** table.LUTDescriptor[2] - 1)
    elif frame.get("WindowWidth") is not None:
        share = window(values, *_first_window(frame), str(frame.get("VOILUTFunction") or "LINEAR"))
    else:
        low, high = limits or _range(frame)
        share = (values.astype(np.float64) - low) / max(high - low, 1e-9)
    levels = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return 255 - levels if header.PhotometricInterpretation == "MONOCHROME1" else levels


def window(values: np.ndarray, centre: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Share of full brightness, below 0 and above 1 outside the window (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    values = values.astype(np.float64)
    if not np.isfinite([centre, width]).all() or width <= 0 or (function == "LINEAR" and width < 1):
        raise LeftOut("a window whose width is not positive")
    if function == "LINEAR":
        if width == 1:
            return (values > centre - 0.5).astype(np.float64)
        return (values - (centre - 0.5)) / (width - 1) + 0.5
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-np.clip(4 * (values - centre) / width, -700, 700)))
    raise LeftOut("a VOI LUT function that the standard does not know")


def luminance(colours: np.ndarray) -> np.ndarray:
    """RGB (H, W, 3) uint8 as grey levels (H, W) uint8, ITU-R 601."""
    return np.asarray(Image.fromarray(colours).convert("L"))


def _first_window(frame: Dataset) -> tuple[float, float]:
    try:
        centre, width = (np.atleast_1d(frame[name].value)[0] for name in ("WindowCenter", "WindowWidth"))
        return float(centre), float(width)
    except (KeyError, IndexError, TypeError, ValueError):
        raise LeftOut("a window without centre or width") from None


def _looked_up(values: np.ndarray, item: Dataset) -> np.ndarray:
    """Values through a table; what lies before its first or after its last entry gets that entry (PS3.3 C.11.1.1.1)."""
    try:
        entries, first, _ = item.LUTDescriptor
        raw = item.LUTData
        table = np.frombuffer(raw, "<u2") if isinstance(raw, bytes) else np.asarray(raw, np.uint16)
    except Exception as error:
        raise LeftOut(f"a lookup table that cannot be read ({type(error).__name__})") from None
    if len(table) != (entries or 2**16):
        raise LeftOut("a lookup table of another length than it says")
    if first >= 2**15 and values.min() < 0:
        first -= 2**16  # a negative number, read as a positive one
    return table[np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)]


def _range(frame: Dataset) -> tuple[float, float]:
    """Least and greatest rescaled value that the stored bits can hold."""
    if frame.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** frame.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    bits, signed = frame.BitsStored, frame.PixelRepresentation
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = _rescale(frame)
    low, high = sorted((least * slope + intercept, most * slope + intercept))
    return low, high


def _rescale(frame: Dataset) -> tuple[float, float]:
    slope, intercept = (frame.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
    if (slope is None) != (intercept is None) or slope == 0:
        raise LeftOut("a rescale without slope or intercept, or with slope 0")
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept))
