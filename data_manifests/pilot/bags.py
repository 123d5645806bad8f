"""At which rate, and how long, the branches of notebook 12 are trained: complete schedules on patients set aside.

    python data_manifests/pilot/bags.py --steps 800 1600 [--arms bidirectional ...] [--rates ...] [--seeds ...]

Trains on the tuning patients of classifiers.py, with seeds that no evidence uses, and adds a row a training to
bags.csv: the area on tuning patients that nothing was trained on, with nothing and with all clinical data missing.
"""

import argparse
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import classifiers
import grid
import numpy as np
import pandas as pd

from ecsupport.cohort import covariates, phantom
from ecsupport.core import profiles
from ecsupport.core.seeds import generator
from ecsupport.core.training import reproducible
from ecsupport.experiments.clinical import HARDER
from ecsupport.experiments.difficulty import VERSIONS
from ecsupport.related import bag_training
from ecsupport.related.bidirectional import ARMS, BOTH, IMAGES
from ecsupport.screening.selection import area

TABLE = Path(__file__).with_suffix(".csv")
VERSION = VERSIONS[HARDER]
KEYS = ("patients", "bag", "arm", "rate", "steps", "seed")


def patients(part: str, number: int) -> dict[str, np.ndarray]:
    """Images of a part of the tuning patients, whose each is, and labels and covariates by patient.

    number: of patients of each class who are learnt from, at most
    """
    size, (first, of_pool, each) = profiles.load("laptop").clinical, classifiers.PARTS[part]
    if part == "train":
        of_pool = {pool: min(count, number) for pool, count in of_pool.items()}
    names = [phantom.patient_id(pool, first + n) for pool, count in of_pool.items() for n in range(count)]
    rows = pd.DataFrame({
        "image": [f"{VERSION}/{name}/us/0" for name in names], "patient_id": names, "source": "tuning",
    })  # fmt: skip
    rng = generator("tuning", part, "exchanged")
    table = covariates.exchanged(covariates.of_patients(rows), size.exchanged, rng)
    image, label = classifiers.images(first, of_pool, each, VERSION)
    return {
        "image": image,
        "patient": np.repeat(np.arange(len(names)), each),
        "label": label[::each],
        "values": covariates.values(table),
    }


def trained(
    content: Mapping[int, Path], device: str, number: int, bag: int, arm: str, rate: float, steps: int, seed: int
) -> list[grid.Row]:
    """A row of the table."""
    size = profiles.load("laptop").clinical
    recipe = {"arm": arm, "seed": seed, "batch": size.batch * size.bag // bag, "bag": bag, "steps": steps, "rate": rate}
    recipe |= {"stem_stride": size.stem_stride}
    with np.load(content[number]) as given:
        learnt, test = (
            {n.removeprefix(part): given[n] for n in given.files if n.startswith(part)} for part in ("train_", "test_")
        )
    with tempfile.TemporaryDirectory() as folder, reproducible(1):
        bag_training.train(Path(folder), learnt, recipe, "tuning", device)
        network = bag_training.restore(Path(folder), recipe, learnt["values"].shape[1], device)
        places = bag_training.first_images(test["patient"], len(test["label"]), bag)
        image = bag_training.embed(network, test["image"], places)
        areas = {}
        for name, values in (("complete", test["values"]), ("absent", np.full_like(test["values"], np.nan))):
            score = bag_training.scores(network, ARMS[arm], image, values)
            areas[name] = round(area(score[test["label"] == 1], score[test["label"] == 0]), 4)
    return [{"patients": number, "bag": bag, "arm": arm, "rate": rate, "steps": steps, "seed": seed, **areas}]


def main() -> None:
    """Train what the table lacks, then print its means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=[BOTH, IMAGES], choices=list(ARMS))
    parser.add_argument("--rates", nargs="+", type=float, default=[0.001, 0.003, 0.01])
    parser.add_argument("--patients", nargs="+", type=int, default=[400], help="of each class who are learnt from")
    parser.add_argument("--bags", nargs="+", type=int, default=[2], help="images of a patient")
    o = grid.options(parser)
    wanted = list(product(o.patients, o.bags, o.arms, o.rates, sorted(o.steps), o.seeds))
    with tempfile.TemporaryDirectory() as folder:
        files = {number: Path(folder) / f"{number}.npz" for number in o.patients}
        for number, file in files.items():
            parts = {part: patients(part, number) for part in ("train", "test")}
            np.savez(file, **{f"{part}_{name}": of for part, found in parts.items() for name, of in found.items()})
        made = grid.fill(TABLE, KEYS, wanted, trained, o.at_once, files, o.device)
    means = made.groupby(list(KEYS[:-1]))[["complete", "absent"]].agg(["mean", "min", "max"])
    print(means.round(4).to_string())


if __name__ == "__main__":
    main()
