"""How often the intervals over training seeds and patients hold a known truth: simulated crossed designs.

`python -m ecsupport.evaluation.crossed_coverage` writes data_manifests/paper/crossed_coverage.csv (2,000 repetitions).

A patient, with a lesion or without, has four images. Training s scores image i of patient p
    (y - 1/2) (D + A_s) + u_p + v_sp + w_i + e_si,
all normal, u, v, w and e of variance 1 together; images scored above 0 are called positive. Over all seeds and
patients the AUC is Phi(D / sqrt(2 + Var A)) and the sensitivity Phi(D / 2 / sqrt(1 + Var A / 4)). A second model, less
separated, shares half of u, half of A and all of w: the same patients, images and seeds. The difference is the first
model's AUC less its own.

Where trainings differ widely (SD 0.05 to 0.07 in the AUC, with 130 patients and seeds that dominate) their AUCs are
skewed towards the ceiling, skewness about -1, and three or five of them make Student's t hold a single AUC only 92 to
94 times in 100. A difference of two such AUCs is not skewed; the ledger judges differences.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ecsupport.core import paths
from ecsupport.core.artefacts import replacing
from ecsupport.core.seeds import generator
from ecsupport.evaluation.classification import METRICS
from ecsupport.evaluation.components import crossed
from ecsupport.evaluation.pseudo_values import pseudo_values

IMAGES = 4  # of a patient
SEPARATION = (1.8, 1.7)  # D of either model, in SDs of a score
SHARED = 0.5  # of the variance of patients, and of seeds, that both models have in common
QUANTITIES = ("roc_auc", "sensitivity", "difference in roc_auc")
REPETITIONS = 2000


@dataclass(frozen=True)
class Components:
    """Variances of u, v, w and e, 1 in all; seeds: SD of the mean that seeds give, over that of patients and images."""

    u: float
    v: float
    w: float
    e: float
    seeds: float


DESIGNS = {
    "seeds dominate": Components(0.3, 0.1, 0.4, 0.2, 2.0),
    "patients dominate": Components(0.5, 0.05, 0.4, 0.05, 0.1),
    "mixed": Components(0.3, 0.1, 0.4, 0.2, 1.0),
    "interaction": Components(0.1, 0.5, 0.1, 0.3, 0.5),
}


def seed_variance(of: Components, n_seeds: int, n_patients: int) -> float:
    """Var A, so that the mean of the seeds varies `of.seeds` times as much as the difference of the classes' means."""
    of_patients = 4 / n_patients * (of.u + of.v / n_seeds + (of.w + of.e / n_seeds) / IMAGES)
    return n_seeds * of.seeds**2 * of_patients


def truth(of: Components, n_seeds: int, n_patients: int) -> np.ndarray:
    """The QUANTITIES over all seeds and patients, (3,)."""
    varies = seed_variance(of, n_seeds, n_patients)
    area, other = stats.norm.cdf(np.array(SEPARATION) / np.sqrt(2 + varies))
    return np.array([area, stats.norm.cdf(SEPARATION[0] / 2 / np.sqrt(1 + varies / 4)), area - other])


def draw(
    rng: np.random.Generator, of: Components, n_seeds: int, n_patients: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One test set: labels (n,), scores of both models (2, n_seeds, n), patients (n,)."""
    patient = np.repeat(np.arange(n_patients), IMAGES)
    y = np.repeat(rng.permutation(n_patients) % 2, IMAGES)
    varies = seed_variance(of, n_seeds, n_patients)

    def partly_shared(size: int) -> np.ndarray:
        own, common = rng.standard_normal((2, size)), rng.standard_normal(size)
        return np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own  # (2, size)

    shift = np.array(SEPARATION)[:, None] + np.sqrt(varies) * partly_shared(n_seeds)  # (2, n_seeds)
    images = np.sqrt(of.w) * rng.standard_normal(len(y)) + np.sqrt(of.u) * partly_shared(n_patients)[:, patient]
    both = np.sqrt(of.v) * rng.standard_normal((2, n_seeds, n_patients))[..., patient]
    rest = np.sqrt(of.e) * rng.standard_normal((2, n_seeds, len(y)), dtype=np.float32)
    return y, shift[..., None] * (y - 0.5) + images[:, None] + both + rest, patient


def held(of: Components, n_seeds: int, n_patients: int, repetitions: int, rng: np.random.Generator) -> np.ndarray:
    """Share of test sets whose 95 % interval holds the truth, for each of QUANTITIES, (3,)."""
    area, rate = (METRICS.index(name) for name in ("roc_auc", "sensitivity"))
    true, hits = truth(of, n_seeds, n_patients), np.zeros(len(QUANTITIES))
    for _ in range(repetitions):
        y, scores, patient = draw(rng, of, n_seeds, n_patients)
        (a, of_a), (b, of_b) = (pseudo_values(y, model, patient, threshold=0.0) for model in scores)
        values = (a[..., area], a[..., rate], a[..., area] - b[..., area])
        estimates = (of_a[:, area], of_a[:, rate], of_a[:, area] - of_b[:, area])  # (n_seeds,) each
        for i, (psi, estimate) in enumerate(zip(values, estimates, strict=True)):
            low, high = crossed(psi)[0].interval(estimate.mean())
            hits[i] += low <= true[i] <= high
    return hits / repetitions


def table(repetitions: int = REPETITIONS) -> Iterator[dict[str, object]]:
    """Coverage in every cell: design, seeds, patients, then one column a quantity, and repetitions."""
    for n_patients in (130, 2000):
        for n_seeds in (3, 5):
            for name, of in DESIGNS.items():
                rng = generator("crossed coverage", name, n_seeds, n_patients)
                shares = held(of, n_seeds, n_patients, repetitions, rng)
                found = dict(zip(QUANTITIES, shares.round(4).tolist(), strict=True))
                yield (
                    {"components": name, "seeds": n_seeds, "patients": n_patients}
                    | found
                    | {"repetitions": repetitions}
                )


def main(argv: list[str]) -> int:
    """Print every cell as it is done and write the file; an argument is another number of repetitions."""
    repetitions = int(argv[0]) if argv else REPETITIONS
    rows = []
    for row in table(repetitions):
        rows.append(row)
        print(*row.values(), sep="\t", flush=True)
    with replacing(paths.MANIFESTS / "paper" / "crossed_coverage.csv") as path:
        pd.DataFrame(rows).to_csv(path, index=False, lineterminator="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
