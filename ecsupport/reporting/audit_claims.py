"""The claims that printed numbers agree with each other, put into the ledger from the verdicts of notebook 10.

audited: of `audit.rules.audit`. Each estimate is the number of printed numbers that disagree: a count without error.
"""

import pandas as pd

from ecsupport.audit.verdicts import disagreeing, witness
from ecsupport.reporting.results import Results


def totals(results: Results, audited: pd.DataFrame) -> None:
    """The claim that participants and images add up to the stated totals."""
    count = disagreeing(audited, "total", "results/data")
    results.estimate("published_counts_add_up", count, exact=True, n=2)


def overall_row(results: Results, audited: pd.DataFrame) -> None:
    """The claim that the overall row of Table 6 is the mean of its three experiments."""
    count = disagreeing(audited, "group_row", "table_6", "mean")
    results.estimate("table_6_overall_is_mean_of_experiments", count, exact=True, n=6)


def screening_table(results: Results, audited: pd.DataFrame) -> None:
    """The claim that Table 7 follows from the rates that the text names as its basis."""
    count = int(witness(audited, "text.results.screening.input_sensitivity", "screening_inputs").split()[0])
    note = "with the rates named in the sentence before the table; with those of Table 3 it is 4, all in last digits"
    results.estimate("table_7_follows_from_stated_performance", count, exact=True, n=20, note=note)


def reader_groups(results: Results, audited: pd.DataFrame) -> None:
    """The claim that the group rows of Table 8 follow from its ten readers."""
    count = disagreeing(audited, "group_row", "table_8")
    results.estimate("table_8_group_rows_follow_from_readers", count, exact=True, n=18)
