"""Variance components of training seeds crossed with patients: the interval behind every claim on trained networks.

Every training is scored on every patient. psi[s, p] are pseudo-values: their mean is the estimate, their spread its
error (Efron and Stein, Ann Stat 1981). A two-way analysis of variance of S seeds and P patients gives mean squares,
and the variances of the mean that each factor alone would give are
    V_seeds = MS_seeds / (S P),    V_patients = MS_patients / (S P),    V_both = MS_both / (S P).
What both do together stands in either of the first two, so Var(mean) = V_seeds + V_patients - V_both, here never
below either factor alone. The half-width h of the 95 % interval takes each factor's own t quantile (Howe, J Am Stat
Assoc 1974; 69:789-794):
    h^2 = t(P - 1)^2 V_patients + t(S - 1)^2 (V_seeds - V_both).
Satterthwaite's one t covers 92 % for three seeds that dominate; Howe's bound holds 93 to 97 %
(`evaluation.crossed_coverage`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq

MINIMUM_SEEDS = 3  # two have one degree of freedom: their spread is hardly known
SCOPES = ("training seeds and patients", "these trained models")
_CONFIDENCE = 0.975
_ROUNDING = 1e-12  # of a standard error, in units of the largest pseudo-value: nothing varies


@dataclass(frozen=True)
class Factor:
    """The variance of the mean that one factor gives, and its degrees of freedom."""

    variance: float
    degrees: float


@dataclass(frozen=True)
class Spread:
    """Standard error of an estimate, and the degrees of freedom of the t whose 97.5 % quantile gives its interval.

    Where nothing varies the error is 0 and degrees are NaN; both are NaN where a pseudo-value is.
    """

    standard_error: float
    degrees: float

    def interval(self, estimate: float, level: float = 0.95) -> tuple[float, float]:
        """Low and high; at other levels than 0.95 by the same t. Of no error both are the estimate."""
        reach = stats.t.ppf((1 + level) / 2, self.degrees) * self.standard_error if self.standard_error else 0.0
        return float(estimate - reach), float(estimate + reach)

    def p_value(self, estimate: float, null: float = 0.0) -> float:
        """Two-sided p-value against null; 1 where nothing varies, which is no certainty."""
        if self.standard_error == 0:
            return 1.0
        return float(2 * stats.t.sf(abs(estimate - null) / self.standard_error, self.degrees))


def spread(patients: Sequence[Factor], seeds: Sequence[Factor] = (), both: float = 0.0) -> Spread:
    """The error of a mean over patients, in one or more strata, and over the seeds of one or more models.

    both: variance of the mean that seeds and patients give together, counted in patients and in seeds.
    """
    of_patients, of_seeds = (_pooled(factors) for factors in (patients, seeds))
    own = max(of_seeds.variance - min(both, of_patients.variance), 0.0)  # the total is never below one factor alone
    parts = [part for part in (of_patients, Factor(own, of_seeds.degrees)) if part.variance != 0]  # NaN stays
    total = sum(part.variance for part in parts)
    if not total > 0:
        return Spread(float(total), np.nan)
    squares = [stats.t.ppf(_CONFIDENCE, part.degrees) ** 2 * part.variance for part in parts]
    quantile = np.sqrt(sum(squares) / total)
    fewest, most = (float(of(part.degrees for part in parts)) for of in (min, max))
    degrees = fewest
    if most - fewest > 1e-9:
        degrees = brentq(lambda df: stats.t.ppf(_CONFIDENCE, df) - quantile, fewest, most)
    return Spread(float(np.sqrt(total)), degrees)


def _pooled(factors: Sequence[Factor]) -> Factor:
    """Strata of patients, or seeds of two models, as one factor, with the degrees of freedom of Satterthwaite."""
    total = float(sum(factor.variance for factor in factors))
    if not total > 0:
        return Factor(total, np.nan)
    return Factor(total, 1 / sum((factor.variance / total) ** 2 / factor.degrees for factor in factors))


def crossed(pseudo_values: ArrayLike | Sequence[ArrayLike]) -> tuple[Spread, str]:
    """The error of the mean pseudo-value, or of a mean of one model less that of another, and what it speaks about.

    pseudo_values: (S, P) of one model, or the paired difference of two; for two models of unlike seeds a pair of
    (S_a, P) and (S_b, P), on the same patients
    With fewer than MINIMUM_SEEDS trainings of a model the seeds stay as they are, patients alone vary, and the scope,
    one of SCOPES, says so.
    """
    models = list(pseudo_values) if isinstance(pseudo_values, tuple) else [np.asarray(pseudo_values, float)]
    means = [psi.mean(axis=0) for psi in models]  # (P,) each
    profile = means[0] - means[1] if len(models) > 1 else means[0]
    n = len(profile)
    if np.ptp(profile) <= _ROUNDING * (1 + max(np.abs(psi).max() for psi in models)):
        profile = np.zeros(n)
    patients = [Factor(float(profile.var(ddof=1) / n), n - 1)]
    if min(map(len, models)) < MINIMUM_SEEDS:
        return spread(patients), SCOPES[1]
    seeds, both = [], 0.0
    for psi, of_patient in zip(models, means, strict=True):
        count, of_seed = len(psi), psi.mean(axis=1)
        if np.ptp(of_seed) <= _ROUNDING * (1 + np.abs(psi).max()):
            of_seed = np.full(count, of_seed.mean())
        rest = psi - of_patient - of_seed[:, None] + of_seed.mean()
        seeds.append(Factor(float(of_seed.var(ddof=1) / count), count - 1))
        both += float((rest**2).sum() / ((count - 1) * (n - 1) * count * n))
    return spread(patients, seeds, both), SCOPES[0]


class Estimate(NamedTuple):
    """A mean pseudo-value, or a comparison of two, with its 95 % interval, its spread and what it speaks about."""

    value: float
    low: float
    high: float
    spread: Spread
    scope: str


def estimated(pseudo_values: ArrayLike, value: float | None = None) -> Estimate:
    """The mean of pseudo-values (S, P) with its interval. value: the estimate where it is no mean of these."""
    value = float(np.mean(pseudo_values)) if value is None else value
    found, scope = crossed(pseudo_values)
    return Estimate(value, *found.interval(value), found, scope)
