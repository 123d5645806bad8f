"""What LSNet's attention costs as described, with shared keys and as released, against dense attention."""

from collections.abc import Iterator

import torch

from ecsupport.bench import Measure, interleaved, measure
from ecsupport.core.training import reproducible, torch_generator
from ecsupport.screening.lsnet import build

SIDE = 320  # pixels, the paper's
DESCRIBED, SHARED = 1.8, 1.1  # times the dense student
FASTER, SHARED_FASTER = 4.0, 7.0  # times as fast as released

NETWORKS = {
    "dense": ("lsnet_dense", {}),
    "described": ("lsnet", {"fusion": "code"}),  # Equation 14 as printed
    "shared": ("lsnet", {"fusion": "code", "variant": "shared"}),
    "released": ("lsnet", {"variant": "released"}),
}


@measure("screening")
def inference() -> Iterator[Measure]:
    """One image at a time on one thread."""
    image = torch.randn(1, 1, SIDE, SIDE, generator=torch_generator("bench"))
    with reproducible(1), torch.inference_mode():
        networks = [build(name, torch_generator("bench"), **options).eval() for name, options in NETWORKS.values()]
        seconds = interleaved(*(lambda network=network: network(image) for network in networks))
    of = dict(zip(NETWORKS, seconds, strict=True))
    yield Measure("dense student, one image", of["dense"] * 1000, "ms")
    yield Measure("as described over dense", of["described"] / of["dense"], "times", DESCRIBED)
    yield Measure("as released over as described", of["released"] / of["described"], "times", FASTER, at_least=True)
    yield Measure("shared keys over dense", of["shared"] / of["dense"], "times", SHARED)
    yield Measure("as released over shared keys", of["released"] / of["shared"], "times", SHARED_FASTER, at_least=True)
