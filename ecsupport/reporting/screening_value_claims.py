"""The claims of Table 7, put into the ledger: point estimates by the published rates, intervals by drawn ones.

exact: of `screening_value`, (n_populations,) each, in the order of PREVALENCES, which begins with general screening;
sampled: of `screening_value_samples` at the same prevalences, (n_samples, n_populations) each.
"""

from collections.abc import Mapping

import numpy as np

from ecsupport.reporting.results import Results

NOTE = "from the published counts; images taken as independent"
IMAGES = 672  # of the published test set
Values = Mapping[str, np.ndarray]


def likelihood_ratio(results: Results, exact: Values, sampled: Values) -> None:
    """The claims that LR+ does not depend on prevalence and that it is substantial."""
    ratio, note = exact["lr_positive"], "an identity: the formula has no prevalence"
    results.estimate("lr_plus_independent_of_prevalence", np.ptp(ratio), exact=True, note=note)
    _book(results, "lr_plus_substantial", ratio[0], sampled["lr_positive"][:, 0])


def predictive_values(results: Results, exact: Values, sampled: Values) -> None:
    """The claims on the lowest NPV, the smallest step of the PPV between populations, and its lowest at high risk."""
    npv, ppv = ((exact[name], sampled[name]) for name in ("npv", "ppv"))
    _book(results, "npv_excellent_at_every_prevalence", *(of.min(axis=-1) for of in npv))
    _book(results, "ppv_rises_with_prevalence", *(np.diff(of).min(axis=-1) for of in ppv))
    _book(results, "ppv_high_in_high_risk_groups", *(of[..., 1:].min(axis=-1) for of in ppv))


def number_to_screen(results: Results, exact: Values, sampled: Values) -> None:
    """The claims on the NNS: the largest of the two groups at highest risk, and that of general screening."""
    nns = exact["nns"], sampled["nns"]
    _book(results, "nns_at_most_3_in_high_risk_groups", *(of[..., 2:].max(axis=-1) for of in nns))
    _book(results, "nns_in_general_population", *(of[..., 0] for of in nns))


def _book(results: Results, claim: str, value: float, drawn: np.ndarray) -> None:
    results.estimate(claim, value, *np.quantile(drawn, [0.025, 0.975]), n=IMAGES, note=NOTE)
