"""At which rate, and how long, the networks of notebook 13 are trained: complete schedules on patients set aside.

    python data_manifests/pilot/multitask.py --steps 800 1600 [--percents 25 100] [--rates ...] [--seeds ...]

Trains on the tuning patients of classifiers.py, with seeds that no evidence uses, and adds a row a network to
multitask.csv: its measures on tuning patients that nothing was trained on.
"""

import argparse
import tempfile
from itertools import product
from pathlib import Path

import classifiers
import grid
import numpy as np
import pandas as pd

from ecsupport.cohort import phantom, structures, tissue_shares
from ecsupport.core import profiles
from ecsupport.core.seeds import generator
from ecsupport.core.training import reproducible
from ecsupport.experiments.multitask import AUC, ERROR, MEASURES, NEVER, PREDOMINANT, of_proportions
from ecsupport.related import multitask_training, self_distillation
from ecsupport.related.dense_attention import INVASION, PROPORTIONS, TASKS
from ecsupport.screening.selection import area

TABLE = Path(__file__).with_suffix(".csv")
KEYS = ("percent", "rate", "steps", "seed")


def images(part: str) -> dict[str, np.ndarray]:
    """Images of a part of the tuning patients, whose each is, their labels and proportions."""
    first, of_pool, each = classifiers.PARTS[part]
    names = [phantom.patient_id(pool, first + n) for pool, count in of_pool.items() for n in range(count)]
    rows = pd.DataFrame({"image": [f"{classifiers.VERSION}/{name}/us/{i}" for name in names for i in range(each)]})
    shares = tissue_shares.of_labels(structures.known(rows, classifiers.SIZE).labels)
    image, label = classifiers.images(first, of_pool, each)
    return {"image": image, "label": label, "proportions": shares, "who": np.repeat(np.arange(len(names)), each)}


def trained(content: Path, device: str, percent: int, rate: float, steps: int, seed: int) -> list[grid.Row]:
    """A row of the table for each network."""
    size = profiles.load("laptop").multitask
    recipe = {"tasks": TASKS, "seed": seed, "batch": size.batch, "steps": steps, "rate": rate}
    recipe |= {"stem_stride": size.stem_stride}
    with np.load(content) as given:
        learnt, test = (
            {n.removeprefix(part): given[n] for n in given.files if n.startswith(part)} for part in ("train_", "test_")
        )
    order = generator("tuning", seed, "labelled").permutation(learnt["who"].max() + 1)
    ranked = [order[np.isin(order, learnt["who"][learnt["label"] == value])] for value in (0, 1)]
    known = np.concatenate([who[: round(percent / 100 * (1 - NEVER) * len(who))] for who in ranked])
    learnt["labelled"] = np.isin(learnt["who"], known)
    mean = multitask_training.mean_shares(learnt["proportions"])
    rows = []
    with tempfile.TemporaryDirectory() as folder, reproducible(1):
        multitask_training.train(Path(folder), learnt, recipe, device)
        for name in self_distillation.arms():
            network = multitask_training.restore(Path(folder), recipe, name, learnt["proportions"].shape[1], device)
            told, found = multitask_training.predict(network, test["image"], device), {}
            if INVASION in told:
                score = told[INVASION][:, 0, 1]
                found[AUC] = area(score[test["label"] == 1], score[test["label"] == 0])
            if PROPORTIONS in told:
                psi = of_proportions(told[PROPORTIONS], test["proportions"], mean, test["who"])
                found |= {measure: psi[measure].mean() for measure in (ERROR, PREDOMINANT)}
            row = {"percent": percent, "rate": rate, "steps": steps, "seed": seed, "network": name}
            rows.append(row | {measure: round(float(found.get(measure, np.nan)), 5) for measure in MEASURES})
    return rows


def main() -> None:
    """Train what the table lacks, then print its means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", nargs="+", type=float, default=[0.003, 0.01])
    parser.add_argument("--percents", nargs="+", type=int, default=[25, 100], help="of patients with labels")
    o = grid.options(parser)
    wanted = list(product(o.percents, o.rates, sorted(o.steps), o.seeds))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tuning.npz"
        parts = {part: images(part) for part in ("train", "test")}
        np.savez(file, **{f"{part}_{name}": of for part, found in parts.items() for name, of in found.items()})
        made = grid.fill(TABLE, KEYS, wanted, trained, o.at_once, file, o.device)
    means = made.groupby([*KEYS[:-1], "network"], sort=False)[list(MEASURES)].agg(["mean", "min", "max"])
    print(means.round(4).to_string())


if __name__ == "__main__":
    main()
