"""How long, and at which rate, screening networks are trained: complete schedules on patients set aside for tuning.

    python data_manifests/pilot/classifiers.py [--networks lsnet ...] [--rates ...] [--steps ...] [--seeds ...]

Trains on ultrasound of the tuning pools alone, with seeds that no evidence uses, and adds a row a training to
classifiers.csv: sensitivity, specificity and area on tuning patients that nothing was trained or selected on. What
is there already is not trained again. Its table chose the schedule of `laptop`, and its spread between seeds the
smallest effects of interest.
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from ecsupport.cohort import phantom
from ecsupport.core import profiles, progress
from ecsupport.core.artefacts import replacing
from ecsupport.core.training import load_weights
from ecsupport.screening import selection, training
from ecsupport.screening.settings import Settings

HERE = Path(__file__).parent
TABLE = HERE / "classifiers.csv"
VERSION, SIZE = "phantom-v1", 64
PARTS = {  # first patient of each class, patients of each class, images a patient: 2,100 patients
    "train": (20_000, {"tuning_carcinoma": 500, "tuning_control": 800}, 5),
    "validation": (21_000, {"tuning_carcinoma": 100, "tuning_control": 100}, 4),
    "test": (22_000, {"tuning_carcinoma": 300, "tuning_control": 300}, 4),
}
KEYS = ["network", "rate", "steps", "seed"]


def images(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 64, 64) uint8 of a part and their labels (N,)."""
    first, patients, each = PARTS[part]
    rows = [(pool, first + n, i) for pool, count in patients.items() for n in range(count) for i in range(each)]
    shown = progress.bar(rows, part)
    pixels = [phantom.render(VERSION, phantom.patient_id(pool, n), i, "us", SIZE) for pool, n, i in shown]
    return np.stack(pixels), np.array([pool == "tuning_carcinoma" for pool, _, _ in rows], np.int64)


def settings(network: str, rate: float, steps: int) -> Settings:
    """Batches of 32, three quarters of the steps at the rate and a quarter at a tenth of it, as published."""
    return Settings.of(
        profiles.load("laptop"),
        network,
        batch=32,
        weight_decay=0.05,
        mixed_steps=3 * steps // 4,
        real_steps=steps // 4,
        rate_mixed=rate,
        rate_real=rate / 10,
        validate_every=steps // 16,
    )


def trained(network: str, rate: float, steps: int, seed: int, pixels: dict) -> list[dict]:
    """Rows of the table: the network, and its teacher where it has one, on the tuning test images."""
    chosen = settings(network, rate, steps)
    arrays = {
        **dict(zip(("image", "label"), pixels["train"], strict=True)),
        **dict(zip(("validation_image", "validation_label"), pixels["validation"], strict=True)),
        "real": np.ones(len(pixels["train"][1]), bool),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        training.train(
            Path(folder), arrays, settings=asdict(chosen), seed=seed, device="cpu", data="tuning", revision={}
        )
        history = pd.read_csv(Path(folder) / "history.csv")
        for role in ["network", *["teacher"] * chosen.taught]:
            name = network if role == "network" else "teacher"
            judged = chosen.build(name, seed)
            judged.load_state_dict(load_weights(Path(folder) / training.file_name(role, chosen.rules[0])))
            test, label = pixels["test"]
            found = selection.validate(label, training.predict(judged, test))
            rows.append(
                {
                    "network": network if role == "network" else f"{network} (its teacher)",
                    "rate": rate,
                    "steps": steps,
                    "seed": seed,
                    "chosen": int(history.loc[history["chosen"], "step"].iloc[0]),
                    "validation_auc": round(float(history.loc[history["chosen"], "auc"].iloc[0]), 4),
                    **{name: round(value, 4) for name, value in found.items()},
                }
            )
    return rows


def main() -> None:
    """Train what the table lacks, then print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["lsnet", "mobilenet_v2_wide", "efficientnet", "mobilevit"])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.001, 0.003, 0.01])
    parser.add_argument("--steps", nargs="+", type=int, default=[1600, 3200])
    parser.add_argument("--seeds", nargs="+", type=int, default=[9001, 9002])
    options = parser.parse_args()
    grid = [(n, r, k, s) for k in options.steps for s in options.seeds for n in options.networks for r in options.rates]
    pixels = {part: images(part) for part in PARTS}
    for one in grid:
        made = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame(columns=KEYS)
        if one in set(made[KEYS].itertuples(index=False, name=None)):
            continue
        rows = pd.DataFrame(trained(*one, pixels))
        made = pd.read_csv(TABLE) if TABLE.is_file() else made  # another process may have added rows
        made = pd.concat([made, rows], ignore_index=True)
        with replacing(TABLE) as path:
            made.to_csv(path, index=False, lineterminator="\n")
        print(made.tail(2).to_string(header=False), flush=True)
    print(pd.read_csv(TABLE).groupby(["network", "steps", "rate"])["auc"].agg(["mean", "min", "max"]).round(3))


if __name__ == "__main__":
    main()
