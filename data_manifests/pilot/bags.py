"""At which rate, and how long, the branches of notebook 12 are trained: complete schedules on patients set aside.

    python data_manifests/pilot/bags.py --steps 800 1600 [--arms bidirectional ...] [--rates ...] [--seeds ...]

Trains on the tuning patients of classifiers.py, with seeds that no evidence uses, and adds a row a training to
bags.csv: the area on tuning patients that nothing was trained on, with nothing and with all clinical data missing.
"""

import argparse
import tempfile
from pathlib import Path

import classifiers
import grid
import numpy as np
import pandas as pd

from ecsupport.cohort import covariates, phantom
from ecsupport.core import profiles
from ecsupport.core.seeds import generator
from ecsupport.core.training import reproducible
from ecsupport.related import bag_training
from ecsupport.related.bidirectional import ARMS, BOTH, IMAGES
from ecsupport.screening.selection import area

TABLE = Path(__file__).with_suffix(".csv")
KEYS = ("arm", "rate", "steps", "seed")


def patients(part: str) -> dict[str, np.ndarray]:
    """Images of a part of the tuning patients, whose each is, and labels and covariates by patient."""
    size, (first, of_pool, each) = profiles.load("laptop").clinical, classifiers.PARTS[part]
    if part == "train":
        of_pool = dict.fromkeys(of_pool, size.patients)
    names = [phantom.patient_id(pool, first + n) for pool, count in of_pool.items() for n in range(count)]
    rows = pd.DataFrame({
        "image": [f"{classifiers.VERSION}/{name}/us/0" for name in names], "patient_id": names, "source": "tuning",
    })  # fmt: skip
    rng = generator("tuning", part, "exchanged")
    table = covariates.exchanged(covariates.of_patients(rows), size.exchanged, rng)
    image, label = classifiers.images(first, of_pool, each)
    return {
        "image": image,
        "patient": np.repeat(np.arange(len(names)), each),
        "label": label[::each],
        "values": covariates.values(table),
    }


def trained(content: Path, device: str, arm: str, rate: float, steps: int, seed: int) -> list[grid.Row]:
    """A row of the table."""
    size = profiles.load("laptop").clinical
    recipe = {"arm": arm, "seed": seed, "batch": size.batch, "bag": size.bag, "steps": steps, "rate": rate}
    recipe |= {"stem_stride": size.stem_stride}
    with np.load(content) as given:
        learnt, test = (
            {n.removeprefix(part): given[n] for n in given.files if n.startswith(part)} for part in ("train_", "test_")
        )
    with tempfile.TemporaryDirectory() as folder, reproducible(1):
        bag_training.train(Path(folder), learnt, recipe, "tuning", device)
        network = bag_training.restore(Path(folder), recipe, learnt["values"].shape[1], device)
        places = bag_training.first_images(test["patient"], len(test["label"]), size.bag)
        image = bag_training.embed(network, test["image"], places)
        areas = {}
        for name, values in (("complete", test["values"]), ("absent", np.full_like(test["values"], np.nan))):
            score = bag_training.scores(network, ARMS[arm], image, values)
            areas[name] = round(area(score[test["label"] == 1], score[test["label"] == 0]), 4)
    return [{"arm": arm, "rate": rate, "steps": steps, "seed": seed, **areas}]


def main() -> None:
    """Train what the table lacks, then print its means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=[BOTH, IMAGES], choices=list(ARMS))
    parser.add_argument("--rates", nargs="+", type=float, default=[0.001, 0.003, 0.01])
    o = grid.options(parser)
    wanted = [(a, r, k, s) for k in sorted(o.steps) for a in o.arms for r in o.rates for s in o.seeds]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "patients.npz"
        np.savez(file, **{f"{part}_{n}": of for part in ("train", "test") for n, of in patients(part).items()})
        made = grid.fill(TABLE, KEYS, wanted, trained, o.at_once, file, o.device)
    print(
        made.groupby(["arm", "steps", "rate"])[["complete", "absent"]].agg(["mean", "min", "max"]).round(4).to_string()
    )


if __name__ == "__main__":
    main()
