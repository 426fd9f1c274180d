"""A real SLURM of one node, in a temporary folder: munged, slurmctld and slurmd, without systemd or cgroups.

Nothing of the system's own SLURM is read or written. What is started is stopped by its process number.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
CPUS = 4
"""More than the machine may have: caps are the arrays' business, not the node's."""

_CONF = """\
ClusterName=worldkv
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/control
SlurmdSpoolDir={folder}/node
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
OverTimeLimit=0
KillWait=10
MinJobAge=300
MaxArraySize=20
NodeName={host} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


class NoClusterError(Exception):
    """Why there can be no SLURM here."""


@dataclass(frozen=True)
class Cluster:
    """A SLURM that runs.

    Attributes:
        folder: Its configuration, logs and state.
    """

    folder: Path

    @property
    def conf(self) -> Path:
        """What SLURM_CONF must name."""
        return self.folder / "slurm.conf"

    def ask(self, *command: str) -> str:
        """What a client of SLURM prints."""
        env = {**os.environ, "SLURM_CONF": str(self.conf)}
        told = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=30)
        if told.returncode != 0:
            raise RuntimeError(f"{command}: {told.stderr.strip()}")
        return told.stdout


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Start a SLURM, and stop it.

    Raises:
        NoClusterError: It cannot be had here.
    """
    _refuse_if_impossible()
    _write(folder)
    started: list[subprocess.Popen[bytes]] = []
    try:
        socket_at = folder / "munge.socket"
        started.append(_munged(folder, socket_at))
        _wait(socket_at.exists, "munged", folder)
        env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        for name in ("slurmctld", "slurmd"):
            started.append(_start(folder, name, ["-D", "-f", str(folder / "slurm.conf")], env))
        made = Cluster(folder)
        _wait(lambda: _is_ready(made), "slurmctld", folder)
        yield made
        made.ask("scancel", "--full", "--user=root")
        _wait(lambda: not made.ask("squeue", "--noheader").strip(), "jobs that end", folder)
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _refuse_if_impossible() -> None:
    missing = [name for name in (*DAEMONS, *CLIENTS) if _find(name) is None]
    if missing:
        raise NoClusterError(f"no {', '.join(missing)}: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        raise NoClusterError("slurmd wants root")


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _write(folder: Path) -> None:
    for name in ("control", "node"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    ports = _free_ports(2)
    host = socket.gethostname().split(".")[0]
    text = _CONF.format(host=host, folder=folder, cpus=CPUS, control_port=ports[0], node_port=ports[1])
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _munged(folder: Path, socket_at: Path) -> subprocess.Popen[bytes]:
    options = {"socket": socket_at, "key-file": folder / "munge.key", "pid-file": folder / "munged.pid"}
    options |= {"log-file": folder / "munged.log", "seed-file": folder / "munged.seed"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    return _start(folder, "munged", ["--foreground", "--force", *arguments], dict(os.environ))


def _start(folder: Path, name: str, arguments: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    program = _find(name)
    if program is None:
        raise NoClusterError(f"no {name}")
    with (folder / f"{name}.out").open("wb") as out:
        return subprocess.Popen(
            [program, *arguments], stdout=out, stderr=out, env=env, start_new_session=True
        )


def _is_ready(made: Cluster) -> bool:
    try:
        return made.ask("sinfo", "--noheader", "--format=%t").strip() == "idle"
    except (RuntimeError, subprocess.TimeoutExpired):
        return False


def _wait(condition: Callable[[], bool], what: str, folder: Path) -> None:
    until = time.monotonic() + 30
    while not condition():
        if time.monotonic() > until:
            outs = "\n".join(path.read_text(errors="replace")[-500:] for path in folder.glob("*.out"))
            raise RuntimeError(f"no {what} after 30 s: {outs}")
        time.sleep(0.1)
