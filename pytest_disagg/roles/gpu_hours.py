"""The GPU-hours of a run as BENCHMARK knows them; see :mod:`pytest_disagg.records.gpu_hours`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from pytest_disagg.config.case import ServerSpec
from pytest_disagg.records.gpu import NO_GPU
from pytest_disagg.records.gpu_hours import GpuHours
from pytest_disagg.records.manifest import slurm_facts
from pytest_disagg.roles.accuracy import Evaluation
from pytest_disagg.roles.points import Point
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.topology.placement import place

GPUS_VARIABLE, STARTED_VARIABLE = "DISAGG_JOB_GPUS", "DISAGG_JOB_STARTED"
"""What the job script tells its roles: all GPUs that the job holds, and since when (epoch seconds)."""


def hours_of(
    session: RoleSession,
    gpu: str,
    environ: Mapping[str, str],
    valid: Iterable[Point],
    *,
    failed: bool,
    evaluated: Iterable[Evaluation] = (),
) -> GpuHours | None:
    """The hours until now; None where nothing of ours holds a GPU.

    ``gpu`` is the GPU of this machine (``none``: it has none). ``valid`` are the measurements that passed the gate,
    ``evaluated`` the accuracy tasks.
    """
    held = _held(session, gpu, environ)
    if held is None:
        return None
    gpus, since = held
    measured = [(_deployed(session, point.spec), point.result.duration_s) for point in valid]
    measured += [(_deployed(session, each.spec), each.duration_s) for each in evaluated if each.scores]
    return GpuHours.of(gpus, time.time() - since, [] if failed else measured)


def _held(session: RoleSession, gpu: str, environ: Mapping[str, str]) -> tuple[int, float] | None:
    """How many GPUs are held, and since when."""
    began = session.timeline[0][1] if session.timeline else time.time()
    told = environ.get(GPUS_VARIABLE, "")
    if told.isdecimal():
        return int(told), _seconds(environ.get(STARTED_VARIABLE), began)
    if session.options.engine.simulated(session.case):
        return None
    nodes = slurm_facts(environ).get("SLURM_JOB_NUM_NODES", "")
    if nodes.isdecimal():
        return int(nodes) * session.case.gpus_per_node, _seconds(environ.get("SLURM_JOB_START_TIME"), began)
    if gpu == NO_GPU:
        return None
    sizes = [server.world_size for server in place(session.case).servers]
    return (max(sizes) if session.case.id.runtime == "alone" else sum(sizes)), began


def _deployed(session: RoleSession, measured: ServerSpec | None) -> int:
    """GPUs of the servers that something was measured on."""
    if measured is not None:
        return measured.world_size
    return sum(spec.count * spec.world_size for spec in session.case.servers)


def _seconds(text: str | None, otherwise: float) -> float:
    try:
        return float(text or "")
    except ValueError:
        return otherwise
