"""What held the translators to the MRI, and how long they are trained: measured on patients set aside for tuning.

    python data_manifests/pilot/translators.py [--arms ...] [--models ...] [--steps ...] [--seeds ...]

Trains on MRI and ultrasound of the tuning pools alone, with seeds that no evidence uses, and adds a row a training to
translators.csv: how far translations of other patients' MRI are from phantom ultrasound of yet others. Twelve of them
become a strip in `pictures`, in the order of those in mri.png. What the table has already is not trained again. Each
arm builds on the one above it; all have noise of whole images.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ecsupport.cohort import phantom
from ecsupport.core import profiles
from ecsupport.core.artefacts import replacing
from ecsupport.evaluation.frechet import frechet_distance
from ecsupport.instruments import features, passing
from ecsupport.screening import selection
from ecsupport.translation import inference, training
from ecsupport.translation.settings import Settings

HERE = Path(__file__).parent
TABLE = HERE / "translators.csv"
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
    "as before": BEFORE,
    "late decay, no enlarging": BEFORE | {"decay_from": 0.5, "enlarged": 1.0},
    "bare, wide discriminators": {"gan_mode": "lsgan", "adversarial": 1.0},
    "adversarial term five-fold": {"gan_mode": "lsgan"},
    "logarithm": {},  # the profile's
}
KEYS = ["arm", "model", "steps", "seed"]


def images(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 64, 64) uint8 of a part, and which patient each is of (N,)."""
    modality, first, patients, each = PARTS[part]
    rows = [(phantom.patient_id("tuning_carcinoma", first + n), i) for n in range(patients) for i in range(each)]
    pixels = [phantom.render(VERSION, name, i, modality, SIZE) for name, i in rows]
    return np.stack(pixels), np.array([name for name, _ in rows])


def extractor() -> features.Extractor:
    """One that tells modality and centre of tuning patients, of whom none is measured."""
    sets = [images("mri"), images("us")]
    patients = np.concatenate([names for _, names in sets])
    centres = [phantom.patient(VERSION, name).centre for name in patients]
    content = {
        "image": np.concatenate([pixels for pixels, _ in sets]),
        "modality": np.repeat([0, 1], [len(names) for _, names in sets]),
        "centre": pd.Series(centres, dtype="category").cat.codes.to_numpy(np.int64),
    }
    with tempfile.TemporaryDirectory() as folder:
        features.train(Path(folder), content, steps=1000, seed=9000, tasks=("centre", "modality"))
        network = features.start({"centre": 5, "modality": 2}, 9000)
        network.load_state_dict(training.load_weights(Path(folder) / "weights.safetensors"))
    return network.eval()


def measured(translated: np.ndarray, of: np.ndarray, sets: dict, network: features.Extractor) -> dict[str, float]:
    """How far images of the patients `of` are from passing for the part `real`."""
    real, patients = sets["real"]
    far = frechet_distance(features.features(network, real), features.features(network, translated))
    label, score, _ = passing.told_apart(real, patients, translated, of, seed=9000)
    told = selection.area(score[label == 1], score[label == 0])
    level = translated.mean((1, 2)).std() / real.mean((1, 2)).std()
    return {"distance": round(far, 3), "probe_auc": round(told, 4), "spread_of_brightness": round(float(level), 3)}


def main() -> None:
    """Train what the table lacks, then print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--models", nargs="+", default=["cyclegan", "sg_cyclegan"])
    parser.add_argument("--steps", nargs="+", type=int, default=[1200])
    parser.add_argument("--seeds", nargs="+", type=int, default=[9001])
    options = parser.parse_args()
    sets, network = {part: images(part) for part in PARTS}, extractor()
    if not TABLE.is_file():
        controls = {"ultrasound of other patients": sets["other"], "untranslated MRI": sets["test"]}
        rows = [{"arm": arm, "steps": 0, **measured(*one, sets, network)} for arm, one in controls.items()]
        _write(pd.DataFrame(rows, columns=[*KEYS, "distance", "probe_auc", "spread_of_brightness"]))
    for name in ("mri", "ultrasound"):
        _strip(name, sets["test" if name == "mri" else "real"][0])
    size = profiles.load("laptop").translation
    for steps, arm, model, seed in [
        (k, a, m, s) for k in options.steps for a in options.arms for m in options.models for s in options.seeds
    ]:
        if (pd.read_csv(TABLE)[KEYS] == [arm, model, steps, seed]).all(axis=1).any():
            continue
        settings = Settings.of(size, **ARMS[arm] | {"steps": steps})
        with tempfile.TemporaryDirectory() as folder:
            training.train(
                Path(folder),
                {"mri": sets["mri"][0], "us": sets["us"][0], "show": sets["test"][0][:1]},
                model=model, data="tuning", settings=settings.to_json(), seed=seed, device="cpu", revision={},
            )  # fmt: skip
            translator = training.start(model, settings, seed)
            translator.load_state_dict(training.load_weights(Path(folder) / training.GENERATOR), strict=False)
        translated = inference.translate(translator, sets["test"][0], ("pilot", seed))
        row = {
            "arm": arm,
            "model": model,
            "steps": steps,
            "seed": seed,
            **measured(translated, sets["test"][1], sets, network),
        }
        _strip(f"{arm}-{model}-{steps}-{seed}".replace(" ", "-").replace(",", ""), translated)
        now = pd.read_csv(TABLE)  # to which another process may have added
        _write(pd.concat([now, pd.DataFrame([row])], ignore_index=True))
        print(row, flush=True)
    print(pd.read_csv(TABLE).to_string(index=False))


def _strip(name: str, images: np.ndarray) -> None:
    """Twelve images in a row, each of another patient."""
    (HERE / "pictures").mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(list(images[5:605:50]), axis=1)).save(HERE / "pictures" / f"{name}.png")


def _write(table: pd.DataFrame) -> None:
    table = table.astype({"seed": "Int64", "steps": "Int64"})  # controls have no seed
    with replacing(TABLE) as path:
        table.to_csv(path, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
