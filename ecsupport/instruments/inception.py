"""FID and KID by name: only with the Inception-v3 weights of the standard FID, from a file that the user names.

That network (Heusel et al., NeurIPS 2017) is not the one of ImageNet classifiers: it has 1008 outputs, its average
pooling does not count the padding, and its last block takes a maximum instead. Whatever else extracts features, the
result is called a Fréchet or kernel distance with that extractor.
"""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecsupport.core.artefacts import sha256
from ecsupport.core.errors import UserError
from ecsupport.core.training import Unreadable, tensors

VARIABLE = "ECSUPPORT_FID_WEIGHTS"
FILE = "pt_inception-2015-12-05-6726825d.pth"
HASH = "6726825d"  # how the SHA-256 of that file begins, which is also in its name
SIDE = 299  # pixels


class FidInception(nn.Module):
    """Inception-v3 of the FID up to its 2048 features. Parameters are named as in `FILE`; the classifier is unused."""

    def __init__(self) -> None:
        from torchvision.models import inception as v3  # noqa: PLC0415 - four seconds, wanted with a user's file only

        super().__init__()
        mean_a, mean_c, mean_e = (_pooling(block, _mean) for block in (v3.InceptionA, v3.InceptionC, v3.InceptionE))
        max_e = _pooling(v3.InceptionE, lambda x: functional.max_pool2d(x, 3, 1, 1))
        self.standard = False  # whether its weights are those of the standard file; `restore` says so
        self.Conv2d_1a_3x3 = v3.BasicConv2d(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = v3.BasicConv2d(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = v3.BasicConv2d(32, 64, kernel_size=3, padding=1)
        self.Conv2d_3b_1x1 = v3.BasicConv2d(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = v3.BasicConv2d(80, 192, kernel_size=3)
        self.Mixed_5b = mean_a(192, pool_features=32)
        self.Mixed_5c = mean_a(256, pool_features=64)
        self.Mixed_5d = mean_a(288, pool_features=64)
        self.Mixed_6a = v3.InceptionB(288)
        self.Mixed_6b = mean_c(768, channels_7x7=128)
        self.Mixed_6c = mean_c(768, channels_7x7=160)
        self.Mixed_6d = mean_c(768, channels_7x7=160)
        self.Mixed_6e = mean_c(768, channels_7x7=192)
        self.Mixed_7a = v3.InceptionD(768)
        self.Mixed_7b = mean_e(1280)
        self.Mixed_7c = max_e(2048)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W) uint8, grey, to features (B, 2048).

        Resized to 299 x 299 in floating point by PyTorch's antialiased bicubic interpolation, the kernel of Pillow and
        clean-fid, without rounding; repeated to three channels; grey levels g become (g - 128) / 128.
        """
        x = images[:, None].to(self.fc.weight.dtype)  # (B, H, W) -> (B, 1, H, W)
        x = functional.interpolate(x, (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)
        return self.pooled(((x - 128) / 128).expand(-1, 3, -1, -1))

    def pooled(self, x: Tensor) -> Tensor:
        """(B, 3, 299, 299) in [-1, 1) to features (B, 2048)."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # (B, 64, 147, 147)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2)))  # (B, 192, 71, 71)
        x = functional.max_pool2d(x, 3, 2)  # (B, 192, 35, 35)
        for name, block in self.named_children():
            if name.startswith("Mixed_"):
                x = block(x)
        return x.mean((2, 3))  # (B, 2048, 8, 8) -> (B, 2048)


def restore(file: str | Path | None = None) -> FidInception:
    """The network with its standard weights, on the cpu, ready to measure.

    file: path of the weights; where None, the environment variable ECSUPPORT_FID_WEIGHTS names it
    UserError where no file is named, it does not exist, or it does not hold the standard weights.
    """
    named = file if file is not None else os.environ.get(VARIABLE)
    if not named:
        raise UserError(f"FID needs the file {FILE}, which is not part of this project. Name its path in {VARIABLE}")
    path = Path(named).expanduser()
    if not path.is_file():
        raise UserError(f"{path} does not exist. Name the path of {FILE} in {VARIABLE}")
    if not (found := sha256(path)).startswith(HASH):
        raise UserError(
            f"{path} has SHA-256 {found[:8]}..., the standard weights of FID {HASH}.... Get {FILE} anew; "
            "with any other weights the result is no FID"
        )
    network = skeleton()
    try:
        network.load_state_dict(tensors(path), assign=True)
    except (Unreadable, RuntimeError, TypeError):  # RuntimeError: tensors of another network
        raise UserError(f"{path} does not hold the tensors of {FILE}, or is truncated. Get {FILE} anew") from None
    network.standard = True
    return network.eval().requires_grad_(False)


def skeleton() -> FidInception:
    """The network without values, on the `meta` device: no random number is drawn for weights that a file brings."""
    with torch.device("meta"):
        return FidInception().eval()


def metric_names(network: nn.Module) -> tuple[str, str]:
    """What the Fréchet and the kernel distance with this network's features may be called in a table or figure."""
    if isinstance(network, FidInception) and network.standard:
        return "FID", "KID"
    return "Fréchet distance (embedded extractor)", "kernel distance (embedded extractor)"


def _mean(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _pooling(block: type[nn.Module], pool: Callable[[Tensor], Tensor]) -> type[nn.Module]:
    """A block of torchvision's Inception-v3 whose last branch pools its input with `pool`."""

    class Block(block):
        def _forward(self, x: Tensor) -> list[Tensor]:
            return [*super()._forward(x)[:-1], self.branch_pool(pool(x))]

    return Block
