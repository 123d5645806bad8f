"""What LSNet's attention costs as described, with shared keys and as released, against dense attention."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from ecsupport.bench import Measure, forget_peak, in_child, interleaved, measure, memory, quantile
from ecsupport.core import profiles
from ecsupport.core.training import reproducible, torch_generator
from ecsupport.screening import distillation, sparse_attention
from ecsupport.screening.lsnet import build
from ecsupport.screening.settings import Settings

SIDE = 320  # pixels, the paper's
DESCRIBED, SHARED = 1.8, 1.1  # times the dense student
FASTER, SHARED_FASTER = 4.0, 7.0  # times as fast as released

BATCH, OF_RELEASED, OF_DENSE = 4, 0.25, 1.0  # images, times the memory of a training step
PROCESSES = 6  # times and memory differ between them; their smallest and largest are a 95 % interval of the median
JOINT = 1.5  # times one plain forward and backward pass of both networks


def gathering(network: torch.nn.Module) -> torch.nn.Module:
    """The network with keys gathered instead of masked."""
    for block in network.blocks:
        block.by_key = True
    return network


NETWORKS = {
    "dense": ("lsnet_dense", {}),
    "described": ("lsnet", {"fusion": "code"}),  # Equation 14 in the only form known
    "shared": ("lsnet", {"fusion": "code", "variant": "shared"}),
    "released": ("lsnet", {"fusion": "code", "variant": "released"}),
    "trained": ("lsnet", {}),  # as in the tables of the notebooks
    "trained, shared": ("lsnet", {"variant": "shared"}),
    **{f"1/{n}": ("lsnet", {"key_share": 1 / n}) for n in (10, 50)},
    "mobilenet_v2_wide": ("mobilenet_v2_wide", {}),
    "efficientnet": ("efficientnet", {}),
    "mobilevit": ("mobilevit", {}),
}


def built(name: str) -> torch.nn.Module:
    """A network of the table by its name there."""
    kind, options = NETWORKS[name]
    return build(kind, torch_generator("bench"), **options)


def picture() -> torch.Tensor:
    """One image of the paper's size."""
    return torch.randn(1, 1, SIDE, SIDE, generator=torch_generator("bench"))


def without_copies(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """The released attention where a token's N copies are N views of it: the same numbers, less moved."""
    form = (*q.shape[:-1], *q.shape[-2:])  # (B, P, h, N, N, d)
    places = kept.unsqueeze(-1).expand(*kept.shape, q.shape[-1])  # (B, P, h, N, m) -> (B, P, h, N, m, d)
    keys, values = (x.unsqueeze(-2).expand(form).gather(-2, places) for x in (k, v))
    scores = (keys * q.unsqueeze(-2)).sum(-1) * q.shape[-1] ** -0.5
    return (scores.softmax(-1).unsqueeze(-1) * values).sum(-2)


def sparing(network: torch.nn.Module) -> torch.nn.Module:
    """The released network without copies."""
    for block in network.blocks:
        for layer in block.layers:
            layer.attention.attend_to = without_copies
    return network


def over_dense(name: str) -> float:
    """Median time of a network over that of the dense student, the two in turn and by themselves, on one thread."""
    image = picture()
    with reproducible(1), torch.inference_mode():
        of, dense = (network.eval() for network in (built(name), built("dense")))
        seconds = interleaved(lambda: of(image), lambda: dense(image))
    return float(np.median(seconds[0] / seconds[1]))


@measure("screening")
def pairs() -> Iterator[Measure]:
    """Against the dense student, each pair in processes of its own."""
    for words, name, bound in (
        ("as described over dense", "described", DESCRIBED),
        ("shared keys over dense", "shared", SHARED),
        ("LSNet over dense", "trained", None),
        ("LSNet with shared keys over dense", "trained, shared", None),
    ):
        found = [in_child(__file__, f"over_dense({name!r})") for _ in range(PROCESSES)]
        value, low, high = quantile(np.array(found))
        yield Measure(words, value, "times", bound, low=low, high=high)


@measure("screening")
def inference() -> Iterator[Measure]:
    """One image at a time on one thread, all networks in turn."""
    image = picture()
    with reproducible(1), torch.inference_mode():
        networks = {name: built(name).eval() for name in NETWORKS}
        networks |= {"gathered": gathering(built("described")).eval(), "sparing": sparing(built("released")).eval()}
        torch.testing.assert_close(networks["gathered"](image), networks["described"](image))
        torch.testing.assert_close(networks["sparing"](image), networks["released"](image))
        seconds = interleaved(*(lambda network=network: network(image) for network in networks.values()), rounds=60)
    of = dict(zip(networks, seconds, strict=True))
    for words, name, q in (
        ("dense student, one image", "dense", 0.5),
        ("LSNet, one image", "trained", 0.5),
        ("LSNet, one image, 95th percentile", "trained", 0.95),
        *((f"LSNet with {share} of the keys, one image", share, 0.5) for share in ("1/10", "1/50")),
    ):
        value, low, high = quantile(1000 * of[name], q)
        yield Measure(words, value, "ms", low=low, high=high)
    yield Measure.ratio("as described, keys gathered, over masked", of["gathered"], of["described"])
    yield Measure.ratio("as released over as described", of["released"], of["described"], FASTER, at_least=True)
    yield Measure.ratio("as released over shared keys", of["released"], of["shared"], SHARED_FASTER, at_least=True)
    yield Measure.ratio("as released over LSNet", of["released"], of["trained"])
    yield Measure.ratio("as released, nothing copied, over as described", of["sparing"], of["described"])
    yield Measure.ratio("shared keys over dense, among all these", of["shared"], of["dense"])
    yield Measure.ratio("LSNet over dense, among all these", of["trained"], of["dense"])
    for name in ("mobilenet_v2_wide", "efficientnet", "mobilevit"):
        yield Measure.ratio(f"LSNet over {name}", of["trained"], of[name])


def step_memory(name: str, scores: bool = True, chunk: int = sparse_attention.CHUNK) -> float:
    """MB by which one training step, batch 4, exceeds what the process held before.

    LSNet is guided by maps that stand before, so that no teacher is counted, and learns its simulator along. `scores`:
    a dense network hands out the scores of the first layer of each block, as a teacher must; without them no map of
    N x N is made.  chunk: of more numbers LSNet makes some again on the way back.
    """
    torch.set_num_threads(1)
    sparse_attention.CHUNK = chunk
    kind, options = NETWORKS[name]
    noise = torch_generator("bench")
    network, images = build(kind, noise, **options).train(), torch.randn(BATCH, 1, SIDE, SIDE, generator=noise)
    guidance = [torch.randn(BATCH, 4, 4, n, n, generator=noise) for n in (400, 100, 25)]
    taught = distillation.Distillation(True, False, "features", distillation.Signature(), distillation.Targets(BATCH))
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    before = memory()
    forget_peak()
    if kind == "lsnet_dense":
        logits, loss = network(images, [] if scores else None), 0.0
    else:
        selections: list = []
        logits = network(images, guidance, 0.5, selections)
        loss, _ = taught.simulate(selections, guidance, torch.arange(BATCH))
    (loss + functional.cross_entropy(logits, torch.arange(BATCH) % 2)).backward()
    optimiser.step()
    return memory(peak=True) - before


@measure("screening")
def training_memory() -> Iterator[Measure]:
    """Peak over what was held before, each network in a process of its own."""

    def taken(call: str) -> np.ndarray:
        # else the allocator holds what the step no longer does
        surroundings = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
        return np.array([in_child(__file__, f"step_memory({call})", **surroundings) for _ in range(PROCESSES)])

    of = {
        "of the dense student": taken("'dense', scores=False"),
        "of the dense student, scores kept": taken("'dense'"),
        "of LSNet": taken("'trained'"),
        "as described": taken("'described'"),
        "as described, nothing made twice": taken("'described', chunk=10**12"),
        "with shared keys": taken("'shared'"),
        "as released": taken("'released'"),
    }
    for words, found in of.items():
        value, low, high = quantile(found)
        yield Measure(f"training step {words}", value, "MB", low=low, high=high)
    kept, described = of["of the dense student, scores kept"], of["as described"]
    yield Measure.ratio("memory: LSNet over the dense student", of["of LSNet"], of["of the dense student"])
    yield Measure.ratio("memory: LSNet over dense, scores kept", of["of LSNet"], kept)
    yield Measure.ratio("memory: as described over dense, scores kept", described, kept, OF_DENSE)
    yield Measure.ratio("memory: as described over as released", described, of["as released"], OF_RELEASED)


@measure("screening")
def joint_step() -> Iterator[Measure]:
    """Student and a teacher of half the released width, 32 images of 64 px, against plain passes of both."""
    profile = profiles.load("laptop")
    settings, side = Settings.of(profile, batch=32, teacher_width=0.5), profile.image_size
    images = torch.randn(settings.batch, 1, side, side, generator=torch_generator("bench"))
    labels = torch.arange(settings.batch) % 2
    student, teacher = (settings.build(name, 1).train() for name in ("lsnet", "teacher"))
    signature, targets = distillation.Signature(), distillation.Targets(settings.batch)
    taught = distillation.Distillation(True, True, settings.simulation, signature, targets)

    def joint() -> None:
        lesson = distillation.teach(teacher, images, labels)
        ids, weigh = torch.arange(settings.batch), distillation.weights(0.5)
        distillation.learn(student, lesson, taught, images, labels, ids, weigh)

    def plain() -> None:
        for network in (teacher, student):
            functional.cross_entropy(network(images), labels).backward()

    with reproducible(1):
        together, apart = interleaved(joint, plain)
    yield Measure("joint step", float(np.median(together)) * 1000, "ms")
    yield Measure.ratio("joint step over plain passes of both", together, apart, JOINT)
