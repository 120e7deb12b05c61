"""Progress, or the lack of it: tokens at the client, else iterations at the servers, else news in their logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_disagg.clients.protocol import LoadProgress
from pytest_disagg.engines.protocol import Engine
from pytest_disagg.roles.loglines import FreshLines

ASK_TIMEOUT_S = 1.0


class Watchdog:
    """Knows how long a load has made no progress.

    The client's own counts come first. Only when they have stood still for half the stall time are the servers asked
    and their ``logs`` read, from a thread, so that a load that runs well is never disturbed.
    """

    def __init__(
        self,
        engine: Engine,
        urls: Callable[[], Sequence[str]],
        stall_s: float,
        logs: Sequence[Path] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._urls = urls
        self._stall_s = stall_s
        self._lines = FreshLines(logs)
        self._clock = clock
        self._seen: tuple[int, int] = (-1, -1)
        self._counters: dict[str, int] = {}
        self._since = clock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask_servers, name="disagg-watchdog", daemon=True)
        self.last: LoadProgress | None = None

    def __enter__(self) -> Watchdog:
        self._since = self._clock()
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        self._thread.join()

    def saw(self, progress: LoadProgress) -> None:
        """Take the client's latest counts. A client that still starts is not stalled."""
        self.last = progress
        now = (progress.output_chunks, progress.completed + progress.failed)
        if now != self._seen or progress.starting:
            self._seen = now
            self._since = self._clock()

    def silent_s(self) -> float:
        """Seconds without any progress."""
        return self._clock() - self._since

    def stalled(self) -> str | None:
        """What to say when the stall time has passed; None before."""
        silent = self.silent_s()
        if silent < self._stall_s:
            return None
        counts = (
            f"{self.last.completed} of {self.last.total} requests done, {self.last.in_flight} in flight, "
            f"{self.last.output_chunks} chunks received"
            if self.last
            else "nothing was received"
        )
        return f"no progress for {self._stall_s:g} s (timeouts.stall_s): {counts}"

    def _ask_servers(self) -> None:
        while not self._done.wait(min(1.0, self._stall_s / 4)):
            if self.silent_s() < self._stall_s / 2:
                continue
            if self._lines.look():
                self._since = self._clock()
            for url in self._urls():
                if self._done.is_set():
                    return
                counter = self._engine.progress(url, ASK_TIMEOUT_S)
                if counter is None:
                    continue
                if url in self._counters and counter != self._counters[url]:
                    self._since = self._clock()
                self._counters[url] = counter
