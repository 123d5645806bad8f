"""What of an ultrasound frame is tissue: its region, a proposal of the fan, and whether it carries Doppler colour.

Regions are those of PS3.3 C.8.5.5. The tag that says whether names are burned in is never trusted: what is outside the
box goes.
"""

import numpy as np
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from scipy import ndimage, spatial

from ecsupport.ingest.outcome import LeftOut

Box = tuple[int, int, int, int]  # left, top, right, bottom; pixels, the last two exclusive

TWO_DIMENSIONAL, TISSUE = 1, 1  # region spatial format, region data type
DARK = 14  # grey level up to which a pixel is no tissue
WORK = 256  # pixels of the longer side on which the fan is looked for
OPENED, CLOSED = 5, 7  # pixels there: thinner strokes are text, smaller gaps are dark tissue
FLAT = 0.04  # share of the frame from which one grey level is a bar or a panel: speckle has none so frequent
SMALLEST = 0.08  # share of the frame that a fan fills at least
CHROMA = 40  # grey levels by which a coloured pixel departs from the tint of its brightness
COLOURED = 0.003  # share of such pixels from which colour is Doppler


def tissue_region(header: Dataset) -> Box | None:
    """The one region of 2D tissue that the header tells, None where it tells of no regions.

    LeftOut where none of the regions is tissue, where several are, or where one leaves the frame.
    """
    regions = header.get("SequenceOfUltrasoundRegions")
    if not regions:
        return None
    boxes = {
        tuple(int(region[name].value) for name in ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1",
                                                   "RegionLocationMaxY1"))
        for region in regions
        if (region.get("RegionSpatialFormat"), region.get("RegionDataType")) == (TWO_DIMENSIONAL, TISSUE)
    }  # fmt: skip
    if not boxes:
        raise LeftOut("no region of 2D tissue: Doppler, M-mode or a graph")
    if len(boxes) > 1:
        raise LeftOut("several regions of 2D tissue; draw the one to keep in crops.toml")
    left, top, right, bottom = boxes.pop()
    if not (0 <= left < right <= header.Columns and 0 <= top < bottom <= header.Rows):
        raise LeftOut("a region that leaves the frame")
    return left, top, min(right + 1, header.Columns), min(bottom + 1, header.Rows)


def fan(grey: np.ndarray) -> tuple[Box, np.ndarray]:
    """A proposal of where the tissue is in a frame (H, W) uint8: its box, and a mask of the box that is True inside.

    The largest bright area, without flat panels and thin strokes such as text, and its convex hull. LeftOut where there
    is none.
    """
    step = max(1, max(grey.shape) // WORK)
    small = grey[::step, ::step]
    flat = np.bincount(small.ravel(), minlength=256) > FLAT * small.size  # (256,)
    small = (small > DARK) & ~flat[small]
    bright = ndimage.binary_opening(small, np.ones((OPENED, OPENED)))
    areas, count = ndimage.label(ndimage.binary_closing(np.pad(bright, CLOSED), np.ones((CLOSED, CLOSED))))
    areas = areas[CLOSED:-CLOSED, CLOSED:-CLOSED]
    sizes = np.bincount(areas.ravel(), minlength=count + 1)[1:]
    if not sizes.size or sizes.max() < SMALLEST * small.size:
        raise LeftOut("no fan was found; draw its box in crops.toml")
    hull = _hull(areas == sizes.argmax() + 1)
    rows, columns = np.flatnonzero(hull.any(axis=1)), np.flatnonzero(hull.any(axis=0))
    left, top = int(columns[0]) * step, int(rows[0]) * step
    right, bottom = min((int(columns[-1]) + 1) * step, grey.shape[1]), min((int(rows[-1]) + 1) * step, grey.shape[0])
    mask = np.kron(hull, np.ones((step, step), bool))[top:bottom, left:right]
    return (left, top, right, bottom), mask


def _hull(area: np.ndarray) -> np.ndarray:
    """The convex hull of an area (H, W) bool that was opened, so that it is no line."""
    points = np.argwhere(area)[:, ::-1]  # (n, 2), column and row
    corners = points[spatial.ConvexHull(points).vertices]
    drawn = Image.new("1", area.shape[::-1])
    ImageDraw.Draw(drawn).polygon([tuple(map(int, corner)) for corner in corners], fill=1)
    return np.asarray(drawn)


def has_colour(colours: np.ndarray) -> bool:
    """Whether (H, W, 3) uint8 RGB holds Doppler colour: pixels unlike most of their brightness.

    A tint of the whole picture is not Doppler: brightness by brightness, colours are compared with their median.
    """
    rgb = colours.astype(np.int16)
    brightness = rgb.max(axis=2) // 16  # (H, W), 0 to 15
    difference = np.stack([rgb[..., 0] - rgb[..., 1], rgb[..., 2] - rgb[..., 1]], axis=2)  # red, blue beyond green
    if not difference.any():
        return False
    unlike = 0
    for level in range(2, 16):
        there = difference[brightness == level]  # (n, 2)
        if len(there):
            tint = np.median(there, axis=0)
            unlike += int((np.abs(there - _plausible(tint)).max(axis=1) > CHROMA).sum())
    return unlike > COLOURED * brightness.size


def _plausible(tint: np.ndarray) -> np.ndarray:
    """A display's tint is warm or cool but faint; a level that is Doppler for the most part has no tint."""
    return tint if np.abs(tint).max() <= 2 * CHROMA else np.zeros(2)
