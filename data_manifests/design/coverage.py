"""How often the interval of a sound design's optimism holds zero, in 2,000 simulated studies: writes coverage.csv.

python data_manifests/design/coverage.py
"""

from pathlib import Path

import pandas as pd

from ecsupport.core.seeds import generator
from ecsupport.evaluation.optimism import simulated_coverage

REPETITIONS = 2000


def main() -> None:
    """Write one row for every number of trainings."""
    rows = []
    for seeds in (3, 5):
        covered = simulated_coverage(REPETITIONS, generator("design", "coverage", seeds), seeds)
        rows.append({"trainings": seeds, "repetitions": REPETITIONS, "claimed": 0.95, "held zero": covered})
    pd.DataFrame(rows).to_csv(Path(__file__).with_name("coverage.csv"), index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
