"""What the paper's released code does beside or against its text, as named switches that are off by default.

- `dynamic_regions`: a dynamic region-aware convolution (Chen et al., CVPR 2021) before the residual blocks;
- `unfrozen` with `accumulation` 4: discriminators and classifier are not held still while the generators learn. Their
  gradients are cleared only in the first of four parts of a step, after the generators' backward pass, so that in the
  other three they also learn to be fooled;
- `weights` {"feature": 5}: half the weight of Equation 9 for the feature consistency;
- `enhance`: contrast and sharpness of the translations are turned up before anybody looks at them.
`SETTINGS` are the first three, for `Settings.of(size, **SETTINGS)`. In the paper's text there is none of them.
"""

from types import MappingProxyType

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from skimage import exposure
from torch import nn

REGIONS = 8
SETTINGS = MappingProxyType({"dynamic_regions": True, "unfrozen": True, "accumulation": 4, "weights": {"feature": 5.0}})
GAMMA, CLIP = 1.2, 0.02
SHARPEN = (0, -1, 0, -1, 5, -1, 0, -1, 0)


class DynamicRegionConvolution(nn.Module):
    """1 x 1 convolution with kernels made from the image, one for each of `regions` regions that a guide map chooses.

    (N, C, H, W) to the same shape.
    """

    def __init__(self, channels: int, regions: int = REGIONS) -> None:
        super().__init__()
        self.channels, self.regions = channels, regions
        self.guide = nn.Conv2d(channels, regions, 3, padding=1)
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
    """Stretch to the 1st and 99th percentile, gamma 1.2, adaptive and global equalisation, sharpening kernel.

    (N, H, W) uint8 to the same. The order is that of the released code; its clip limit is not known here.
    """
    enhanced = []
    for image in images:
        stretched = exposure.rescale_intensity(image / 255.0, tuple(np.quantile(image / 255.0, [0.01, 0.99])), (0, 1))
        local = exposure.equalize_adapthist(exposure.adjust_gamma(stretched, GAMMA), clip_limit=CLIP)
        picture = ImageOps.equalize(Image.fromarray((local * 255).round().astype(np.uint8)))
        enhanced.append(np.asarray(picture.filter(ImageFilter.Kernel((3, 3), SHARPEN))))
    return np.stack(enhanced)
