"""What a job is, as plain data: the template of the job script needs nothing else. No host, no job id, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BESIDE = ("DISAGG_SERVER", "BENCHMARK")
"""The roles that get no node of their own: their steps overlap those of the first server."""


@dataclass(frozen=True)
class Step:
    """One ``srun``: a role on a fixed slice of the allocation.

    ``task_nodes`` is the node of each task in rank order, as positions in the allocation's list of nodes. ``prefix`` is
    what stands before the job's pytest command in ``pytestCommand``; ``profiler`` and ``launcher`` stand between them.
    With a ``launcher``, and with ``every_rank``, every rank runs the command, else rank 0 alone. ``options`` are
    further srun options.
    """

    role: str
    task_nodes: tuple[int, ...]
    prefix: str = ""
    launcher: str = ""
    options: tuple[str, ...] = ()
    profiler: str = ""
    every_rank: bool = False

    @property
    def before_pytest(self) -> str:
        return " ".join(filter(None, (self.prefix, self.profiler, self.launcher)))

    @property
    def ranks(self) -> str:
        """Which of them run the command, as ``slurm_run`` is told (DISAGG_RANKS)."""
        return "all" if self.launcher or self.every_rank else "leader"

    @property
    def nodes(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(self.task_nodes))

    @property
    def tasks(self) -> int:
        return len(self.task_nodes)

    @property
    def even(self) -> bool:
        """Every node has the same number of tasks, so Slurm's own distribution is the wanted one."""
        return len({self.task_nodes.count(node) for node in self.nodes}) == 1

    @property
    def host_list(self) -> tuple[int, ...]:
        """The positions that ``--nodelist`` names: each node once, or one host for each task of an uneven server."""
        return self.nodes if self.even else self.task_nodes


@dataclass(frozen=True)
class Precheck:
    """Steps on the slices of the servers, before these: ``command`` is what follows a step's prefix."""

    steps: tuple[Step, ...]
    command: str
    timeout_s: float


@dataclass(frozen=True)
class ImageImport:
    """An image that is kept as a file: ``source`` is imported to ``file`` by whoever gets the lock first."""

    source: str
    file: Path


@dataclass(frozen=True)
class JobSpec:
    """A whole job. All paths are absolute and seen by every node. Times are seconds.

    ``limit_s`` is Slurm's time limit, ``lead_s`` how long before it the run must be over, ``signal_s`` how long before
    it Slurm sends SIGTERM. ``stop_s`` is how long steps may take to end by themselves once one has ended, ``grace_s``
    what lies between TERM and KILL, ``prepare_s`` the limit of image and install. ``cwd`` is where steps run;
    ``pytest`` is the text that plays any role, ``program`` what every task of a role's step runs, ``install`` and
    ``check`` what a task on each node runs before, ``precheck`` the case's own check, None where it has none;
    ``common`` are the srun options of every step. ``gpus_per_node`` are those that the job holds on each of its nodes
    where Slurm does not say. ``cluster`` is what the cluster file calls it.
    """

    case_id: str
    case_folder: str
    job_dir: Path
    work_dir: Path
    cwd: Path
    nodes: int
    gpus_per_node: int
    tasks_per_node: int
    directives: tuple[str, ...]
    limit_s: float
    lead_s: float
    signal_s: float
    stop_s: float
    grace_s: float
    heartbeat_timeout_s: float
    steps: tuple[Step, ...]
    pytest: str
    program: tuple[str, ...]
    python: str
    common: tuple[str, ...] = ()
    container: str = "none"
    image_import: ImageImport | None = None
    install: tuple[str, ...] = ()
    prepare_s: float = 0.0
    check: tuple[str, ...] = ()
    check_s: float = 60.0
    precheck: Precheck | None = None
    cluster: str = ""
