"""A Slurm cluster of one node for the length of a command, on a machine that has none of its own.

    python tests/slurm_cluster.py COMMAND [ARGUMENT ...]

Debian's slurm-wlm and munge, started in namespaces of their own: nobody else sees their configuration or processes, and
all of them end with the command. Needs root on Linux.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "unshare")
ETC = Path("/etc/slurm")  # compiled into Debian's Slurm; Snakemake's plugin takes SLURM_CONF away from jobs
WITHIN = "ECSUPPORT_WITHIN_SLURM_CLUSTER"
PATIENCE = 60.0  # seconds
# without a database a job's state is read from squeue, which has to remember it
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
MinJobAge=3600
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=1,sched_interval=2
MaxArraySize=1001
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
"""


def why_not() -> str:
    """Why no cluster can be started here; empty where one can."""
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
    if lacking:
        return f"{', '.join(lacking)} not found; on Debian and Ubuntu: apt install slurm-wlm munge"
    if os.geteuid() != 0:
        return "only root can give a cluster namespaces of its own"
    running = subprocess.run(["pgrep", "-x", "slurmctld|slurmd"], capture_output=True, text=True, check=False).stdout
    if (ETC / "slurm.conf").exists() or running:
        return "this machine has a Slurm of its own, which is left alone"
    tried = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    return "this machine gives nobody namespaces" if tried.returncode else ""


def start(folder: Path) -> None:
    """The daemons, until the node waits for jobs; RuntimeError with their logs where it never does."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", ETC], check=True)
    host, memory = os.uname().nodename.split(".")[0], os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts = {"host": host, "folder": folder, "cores": os.cpu_count(), "memory": memory // 2**20 * 9 // 10}
    (ETC / "slurm.conf").write_text(CONFIGURATION.format(**facts))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    files = [f"--{what}={folder}/munge.{what}" for what in ("socket", "pid-file", "log-file", "seed-file")]
    subprocess.run(["munged", "--force", f"--key-file={key}", *files], check=True)
    subprocess.run(["slurmctld"], check=True)
    subprocess.run(["slurmd", "-N", host], check=True)
    deadline = time.monotonic() + PATIENCE
    while subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True, check=False).stdout != "idle\n":
        if time.monotonic() > deadline:
            raise RuntimeError("\n".join(file.read_text() for file in folder.glob("*.log")))
        time.sleep(0.2)


def main(command: list[str]) -> int:
    """Run the command on a cluster of its own; its exit status."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if WITHIN not in os.environ:
        if reason := why_not():
            sys.stderr.write(f"no cluster is started: {reason}\n")
            return 2
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        within = [*namespaces, sys.executable, __file__, *command]
        return subprocess.run(within, env=os.environ | {WITHIN: "1"}, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        start(Path(name))
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
