"""MRI of a section in the paper's sequences (Results, "Data"), from one tissue-by-sequence table.

Signal is the table's intensity with partial volume, tissue texture, coil bias and Rician noise (Gudbjartsson and Patz
1995, Magn. Reson. Med. 34:910). The orders follow what pelvic MRI shows: the junctional zone is dark on T2, a carcinoma
is intermediate on T2, enhances less than myometrium, and restricts diffusion (bright on DWI, dark on ADC). The values
are ours. No sequence but T2 orders the tissues as ultrasound does, so that a translation is really needed.
"""

from functools import lru_cache

import numpy as np

from ecsupport.cohort.anatomy import TISSUES, Uterus, View, section
from ecsupport.cohort.recipe import Recipe
from ecsupport.cohort.texture import waves

SEQUENCES = ("t2", "t1", "t1_fs_ce", "dwi", "adc", "dce_arterial", "dce_venous", "dce_delayed")
INTENSITY = {
    #                fat   soft  bladder serosa myo fibroid jz   endo  cavity polyp tumour
    "t2":           (0.72, 0.30, 0.98, 0.34, 0.46, 0.26, 0.20, 0.80, 0.92, 0.68, 0.58),
    "t1":           (0.86, 0.36, 0.14, 0.36, 0.40, 0.37, 0.38, 0.42, 0.30, 0.41, 0.39),
    "t1_fs_ce":     (0.20, 0.38, 0.10, 0.70, 0.78, 0.58, 0.66, 0.60, 0.22, 0.64, 0.44),
    "dwi":          (0.06, 0.16, 0.16, 0.22, 0.30, 0.16, 0.24, 0.44, 0.20, 0.46, 0.88),
    "adc":          (0.08, 0.40, 0.96, 0.44, 0.56, 0.42, 0.46, 0.62, 0.86, 0.68, 0.30),
    "dce_arterial": (0.18, 0.26, 0.10, 0.48, 0.46, 0.42, 0.58, 0.30, 0.20, 0.44, 0.42),
    "dce_venous":   (0.20, 0.34, 0.10, 0.64, 0.72, 0.54, 0.62, 0.46, 0.20, 0.56, 0.46),
    "dce_delayed":  (0.22, 0.38, 0.12, 0.68, 0.76, 0.58, 0.68, 0.58, 0.22, 0.62, 0.46),
}  # fmt: skip
NOISE = {"dwi": 0.05, "adc": 0.06}  # diffusion images are noisier


@lru_cache(maxsize=8)
def _pixels(size: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    centre = ((np.arange(size) + 0.5) * 2 / size - 1).astype(dtype)
    x, y = np.meshgrid(centre, centre)
    return x, y


def render(
    uterus: Uterus,
    view: View,
    sequence: str,
    recipe: Recipe,
    rng: np.random.Generator,
    size: int,
    dtype: type = np.float32,
) -> np.ndarray:
    """MRI slice. Returns (size, size) uint8; `sequence` is one of `SEQUENCES`."""
    x, y = _pixels(size, dtype)
    cut = section(uterus, view, x, y, edge=max(3 / size, 0.025))  # partial volume of a pixel and of the slice
    signal = np.array(INTENSITY[sequence]) * (1 + 0.06 * rng.standard_normal(len(TISSUES)))
    if uterus.cavity != "fluid":
        signal[TISSUES.index("cavity")] = (
            0.6 * signal[TISSUES.index("cavity")] + 0.4 * signal[TISSUES.index("endometrium")]
        )
    image = cut.paint(signal)
    image *= 1 + recipe.mri_texture * waves(rng, x, y, count=5, longest=0.9, shortest=0.15)
    image *= np.exp(dtype(0.18) * waves(rng, x, y, count=3, longest=6.0, shortest=2.0))
    sigma = NOISE.get(sequence, rng.uniform(0.02, 0.045))
    noise = rng.standard_normal((2, size, size)).astype(dtype)  # doubles: their stream is portable
    image = np.hypot(image + dtype(sigma) * noise[0], dtype(sigma) * noise[1])
    return np.rint(255 * np.clip(0.9 * image, 0, 1)).astype(np.uint8)
