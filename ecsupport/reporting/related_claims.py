"""The claims of related systems: how they are booked, and what a page says of them (notebooks 12 and 13)."""

import numpy as np
import pandas as pd

from ecsupport.evaluation.components import Estimate
from ecsupport.paper.published import RELATED, load_claims
from ecsupport.reporting import ledger, shown
from ecsupport.reporting.results import Results


def book(results: Results, claim: str, found: Estimate, patients: int, *notes: str) -> None:
    """Put a claim on trained networks into a notebook's results; not assessable where it has no interval."""
    if np.isnan([found.value, found.low, found.high]).any():
        results.estimate(claim, None, assessable=False, note=f"{patients} patients are too few for an interval")
        return
    results.estimate(
        claim, found.value, found.low, found.high, degrees=found.spread.degrees, trained=True, n=patients,
        note="; ".join([found.scope, f"{patients:,} patients", *notes]),
    )  # fmt: skip


def verdicts(results: Results) -> pd.DataFrame:
    """The claims of a notebook's system with this run's values and verdicts, as a page shows them."""
    rows = ledger.verdicts(results, load_claims(RELATED))
    interval = [
        "" if pd.isna(row.computed) else shown.estimated(row.computed, row.low, row.high, "+.3f").replace("-", "−")
        for row in rows.itertuples()
    ]
    return pd.DataFrame({"claim": rows["claim"], "difference (95 % interval)": interval, "verdict": rows["verdict"]})
