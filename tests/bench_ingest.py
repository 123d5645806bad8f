"""How fast a hospital's folder is taken in, and that its memory does not grow with the number of files or frames."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dicom_files as make
import numpy as np

from ecsupport.bench import Measure, in_child, measure

FEW, MANY, IMAGES = 1_000, 10_000, 20  # single-frame files, and images of a patient
FRAMES, HEIGHT, WIDTH = 2_000, 480, 640
PIXELS = 60  # different pictures among all files


def files(folder: Path, number: int) -> None:
    """Single-frame JPEG files of 640 x 480 with a region and a burned-in name, `IMAGES` of each patient."""
    box = make.fan(HEIGHT, WIDTH)[1]
    tags = {"SequenceOfUltrasoundRegions": make.regions((*box[:2], box[2] - 1, box[3] - 1)), "PatientID": "P00000"}
    kinds = []
    for seed in range(PIXELS):
        grey = make.with_name(make.fan(HEIGHT, WIDTH, seed)[0])
        colour = np.repeat(grey[None, ..., None], 3, axis=3)  # (H, W) -> (1, H, W, 3)
        kinds.append(make.jpeg(colour, "YBR_FULL_422", folder / "kind", subsampling=1, **tags).read_bytes())
    (folder / "kind").unlink()
    for one in range(number):
        patient = folder / f"{one // IMAGES}"
        patient.mkdir(exist_ok=True)
        content = kinds[one % PIXELS].replace(b"P00000", b"P%05d" % (one // IMAGES))
        (patient / f"{one}.dcm").write_bytes(content)


def cine(folder: Path) -> None:
    """One file of 2,000 frames of uncompressed colour, 1.8 GB."""
    frame = np.repeat(make.fan(HEIGHT, WIDTH)[0][..., None], 3, axis=2)  # (H, W) -> (H, W, 3)
    frames = np.broadcast_to(frame, (FRAMES, *frame.shape)).copy()
    for number in range(FRAMES):
        frames[number, 200:260, number % 500 : number % 500 + 60] //= 2  # something moves
    make.save(make.dataset(frames, "RGB", PatientID="P1"), folder / "cine.dcm")


def peak(source: str, out: str) -> float:
    """Memory in GB of the largest process of one ingestion, which has a process of its own."""
    command = [sys.executable, "-m", "ecsupport", "ingest", source, "--out", out]
    subprocess.run(command, check=True, capture_output=True, env=os.environ)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return largest / (2**30 if sys.platform == "darwin" else 2**20)


@measure("ingest")
def taking_in() -> Iterator[Measure]:
    """Seconds and memory of 10,000 files beside 1,000, and the memory of a long cine; all cores that there are."""
    largest = {}
    with tempfile.TemporaryDirectory() as name:
        for number in (FEW, MANY):
            files(Path(name) / f"{number}", number)
            start = time.perf_counter()
            largest[number] = in_child(__file__, f"peak('{name}/{number}', '{name}/out-{number}')")
            taken = time.perf_counter() - start
            pictures = len(list(Path(name).glob(f"out-{number}/**/*.png")))
            yield Measure(f"taken of {number:,} files", pictures, "pictures", number, at_least=True)
        yield Measure(f"take in {MANY:,} files", taken, "s", 600)
        yield Measure(f"memory of {MANY:,} over {FEW:,} files", largest[MANY] / largest[FEW], "times", 1.1)
        cine(Path(name) / "cine")
        yield Measure(
            f"memory of a cine of {FRAMES:,} frames", in_child(__file__, f"peak('{name}/cine', '{name}/out')"), "GB", 1
        )
