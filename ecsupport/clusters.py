"""Slurm's part in a run, in our words: what it lacks here, which jobs it did not take and which it has ended."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run

YOURS = "in the config.yaml of your cluster"
LONGER, LARGER = (f"Give it more {YOURS}, e.g. set-resources: [{{0}}:{of}]" for of in ("runtime=1440", "mem_mb=64000"))
AGAIN = "Call again: what is whole stays"
ENDS = {  # by Slurm's states; {0} is the name of a rule
    "BOOT_FAIL": f"lost its node. {AGAIN}",
    "NODE_FAIL": f"lost its node. {AGAIN}",
    "CANCELLED": f"was cancelled. {AGAIN}",
    "TIMEOUT": f"took longer than it asked for. {LONGER}",
    "DEADLINE": f"took longer than it asked for. {LONGER}",
    "OUT_OF_MEMORY": f"needed more memory than it asked for. {LARGER}",
}
KILLED = f"its process was killed on its node, by a person or for want of memory. {AGAIN}. {LARGER}"
OF_SLURM = re.compile(  # rule, number and state of a job, and its unit where it has one, in Snakemake's log
    r"Error in rule (\S+):\n    message: SLURM-job '(\d+)' failed.* SLURM status is: '(\w+)'"
    r"(?:.*\n)*?    output: (?:units/(\S+))?"
)
REFUSED = re.compile(  # rule and reason
    r"Error in rule (\S+):\n    message: (?:SLURM sbatch failed\. The error message was '(?:sbatch: error: )?|"
    r"Job submission failed with exception: )(.*?)(?:'\.)?(?:For further error details .*)?\n"
)
TOO_LARGE = re.compile(r"oom.kill event|: Out Of Memory|xceeded memory limit")  # in the log of a job
SIGNALLED = re.compile(r"died with <Signals\.\w+: \d+>")


def check(config: Path) -> None:
    """UserError where a run whose profile is for Slurm would fail on this machine, or wait for ever."""
    text = config.read_text(encoding="utf-8")
    if not re.search(r"^executor: *slurm\b", text, re.MULTILINE):
        return
    if not shutil.which("sbatch"):
        raise UserError(f"{config} is for Slurm, of which this machine has no sbatch. Call from one that submits jobs")
    if re.search(r"^slurm-array-jobs:", text, re.MULTILINE):
        raise UserError(f"{config}: with slurm-array-jobs units are lost or wait for ever. Remove that line")
    if not re.search(r"^slurm-status-command: *squeue\b", text, re.MULTILINE) and (why := _no_accounts()):
        problem = f"this cluster keeps no accounts that tell how jobs ended ({why})"
        raise UserError(f"{problem}. Add slurm-no-account: true and slurm-status-command: squeue to {config}")


def _no_accounts() -> str:
    if not shutil.which("sacct"):
        return "there is no sacct"
    asked = subprocess.run(["sacct", "-X", "--noheader"], capture_output=True, text=True, check=False)
    return asked.stderr.strip() if asked.returncode else ""


def refused(log: str) -> list[str]:
    """What Slurm did not take, a line a reason, from what Snakemake has said."""
    rules: dict[str, dict[str, None]] = {}
    for rule, why in REFUSED.findall(log):
        rules.setdefault(why, {})[rule] = None
    return [f"{', '.join(of)}: Slurm took no job: {why}. Change that {YOURS}" for why, of in rules.items()]


def ended(run: Run, log: str) -> Iterator[tuple[str, str, Path | None]]:
    """Units and notebooks that failed on a cluster: name, why, and the log of its node.

    log: what Snakemake has said. Why is empty where neither Slurm's state nor its log says more than that it failed.
    """
    for rule, number, state, unit in OF_SLURM.findall(log):
        name = unit or rule.removeprefix("notebook_")
        file = next((run.notebooks / "slurm_logs").rglob(f"{number}.log"), None)
        said = file.read_text(encoding="utf-8", errors="replace") if file else ""
        words = ENDS.get(state, KILLED if SIGNALLED.search(said) else "")
        if TOO_LARGE.search(said):  # of a step that was too large Slurm says that its job has failed
            words = ENDS["OUT_OF_MEMORY"]
        yield name, words.format(rule), file
