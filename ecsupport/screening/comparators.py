"""The networks beside LSNet in Tables 2 to 5, near the printed sizes; their configurations are not released.

Input is grey here; with the colour of the paper's networks the first layer has three times its weights.
"""

from torch import nn

from ecsupport.backbone.mobilevit import Configuration, MobileViT

NEURONS = 128  # of MobileNet-V2's hidden layer, as in the released classifier of Table 2
RELEASED = "mobilenet_v2_released"  # Table 2: printed 730.5 K
WIDTHS = {RELEASED: 0.45, "mobilenet_v2": 0.45, "mobilenet_v2_wide": 0.55}  # the last for Table 3: printed 1.013 M
EFFICIENTNET = {"width_mult": 0.25, "depth_mult": 0.5}  # of B0; Table 3: 204.5 K
B0 = (  # expansion, kernel, stride, channels before and after, layers (Tan and Le, ICML 2019)
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
DENSE = Configuration(  # MobileViT, with SiLU throughout (Mehta and Rastegari, ICLR 2022); Table 3: 294.5 K
    (16, 16, 16, 24, 32, 48, 96), (24, 32, 40), 2, 2.0, (2, 4, 4), nn.SiLU
)  # fmt: skip
NAMES = (*WIDTHS, "efficientnet", "mobilevit")
REVISIONS = dict.fromkeys(NAMES, 1)  # of the configuration of each; torchvision's layers, and MobileViT's, beside it


def build(name: str, stem_stride: int) -> nn.Module:
    """A comparator with torch's own weights: logits (B, 2) of images (B, 1, S, S) float32 in [-1, 1].

    `mobilenet_v2_released` is Table 2's classifier. `mobilenet_v2`, and `mobilenet_v2_wide` near the size of Table 3,
    have a norm in the hidden layer: its inputs are never negative, so that a unit's weights move together, and at the
    rates that short training needs units fall silent for good, with the last of them the network. No layer draws random
    numbers while training. KeyError for another name.
    """
    if name == "mobilevit":
        return MobileViT(DENSE, stem_stride)
    from torchvision.models import MobileNetV2, efficientnet  # noqa: PLC0415 - five seconds, which LSNet does without

    if name == "efficientnet":
        stages = [efficientnet.MBConvConfig(*sizes, **EFFICIENTNET) for sizes in B0]
        network = efficientnet.EfficientNet(stages, dropout=0.0, stochastic_depth_prob=0.0, num_classes=2)
    else:
        network = MobileNetV2(num_classes=2, width_mult=WIDTHS[name], dropout=0.0)
        norm = [] if name == RELEASED else [nn.BatchNorm1d(NEURONS)]
        network.classifier = nn.Sequential(
            nn.Linear(network.last_channel, NEURONS), *norm, nn.ReLU(), nn.Linear(NEURONS, 2)
        )
    stem = network.features[0][0]
    network.features[0][0] = nn.Conv2d(1, stem.out_channels, 3, stem_stride, 1, bias=False)
    return network
