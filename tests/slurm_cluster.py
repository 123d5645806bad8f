"""A Slurm cluster of one node for the length of a command, on a machine that has none of its own.

    python tests/slurm_cluster.py COMMAND [ARGUMENT ...]

Debian's slurm-wlm and munge, started in namespaces of their own: nobody else sees their configuration or processes, and
all of them end with the command. Needs root on Linux.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv", "unshare")
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
WITH_US = ["setpriv", "--pdeathsig", "KILL", *NAMESPACES]  # they end when this process is killed
ETC = Path("/etc/slurm")  # compiled into Debian's Slurm; Snakemake's plugin takes SLURM_CONF away from jobs
WITHIN = "ECSUPPORT_WITHIN_SLURM_CLUSTER"
PATIENCE = 60.0  # seconds
GROUPS = Path("/sys/fs/cgroup/memory")  # by which the kernel ends what takes more memory than it asked for
BY_KERNEL = "TaskPlugin=task/cgroup\nJobAcctGatherType=jobacct_gather/none"
BY_SLURM = (  # which looks every two seconds
    "TaskPlugin=task/none\nJobAcctGatherType=jobacct_gather/linux\n"
    "JobAcctGatherFrequency=task=2\nJobAcctGatherParams=OverMemoryKill"
)
# without a database a job's state is read from squeue, which has to remember it
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
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
{memory_kept}
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
MinJobAge=3600
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=1,sched_interval=2
MaxArraySize=1001
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=60 State=UP
"""


def why_not() -> str:
    """Why no cluster can be started here; empty where one can."""
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
    if lacking:
        return f"{', '.join(lacking)} not found; on Debian and Ubuntu: apt install slurm-wlm munge"
    if os.geteuid() != 0:
        return "only root can give a cluster namespaces of its own"
    ours = ["--ns", str(os.getpid()), "--nslist", "pid"]  # what runs in other namespaces is a cluster like this one
    running = subprocess.run(["pgrep", "-x", *ours, "slurmctld|slurmd"], capture_output=True, check=False).stdout
    if (ETC / "slurm.conf").exists() or running:
        return "this machine has a Slurm of its own, which is left alone"
    tried = subprocess.run([*WITH_US, "true"], capture_output=True, check=False)
    return "this machine gives nobody namespaces" if tried.returncode else ""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def kernel_counts_memory() -> bool:
    """Whether processes can be put into groups here, of which the kernel keeps each to its memory."""
    return os.access(GROUPS / "memory.limit_in_bytes", os.W_OK)


def start(folder: Path, node: str) -> None:
    """The daemons, until the node waits for jobs; RuntimeError with their logs where it never does."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", ETC], check=True)
    host, memory = os.uname().nodename.split(".")[0], os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts = {"host": host, "folder": folder, "cores": os.cpu_count(), "memory": memory // 2**20 * 9 // 10}
    facts |= {"node": node, "ports": free_ports(2), "memory_kept": BY_KERNEL if kernel_counts_memory() else BY_SLURM}
    (ETC / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\n")
    (ETC / "slurm.conf").write_text(CONFIGURATION.format(**facts))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    files = [f"--{what}={folder}/munge.{what}" for what in ("socket", "pid-file", "log-file", "seed-file")]
    subprocess.run(["munged", "--force", f"--key-file={key}", *files], check=True)
    subprocess.run(["slurmctld"], check=True)
    subprocess.run(["slurmd", "-N", node], check=True)
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
        within = [*WITH_US, sys.executable, __file__, *command]
        node = f"node{os.getpid()}"  # no other cluster's, since the kernel's groups are named for it
        status = subprocess.run(within, env=os.environ | {WITHIN: node}, check=False).returncode
        for folder, *_ in os.walk(GROUPS / f"slurm_{node}", topdown=False):
            Path(folder).rmdir()
        return status
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        start(Path(name), os.environ[WITHIN])
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
