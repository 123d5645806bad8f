"""Where things stand: one module knows the folders, so that no notebook depends on its working directory."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "data_manifests"
FRESH = "ECSUPPORT_FRESH"  # set: what the archive holds is made anew


def workspace() -> Path:
    """Folder that holds `store/`, `runs/` and `figures/`: the repository, or `ECSUPPORT_WORKSPACE` where set."""
    return Path(os.environ.get("ECSUPPORT_WORKSPACE") or ROOT).resolve()


def notebooks() -> Path:
    """Folder of the notebooks and their `index.toml`: the repository's, or `ECSUPPORT_NOTEBOOKS` where set."""
    return Path(os.environ.get("ECSUPPORT_NOTEBOOKS") or ROOT / "notebooks").resolve()


def reference() -> Path:
    """Folder of the committed results, by profile: `figures/reference` beside the folder of the notebooks."""
    return notebooks().parent / "figures" / "reference"


def store() -> Path:
    """Folder of what jobs make."""
    return workspace() / "store"
