"""The machine a role runs on, and the role's own processes, read from /proc through psutil."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import psutil

from pytest_disagg.telemetry.reading import Reading

MIB = 1 << 20
REFRESH = 10
"""Samples between two looks for new processes of a server."""
MAX_PROCESSES = 64


class HostSampler:
    """CPU, load, memory and network of the whole machine (in a container, too: /proc is the machine's)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, devices: Path = Path("/sys/class/net")) -> None:
        self._clock = clock
        self._devices = devices
        self._cpu: tuple[float, float] | None = None
        self._net: tuple[float, int, int] | None = None

    def sample(self) -> Iterable[Reading]:
        """One reading. What is a rate covers the time since the last one; the first has none."""
        values: dict[str, float] = {}
        memory = psutil.virtual_memory()
        values["memory_used_mib"] = round((memory.total - memory.available) / MIB, 1)
        values["memory_percent"] = memory.percent
        values["load_1min"] = os.getloadavg()[0]
        busy, total = _cpu_times()
        if self._cpu is not None and total > self._cpu[1]:
            values["cpu_percent"] = round(100 * (busy - self._cpu[0]) / (total - self._cpu[1]), 2)
        self._cpu = busy, total
        now, received, sent = self._clock(), *_network(self._devices)
        if self._net is not None and (passed_s := now - self._net[0]) > 0:
            # A device that went away takes its counts with it.
            values["received_mib_per_s"] = round(max(0, received - self._net[1]) / MIB / passed_s, 4)
            values["sent_mib_per_s"] = round(max(0, sent - self._net[2]) / MIB / passed_s, 4)
        self._net = now, received, sent
        return [Reading("host", "", values)]


def _cpu_times() -> tuple[float, float]:
    """CPU seconds of all cores: busy, and all. Waiting for a disk is not busy."""
    times = psutil.cpu_times()
    # A guest's time is in that of its user already.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _network(devices: Path) -> tuple[int, int]:
    """Bytes received and sent; no RDMA, which the kernel does not see.

    Of the hardware where there is any: a bond, a bridge or a container's device counts the same bytes once more. A
    container that has none of it has all devices but the loopback.
    """
    found = {name: each for name, each in psutil.net_io_counters(pernic=True).items() if name != "lo"}
    counts = [each for name, each in found.items() if (devices / name / "device").exists()] or list(found.values())
    return sum(each.bytes_recv for each in counts), sum(each.bytes_sent for each in counts)


class ProcessSampler:
    """Processes together: CPU (100 is one core), resident memory, open files.

    ``roots`` are process ids, whose descendants count as well where ``children`` is set: of all of them the first
    :data:`MAX_PROCESSES`, parents before children.
    """

    def __init__(
        self,
        roots: Sequence[int],
        *,
        children: bool = True,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roots = roots
        self._children = children
        self._name = name
        self._clock = clock
        self._known: dict[int, psutil.Process] = {}
        self._limits: dict[int, int] = {}
        self._spent: dict[int, float] = {}
        self._at: float | None = None
        self._samples = 0

    def sample(self) -> Iterable[Reading]:
        """One reading; none where there is no such process. CPU covers the time since the last one."""
        if self._samples % REFRESH == 0:
            self._look()
        self._samples += 1
        now = self._clock()
        spent: dict[int, float] = {}
        resident = files = 0
        fullest = 0.0
        for pid, process in self._known.items():
            try:
                times = process.cpu_times()
                resident += process.memory_info().rss
                opened = process.num_fds()
                limit = self._limit(pid, process)
            except psutil.Error:
                # It has ended, or belongs to somebody else.
                continue
            spent[pid] = times.user + times.system
            files += opened
            fullest = max(fullest, opened / limit)
        if not spent:
            return []
        values: dict[str, float] = {
            "processes": len(spent),
            "rss_mib": round(resident / MIB, 1),
            "open_files": files,
            "open_files_ratio": round(fullest, 4),
        }
        if self._at is not None and now > self._at:
            # One that was not known at the last look has a past that is not all of this interval: it counts from now.
            used = sum(seconds - self._spent[pid] for pid, seconds in spent.items() if pid in self._spent)
            values["cpu_percent"] = round(100 * used / (now - self._at), 2)
        self._at, self._spent = now, spent
        return [Reading("process", self._name, values)]

    def _look(self) -> None:
        pids = descendants(self._roots) if self._children else self._roots
        kept = {pid: self._known[pid] for pid in pids if pid in self._known}
        for pid in pids:
            if pid not in kept and len(kept) < MAX_PROCESSES:
                try:
                    kept[pid] = psutil.Process(pid)
                except psutil.Error:
                    continue
        self._known = kept

    def _limit(self, pid: int, process: psutil.Process) -> float:
        if pid not in self._limits:
            soft, _ = process.rlimit(psutil.RLIMIT_NOFILE)
            self._limits[pid] = soft
        limit = self._limits[pid]
        return float("inf") if limit <= 0 else limit


def descendants(roots: Sequence[int], proc: Path = Path("/proc")) -> list[int]:
    """``roots`` and all below them. The kernel's own lists are read: they cost nothing on a machine with thousands of
    processes; where it has none, the roots alone are known."""
    found: dict[int, None] = {}
    todo = list(roots)
    while todo and len(found) < MAX_PROCESSES:
        pid = todo.pop(0)
        if pid in found:
            continue
        found[pid] = None
        try:
            threads = list((proc / str(pid) / "task").iterdir())
        except OSError:
            continue
        for thread in threads:
            with contextlib.suppress(OSError):
                todo.extend(map(int, (thread / "children").read_text().split()))
    return list(found)
