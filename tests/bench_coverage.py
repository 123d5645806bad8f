"""Coverage of the 95 % intervals where a patient's images are alike: 2,000 simulated test sets whose truth is known."""

from collections.abc import Iterator

from ecsupport.bench import Measure, measure
from ecsupport.core.seeds import generator
from ecsupport.evaluation.simulated_coverage import KINDS, SHOWN, coverage

REPLICATIONS, RESAMPLES = 2000, 1000
BOUND = KINDS[0]  # percentile intervals of an AUC hover at 93 %, since they do not correct the skew near 1


@measure("coverage")
def moderate_errors() -> Iterator[Measure]:
    """Sensitivity and specificity 0.85: the bound is the side of 93 to 97 % on which the value lies."""
    yield from _measures(0.85, REPLICATIONS, BOUND)


@measure("coverage")
def few_errors() -> Iterator[Measure]:
    """Sensitivity and specificity 0.975, as published: shown without a bound, for so few patients err."""
    yield from _measures(0.975, REPLICATIONS // 2, "")


def _measures(rate: float, replications: int, bounded: str) -> Iterator[Measure]:
    rng = generator("bench", "coverage", str(rate))
    shares, correlation = coverage(rate, replications=replications, n_resamples=RESAMPLES, rng=rng)
    yield Measure(f"{rate}: intraclass correlation of the calls", correlation, "")
    for kind in KINDS:
        for name in SHOWN:
            value = float(shares.loc[kind, name])
            low = value < 0.95
            bound = (0.93 if low else 0.97) if kind == bounded else None
            yield Measure(f"{rate}: {name}, by {kind}", value, "held", bound, at_least=low)
