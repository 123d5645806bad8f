"""Tune the difficulty of the phantoms on patients set aside for it, from real-data learning curves only.

A small network is trained from scratch on ultrasound of the tuning pools: with scarce positives, with all positives,
and with untranslated MRI. No translator and no LSNet is looked at. Writes tuning.csv and tuning.png here, prints each
demand on the difficulty and fails where one is not met. Of a version that is to be easier or harder than phantom-v1
one arm says how much, and its curves have a file of their own:

    python data_manifests/phantom/tune.py [--version phantom-v1] [--seeds 3] [dial=value ...]
    cd data_manifests/phantom && python tune.py --version phantom-v1-harder --arms "all positives" --out harder.csv
"""

import argparse
import dataclasses
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from tqdm import tqdm

from ecsupport.cohort import phantom, recipe
from ecsupport.reporting import style

HERE = Path(__file__).parent
SIZE = 64
IMAGES_A_PATIENT = 5
TEST_PATIENTS = 100  # of each class, 400 + 400 images
ARMS = {  # real positives, real negatives, untranslated MRI of each class
    "scarce positives": (60, 1500, 0),
    "600 positives": (600, 1500, 0),
    "all positives": (2000, 2000, 0),
    "scarce positives + raw MRI": (60, 1500, 1200),
    "raw MRI alone": (0, 0, 1500),
}
STEPS, BATCH, CHECKPOINTS = 2400, 32, 8


def images(version: recipe.Recipe, pool: str, modality: str, count: int, first: int) -> np.ndarray:
    """Images of consecutive patients of a pool from patient `first` on. Returns (count, 64, 64) uint8."""
    rows = [(phantom.patient_id(pool, first + i // IMAGES_A_PATIENT), i) for i in range(count)]
    return np.stack([phantom.render(version, name, i, modality, SIZE) for name, i in rows])


def network() -> nn.Sequential:
    """Seven layers, about 123,000 parameters, one logit."""
    layers, before = [], 1
    for width, stride in ((24, 2), (32, 1), (48, 2), (64, 1), (64, 2), (64, 1)):
        layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 1))


def curve(positives: np.ndarray, negatives: np.ndarray, test: np.ndarray, truth: np.ndarray, seed: int) -> list:
    """Train on balanced batches; returns [(step, test AUC)] at evenly spaced checkpoints."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = network().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, STEPS)
    points = []
    for step in range(1, STEPS + 1):
        half = BATCH // 2
        batch = np.concatenate(
            [positives[rng.integers(len(positives), size=half)], negatives[rng.integers(len(negatives), size=half)]]
        )
        batch = np.roll(batch, rng.integers(-4, 5, 2), axis=(1, 2))
        batch = batch[:, :, ::-1] if rng.random() < 0.5 else batch
        target = torch.cat([torch.ones(half), torch.zeros(half)])
        loss = nn.functional.binary_cross_entropy_with_logits(model(_tensor(batch))[:, 0], target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % (STEPS // CHECKPOINTS) == 0:
            model.eval()
            with torch.no_grad():
                score = torch.cat([model(_tensor(part))[:, 0] for part in np.array_split(test, 8)])
            model.train()
            points.append((step, roc_auc_score(truth, score.numpy())))
    return points


def _tensor(batch: np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(batch)).float().div_(127.5).sub_(1)
    return pixels[:, None].contiguous(memory_format=torch.channels_last)  # (N, H, W) -> (N, 1, H, W)


def main() -> None:
    """Run every arm and print one line an arm and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default="phantom-v1")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--out", type=Path, default=HERE / "tuning.csv")
    parser.add_argument("dials", nargs="*", metavar="dial=value")
    options = parser.parse_args()
    dials = {k: json.loads(v) for k, v in (d.split("=") for d in options.dials)}
    dials = {k: tuple(v) if isinstance(v, list) else v for k, v in dials.items()}
    version = dataclasses.replace(recipe.load(options.version), **dials)

    first = 2 * TEST_PATIENTS
    test = [images(version, f"tuning_{c}", "us", 4 * TEST_PATIENTS, 0) for c in ("carcinoma", "control")]
    truth = np.repeat([1, 0], 4 * TEST_PATIENTS)
    pools = {
        (c, m): images(version, f"tuning_{c}", m, count, first if m == "us" else 1000)
        for c in ("carcinoma", "control")
        for m, count in (("us", 2000), ("mri", 1500))
    }
    jobs = [(arm, seed) for arm in options.arms for seed in range(options.seeds)]
    rows, last = [], {arm: [] for arm in options.arms}
    with ProcessPoolExecutor(2) as workers:
        pending = [
            workers.submit(curve, *training_set(pools, arm), np.concatenate(test), truth, seed) for arm, seed in jobs
        ]
        for (arm, seed), points in tqdm(zip(jobs, pending, strict=True), total=len(jobs), disable=None):
            rows += [(options.version, arm, *ARMS[arm], seed, step, f"{auc:.4f}") for step, auc in points.result()]
            last[arm].append(points.result()[-1][1])
            print(f"{arm:28s} seed {seed}", *(f"{auc:.3f}" for _, auc in points.result()), file=sys.stderr, flush=True)
    header = "version,arm,positives,negatives,raw_mri_each,seed,step,auc"
    options.out.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    for arm, values in last.items():
        print(f"{arm:28s} mean AUC {np.mean(values):.3f}  ({min(values):.3f} to {max(values):.3f})")
    if set(options.arms) < set(ARMS):
        return
    draw(options.out)
    means = {arm: float(np.mean(values)) for arm, values in last.items()}
    demands = {
        "scarce positives between .82 and .93": 0.82 <= means["scarce positives"] <= 0.93,
        "all positives at least .97": means["all positives"] >= 0.97,
        "raw MRI alone at most .65": means["raw MRI alone"] <= 0.65,
        "raw MRI adds at most .01 to scarce": means["scarce positives + raw MRI"] <= means["scarce positives"] + 0.01,
    }
    for demand, met in demands.items():
        print(f"{demand:40s} {'met' if met else 'NOT MET'}")
    sys.exit(not all(demands.values()))


def draw(table: Path) -> None:
    """Learning curves as a picture beside the table: mean over seeds, band from lowest to highest."""
    curves = pd.read_csv(table)
    style.use()
    figure, axis = plt.subplots(figsize=(style.WIDE, 3.0))
    for (arm, rows), colour in zip(curves.groupby("arm", sort=False), style.SERIES, strict=False):
        points = rows.groupby("step")["auc"]
        axis.fill_between(points.mean().index, points.min(), points.max(), color=colour, alpha=0.2, lw=0)
        axis.plot(points.mean(), color=colour, label=arm)
    axis.axhspan(0.82, 0.93, color="0.93", zorder=0)
    axis.axhline(0.97, color="0.6", lw=0.8, ls=":")
    axis.set(xlabel="training step (32 images)", ylabel="test AUC", ylim=(0.4, 1.0))
    figure.legend(loc="outside right upper")
    figure.savefig(table.with_suffix(".png"), dpi=150, metadata={"Software": None})


def training_set(pools: dict, arm: str) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative training images of an arm."""
    positives, negatives, raw = ARMS[arm]
    return tuple(
        np.concatenate([pools[c, "us"][:count], pools[c, "mri"][:raw]])
        for c, count in (("carcinoma", positives), ("control", negatives))
    )


if __name__ == "__main__":
    main()
