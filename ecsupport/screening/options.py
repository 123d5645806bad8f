"""The choices that text and released code leave open in LSNet: what is built, what else can be chosen, and why.

Serves the table of options in notebook 06, which adds what a choice was measured to change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Option:
    """A field of `Settings` that the paper leaves open.

    default: what LSNet has;  others: what else can be chosen, the released code's first where it differs and can be
    had at all;  open: what is not said, or said in two ways;  reason: for the default.
    """

    field: str
    default: Any
    others: tuple[Any, ...]
    open: str
    reason: str


OPTIONS = (
    Option(
        "variant", "described", ("released", "shared"),
        "code gathers along the wrong axis, so that every query sees k copies of its own token, exchanges position and "
        "head in the result, which passes a GELU, and misreads the simulator's input and what feed-forward layers have "
        "convolved (`released` has all of it: its logits are the released network's to 1e-5)",
        "the method is the described one; keys that all heads and pixel positions share (`shared`, by the mean of a "
        "patch's pixels) cost least",
    ),
    Option(
        "fusion", "abs_mix", ("code", "magnitude"),
        "Equation 14 is lost in the text; the code's form keeps the largest gradients whatever its parameters; "
        "`magnitude`, |G|, is what the text's words say, without alpha or tau, and never tells the label of an image",
        "the text wants keys of large absolute gradient, and has alpha and tau",
    ),
    Option(
        "alpha", 0.7, (0.5,),
        "the value in Equation 14 is lost in the text; away from .5 gradients of either sign count unequally, and of "
        "two classes the sign is the label, which the choice of keys then tells the student; at .5 it does so during "
        "the hand-over, where signed maps are added",
        "as in the code",
    ),
    Option(
        "gradient_of", "label", ("prediction",),
        "the gradient is that of the true label's loss, which nobody knows at the test; that of the class that the "
        "teacher predicts can be had at both times",
        "Equation 10",
    ),
    Option(
        "simulation", "features", ("raw", "rows"),
        "the text compares 128 features of the maps and does not say how they are trained; the code compares maps",
        "fixed random features cannot collapse, and do not ask a map near 1 to be one near nought; maps differ in crop "
        "from step to step and are not smoothed; in block 1 `rows`, standardised ones, still teach the order of keys "
        "(notebook 05)",
    ),
    Option(
        "smoothing", 0.7, (1.0,),
        "Equation 17 gives no value, the text tunes it during training without saying how, and averages maps of "
        "different crops; the code does not smooth",
        "above one half as the text asks; an average of features by image",
    ),
    Option(
        "distance", "divergence", ("cosine",),
        "L_KD is not defined; the code takes the cosine of projected features, here of the two logits, and sends "
        "gradients to the teacher too, here never",
        "the usual distance of soft labels, here at T = 3",
    ),
    Option(
        "handover", "described", ("released",),
        "weights in Equation 16 are not given; in the code they are constant and the teacher never chooses a key",
        "the text's three phases: dependence, handover, autonomy",
    ),
    Option(
        "guidance", "teacher", ("simulator", "random"),
        "what the student would be without the teacher's gradients",
        "gradient distillation is what the method consists in",
    ),
    Option(
        "key_share", 1 / 25, (1.0, 1 / 10, 1 / 50),
        "the values of k are lost in Table 5",
        "the released share; 1/10 where 1/25 would leave fewer than 16 keys in block 1",
    ),
    Option(
        "shared_start", None, (42,),
        "the text has three independent runs, the code three fine-tunings of one network",
        "a spread over runs that share their first phase is not that of the method",
    ),
)  # fmt: skip


DECIDED = pd.DataFrame(
    [
        ("rows of gradients are standardised before Equation 13", "raw ones are so small that weights hardly differ"),
        ("keys are chosen once, on entry to a block, for all its layers", "one simulator a block, as in the code"),
        ("the simulator's loss stops at the tokens", "it learns to read features, it does not make them"),
        ("phi is a fixed random network", "one that learned along could send every map to one point"),
        ("the teacher hands over from .3 to .7 of the training; L_KD has T = 3", "the text has phases, no numbers"),
        ("batches hold as many positive as negative images", "the code weighs classes, in its second phase alone"),
        ("weights are kept from the second half of the last phase", "the code looks at the last epochs"),
        ("AdamW, weight decay .01 on kernels and matrices, none on norms and biases; the rate rises over a tenth of a "
         "phase and falls as a cosine",
         "the code has Adam and a longer rise, to twice the rate, before its cosine; a norm restores what decay takes"),
        ("w(p) of Equation 16 multiplies the simulator's learning rate in place of L_sim",
         "no other loss reaches the simulator, and AdamW divides the scale of a single loss out"),
        ("tau = .5; Equation 12 without a scale; maps of each block's first layer", "as in the code"),
        ("of equal weights the first keys are kept", "the same keys on every device"),
        ("ReLU6 in the four convolutions of a MobileViT block, SiLU in inverted residuals",
         "the text names none, the code has these; the peer MobileViT has SiLU throughout, as published"),
        ("crops of .8 to 1 of a side, mirrored left to right", "the code's may lose the uterus or turn it upside down"),
        ("first weights after He (convolutions) and Glorot (linear layers); simulators are drawn last",
         "the text says random weights; students with and without a simulator start alike"),
    ],
    columns=["decided, without an option", "reason"],
)  # fmt: skip


def table(effects: Mapping[tuple[str, Any], str], used: Mapping[str, Any]) -> pd.DataFrame:
    """One row an alternative: option, default, alternative, what is open, reason, and the effect where it was measured.

    effects: by field and value of the alternative, in words;  used: what LSNet has here, by field, which at small
    images may be another than the default of the paper's size. KeyError for an alternative that no option has.
    """
    rows = [
        (option.field, used[option.field], other, option.open, option.reason, effects.get((option.field, other), ""))
        for option in OPTIONS
        for other in (option.default, *option.others)
        if other != used[option.field]
    ]
    if unknown := set(effects) - {(row[0], row[2]) for row in rows}:
        raise KeyError(f"{unknown.pop()} is the alternative of no option")
    found = pd.DataFrame(rows, columns=["option", "default", "alternative", "left open", "reason", "measured effect"])
    return found.astype({"default": object, "alternative": object})
