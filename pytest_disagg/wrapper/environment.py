"""What the environment must be before an engine starts: library path, transport, nothing of an MPI not set up."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from pytest_disagg.wrapper.step import Step

CLEARED_PREFIXES = ("PMI", "PMIX", "MPI", "OMPI", "SLURM")
KEPT = "SLURM_PROCID"
COPY_PREFIX = "DISAGG_"
COPIED = (
    "SLURM_JOB_ID",
    "SLURM_JOB_NAME",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_ACCOUNT",
    "SLURM_JOB_NODELIST",
    "SLURM_JOB_NUM_NODES",
    "SLURM_CLUSTER_NAME",
    "SLURM_RESTART_COUNT",
    "SLURM_STEP_ID",
    "SLURM_NTASKS",
    "SLURMD_NODENAME",
)
"""Facts that a manifest wants, kept as ``DISAGG_<name>`` where the variables themselves are cleared."""


def prepend_library_path(environ: MutableMapping[str, str], folder: Path) -> None:
    """Put ``folder`` first in LD_LIBRARY_PATH unless it is an element of it already; no empty element is left.

    An empty element would make the loader search the current directory.
    """
    elements = [element for element in environ.get("LD_LIBRARY_PATH", "").split(":") if element]
    if str(folder) not in elements:
        elements.insert(0, str(folder))
    environ["LD_LIBRARY_PATH"] = ":".join(elements)


def settle_transport(environ: MutableMapping[str, str]) -> None:
    """Undo what container start hooks leave behind.

    ``UCX_TLS=tcp`` (exactly) is injected by enroot and would keep KV transfer off the fast links. PMIx's shared-memory
    store loses UCX worker addresses between nodes: ``PMIX_MCA_gds=hash``, as TensorRT-LLM's slurm_env_setup.sh sets it.
    """
    if environ.get("UCX_TLS") == "tcp":
        del environ["UCX_TLS"]
    environ["PMIX_MCA_gds"] = "hash"


def name_the_run(environ: MutableMapping[str, str], step: Step) -> None:
    """Export DISAGG_RUN_ID (job id and restart count) unless it is set: the variables it is made of may be cleared."""
    if environ.get("SLURM_JOB_ID") and not environ.get("DISAGG_RUN_ID"):
        environ["DISAGG_RUN_ID"] = f"{step.job}.{step.restart}"


def clears_mpi(step: Step) -> bool:
    """Whether this task's command must not find an MPI: one-node jobs, coordinator and benchmark.

    A PMI environment makes Open MPI and PyTorch call MPI_Init, which fails where srun set up no MPI. A BENCHMARK of
    several tasks that are told to run the command, all of them, is an aggregated server: that is an MPI job.
    """
    if step.role == "BENCHMARK" and step.all_ranks and step.tasks > 1:
        return step.nodes == 1
    return step.nodes == 1 or step.role in ("BENCHMARK", "DISAGG_SERVER")


def clear_mpi(environ: MutableMapping[str, str]) -> list[str]:
    """Remove every PMI*, PMIX*, MPI*, OMPI* and SLURM* variable but SLURM_PROCID; the names removed.

    What a manifest wants of them stays as a copy that no MPI looks at.
    """
    for name in COPIED:
        if name in environ:
            environ.setdefault(COPY_PREFIX + name, environ[name])
    cleared = [name for name in environ if name.startswith(CLEARED_PREFIXES) and name != KEPT]
    for name in cleared:
        del environ[name]
    return sorted(cleared)
