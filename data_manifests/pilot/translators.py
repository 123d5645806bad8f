"""Which settings bring small translators to ultrasound: measured on patients set aside for tuning.

    python data_manifests/pilot/translators.py --steps 4800 [--arms ...] [--models ...] [--seeds ...]

Trains on MRI and ultrasound of the tuning pools alone, with seeds that no evidence uses, and adds a row a training to
translators.csv: how far translations of other patients' MRI are from phantom ultrasound of yet others. Twelve of them
become a strip in `pictures`, in the order of those in mri.png. Each arm builds on the one above it; all have noise of
whole images.
"""

import argparse
import tempfile
from pathlib import Path
from unittest import mock

import grid
import numpy as np
import pandas as pd
from PIL import Image

from ecsupport.cohort import phantom
from ecsupport.core import profiles
from ecsupport.evaluation.frechet import frechet_distance
from ecsupport.instruments import features, passing
from ecsupport.screening import selection
from ecsupport.translation import inference, interface, training
from ecsupport.translation.settings import Settings

TABLE = Path(__file__).with_suffix(".csv")
PICTURES = TABLE.parent / "pictures"
VERSION, SIZE = "phantom-v1", 64
PARTS = {  # modality, first patient, patients, images a patient
    "mri": ("mri", 5000, 300, 8),
    "us": ("us", 6000, 420, 5),
    "test": ("mri", 7000, 150, 8),
    "real": ("us", 8000, 240, 5),
    "other": ("us", 9000, 240, 5),
}
BEFORE = {
    "gan_mode": "lsgan",
    "decay_from": 1 / 6, "enlarged": 1.12, "adversarial": 1.0, "discriminator_width": 0,
    "normalised_discriminators": True,
}  # fmt: skip
ARMS = {
    "patches of 34 pixels": BEFORE,
    "patches of 70 pixels": BEFORE,
    "late decay, no enlarging": BEFORE | {"decay_from": 0.5, "enlarged": 1.0},
    "bare, wide discriminators": {},  # the profile's
    "adversarial term five-fold": {"adversarial": 5.0},
    "logarithm": {"adversarial": 5.0, "gan_mode": "vanilla"},
}
KEYS = ("arm", "model", "steps", "seed")


def images(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 64, 64) uint8 of a part, and which patient each is of (N,)."""
    modality, first, patients, each = PARTS[part]
    rows = [(phantom.patient_id("tuning_carcinoma", first + n), i) for n in range(patients) for i in range(each)]
    pixels = [phantom.render(VERSION, name, i, modality, SIZE) for name, i in rows]
    return np.stack(pixels), np.array([name for name, _ in rows])


def train_extractor(folder: Path, device: str) -> None:
    """Train one that tells modality and centre of tuning patients, of whom none is measured."""
    sets = [images("mri"), images("us")]
    patients = np.concatenate([names for _, names in sets])
    centres = [phantom.patient(VERSION, name).centre for name in patients]
    content = {
        "image": np.concatenate([pixels for pixels, _ in sets]),
        "modality": np.repeat([0, 1], [len(names) for _, names in sets]),
        "centre": pd.Series(centres, dtype="category").cat.codes.to_numpy(np.int64),
    }
    features.train(folder, content, steps=1000, seed=9000, tasks=("centre", "modality"), device=device)


def loaded(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """What `images` gave of a part, written into a folder."""
    with np.load(folder / f"{part}.npz") as given:
        return given["pixels"], given["patient"]


def measured(translated: np.ndarray, of: np.ndarray, folder: Path, device: str) -> dict[str, float]:
    """How far images of the patients `of` are from passing for the part `real`."""
    network = features.start({"centre": 5, "modality": 2}, 9000)
    network.load_state_dict(training.load_weights(folder / "weights.safetensors"))
    network.eval()
    real, patients = loaded(folder, "real")
    far = frechet_distance(features.features(network, real), features.features(network, translated))
    label, score, _ = passing.told_apart(real, patients, translated, of, seed=9000, device=device)
    told = selection.area(score[label == 1], score[label == 0])
    level = translated.mean((1, 2)).std() / real.mean((1, 2)).std()
    return {"distance": round(far, 3), "probe_auc": round(told, 4), "spread_of_brightness": round(float(level), 3)}


def trained(folder: Path, device: str, arm: str, model: str, steps: int, seed: int) -> list[grid.Row]:
    """The row of a translator, whose strip is left in `pictures`."""
    settings = Settings.of(profiles.load("laptop").translation, **ARMS[arm] | {"steps": steps})
    halvings = 2 if arm == "patches of 34 pixels" else 3
    (mri, _), (us, _), (test, patients) = (loaded(folder, part) for part in ("mri", "us", "test"))
    with (
        tempfile.TemporaryDirectory() as room,
        mock.patch.object(interface, "halvings", lambda _: halvings),
    ):
        training.train(
            Path(room),
            {"mri": mri, "us": us, "show": test[:1]},
            model=model, data="tuning", settings=settings.to_json(), seed=seed, device=device, revision={},
        )  # fmt: skip
        translator = training.start(model, settings, seed)
        translator.load_state_dict(training.load_weights(Path(room) / training.GENERATOR), strict=False)
    translated = inference.translate(translator.to(device), test, ("pilot", seed))
    strip(f"{arm}-{model}-{steps}-{seed}".replace(" ", "-").replace(",", ""), translated)
    return [
        {"arm": arm, "model": model, "steps": steps, "seed": seed, **measured(translated, patients, folder, device)}
    ]


def strip(name: str, images: np.ndarray) -> None:
    """Twelve images in a row, each of another patient."""
    PICTURES.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(list(images[5:605:50]), axis=1)).save(PICTURES / f"{name}.png")


def main() -> None:
    """Train what the table lacks, then print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--models", nargs="+", default=["cyclegan", "sg_cyclegan"])
    o = grid.options(parser)
    wanted = [(a, m, k, s) for k in sorted(o.steps) for a in reversed(o.arms) for m in o.models for s in o.seeds]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {part: images(part) for part in PARTS}
        for part, (pixels, patient) in sets.items():
            np.savez(folder / f"{part}.npz", pixels=pixels, patient=patient)
        train_extractor(folder, o.device)
        if not TABLE.is_file():
            controls = {"ultrasound of other patients": "other", "untranslated MRI": "test"}
            rows = [
                {"arm": arm, "model": "none", "steps": 0, "seed": 0, **measured(*sets[part], folder, o.device)}
                for arm, part in controls.items()
            ]
            grid.write(TABLE, pd.DataFrame(rows))
        strip("mri", sets["test"][0])
        strip("ultrasound", sets["real"][0])
        made = grid.fill(TABLE, KEYS, wanted, trained, o.at_once, folder, o.device)
    print(made.to_string(index=False))


if __name__ == "__main__":
    main()
