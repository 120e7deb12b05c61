"""Whether the client's own process kept up: event-loop lag and CPU; and what is done so that it does."""

from __future__ import annotations

import asyncio
import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, process_time

from pytest_disagg.clients.protocol import ClientHealth
from pytest_disagg.errors import RunError
from pytest_disagg.records.summary import percentile

INTERVAL_S = 0.01
SPARE_FILES = 128
"""File descriptors left for everything but the load's connections."""


class LagMeter:
    """A timer every 10 ms; how much later than asked it fires is how late anything else would have been served.

    uvloop's timers count whole milliseconds, so a lag below 1 ms is its rounding.
    """

    def __init__(self) -> None:
        self._lags_s: list[float] = []
        self._due_s = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._begun_s = self._begun_cpu_s = 0.0

    def start(self) -> None:
        self._begun_s, self._begun_cpu_s = monotonic(), process_time()
        self._arm()

    def stop(self, loop_name: str) -> ClientHealth:
        """End the measurement. A lag that is still growing counts as far as it got."""
        if self._handle is not None:
            self._handle.cancel()
        now = monotonic()
        wall_s = now - self._begun_s
        lags_ms = sorted(1000 * lag for lag in [*self._lags_s, max(0.0, now - self._due_s)])
        return ClientHealth(
            lag_p50_ms=percentile(lags_ms, 50),
            lag_p99_ms=percentile(lags_ms, 99),
            lag_max_ms=lags_ms[-1],
            cpu_ratio=(process_time() - self._begun_cpu_s) / wall_s if wall_s > 0 else 0.0,
            loop=loop_name,
        )

    def _arm(self) -> None:
        self._due_s = monotonic() + INTERVAL_S
        self._handle = asyncio.get_running_loop().call_later(INTERVAL_S, self._fire)

    def _fire(self) -> None:
        self._lags_s.append(max(0.0, monotonic() - self._due_s))
        self._arm()


@contextmanager
def quiet_gc() -> Iterator[None]:
    """No garbage collection inside; afterwards as it was. A collection of a big heap is a pause in every latency."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    freeze = gc.get_freeze_count() == 0
    if freeze:
        gc.freeze()
    try:
        yield
    finally:
        if freeze:
            gc.unfreeze()
        if was_enabled:
            gc.enable()


def allow_open_files(connections: int) -> None:
    """Raise this process's soft limit of open files to what the load needs.

    Raises:
        RunError: the hard limit is lower (infrastructure).
    """
    needed = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise RunError(
            f"{connections} connections need {needed} open files, the hard limit (ulimit -Hn) is {hard}",
            kind="infrastructure",
            stage="measure",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
