"""Which task of which step of which job this process is, and what it was told. Read once, before SLURM_* is cleared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.wrapper.console import WrapperError

OWNERS = ("", "BENCHMARK")
"""Roles whose step owns the results: SLURM_PROCID begins at 0 in every step, so rank 0 alone would say nothing."""


@dataclass(frozen=True)
class Step:
    """One task. ``role`` is empty for an aggregated case; ``key`` names this attempt of this step alone.

    ``leader_only``: other ranks than 0 wait for it; ``all_ranks``: somebody said that all of them run the command.
    """

    role: str
    rank: int
    tasks: int
    local_id: int
    node_id: int
    nodes: int
    node: str
    job: str
    restart: int
    step: str
    run_dir: Path | None
    workspace: Path | None
    leader_only: bool
    all_ranks: bool

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Step:
        """The task that ``environ`` describes; outside Slurm the only task of a job of its own.

        Raises:
            WrapperError: a number that is none, or DISAGG_RANKS with an unknown word.
        """
        ranks = environ.get("DISAGG_RANKS") or "all"
        if ranks not in ("all", "leader"):
            raise WrapperError(f"DISAGG_RANKS: found {ranks!r}, expected all or leader", 2)
        return cls(
            role=environ.get("DISAGG_SERVING_TYPE", ""),
            rank=_number(environ, "SLURM_PROCID", 0),
            tasks=_number(environ, "SLURM_NTASKS", 1),
            local_id=_number(environ, "SLURM_LOCALID", 0),
            node_id=_number(environ, "SLURM_NODEID", 0),
            nodes=_number(environ, "SLURM_JOB_NUM_NODES", 1),
            node=environ.get("SLURMD_NODENAME") or os.uname().nodename,
            job=environ.get("SLURM_JOB_ID") or f"local{os.getpid()}",
            restart=_number(environ, "SLURM_RESTART_COUNT", 0),
            step=environ.get("SLURM_STEP_ID") or "0",
            run_dir=_folder(environ, "DISAGG_RUN_DIR"),
            workspace=_folder(environ, "jobWorkspace"),
            leader_only=ranks == "leader",
            all_ranks=environ.get("DISAGG_RANKS") == "all",
        )

    @property
    def attempt(self) -> str:
        """This attempt of the job: a requeue keeps the job id, and counts the restart."""
        return f"job_{self.job}_restart_{self.restart}"

    @property
    def key(self) -> str:
        return f"{self.attempt}_step_{self.step}"

    @property
    def owns_results(self) -> bool:
        return self.rank == 0 and self.role in OWNERS

    @property
    def shared(self) -> Path | None:
        """A folder that all nodes of the job see: the job's workspace, else the run directory."""
        return self.workspace or self.run_dir

    @property
    def title(self) -> str:
        """``GEN_0 rank 3 of 8 on node n2``, for messages."""
        return f"{self.role or 'no role'} rank {self.rank} of {self.tasks} on node {self.node}"


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    if not text.isdigit():
        raise WrapperError(f"{name}: found {text!r}, expected a number of 0 or more", 2)
    return int(text)


def _folder(environ: Mapping[str, str], name: str) -> Path | None:
    text = environ.get(name, "")
    return Path(text) if text else None


def seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    """A time limit from the environment.

    Raises:
        WrapperError: not a positive number.
    """
    text = environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise WrapperError(f"{name}: found {text!r}, expected seconds, more than 0", 2)
    return value
