"""What a page says of the claims of a related system (notebooks 12 and 13)."""

import pandas as pd

from ecsupport.paper.published import RELATED, load_claims
from ecsupport.reporting import ledger, shown
from ecsupport.reporting.results import Results


def verdicts(results: Results) -> pd.DataFrame:
    """The claims of a notebook's system with this run's values and verdicts, as a page shows them."""
    rows = ledger.verdicts(results, load_claims(RELATED))
    interval = [
        "" if pd.isna(row.computed) else shown.estimated(row.computed, row.low, row.high, "+.3f").replace("-", "−")
        for row in rows.itertuples()
    ]
    return pd.DataFrame({"claim": rows["claim"], "difference (95 % interval)": interval, "verdict": rows["verdict"]})
