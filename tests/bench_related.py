"""What a training step with both branches costs, against one that sees images alone (notebook 12)."""

from collections.abc import Iterator

import torch

from ecsupport.backbone.learner import Learner
from ecsupport.bench import Measure, interleaved, measure
from ecsupport.cohort.covariates import COVARIATES
from ecsupport.core import profiles
from ecsupport.core.training import device, reproducible, torch_generator
from ecsupport.related import bidirectional, fusion
from ecsupport.related.bidirectional import ARMS, BOTH, IMAGES

BOTH_BRANCHES = 1.5  # times a step of images alone


@measure("related")
def step() -> Iterator[Measure]:
    """A step of `laptop`'s size, the two in turn on one thread."""
    size, noise = profiles.load("laptop").clinical, torch_generator("bench")
    bags = torch.randn(size.batch, size.bag, 1, size.image_size, size.image_size, generator=noise)
    values, labels = torch.randn(size.batch, len(COVARIATES), generator=noise), torch.arange(size.batch) % 2

    def stepped(arm: str) -> None:
        learner = learners[arm]
        sum(bidirectional.losses(learner.begin(), ARMS[arm], bags, values, labels, 1.0).values()).backward()
        learner.update()

    with reproducible(1):
        networks = {arm: fusion.build(len(COVARIATES), size.stem_stride, noise) for arm in (BOTH, IMAGES)}
        learners = {arm: Learner(network, size.rate, 0.05, device("cpu")) for arm, network in networks.items()}
        seconds = interleaved(lambda: stepped(BOTH), lambda: stepped(IMAGES), rounds=20)
    yield Measure.ratio("a training step with both branches over images alone", *seconds, BOTH_BRANCHES)
