"""B-mode transvaginal ultrasound of a section: scatterers, point-spread function, attenuation, log compression.

Speckle is complex Gaussian scatterers times tissue amplitude, filtered along depth and across beams on a polar grid
(Wagner et al. 1983, IEEE Trans. Sonics Ultrason. 30:156), three looks compounded, then scan-converted. Images lie
inside the fan, as the paper's cropping leaves them.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from ecsupport.cohort.anatomy import TISSUES, Uterus, View, section
from ecsupport.cohort.recipe import Recipe
from ecsupport.cohort.texture import waves

LOOKS = 3
DEPTH = 2.0  # image height in units of half its width


@dataclass(frozen=True)
class Scanner:
    """Look of one centre: gain and range (dB), gamma, noise floor (dB), point-spread widths, probe radius."""

    gain: float
    dynamic_range: float
    gamma: float
    noise: float
    axial: float  # standard deviation along the beam, in image widths
    lateral: float  # the same across beams at the focus
    radius: float  # radius of the probe's arc in half image widths; small means a wide fan


SCANNERS = {
    "centre_1": Scanner(27.0, 50.0, 1.00, -32.0, 0.0085, 0.011, 1.2),
    "centre_2": Scanner(24.0, 45.0, 0.90, -30.0, 0.0080, 0.010, 0.9),
    "centre_3": Scanner(31.0, 56.0, 1.10, -34.0, 0.0090, 0.012, 1.6),
    "centre_4": Scanner(22.0, 42.0, 0.95, -27.0, 0.0095, 0.013, 1.0),
    "centre_5": Scanner(28.0, 48.0, 1.15, -29.0, 0.0085, 0.012, 2.0),
}
CENTRES = tuple(SCANNERS)

#                        fat soft bladder serosa myo fibroid  jz  endo cavity polyp tumour
ECHOGENICITY = np.array([6.0, 0.0, -30.0, 3.0, -2.0, -6.0, -12.0, 6.0, 9.0, 8.0, 1.0])  # dB
ATTENUATION = np.array([5.0, 6.0, 0.5, 6.0, 6.0, 9.0, 6.0, 5.0, 5.0, 5.0, 6.0])  # dB a half image width, one way
COMPENSATION = 5.5  # time-gain compensation, dB a half image width
FLUID = -28.0


@dataclass(frozen=True)
class _Grid:
    """Polar sampling of one probe: where the samples lie, and how pixels are read back from them."""

    x: np.ndarray  # (D, B)
    y: np.ndarray
    beam: tuple[np.ndarray, np.ndarray]  # unit direction of each beam, (1, B)
    depth: np.ndarray  # (D, 1)
    step: float
    corners: np.ndarray  # (4, H*W) flat sample indices around each pixel
    shares: np.ndarray  # (4, H*W) bilinear weights
    axial: np.ndarray  # (D, 1) angular frequency squared, per (half image width)^2
    lateral: np.ndarray  # (1, B)


@lru_cache(maxsize=16)
def _grid(size: int, radius: float, dtype: type) -> _Grid:
    pixels = (np.arange(size) + 0.5) * 2 / size - 1
    px, py = np.meshgrid(pixels, pixels)
    reach = np.hypot(1, DEPTH + radius) - radius
    spread = np.arctan2(1, radius)
    depths, angles = np.linspace(0, reach, size), np.linspace(-spread, spread, size)
    rho, phi = np.meshgrid(depths + radius, angles, indexing="ij")
    row = (np.hypot(px, py + 1 + radius) - radius) / reach * (size - 1)
    col = (np.arctan2(px, py + 1 + radius) / spread + 1) / 2 * (size - 1)
    i, j = np.clip(row.astype(int), 0, size - 2), np.clip(col.astype(int), 0, size - 2)
    f, g = row - i, col - j
    corners = np.stack([i * size + j, i * size + j + 1, (i + 1) * size + j, (i + 1) * size + j + 1])
    shares = np.stack([(1 - f) * (1 - g), (1 - f) * g, f * (1 - g), f * g])
    step = depths[1]
    width = (radius + DEPTH / 2) * (angles[1] - angles[0])  # beam spacing half-way down
    return _Grid(
        x=(rho * np.sin(phi)).astype(dtype),
        y=(rho * np.cos(phi) - 1 - radius).astype(dtype),
        beam=(np.sin(angles)[None].astype(dtype), np.cos(angles)[None].astype(dtype)),
        depth=depths[:, None].astype(dtype),
        step=step,
        corners=corners.reshape(4, -1),  # (4, H, W) -> (4, H*W)
        shares=shares.reshape(4, -1).astype(dtype),  # (4, H, W) -> (4, H*W)
        axial=((2 * np.pi * np.fft.fftfreq(size, step)) ** 2)[:, None],
        lateral=((2 * np.pi * np.fft.fftfreq(size, width)) ** 2)[None],
    )


@lru_cache(maxsize=64)
def _spread(size: int, scanner: Scanner, focus: float, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Transfer functions along depth (D, 1) and across beams (D, B), scaled so that speckle keeps unit power."""
    grid = _grid(size, scanner.radius, dtype)
    axial = np.exp(-0.5 * (2 * scanner.axial) ** 2 * grid.axial)
    sigma = 2 * scanner.lateral + 0.018 * np.abs(np.linspace(0, DEPTH, size)[:, None] - focus)
    lateral = np.exp(-0.5 * sigma**2 * grid.lateral)
    axial /= np.sqrt(np.mean(axial**2))
    lateral /= np.sqrt(np.mean(lateral**2, axis=1, keepdims=True))
    return axial.astype(dtype), lateral.astype(dtype)


def render(
    uterus: Uterus,
    view: View,
    centre: str,
    recipe: Recipe,
    rng: np.random.Generator,
    size: int,
    dtype: type = np.float32,
) -> np.ndarray:
    """B-mode image. Returns (size, size) uint8; `centre` is a key of `SCANNERS`."""
    scanner = SCANNERS[centre]
    grid = _grid(size, scanner.radius, dtype)
    cut = section(uterus, view, grid.x, grid.y, edge=1.5 / size)
    echo = ECHOGENICITY + rng.normal(0, 1, len(TISSUES)) * recipe.echogenicity_sd
    echo[:2] += rng.normal(0, 2.0, 2)
    echo[TISSUES.index("junctional_zone")] = echo[TISSUES.index("myometrium")] - recipe.junctional_db
    echo[TISSUES.index("tumour")] = echo[TISSUES.index("myometrium")] + recipe.tumour_db + rng.normal(0, 1.5)
    if uterus.cavity == "fluid":
        echo[TISSUES.index("cavity")] = FLUID
    level = cut.paint(echo)

    grain = waves(rng, grid.x, grid.y, count=5, longest=0.9, shortest=0.18)
    level += recipe.texture_db * grain
    if cut.covers[-1] is not None:
        level += recipe.tumour_texture_db * cut.covers[-1] * grain
    facing = cut.normal[0] * grid.beam[0] + cut.normal[1] * grid.beam[1]
    level += 7 * facing**2 * np.exp(-((cut.serosa_distance / 0.022) ** 2))

    focus, gain = float(rng.choice((0.75, 0.9, 1.05))), rng.normal(0, 2.0)
    loss = 2 * (cut.paint(ATTENUATION) - COMPENSATION)
    level -= 0.35 * np.cumsum(loss, axis=0, dtype=dtype) * dtype(grid.step)
    level -= _shadows(grid, recipe, rng)

    power = 10 ** (level / 10) + 10 ** ((scanner.noise + 9 * (grid.depth - 1)) / 10)
    axial, lateral = _spread(size, scanner, focus, dtype)
    scatterers = rng.standard_normal((LOOKS, size, size, 2)).astype(dtype)  # doubles: their stream is portable
    field = scatterers.view(np.result_type(dtype, 1j))[..., 0]  # (L, D, B, 2) -> (L, D, B) complex
    field *= np.sqrt(power / 2)
    field = fft.ifft(fft.fft(field, axis=1, overwrite_x=True) * axial, axis=1, overwrite_x=True)
    field = fft.ifft(fft.fft(field, axis=2, overwrite_x=True) * lateral, axis=2, overwrite_x=True)
    intensity = np.mean(field.real**2 + field.imag**2, axis=0)
    decibel = 10 * np.log10(intensity + dtype(1e-9))
    pixels = (decibel.ravel()[grid.corners] * grid.shares).sum(axis=0)  # (4, H*W) -> (H*W,)
    shown = np.clip((pixels + scanner.gain + gain) / scanner.dynamic_range, 0, 1) ** scanner.gamma
    return np.rint(255 * shown).astype(np.uint8).reshape(size, size)  # (H*W,) -> (H, W)


def _shadows(grid: _Grid, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Loss (dB) behind gas and edges: a Poisson number of smooth bands that start at some depth. Returns (D, B)."""
    loss = np.zeros_like(grid.x)
    for _ in range(rng.poisson(recipe.shadows)):
        place, width, start = rng.uniform(-0.5, 0.5), rng.uniform(0.02, 0.07), rng.uniform(0.0, 1.2)
        strength = rng.uniform(5, 16)
        band = np.exp(-(((grid.beam[0] - place) / width) ** 2))
        loss += strength * band * np.clip((grid.depth - start) / 0.15, 0, 1)
    return loss
