"""A real Slurm cluster of four nodes on this machine: its own munge, slurmctld, slurmd x 4, on request accounting.

Everything is started in the foreground, in one temporary folder, and ended by process id; no systemd, no other file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import hold
from tests.waiting import until

NODES = ("n1", "n2", "n3", "n4")
GPUS = 4
CPUS = 16
KILL_WAIT_S = 5
PROGRAMS = ("slurmctld", "slurmd", "srun", "sbatch", "squeue", "scontrol", "scancel", "munged", "mungekey", "setpriv")
ACCOUNTING_PROGRAMS = ("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb", "mariadb-install-db")
STOP_LIMIT_S = 20.0

# Waits until whoever started it is gone, by whatever end, then ends all that has this slurm.conf in its environment:
# step daemons outlive slurmd, and a test session that is killed runs no teardown.
REAPER = """
import os, signal, sys, time
sys.stdin.read()
wanted = b"SLURM_CONF=" + os.fsencode(sys.argv[1])
def left():
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as environ:
                if wanted in environ.read().split(b"\\0"):
                    yield int(name)
        except OSError:
            pass
while pids := list(left()):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    time.sleep(0.02)
"""
SLURM_CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ctld_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait={kill_wait}
UnkillableStepTimeout=30
SlurmctldTimeout=60
SlurmdTimeout=60
MessageTimeout=30
SchedulerParameters=sched_min_interval=200000,batch_sched_delay=0
SchedulerType=sched/builtin
JobRequeue=1
GresTypes=gpu
{accounting}
NodeName=DEFAULT CPUs={cpus} RealMemory=4000 Gres=gpu:{gpus} State=UNKNOWN
{nodes}
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=50 State=UP
"""
ACCOUNTED = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
JobAcctGatherType=jobacct_gather/none
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={db_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
"""


def missing(programs: Sequence[str]) -> list[str]:
    return [program for program in programs if shutil.which(program) is None and not _in_sbin(program)]


def _in_sbin(program: str) -> bool:
    return Path("/usr/sbin", program).exists()


@dataclass
class SlurmCluster:
    """The running cluster. ``env`` is the environment in which its commands are called."""

    folder: Path
    name: str
    accounting: bool = False
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    reaper: subprocess.Popen[bytes] | None = None

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def env(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM", "SBATCH", "SRUN", "DISAGG_", "PYTEST_", "CLUSTER_"))
        }
        kept["PATH"] = f"{kept['PATH']}:/usr/sbin"
        return {**kept, "SLURM_CONF": str(self.conf)}

    def call(self, *argv: str, check: bool = True, timeout_s: float = 60.0) -> str:
        """A command of this cluster; its standard output."""
        done = subprocess.run(
            argv, env=self.env, capture_output=True, text=True, timeout=timeout_s, cwd=self.folder, check=False
        )
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        self.reaper = subprocess.Popen(
            (sys.executable, "-I", "-S", "-c", REAPER, str(self.conf)), stdin=subprocess.PIPE, start_new_session=True
        )
        # Held as long as what comes before takes, which is long with a database.
        own, ports = hold(1 + len(NODES))
        database, (dbd_port, db_port) = hold(2)
        self._write_conf(ports, dbd_port)
        self._munge()
        database.release()
        if self.accounting:
            self._accounting(dbd_port, db_port)
        own.release()
        self.daemon("slurmctld", "slurmctld", "-D", "-i", "-f", str(self.conf))
        for node in NODES:
            self.start_node(node)
        until(self.idle, "four idle nodes")

    def start_node(self, node: str) -> None:
        self.daemon(node, "slurmd", "-D", "-N", node, "-f", str(self.conf))

    def daemon(self, name: str, *argv: str) -> None:
        """Start a daemon in the foreground; it ends with us, even when we are killed."""
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                ("setpriv", "--pdeathsig", "TERM", *argv),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop_daemon(self, name: str) -> None:
        process = self.daemons.pop(name)
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def idle(self) -> bool:
        states = self.call("sinfo", "-h", "-N", "-o", "%N %T", check=False).split("\n")
        return sorted(filter(None, states)) == [f"{node} idle" for node in NODES]

    def reset(self) -> None:
        """No job, every node idle: what the next test starts from."""
        self.call("scancel", "--signal=KILL", "--full", "--me", check=False)
        self.call("scancel", "--me", check=False)
        for node in NODES:
            if node not in self.daemons:
                self.start_node(node)
        states = self.call("sinfo", "-h", "-N", "-o", "%N %T")
        for line in states.splitlines():
            node, state = line.split()
            if state.startswith(("down", "drain")):
                self.call("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        until(self.idle, "the cluster to be idle again")

    def stop(self) -> None:
        """End jobs, then daemons: slurmctld and slurmd first, what they lean on last."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.call("scancel", "--me", check=False)
            until(lambda: not self.call("squeue", "-h", check=False).strip(), "the last job to end", 10)
        for name in [name for name in self.daemons if name not in ("munge", "mariadb")]:
            self.stop_daemon(name)
        for name in list(self.daemons):
            self.stop_daemon(name)
        if self.reaper is not None and self.reaper.stdin is not None:
            self.reaper.stdin.close()
            self.reaper.wait()

    def _write_conf(self, ports: Sequence[int], dbd_port: int) -> None:
        (self.folder / "state").mkdir()
        host = socket.gethostname()
        for node in NODES:
            (self.folder / f"spool.{node}").mkdir()
        for index in range(GPUS):
            # A character device, as slurmd wants it, that does what /dev/null does.
            os.mknod(self.folder / f"nvidia{index}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        accounted = ACCOUNTED.format(port=dbd_port, folder=self.folder) if self.accounting else ""
        self.conf.write_text(
            SLURM_CONF.format(
                name=self.name,
                host=host,
                folder=self.folder,
                ctld_port=ports[0],
                kill_wait=KILL_WAIT_S,
                cpus=CPUS,
                gpus=GPUS,
                nodes=nodes,
                accounting=accounted,
            )
        )
        (self.folder / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName=n[1-4] Name=gpu File={self.folder}/nvidia[0-{GPUS - 1}]\n"
        )

    def _munge(self) -> None:
        """A munge of our own: its socket and key lie in our folder, nothing of the machine's is touched."""
        key, socket_path = self.folder / "munge.key", self.folder / "munge.socket"
        subprocess.run(["mungekey", "-c", "-k", str(key)], check=True, env=self.env)
        names = {
            "socket": "munge.socket",
            "pid-file": "munged.pid",
            "log-file": "munged.log",
            "seed-file": "munge.seed",
        }
        options = [f"--{option}={self.folder / name}" for option, name in names.items()]
        self.daemon("munge", "munged", "-F", "--force", f"--key-file={key}", *options)
        until(socket_path.exists, "munge's socket")

    def _accounting(self, port: int, db_port: int) -> None:
        data = self.folder / "mariadb"
        data.mkdir(mode=0o755)
        shutil.chown(data, "mysql", "mysql")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        install = [
            "mariadb-install-db",
            "--user=mysql",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
        ]
        subprocess.run(install, check=True, env=self.env, **quiet)  # type: ignore[call-overload]
        database_socket = data / "s.sock"
        self.daemon(
            "mariadb",
            *("mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={database_socket}"),
            *(f"--port={db_port}", "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0"),
        )
        sql = (
            "CREATE DATABASE slurm_acct_db; CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm'; "
            "CREATE USER 'slurm'@'localhost' IDENTIFIED BY 'slurm'; "
            "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1'; GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';"
        )
        client = ["mariadb", "--no-defaults", f"--socket={database_socket}", "-uroot"]
        until(lambda: subprocess.run([*client, "-e", "select 1"], env=self.env, **quiet).returncode == 0, "MariaDB")  # type: ignore[call-overload]
        subprocess.run([*client, "-e", sql], check=True, env=self.env)
        self._dbd_conf = self.folder / "slurmdbd.conf"
        self._dbd_conf.write_text(
            SLURMDBD_CONF.format(folder=self.folder, host=socket.gethostname(), port=port, db_port=db_port)
        )
        self._dbd_conf.chmod(0o600)
        self.start_slurmdbd()
        self.call("sacctmgr", "-i", "add", "cluster", self.name)

    def start_slurmdbd(self) -> None:
        self.daemon("slurmdbd", "slurmdbd", "-D")
        until(self._accounting_answers, "slurmdbd")

    def _accounting_answers(self) -> bool:
        asked = ("sacctmgr", "-n", "show", "cluster")
        return subprocess.run(asked, env=self.env, capture_output=True, check=False).returncode == 0
