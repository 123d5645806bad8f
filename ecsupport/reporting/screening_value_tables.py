"""The tables of notebook 08: Table 7 printed and computed, and predictive values over prevalence."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ecsupport.evaluation.screening_value import PREVALENCES, screening_value, screening_value_samples
from ecsupport.paper.published import half_unit

PRINTED = {
    "ppv": "PPV",
    "npv": "NPV",
    "lr_positive": "LR+",
    "screen_positive_rate": "Expected Screen-Positive Rate",
    "nns": "NNS",
}
Values = Mapping[str, np.ndarray]  # quantity -> (n_populations,), in the order of PREVALENCES


def printed_and_computed(published: pd.DataFrame, computed: Values) -> pd.DataFrame:
    """Each printed cell of Table 7 beside the formula: does it agree to the last printed digit?

    published: of `load_numbers`. Columns population, prevalence, quantity, printed, published, computed, agrees.
    """
    cells = published[published["where"] == "table_7"]
    cells = cells.assign(population=cells["row"].str.lower()).set_index(["population", "column"])
    lines = []
    for i, (population, prevalence) in enumerate(PREVALENCES.items()):
        for quantity, column in PRINTED.items():
            cell, value = cells.loc[(population.lower(), column)], computed[quantity][i]
            line = {"population": population, "prevalence": prevalence, "quantity": quantity}
            line |= {"printed": cell["printed"], "published": cell["value"], "computed": value}
            agrees = abs(value - cell["value"]) <= half_unit(cell["printed"]) + 1e-12
            lines.append(line | {"agrees": bool(agrees)})
    return pd.DataFrame(lines)


def with_negative_ratio(table: pd.DataFrame, computed: Values) -> pd.DataFrame:
    """The table of `printed_and_computed` with LR-, which is not printed, for each population below it."""
    extra = pd.DataFrame({"population": list(PREVALENCES), "prevalence": list(PREVALENCES.values())})
    extra = extra.assign(quantity="lr_negative", printed="", published=np.nan, computed=computed["lr_negative"])
    both = [part.astype({"agrees": object}) for part in (table, extra.assign(agrees=np.nan))]
    return pd.concat(both, ignore_index=True)


def with_columns(table: pd.DataFrame, **columns: Values) -> pd.DataFrame:
    """A table with the columns population and quantity, and further ones from values of each quantity."""
    place = {name: i for i, name in enumerate(PREVALENCES)}
    rows = [(quantity, place[name]) for quantity, name in zip(table["quantity"], table["population"], strict=True)]
    return table.assign(**{name: [values[quantity][i] for quantity, i in rows] for name, values in columns.items()})


def over_prevalence(rates: tuple[float, float], drawn: tuple[np.ndarray, np.ndarray], grid: np.ndarray) -> pd.DataFrame:
    """Predictive values over a grid of prevalences: columns prevalence, ppv_low, ppv_high, ppv, and likewise npv.

    rates: sensitivity and specificity;  drawn: draws of both, (n_samples,) each, from which the 95 % limits are
    """
    computed, samples = screening_value(*rates, grid), screening_value_samples(*drawn, grid)
    columns = {"prevalence": grid}
    for quantity in ("ppv", "npv"):
        low, high = np.quantile(samples[quantity], [0.025, 0.975], axis=0)
        columns |= {f"{quantity}_low": low, f"{quantity}_high": high, quantity: computed[quantity]}
    return pd.DataFrame(columns)
