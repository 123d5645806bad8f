"""Rules of the audit about printed intervals: how many cases they imply, and what an interval owes its mean and SD.

Serves Tables 6 and 8. Rules take `cells` and `against` as in `arithmetic`.
"""

from fractions import Fraction
from math import sqrt

import numpy as np
import pandas as pd

from ecsupport.audit.arithmetic import Finding, by_subject, verdict
from ecsupport.audit.compatible import bounds
from ecsupport.audit.counts import centre
from ecsupport.audit.interval_sizes import METHODS, implied_sizes
from ecsupport.paper.published import half_unit, parse_printed

_Z = 1.959963984540054


def interval_holds_mean(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """A mean, SD and 95 % percentile interval can belong to one distribution.

    Cantelli: the quantile q lies at most sqrt((1 - q) / q) SDs below the mean and sqrt(q / (1 - q)) above it.
    """
    findings = []
    for group in by_subject(cells).values():
        rows = {part: cell for (_, part), cell in group.items()}
        mean, sd, low, high = (parse_printed(rows[part]["printed"]) for part in ("mean", "sd", "low", "high"))
        far, near, slack = sqrt(0.975 / 0.025), sqrt(0.025 / 0.975), 2 * half_unit(rows["mean"]["printed"])
        holds = -far * sd - slack <= low - mean <= near * sd + slack
        holds &= -near * sd - slack <= high - mean <= far * sd + slack
        below, above = (mean - low) / sd, (high - mean) / sd
        witness = f"the ends lie {below:.2f} SDs below and {above:.2f} above the mean; up to {far:.2f} is possible"
        findings += [Finding(cell["id"], verdict(bool(holds)), witness) for cell in rows.values()]
    return findings


def interval_at_n(cells: pd.DataFrame, against: pd.DataFrame, n: Fraction, up_to: Fraction) -> list[Finding]:
    """A proportion with its 95 % interval by Wald, Wilson or Clopper-Pearson at n cases; else which n up to `up_to`."""
    findings = []
    for group in by_subject(cells).values():
        rows = {part: cell for (_, part), cell in group.items()}
        sizes = {
            m: implied_sizes(*(rows[p]["printed"] for p in ("value", "low", "high")), int(up_to), m) for m in METHODS
        }
        fit = [m for m, found in sizes.items() if int(n) in found]
        said = f"at n = {n} by {', '.join(fit) or 'none of the three methods'}; n by {_ranges(sizes, int(up_to))}"
        findings += [Finding(cell["id"], verdict(bool(fit)), said) for cell in rows.values()]
    return findings


def interval_shared_n(cells: pd.DataFrame, against: pd.DataFrame, up_to: Fraction) -> list[Finding]:
    """One number of cases up to `up_to` serves the intervals of all readers, by one of the three methods."""
    groups = [{part: cell for (_, part), cell in group.items()} for group in by_subject(cells).values()]
    shared = {}
    for method in METHODS:
        each = [implied_sizes(*(g[p]["printed"] for p in ("value", "low", "high")), int(up_to), method) for g in groups]
        shared[method] = np.array(sorted(set.intersection(*(set(sizes.tolist()) for sizes in each))), dtype=np.int64)
    said = f"n shared by all {len(groups)} readers, by {_ranges(shared, int(up_to))}"
    holds = any(len(sizes) for sizes in shared.values())
    return [Finding(cell["id"], verdict(holds), said) for g in groups for cell in g.values()]


def reader_auc_interval(
    cells: pd.DataFrame, against: pd.DataFrame, n_positive: Fraction, n_negative: Fraction
) -> list[Finding]:
    """The 95 % interval of the AUC of one operating point: variance (Se (1 - Se) / n+ + Sp (1 - Sp) / n-) / 4.

    This is DeLong's variance for a reader who only says yes or no; cells: AUC, sensitivity, specificity of each reader,
    of which the AUC's interval is judged.
    """
    findings = []
    for group in by_subject(cells).values():
        se, sp = (
            sorted(float(p * (1 - p)) for p in bounds(centre(group, m)["printed"]))
            for m in ("sensitivity", "specificity")
        )
        half = [_Z / 2 * sqrt(a / int(n_positive) + b / int(n_negative)) for a, b in zip(se, sp, strict=True)]
        ends = [bounds(group["roc_auc", part]["printed"]) for part in ("low", "high")]
        least, most = (float(ends[1][side] - ends[0][1 - side]) / 2 for side in (0, 1))
        needed = int(np.ceil(se[0] * (_Z / 2 / most) ** 2))
        said = (
            f"half-width {half[0]:.4f} to {half[1]:.4f} with {n_positive} + {n_negative} images, "
            f"printed {least:.4f} to {most:.4f}; with however many negatives it takes {needed} positives or more"
        )
        holds = half[0] <= most and least <= half[1]
        findings += [Finding(group["roc_auc", part]["id"], verdict(holds), said) for part in ("low", "high")]
    return findings


def _ranges(sizes: dict[str, np.ndarray], up_to: int) -> str:
    """Least, greatest and number of the sizes by each method."""
    said = []
    for method, found in sizes.items():
        span = (
            f"{found[0]} to {found[-1]} ({len(found)} values)"
            if len(found) > 1
            else f"{found[0]}"
            if len(found)
            else "none"
        )
        said.append(f"{method} {span}")
    return f"{', '.join(said)}, searched to {up_to}"
