"""What trainings on phantoms say, from the ledger of the quoted profile, or that none was trained long enough yet."""

import pandas as pd

from ecsupport.core.profiles import load
from ecsupport.paper.published import TRAINING
from ecsupport.reporting import evidence
from ecsupport.reporting.evidence import interval, link, number
from ecsupport.reporting.findings import Finding, page
from ecsupport.reporting.ledger import VERDICTS


def trainings() -> str:
    """Block of FINDINGS.md: what trainings on phantoms say, or that nothing was trained long enough yet."""
    ledger = _claims()
    if not evidence.trained():
        planned = load("laptop")
        return "\n".join([
            f"**Not trained yet.** `smoke` trains for seconds and tests none of the {len(ledger)} claims that rest on "
            "training.",
            f"Longer trainings follow: {len(planned.seeds)} seeds each, decided on "
            f"{planned.cohort.extended_patients:,} further phantom patients.",
            "The [rules](data_manifests/paper/README.md) are written down before they begin.",
            "Earlier trainings at `laptop` were too short: three of Table 3 ranked its networks in three orders. Their "
            "tables are in this repository's history.",
        ])  # fmt: skip
    return f"**{headline()}**\n\n{page(_of_trainings(), ledger)}"


def headline() -> str:
    """One sentence: how many of the claims that rest on training stand under each verdict that occurs."""
    ledger = _claims()
    counts = [(int((ledger["verdict"] == name).sum()), name) for name in VERDICTS]
    told = ", ".join(f"{n} {name.replace(', ', ' but ')}" for n, name in counts if n)
    return f"Of {len(ledger)} claims that rest on training, on phantoms: {told}."


def _claims() -> pd.DataFrame:
    ledger = evidence.ledger()
    return ledger[ledger["rests_on"] == TRAINING]


def _of_trainings() -> list[Finding]:
    """Findings of a profile that trains long enough which are no claims of the paper."""
    seen = evidence.table("unseen_patients")
    areas = seen[seen["patients"] == "extended"].groupby("network", sort=False)["roc_auc"]
    passing = evidence.table("passing").groupby("images", sort=False)["estimate"]
    size = evidence.table("decidable_at_published_size")
    size = size[(size["metric"] == "roc_auc") & (size["drawn"] == size["drawn"].iloc[0])]
    told = evidence.table("label_in_guidance")
    told = told[(told["measure"] == "auc") & (told["given"] == "random label") & (told["when"] == "each image alone")]
    by_choice = told.groupby("choice", sort=False)["value"].mean()
    tried = evidence.table("design_trials").set_index("trial")
    called = evidence.table("design_called").set_index("finding")["without-findings"]
    higher = (tried["found"] == "higher").sum()
    return [
        Finding(
            f"Of {len(tried)} study designs {higher} report more than is true, beyond their intervals",
            _optimism(tried, "sound", "balanced test set", "source", "by image 16"),
            link("11", "What came out"), "optimism, reported less true; the population's mix is an assumption",
        ),
        Finding(
            "Carcinoma against normal uteri, reported as invasion: optimism, and who else is called positive",
            f"{_optimism(tried, 'endpoint')}; carcinoma without invasion "
            f"{number(called['carcinoma without invasion'])}, hyperplasia {number(called['hyperplasia'])}, polyp "
            f"{number(called['polyp'])}",
            link("11", "The endpoint: from what is reported to what is named"), "one network, EfficientNet; phantoms",
        ),
        Finding(
            "AUC of each network on further phantom patients: mean and range of its runs",
            _ranges(areas),
            link("05", "Table 3"), f"{areas.size().min()} runs a network; dense twins and ablations in 06",
        ),
        Finding(
            "A fresh network tells translations from phantom ultrasound: AUC, mean and range of runs",
            _ranges(passing),
            link("03", "Table 1"), "at one half it could not tell; translations that it always knows test no claim",
        ),
        Finding(
            "A test set of the published size would have decided LSNet's AUC against each network so often",
            "; ".join(f"{row.less} {number(row.decided)}" for row in size.itertuples()),
            link("05", "What could a test set of the published size have decided?"),
            f"{size['draws'].iloc[0]} draws, {size['drawn'].iloc[0]}",
        ),
        Finding(
            "A random label given to the teacher is read back from the kept keys (AUC by choice of keys)",
            "; ".join(f"{name}: {number(value)}" for name, value in by_choice.items()),
            link("05", "Guidance and the label"), "a linear decoder, mean over blocks and runs: a lower bound",
        ),
    ]  # fmt: skip


def _optimism(tried: pd.DataFrame, *trials: str) -> str:
    """`sound: by patient (AUC) 0.00613 (−0.00276 to 0.0150); ...`, of trials of notebook 11."""
    rows = tried.loc[list(trials)].itertuples()
    return "; ".join(f"{row.words} ({row.measure}) {interval(row.optimism, row.low, row.high)}" for row in rows)


def _ranges(of: pd.api.typing.SeriesGroupBy) -> str:
    """`LSNet 0.861 (0.815 to 0.888); ...`: mean, least and greatest of each group's runs."""
    lines = of.agg(["mean", "min", "max"]).itertuples()
    return "; ".join(
        f"{name} {interval(mean, least, most) if least < most else number(mean)}" for name, mean, least, most in lines
    )
