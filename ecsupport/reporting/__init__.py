"""The index of notebooks, one style for figures, results as files, the claims ledger and the report."""
