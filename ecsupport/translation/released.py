"""What the paper's released code does beside or against its text, as named switches that are off by default.

- `dynamic_regions`: a dynamic region-aware convolution (Chen et al., CVPR 2021) before the residual blocks;
- `unfrozen` with `accumulation` 4: discriminators and classifier are not held still while the generators learn. Their
  gradients are cleared only in the first of four parts of a step, after the generators' backward pass, so that in the
  other three the generators' term is added. It amounts to a soft target: of the same fakes a least-squares
  discriminator then minimises 4 D^2 / 2 + 3 (D - 1)^2, whose least is at D = .6 in place of 0, that of real images at 1
  as before. To the classifier's own parameters the gradient has the sign of what it learns anyway;
- `weights`: 5 for the feature consistency, half of Equation 9's; 2.5 for the domain loss, since the code weighs one
  mean over both domains with 5, where Equation 7 adds two;
- `enhance`: the translations are brightened, their contrast and sharpness turned up before anybody looks at them.
`SETTINGS` are the first three, with the squared losses, discriminators and enlarging that go with them, for
`Settings.of(size, **SETTINGS)`. In the paper's text there is none of the three.

Not to be had here: discriminators have one more layer and average their map to one number before the squared loss; a
rectified-flow stage follows; at its defaults the range of the training loop is empty; processes do not share gradients.
"""

from types import MappingProxyType

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from skimage import exposure
from torch import nn

REVISION = 1  # guide of the region convolution 1 x 1; enhancement
REGIONS = 8
SETTINGS = MappingProxyType(
    {
        "dynamic_regions": True,
        "unfrozen": True,
        "accumulation": 4,
        "weights": {"feature": 5.0, "domain": 2.5},
        "gan_mode": "lsgan",
        "adversarial": 1.0,
        "normalised_discriminators": True,
        "enlarged": 1.12,
    }
)
GAMMA = 1 / 1.2  # below 1: brighter
CLIP, TILES, LEVELS = 3.0, 8, 256  # the limit in OpenCV's scale, in units of a tile's mean over its grey levels
SHARPEN = (-1, -1, -1, -1, 9, -1, -1, -1, -1)


class DynamicRegionConvolution(nn.Module):
    """1 x 1 convolution with kernels made from the image, one for each of `regions` regions that a guide map chooses.

    (N, C, H, W) to the same shape.
    """

    def __init__(self, channels: int, regions: int = REGIONS) -> None:
        super().__init__()
        self.channels, self.regions = channels, regions
        self.guide = nn.Conv2d(channels, regions, 1)
        self.pooled = nn.Conv2d(channels, regions**2, 1)
        self.kernels = nn.Conv2d(regions**2, regions * channels**2, 1, groups=regions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Every pixel is multiplied by the kernel of its region; the choice is hard, its gradient that of softmax."""
        soft = self.guide(x).softmax(dim=1)  # (N, R, H, W)
        hard = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1.0)
        chosen = hard + soft - soft.detach()
        made = self.kernels(torch.sigmoid(self.pooled(x.mean(dim=(2, 3), keepdim=True))))
        kernels = made.view(len(x), self.regions, self.channels, self.channels)  # (N, R C C, 1, 1) -> (N, R, C, C)
        regions = range(self.regions)
        return sum(chosen[:, r, None] * torch.einsum("noc,nchw->nohw", kernels[:, r], x) for r in regions)


def enhance(images: np.ndarray) -> np.ndarray:
    """Stretch to the 1st and 99th percentile, brighten, adaptive and global equalisation, sharpening kernel.

    (N, H, W) uint8 to the same, in the order of the released code. ValueError for images below 8 x 8 pixels.
    """
    if min(images.shape[1:]) < TILES:
        raise ValueError(f"images of {images.shape[1]} x {images.shape[2]} pixels do not make {TILES} x {TILES} tiles")
    tile = [side // TILES for side in images.shape[1:]]
    enhanced = []
    for image in images:
        stretched = exposure.rescale_intensity(image / 255.0, tuple(np.quantile(image / 255.0, [0.01, 0.99])), (0, 1))
        brighter = exposure.adjust_gamma(stretched, GAMMA)
        local = exposure.equalize_adapthist(brighter, tile, CLIP / LEVELS, LEVELS)
        picture = ImageOps.equalize(Image.fromarray((local * 255).round().astype(np.uint8)))
        enhanced.append(np.asarray(picture.filter(ImageFilter.Kernel((3, 3), SHARPEN))))
    return np.stack(enhanced)
