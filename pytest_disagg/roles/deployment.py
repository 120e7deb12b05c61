"""What is known of a run's servers besides their answers: how long each took to start, what its GPUs are like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_disagg.machine.findings import node_group
from pytest_disagg.roles.machine import machine_of
from pytest_disagg.roles.nodes import every_role
from pytest_disagg.roles.rules import rules_of
from pytest_disagg.roles.session import RoleSession

Timeline = Sequence[tuple[str, float, float | None]]


def start_seconds(timeline: Timeline, index: int = 0) -> float | None:
    """Seconds from the start of a server's process to its health, the ``index``-th of a role; None before that.

    Of a role that waits for others in ``launch`` as well, the last ``launch`` before ``ready`` is its process's own.
    """
    began, found = None, []
    for name, start, end in timeline:
        if name == "launch":
            began = start
        elif name == "ready" and end is not None and began is not None:
            found.append(round(end - began, 3))
            began = None
    return found[index] if index < len(found) else None


def server_starts(session: RoleSession) -> dict[str, float]:
    """The start of every server and of the coordinator in seconds, by role (``SERVER_<i>`` of an aggregated case)."""
    case = session.case
    if case.id.runtime == "alone":
        # Where a coordinator is started behind each server, it is the next to be ready.
        step = 2 if session.options.engine.fronts_aggregated(case) else 1
        each = {f"SERVER_{i}": start_seconds(session.timeline, i * step) for i in range(len(case.servers))}
    else:
        states = session.monitor.states
        each = {role: start_seconds(states[role].timeline) for role in case.roles[:-1] if role in states}
    return {role: seconds for role, seconds in each.items() if seconds is not None}


def deployment_facts(session: RoleSession) -> dict[str, Any]:
    """The manifest's part: how long each server took to start, and what each role found before."""
    return {"server_start_s": server_starts(session), "prepare": machine_of(session, every_role(session))}


def deployment_fields(session: RoleSession, server: str | None) -> dict[str, Any]:
    """Fields of a record: the longest start of its servers, and what its GPUs were like.

    ``server`` is the aggregated server that was measured (``SERVER_<i>``), None for all of a disaggregated case.
    """
    starts = server_starts(session)
    slowest = max(
        (s for role, s in starts.items() if role == server or (server is None and role != "DISAGG_SERVER")),
        default=None,
    )
    gpus = [found["gpu"] for found in machine_of(session, every_role(session)).values() if found.get("gpu")]
    clocks = session.case.clocks
    return {
        "d_server_start_s": slowest,
        "s_gpu_driver": _distinct(gpus, "driver"),
        "d_gpu_power_limit_w": min(_values(gpus, "power_limit_w"), default=None),
        "l_gpu_max_clock_mhz": min(_values(gpus, "max_sm_mhz"), default=None),
        "l_gpu_locked_mhz": clocks.gpu_mhz if clocks else None,
        "l_gpu_memory_locked_mhz": clocks.memory_mhz if clocks else None,
    }


def group_of(session: RoleSession) -> str:
    """``s_node_group``: what of these GPUs no other run may be compared across; empty for GPUs as they come."""
    rules = rules_of(session)
    if rules is None:
        return ""
    found = machine_of(session, every_role(session)).values()
    return node_group([each["gpu"]["series"] for each in found if each.get("gpu")], rules.series)


def _values(gpus: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    return [value for gpu in gpus for value in gpu.get(name, ())]


def _distinct(gpus: Iterable[Mapping[str, Any]], name: str) -> str | None:
    return ",".join(sorted({str(value) for value in _values(gpus, name)})) or None
