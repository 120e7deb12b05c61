"""How busy the CPUs of this machine are, and how much of that is not this run's."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil

from pytest_disagg.machine.processes import RunProcesses

SHORTEST_S = 0.2
"""Below it the kernel's own counting (in steps of 10 ms) is most of what is seen."""


@dataclass(frozen=True)
class HostLook:
    """The CPU seconds that were used until now: of all CPUs, and of each process of the run (by pid and its start)."""

    counted_s: float
    busy_s: float
    ours: dict[tuple[int, float], float]


@dataclass(frozen=True)
class HostLoad:
    """Between two looks: ``others`` is the share of the host's ``cpus`` that was not idle and not this run's."""

    cpus: int
    seconds: float
    others: float
    run: float
    load_average: float

    def words(self) -> str:
        return (
            f"others than this run had {self.others:.0%} of its {self.cpus} CPUs in the {self.seconds:.1f} s before "
            f"the load, this run {self.run:.0%}; load average {self.load_average:.1f}"
        )


def look(processes: RunProcesses) -> HostLook:
    """Look once."""
    times = psutil.cpu_times()
    # Not all systems have all of these; what the guests of a host use is in user and nice already.
    idle = times.idle + getattr(times, "iowait", 0.0)
    counted = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return HostLook(counted, counted - idle, {key: used for pid in processes.pids() for key, used in _used(pid)})


def between(before: HostLook, after: HostLook) -> HostLoad | None:
    """What happened between two looks; None where they are too close to each other to tell."""
    cpus = os.cpu_count() or 1
    total_s = after.counted_s - before.counted_s
    if total_s < SHORTEST_S * cpus:
        return None
    busy_s = max(0.0, after.busy_s - before.busy_s)
    # A process that ended is in what its parent has used, if that one is of the run and waited for it.
    ours_s = sum(max(0.0, used - before.ours.get(key, 0.0)) for key, used in after.ours.items())
    ours_s = min(ours_s, busy_s)
    return HostLoad(
        cpus=cpus,
        seconds=total_s / cpus,
        others=(busy_s - ours_s) / total_s,
        run=ours_s / total_s,
        load_average=os.getloadavg()[0],
    )


def _used(pid: int) -> list[tuple[tuple[int, float], float]]:
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        used_s = times.user + times.system + times.children_user + times.children_system
        return [((pid, process.create_time()), used_s)]
    except psutil.Error:
        return []
