"""The pip part of environment.yml, installed for real in a new environment.

About three minutes and a download of 5 GB: not part of `make test`, but a step of .ci/run
(`make test TESTS=tests/install_environment.py`).
"""

import os
import shutil
import subprocess
import sys

import yaml

from ecsupport.core.paths import ROOT

PROBE = """
import importlib.util, torch, torchvision
boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 6, 6]])
assert torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]  # compiled against this torch
assert importlib.util.find_spec("ecsupport") is None
print(torch.__version__.split("+")[0], torchvision.__version__.split("+")[0])
"""


def test_the_pip_part_installs_in_a_new_environment(tmp_path):
    """With pip as it comes, and no index or folder of this machine; the 5 GB are freed again."""
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    network = ("PIP_CERT", "PIP_PROXY", "PIP_DEFAULT_TIMEOUT")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON")) or k in network}
    environment["PIP_CONFIG_FILE"] = os.devnull

    def run(*command):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=3600
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    try:
        run(sys.executable, "-m", "venv", "new")
        python = tmp_path / "new" / "bin" / "python"
        (tmp_path / "part.txt").write_text("\n".join(pip).replace("requirements.lock", str(ROOT / "requirements.lock")))
        run(python, "-m", "pip", "install", "--quiet", "--no-compile", "--no-cache-dir", "-r", "part.txt")
        run(python, "-m", "pip", "check")
        assert run(python, "-c", PROBE).split() == ["2.13.0", "0.28.0"]
    finally:
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
