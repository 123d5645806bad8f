"""The README's lines of Python do on somebody's images what they say."""

import os
import re
import subprocess
import sys

import numpy as np

from ecsupport.cohort import manifest, split
from ecsupport.cohort.export import export
from ecsupport.core import paths
from ecsupport.core.profiles import Run


def test_the_readmes_script_loads_trains_and_scores(tmp_path):
    section = (paths.ROOT / "README.md").read_text(encoding="utf-8").split("## Your own images")[1].split("\n## ")[0]
    (script,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert "__main__" not in script
    assert max(map(len, script.splitlines())) <= 120
    run = Run.open("smoke")
    rows = split.of_run(manifest.phantoms(run.profile.cohort), run)
    rows = rows[(rows["modality"] == "us") & rows["split"].isin(["train", "validation", "test"])]
    few = rows.groupby(["split", "label"])["patient_id"].unique().map(lambda who: who[:2]).explode()
    rows = rows[rows["patient_id"].isin(few)]
    export(rows, tmp_path / "own", run.profile.image_size)
    (checkout := tmp_path / "checkout").mkdir()
    done = subprocess.run(
        [sys.executable, "-"],
        input=script,
        env=os.environ | {"ECSUPPORT_WORKSPACE": str(checkout)},
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores = np.array(done.stdout.strip().strip("[]").split(), float)
    assert len(scores) == (rows["split"] == "test").sum()
    assert ((scores >= 0) & (scores <= 1)).all() and len(set(scores)) > 1
