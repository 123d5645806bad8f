"""A run whose disk is full again and again until it is done: what it leaves, what it says, and what comes out.

    python tests/fill_again.py [--least 1] [--step 4] [--target table-3] [--seed 1] [--quiet WORKSPACE]

Starts `make reproduce PROFILE=smoke` in a workspace on a disk of its own of few MB. Each time that this is full the
run has to end with one message in our words and leave only whole jobs; then the disk grows a little, by chance, and the
same command is given again, so that each kind of file meets a full disk in its turn. In the end all tables and pictures
have to be to the byte those of an undisturbed run, made for this or found in a workspace. Mounts a disk in memory, so
only root on Linux can run it.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from kill_again import Run, messages

from ecsupport.core.seeds import generator

MOST = 4096  # MB: no smoke run takes that much, so whoever still lacks space there lacks something else


def mount(folder: Path, size: float, change: str = "") -> None:
    """A disk in memory of so many MB at a folder; with `remount,` the one that is there becomes larger."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{change}size={int(size * 2**20)}", "tmpfs", folder], check=True)


def check(run: Run, status: int) -> str:
    """The folder that a run named as full; AssertionError where it said anything else."""
    lines = messages(run)
    assert status == 2 and len(lines) == 1, run.log.read_text()
    folder = re.match(r"(?:.*: )?no space left in (.+?)\. Free space", lines[0])
    assert folder, f"not in our words: {lines[0]}"
    return re.sub(r"\b[0-9a-f]{20}\b", "*", folder[1].replace(str(run.workspace), "").lstrip("/")) or "."


def main() -> int:
    """Fill, look, give room, compare; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--least", type=float, default=1, help="MB of the disk at first (1)")
    parser.add_argument("--step", type=float, default=4, help="MB by which it grows on average (4)")
    parser.add_argument("--target", default="reproduce", help="of make, e.g. table-3 (reproduce)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quiet", type=Path, help="workspace of an undisturbed run of this code, if there is one")
    o = parser.parse_args()
    rng, size, full = generator("fill-again", o.seed), o.least, Counter()
    with tempfile.TemporaryDirectory() as name:
        run, quiet = Run(Path(name) / "filled", o.target), Run(o.quiet or Path(name) / "quiet", o.target)
        run.workspace.mkdir()
        mount(run.workspace, size)
        try:
            while (status := run.start().wait()) and size < MOST:
                where = check(run, status)
                full[where] += 1
                print(f"{full.total():3} full at {size:.1f} MB: {where}; {run.whole()} jobs are whole", flush=True)
                size += rng.uniform(0, 2 * o.step)
                mount(run.workspace, size, "remount,")
            assert status == 0, run.log.read_text()
            assert o.quiet or quiet.start().wait() == 0, quiet.log.read_text()
            assert run.results() == quiet.results(), "other results than of the run that nobody disturbed"
            print(f"full {full.total()} times, in {len(full)} folders; done at {size:.1f} MB")
            print(f"{run.whole()} jobs are whole, {len(run.results())} tables and pictures equal")
        finally:
            subprocess.run(["umount", run.workspace], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
