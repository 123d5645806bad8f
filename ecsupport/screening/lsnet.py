"""LSNet's student with sparse attention, and every network of Tables 2 to 5 by name."""

from typing import NamedTuple

import torch
from torch import nn

from ecsupport.backbone import mobilevit
from ecsupport.backbone.mobilevit import HEADS, POSITIONS, STUDENT, TEACHER, Block, MobileViT, block_sizes, initialise
from ecsupport.core import own_methods
from ecsupport.screening import comparators, released, sparse_attention
from ecsupport.screening.sparse_attention import Share

NAMES = ("lsnet", "lsnet_dense", "teacher", *comparators.NAMES)
KEY_SOURCES = ("simulator", "random")
VARIANTS = ("described", "shared", "released")


class Selection(NamedTuple):
    """What a sparse block decided: what it keeps, (B, P, h, N, .), and the features (B, P, h, N, d) behind it.

    `kept`: a mask or the keys, as `SparseAttention.attend_to` takes them. Where heads and positions share keys, both
    are (B, 1, 1, N, .). `features` are the simulator's; without one there are none.
    """

    kept: torch.Tensor
    features: torch.Tensor | None

    @property
    def keys(self) -> torch.Tensor:
        """The keys of each query (B, P, h, N, k) int64, ascending, made anew whenever they are asked for."""
        kept = self.kept
        if kept.is_floating_point():
            kept = (kept == 0).nonzero()[:, -1].reshape(*kept.shape[:-1], -1)  # (R k,) -> (B, P, h, N, k)
        return kept.expand(-1, POSITIONS, HEADS, -1, -1)

    @property
    def simulated(self) -> torch.Tensor:
        """The simulated gradient (B, P, h, N, N), made anew whenever it is asked for."""
        return sparse_attention.simulate(self.features).expand(-1, POSITIONS, HEADS, -1, -1)


class SparseBlock(Block):
    """A MobileViT block whose layers share the keys that the simulated gradient, or a teacher's, chose on entry."""

    def __init__(
        self,
        channels: int,
        dim: int,
        inner: int,
        depth: int,
        feed_forward: int | None,
        *,
        number: int,
        share: float,
        fusion: str,
        alpha: float,
        tau: float,
        keys: str,
        variant: str,
    ) -> None:
        as_released = variant == "released"
        attention = released.ReleasedAttention if as_released else sparse_attention.SparseAttention
        super().__init__(channels, dim, inner, depth, feed_forward, attention)
        self.number, self.share, self.shared, self.released = number, share, variant == "shared", as_released
        self.drawn = 0  # names the random keys of this network
        self.fusion = {"fusion": fusion, "alpha": alpha, "tau": tau}
        simulator = released.ReleasedSimulator if as_released else sparse_attention.Simulator
        self.simulator = simulator(dim, self.shared) if keys == "simulator" else None
        for layer in self.layers if as_released else ():
            layer.feed_forward = released.ReleasedFeedForward(dim)

    def transform(
        self,
        x: torch.Tensor,
        rows: int,
        guidance: torch.Tensor | None = None,
        teacher_share: Share = 0.0,
        selections: list[Selection | None] | None = None,
        *_: object,
    ) -> torch.Tensor:
        """(B, P, N, C) -> (B, P, N, C); guidance: (B, P, h, N, N), weighing `teacher_share` in the choice of keys.

        A single token has nothing to choose: its selection is None, and it attends to itself.
        """
        tokens = x.shape[2]
        k = sparse_attention.number_of_keys(tokens, self.share)
        selection = self.select(x, rows, k, guidance, teacher_share) if tokens > 1 else None
        if selections is not None:
            selections.append(selection)
        kept = selection.kept if selection is not None and k < tokens else None
        for layer in self.layers:
            x = layer(x, rows, kept)
        return x

    def select(
        self, x: torch.Tensor, rows: int, k: int, guidance: torch.Tensor | None = None, teacher_share: Share = 0.0
    ) -> Selection:
        """Choose k keys for each of the tokens (B, P, N, C), by the simulator's features or, without one, at random.

        The simulator learns from the tokens as they are: its loss does not reach the layers that made them, but as
        released.
        """
        # on a CPU, to fetch one row for all heads and positions costs less than a mask; derivatives need the mask
        by_key = k == 1 or self.released or (self.shared and x.is_cpu and not torch.is_grad_enabled())
        pick = sparse_attention.top_keys if by_key else sparse_attention.keep
        if self.simulator is None:
            groups = (1, 1) if self.shared else (POSITIONS, HEADS)
            kept = sparse_attention.random_keys(groups, x.shape[2], self.number, self.drawn, k, pick, x.device)
            return Selection(kept.expand(len(x), -1, -1, -1, -1), None)
        features = self.simulator(x if self.released else x.detach(), rows)
        kept = sparse_attention.choose(features, k, guidance, teacher_share, pick, **self.fusion)
        return Selection(kept, features)


class Student(MobileViT):
    """LSNet: the small MobileViT with sparse attention; needs no teacher to classify."""

    def __init__(
        self,
        stem_stride: int = 2,
        key_share: float = 1 / 25,
        fusion: str = "abs_mix",
        keys: str = "simulator",
        variant: str = "described",
        alpha: float = sparse_attention.ALPHA,
        tau: float = sparse_attention.TAU,
    ) -> None:
        """`keys`: chosen by the simulator, or `random`, drawn once for each network that `build` makes.

        variant: attention as `described`; with keys `shared` by all heads and pixel positions, which the mean of a
        patch's pixels chooses; or as `released`, with the mistakes of the module of that name in attention, simulator
        and feed-forward layers. ValueError for another source or variant.
        """
        for name, value, known in (("keys", keys, KEY_SOURCES), ("variant", variant, VARIANTS)):
            if value not in known:
                raise ValueError(f"{name} {value!r} is unknown, expected one of {', '.join(known)}")
        sparse = {"share": key_share, "keys": keys, "variant": variant, "fusion": fusion, "alpha": alpha, "tau": tau}
        sizes = enumerate(block_sizes(STUDENT))
        super().__init__(STUDENT, stem_stride, [SparseBlock(*s, number=n, **sparse) for n, s in sizes])

    def forward(
        self,
        images: torch.Tensor,
        guidance: list[torch.Tensor | None] | None = None,
        teacher_share: Share = 0.0,
        selections: list[Selection | None] | None = None,
    ) -> torch.Tensor:
        """Logits (B, 2), class 1 is the positive one, of images (B, 1, S, S) float32 in [-1, 1].

        guidance: one (B, P, h, N, N) map or None a block; it weighs `teacher_share` against the simulated gradient.
        A list `selections` receives what each block decided. UserError for a size that cannot be cut into patches.
        """
        x = self.stem(self.demand_size(images))
        for number, (stage, block) in enumerate(zip(self.stages, self.blocks, strict=True)):
            x = block(stage(x), guidance[number] if guidance else None, teacher_share, selections)
        return self.classify(x)


def names() -> tuple[str, ...]:
    """Of all networks, one's own last; UserError where one of these has a name that is taken."""
    own_methods.refuse_taken("networks", NAMES)
    return (*NAMES, *own_methods.methods().networks)


def revisions(name: str, variant: str = "described", fusion: str = "abs_mix") -> dict[str, int | str]:
    """The revision of each part that the network `name` is made of. ValueError for another name."""
    if name not in names():
        raise ValueError(f"network {name!r} is unknown, expected one of {', '.join(names())}")
    if name not in NAMES:
        return {"own": own_methods.methods().digest}
    found = {"configuration": comparators.REVISIONS[name]} if name in comparators.NAMES else {}
    if name in (*NAMES[:3], "mobilevit"):
        found["mobilevit"] = mobilevit.REVISION
    if name == "lsnet":
        found["sparse_attention"] = sparse_attention.REVISION
        if fusion == "magnitude":
            found["magnitude"] = sparse_attention.REVISION_MAGNITUDE
        if variant == "released":
            found["released"] = released.REVISION
    return found


def build(
    name: str,
    generator: torch.Generator,
    *,
    stem_stride: int = 2,
    key_share: float = 1 / 25,
    fusion: str = "abs_mix",
    keys: str = "simulator",
    variant: str = "described",
    alpha: float = sparse_attention.ALPHA,
    tau: float = sparse_attention.TAU,
    teacher_width: float = 1.0,
) -> nn.Module:
    """A network by name with weights from `generator`; every one gives logits (B, 2), class 1 is the positive one.

    lsnet: the student. lsnet_dense: the student with dense attention and no simulator. teacher: the dense MobileViT,
    `teacher_width` times the released width. Or one of `comparators.NAMES`. One's own starts from the weights that its
    layers draw by themselves. ValueError for another name.
    """
    with torch.random.fork_rng(devices=[]):  # torch's layers draw weights when built; these are drawn anew below
        if name == "lsnet":
            network: nn.Module = Student(stem_stride, key_share, fusion, keys, variant, alpha, tau)
        elif name == "lsnet_dense":
            network = MobileViT(STUDENT, stem_stride)
        elif name == "teacher":
            network = MobileViT(TEACHER.scaled(teacher_width), stem_stride)
        elif name in comparators.NAMES:
            network = comparators.build(name, stem_stride)
        elif name in names():
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            return own_methods.methods().networks[name](stem_stride).to(memory_format=torch.channels_last)
        else:
            raise ValueError(f"network {name!r} is unknown, expected one of {', '.join(names())}")
    initialise(network, generator)
    if name == "lsnet" and keys == "random":
        for block in network.blocks:
            block.drawn = int(torch.randint(2**31, (), generator=generator))
    return network.to(memory_format=torch.channels_last)
