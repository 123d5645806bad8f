"""What is printed arrives: names that a terminal cannot show, and a reader that has gone."""

import os
import subprocess
import sys

import pytest
from PIL import Image

NAME = "北"  # of a centre
SHOWN = "\\u5317"


@pytest.fixture
def ward(tmp_path):
    """A manifest of 40 patients, where all of one centre have one label, which is noticed by the centre's name."""
    rows = ["image,patient_id,centre,modality,label"]
    for number in range(40):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,P{number},{NAME if number < 10 else 'south'},us,{0 if number < 10 else number % 2}")
    file = tmp_path / "ward.csv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_names_that_a_terminal_cannot_show_are_spelt_out(ward, ecsupport, encoding):
    done = ecsupport("check", ward, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert SHOWN in done.stdout
    ward.write_text(ward.read_text(encoding="utf-8").replace("us,0", f"{NAME},0", 1), encoding="utf-8")
    done = ecsupport("check", ward, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout) == (2, "")
    assert SHOWN in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "streams"),
    [("--help", "stdout"), ("check ward.csv", "stdout"), ("check none.csv", "stderr"), ("check none.csv", "both")],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_ends_it_without_a_word(ward, arguments, streams, unbuffered):
    read, write = os.pipe()
    os.close(read)
    gone = {"stdout": write, "stderr": write} if streams == "both" else {streams: write}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ecsupport", *arguments.split()],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | gone,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            cwd=ward.parent,
            check=False,
        )
    finally:
        os.close(write)
    assert not done.stdout and not done.stderr
    assert done.returncode == (0 if unbuffered and arguments == "--help" else 1)  # argparse hides that it cannot print
