"""At which rate, and how long, screening networks are trained: complete schedules on patients set aside for tuning.

    python data_manifests/pilot/classifiers.py --steps 1600 3200 [--networks lsnet ...] [--rates ...] [--seeds ...]

Trains on ultrasound of the tuning pools alone, with seeds that no evidence uses, and adds a row a training to
classifiers.csv: sensitivity, specificity and area on tuning patients that nothing was trained or selected on. Its
table chose the rates of `laptop`, and its spread between seeds the smallest effects of interest.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import grid
import numpy as np
import pandas as pd

from ecsupport.cohort import phantom
from ecsupport.core import profiles, progress
from ecsupport.core.training import load_weights
from ecsupport.screening import selection, training
from ecsupport.screening.settings import Settings

TABLE = Path(__file__).with_suffix(".csv")
VERSION, SIZE = "phantom-v1", 64
PARTS = {  # first patient of each class, patients of each class, images a patient: 2,100 patients
    "train": (20_000, {"tuning_carcinoma": 500, "tuning_control": 800}, 5),
    "validation": (21_000, {"tuning_carcinoma": 100, "tuning_control": 100}, 4),
    "test": (22_000, {"tuning_carcinoma": 300, "tuning_control": 300}, 4),
}
KEYS = ("network", "rate", "teacher_rate", "steps", "seed")


def images(first: int, patients: Mapping[str, int], each: int, version: str = VERSION) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 64, 64) uint8 of some patients, as in PARTS, and their labels (N,)."""
    rows = [(pool, first + n, i) for pool, count in patients.items() for n in range(count) for i in range(each)]
    shown = progress.bar(rows, "images")
    pixels = [phantom.render(version, phantom.patient_id(pool, n), i, "us", SIZE) for pool, n, i in shown]
    return np.stack(pixels), np.array([pool == "tuning_carcinoma" for pool, _, _ in rows], np.int64)


def settings(network: str, rate: float, teacher_rate: float, steps: int) -> Settings:
    """Batches of 32, three quarters of the steps at the rate and a quarter at a tenth of it, as published."""
    return Settings.of(
        profiles.load("laptop"),
        network,
        mixed_steps=3 * steps // 4,
        real_steps=steps // 4,
        rate_mixed=rate,
        rate_real=rate / 10,
        rate_teacher=teacher_rate / rate,
        validate_every=steps // 16,
    )


def trained(
    content: Path, device: str, network: str, rate: float, teacher_rate: float, steps: int, seed: int
) -> list[grid.Row]:
    """Rows of the table: the network, and its teacher where it has one, on the tuning test images."""
    chosen = settings(network, rate, teacher_rate, steps)
    with np.load(content) as given:
        pixels = dict(given)
    test, label = pixels.pop("test"), pixels.pop("test_label")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        training.train(
            Path(folder), pixels, settings=asdict(chosen), seed=seed, device=device, data="tuning", revision={}
        )
        history = pd.read_csv(Path(folder) / "history.csv")
        for role in ["network", *["teacher"] * chosen.taught]:
            name = network if role == "network" else "teacher"
            judged = chosen.build(name, seed)
            judged.load_state_dict(load_weights(Path(folder) / training.file_name(role, chosen.rules[0])))
            found = selection.validate(label, training.predict(judged.to(device), test))
            rows.append(
                {
                    "network": network if role == "network" else f"{network} (its teacher)",
                    "rate": rate,
                    "teacher_rate": teacher_rate,
                    "steps": steps,
                    "seed": seed,
                    "chosen": int(history.loc[history["chosen"], "step"].iloc[0]),
                    "validation_auc": round(float(history.loc[history["chosen"], "auc"].iloc[0]), 4),
                    **{name: round(value, 4) for name, value in found.items()},
                }
            )
    return rows


def main() -> None:
    """Train what the table lacks, then print its means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["lsnet", "mobilenet_v2_wide", "efficientnet", "mobilevit"])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.001, 0.003, 0.01])
    parser.add_argument("--teacher-rates", nargs="+", type=float, help="of LSNet's teacher; that of the student")
    o = grid.options(parser)
    rates = [(r, t) for r in o.rates for t in o.teacher_rates or [r]]
    wanted = [(n, *r, k, s) for k in sorted(o.steps) for n in o.networks for r in rates for s in o.seeds]
    with tempfile.TemporaryDirectory() as folder:
        content = {}
        for part, names in (("train", ("image", "label")), ("validation", ("validation_image", "validation_label"))):
            content |= dict(zip(names, images(*PARTS[part]), strict=True))
        content["real"] = np.ones(len(content["label"]), bool)
        content["test"], content["test_label"] = images(*PARTS["test"])
        np.savez(Path(folder) / "images.npz", **content)
        made = grid.fill(TABLE, KEYS, wanted, trained, o.at_once, Path(folder) / "images.npz", o.device)
    print(
        made.groupby(["network", "steps", "rate", "teacher_rate"])["auc"]
        .agg(["mean", "min", "max", "count"])
        .round(4)
        .to_string()
    )


if __name__ == "__main__":
    main()
