"""Synthetic ultrasound: translated MRI as image files listed in a manifest, which is all that screening ever sees."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ecsupport.cohort import manifest
from ecsupport.core import progress, tables
from ecsupport.core.artefacts import Spec, deposit, ensure, sha256, withdraw
from ecsupport.core.training import device, reproducible
from ecsupport.translation import training
from ecsupport.translation.inference import translate

MANIFEST = "manifest.csv"


def synthetic_spec(trained: Spec, rows: pd.DataFrame, images: np.ndarray) -> Spec:
    """The translations of some MRI as an artefact: 00000.png ... in the order of `rows`, and manifest.csv.

    trained: `training.translator_spec` of the translator, made first where it does not stand
    rows, images: manifest rows of the MRI and their pixels (N, S, S) uint8

    Label, patient, centre and findings of an image are those of its MRI.
    ValueError where rows and images differ in number or a row is no MRI.
    """
    if len(rows) != len(images) or not (rows["modality"] == "mri").all():
        raise ValueError(f"{len(rows)} rows and {len(images)} images, expected as many of each, all of them MRI")
    text = np.frombuffer(manifest.to_csv(rows[list(manifest.COLUMNS)]).encode(), np.uint8)
    return Spec("synthetic", make, {"trained": dict(trained.arguments), "data": deposit(mri=images, rows=text)})


def make(folder: Path, trained: dict, data: str) -> None:
    """Translate a deposit into `folder`; see `synthetic_spec`."""
    source = withdraw(data)
    rows = tables.reread(io.BytesIO(source["rows"].tobytes()))
    named = {name: trained[name] for name in ("model", "data", "seed", "device")}
    network = ensure(training.translator_spec(settings=training.Settings.from_json(trained["settings"]), **named))
    with reproducible(1):
        translator = training.restore(network).to(device(trained["device"]))
        pictures = translate(translator, source["mri"], ("synthetic", trained["seed"]))
    names = [f"{number:05d}.png" for number in range(len(pictures))]
    for name, picture in progress.bar(list(zip(names, pictures, strict=True)), "synthetic images"):
        Image.fromarray(picture).save(folder / name)
    rows = rows.assign(image=names, modality="us", source="synthetic", hash=[sha256(folder / name) for name in names])
    (folder / MANIFEST).write_text(manifest.to_csv(rows))
