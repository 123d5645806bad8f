"""Which clinical values are missing at the bedside: nested masks of exact rates, by three mechanisms (Rubin 1976).

At random; more often the older a patient is; more often where she has the disease, so that the gap itself tells the
diagnosis. A value is missing at rate r where its rank lies among the first share r: what is missing at one rate is
missing at every higher one, and the masks of all mechanisms have the same size.
"""

import numpy as np

RATES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
MECHANISMS = AT_RANDOM, BY_AGE, BY_DIAGNOSIS = "at random", "by age", "by diagnosis"
KINDS = ("whole records", "single values")
STRENGTH = 1.0  # of age or diagnosis, in standard deviations of the noise beside one of theirs


def ranks(mechanism: str, driver: np.ndarray, covariates: int, rng: np.random.Generator) -> np.ndarray:
    """In which order values go missing: (P, covariates) in [0, 1), one permutation a column; missing where below r.

    driver: (P,) age or label, on which missingness depends; its NaN count as its mean. ValueError for another mechanism
    """
    if mechanism not in MECHANISMS:
        raise ValueError(f"mechanism {mechanism!r} is unknown, expected one of {', '.join(MECHANISMS)}")
    latent = rng.normal(size=(len(driver), covariates))
    if mechanism != AT_RANDOM:
        known = ~np.isnan(driver)
        centred = np.where(known, driver - (driver[known].mean() if known.any() else 0.0), 0.0)
        latent -= STRENGTH * (centred / (centred.std() or 1.0))[:, None]
    return latent.argsort(axis=0).argsort(axis=0) / len(driver)


def missing(ranks: np.ndarray, rate: float) -> np.ndarray:
    """Mask of the values that are missing at this rate; of every column the same number."""
    return ranks < round(rate * len(ranks)) / len(ranks)
