"""The uterus of one patient as implicit layers, and the section of it that one view shows (Results, "Data").

Lengths are in units of half the image width; x points right, y down (away from the probe). Every boundary is a signed
distance turned into a soft cover of about one pixel, so that rounding never flips a pixel from one tissue to another.
"""

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np

TISSUES = (
    "fat",
    "soft_tissue",
    "bladder",
    "serosa",
    "myometrium",
    "fibroid",
    "junctional_zone",
    "endometrium",
    "cavity",
    "polyp",
    "tumour",
)
SEROSA_THICKNESS = 0.02
VISIBLE_DEPTH = 0.25

Harmonics = tuple[tuple[float, float], ...]  # amplitude and phase for the angular orders 2, 3, 4


@dataclass(frozen=True)
class Blob:
    """A round structure: `angle` (rad) and `wall` place it (0 endometrium, 1 serosa), `radius` is its size."""

    angle: float
    wall: float
    radius: float


@dataclass(frozen=True)
class Tongue:
    """Tumour that leaves the endometrium at `angle` (rad), `half_angle` wide, to `depth` of the local wall (0 to 1).

    `plane` and `half_plane` say at which out-of-plane position it is deepest and where it ends.
    """

    angle: float
    half_angle: float
    depth: float
    plane: float
    half_plane: float


@dataclass(frozen=True)
class Uterus:
    """Anatomy that all views of a patient share."""

    length: float  # half-length of the serosa
    width: float  # half-width of the serosa
    pear: float
    bend: float
    serosa_harmonics: Harmonics
    endometrium_length: float
    endometrium_width: float
    endometrium_harmonics: Harmonics
    junctional_thickness: float
    junctional_contrast: float  # 1 as in the tissue table, 0 isoechoic with myometrium
    junctional_gap: tuple[float, float, float]  # angle, half-angle, strength of a patch where the band fades
    cavity: str  # "line", "hidden" or "fluid"
    cavity_width: float
    polyp: Blob | None
    fibroids: tuple[Blob, ...]
    mass: Blob | None  # endometrial part of a carcinoma
    tongues: tuple[Tongue, ...]
    bladder: tuple[float, float] | None  # radius, horizontal position

    @property
    def invasion_depth(self) -> float:
        """Deepest invasion as a fraction of the wall, 0 where nothing invades."""
        return max((tongue.depth for tongue in self.tongues), default=0.0)


@dataclass(frozen=True)
class View:
    """How one image cuts the uterus: kind, rotation (rad), offset, scale and out-of-plane position."""

    kind: str  # "sagittal" or "axial"
    rotation: float
    offset: tuple[float, float]
    scale: float
    plane: float
    surroundings: tuple[tuple[float, float, float], ...]  # plane waves (kx, ky, phase) that bound soft tissue in fat

    def penetration(self, tongue: Tongue) -> float:
        """Depth of the tongue in this plane, as a fraction of the wall."""
        return tongue.depth * max(0.0, 1.0 - ((self.plane - tongue.plane) / tongue.half_plane) ** 2)

    def visible_depth(self, uterus: Uterus) -> float:
        """Deepest invasion that this view cuts, as a fraction of the wall."""
        return max((self.penetration(tongue) for tongue in uterus.tongues), default=0.0)

    def shows_invasion(self, uterus: Uterus) -> bool:
        """Whether the view cuts the invasion at `VISIBLE_DEPTH` of the wall or deeper."""
        return self.visible_depth(uterus) >= VISIBLE_DEPTH


@dataclass(frozen=True)
class Section:
    """What a view shows on a grid. `covers[i]` (H, W) in [0, 1] paints `TISSUES[i + 1]` over what lies before it.

    A cover is None where the view holds none of that tissue.
    """

    covers: tuple[np.ndarray | None, ...]
    serosa_distance: np.ndarray  # (H, W), positive outside
    normal: tuple[np.ndarray, np.ndarray]  # outward unit normal of the serosa in image axes

    def paint(self, values: np.ndarray) -> np.ndarray:
        """Map of a property with one value a tissue. values: (11,); returns (H, W) in the covers' dtype."""
        painted = np.full_like(self.covers[0], values[0])
        for cover, value in zip(self.covers, values[1:].tolist(), strict=True):
            if cover is not None:
                painted += cover * (value - painted)
        return painted

    def weights(self) -> np.ndarray:
        """Share of each tissue in each pixel. Returns (11, H, W), non-negative, summing to 1 over tissues."""
        weights = np.zeros((len(TISSUES), *self.covers[0].shape), self.covers[0].dtype)
        weights[0] = 1
        for i, cover in enumerate(self.covers, start=1):
            if cover is not None:
                weights[:i] *= 1 - cover
                weights[i] = cover
        return weights

    def labels(self) -> np.ndarray:
        """Exact mask: index into `TISSUES` of the tissue with the largest share. Returns (H, W) uint8."""
        return self.weights().argmax(axis=0).astype(np.uint8)


def section(uterus: Uterus, view: View, x: np.ndarray, y: np.ndarray, edge: float) -> Section:
    """Cut the uterus. x, y: (H, W) image coordinates; edge: width over which a boundary is softened."""
    half = x.dtype.type(0.5)
    sharpness = x.dtype.type(1 / edge)

    def inside(distance: np.ndarray) -> np.ndarray:
        return np.clip(half - distance * sharpness, 0, 1)

    cos_r, sin_r = math.cos(view.rotation), math.sin(view.rotation)
    dx, dy = (x - view.offset[0]) / view.scale, (y - view.offset[1]) / view.scale
    u, v = cos_r * dx + sin_r * dy, cos_r * dy - sin_r * dx
    length, lining, thickness = uterus.length, uterus.endometrium_length, uterus.endometrium_width
    if view.kind == "sagittal":
        v = (v - uterus.bend * (u * u - 0.25 * length * length)) / (1 - uterus.pear * u / length)
    else:
        length, lining = 0.5 * (length + uterus.width), 0.6 * lining + 0.4 * thickness

    serosa, normal = _serosa(uterus, length, u, v)
    endometrium, cosine, sine = _endometrium(uterus, lining, u, v)
    outward = np.maximum(endometrium, 0)
    wall = outward + np.maximum(-serosa, 0) + 1e-3  # local thickness, endometrium to serosa
    in_endometrium = inside(endometrium)
    in_wall = inside(serosa + SEROSA_THICKNESS)
    gap_angle, gap_half, gap_strength = uterus.junctional_gap
    junction = inside(endometrium - uterus.junctional_thickness) * in_wall * uterus.junctional_contrast
    junction *= 1 - gap_strength * _bump(cosine, sine, gap_angle, gap_half)

    def in_lining(blob: Blob) -> np.ndarray:
        across, along = 0.35 * thickness * math.sin(blob.angle), 0.75 * blob.wall * lining
        return inside(np.hypot((u - along) / 1.7, v - across) - blob.radius * thickness) * in_endometrium

    def in_muscle(blob: Blob) -> np.ndarray:
        reach = thickness + blob.wall * (uterus.width - thickness)
        along, across = reach * math.cos(blob.angle) * length / uterus.width, reach * math.sin(blob.angle)
        return inside(np.hypot(u - along, v - across) - blob.radius) * in_wall

    def invading(tongue: Tongue, reach: float) -> np.ndarray:
        bump = _bump(cosine, sine, tongue.angle, tongue.half_angle)
        root = inside(-endometrium - 0.03) * np.clip(8 * reach * bump, 0, 1)  # joined to the endometrium
        return inside(outward - reach * bump * wall) * root * in_wall

    reaches = [(tongue, view.penetration(tongue)) for tongue in uterus.tongues]
    tumours = [in_lining(uterus.mass)] if uterus.mass else []
    tumours += [invading(tongue, reach) for tongue, reach in reaches if reach > 0]
    waves = (np.cos(kx * x + ky * y + phase) for kx, ky, phase in view.surroundings)
    surroundings = sum(waves, np.zeros_like(x))
    cavity = None
    if uterus.cavity != "hidden":
        cavity = inside(np.abs(v) - uterus.cavity_width) * inside(np.abs(u) - 0.8 * lining) * in_endometrium
    bladder = None
    if uterus.bladder:
        radius, place = uterus.bladder
        bladder = inside(np.hypot((x - place) / 1.6, y + 1.0) - radius)
    covers = (
        np.clip(half + 1.2 * surroundings, 0, 1),
        bladder,
        inside(np.abs(serosa) - SEROSA_THICKNESS),
        in_wall,
        reduce(np.maximum, map(in_muscle, uterus.fibroids)) if uterus.fibroids else None,
        junction,
        in_endometrium,
        cavity,
        in_lining(uterus.polyp) if uterus.polyp else None,
        reduce(np.maximum, tumours) if tumours else None,
    )
    across, along = cos_r * normal[0] - sin_r * normal[1], sin_r * normal[0] + cos_r * normal[1]
    return Section(covers, serosa, (across, along))


def _wobble(cosine: np.ndarray, sine: np.ndarray, harmonics: Harmonics) -> np.ndarray:
    """Sum of amplitude * cos(order * angle - phase) for the orders 2, 3, 4."""
    wobble, c, s = 0, cosine, sine
    for amplitude, phase in harmonics:
        c, s = c * cosine - s * sine, s * cosine + c * sine  # next order
        wobble = wobble + amplitude * math.cos(phase) * c + amplitude * math.sin(phase) * s
    return wobble


def _serosa(
    uterus: Uterus, length: float, u: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """First-order (Sampson) distance to a wobbling ellipse, positive outside, and its outward unit normal."""
    p, q = u / length, v / uterus.width
    radius = np.sqrt(p * p + q * q) + 1e-4
    cosine, sine = p / radius, q / radius
    gu, gv = cosine / length, sine / uterus.width
    steepness = np.sqrt(gu * gu + gv * gv) + 1e-6
    distance = (radius - 1 - _wobble(cosine, sine, uterus.serosa_harmonics)) / steepness
    return distance, (gu / steepness, gv / steepness)


def _endometrium(
    uterus: Uterus, length: float, u: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to a tapering, wobbling capsule, positive outside; cosine and sine of the angle around it."""
    thickness = uterus.endometrium_width
    p, q = u / length, v / (2 * thickness)
    radius = np.sqrt(p * p + q * q) + 1e-4
    cosine, sine = p / radius, q / radius
    core = max(length - 0.6 * thickness, 0.0)
    axis = np.clip(u, -core, core)
    local = thickness * (1 - 0.4 * (axis / length) ** 2) * (1 + _wobble(cosine, sine, uterus.endometrium_harmonics))
    return np.hypot(u - axis, v) - local, cosine, sine


def _bump(cos_t: np.ndarray, sin_t: np.ndarray, angle: float, half_angle: float) -> np.ndarray:
    """1 at `angle`, falling to 0 at `half_angle` from it."""
    cosine = math.cos(angle) * cos_t + math.sin(angle) * sin_t
    edge = math.cos(half_angle)
    return np.clip((cosine - edge) / (1 - edge), 0, 1)
