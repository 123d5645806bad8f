"""A person's script without `if __name__ == "__main__"` uses several processes, wherever it comes from."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ecsupport.cohort import images, manifest
from ecsupport.core import profiles

SCRIPT = """
from pathlib import Path
with Path("ran").open("a") as counter:
    counter.write("once ")
{begin}
from ecsupport.cohort import images, manifest
from ecsupport.core import profiles
from ecsupport.core.artefacts import METHOD
import numpy as np
images.BLOCK = 2
rows = manifest.phantoms(profiles.load("smoke").cohort).iloc[:5]
np.save("pixels.npy", images.load(rows, 16, workers=2))
print(METHOD, __name__)
"""
ELSEWHERE = """
import multiprocessing, sys
import numpy, tqdm
system, sys.platform = sys.platform, "darwin"
import ecsupport.core.artefacts
sys.platform = system
"""


@pytest.mark.parametrize("source", ["file", "stdin"])
@pytest.mark.parametrize("begin", ["", ELSEWHERE], ids=["here", "elsewhere"])
def test_a_script_without_a_guard_runs_once_and_loads_with_several_workers(tmp_path, source, begin):
    text = SCRIPT.format(begin=begin)
    (tmp_path / "script.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "script.py" if source == "file" else "-"],
        input=text if source == "stdin" else None,
        env=os.environ | {"ECSUPPORT_WORKSPACE": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    method = "spawn" if begin or sys.platform != "linux" else "forkserver"
    assert done.stdout == f"{method} __main__\n"
    assert (tmp_path / "ran").read_text() == "once "
    rows = manifest.phantoms(profiles.load("smoke").cohort).iloc[:5]
    np.testing.assert_array_equal(np.load(tmp_path / "pixels.npy"), images.load(rows, 16))
