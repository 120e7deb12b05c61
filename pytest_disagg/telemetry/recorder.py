"""Takes samples in a thread of its own for as long as it is entered, and keeps them in the role's file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from pytest_disagg.telemetry.reading import Reading, Sample, append

MAX_BYTES = 64 << 20
"""Of one file; beyond it engine metrics, which are most of it, are no longer kept."""
STOP_TIMEOUT_S = 0.5


class Sampler(Protocol):
    """Gives readings, called once per interval from one thread."""

    def sample(self) -> Iterable[Reading]:
        """What is seen now. What it raises is said once, and it is asked again at the next interval."""
        ...


class Recorder:
    """Context manager. ``prepare`` gives the samplers, each with the kind of what it looks at, and is called in the
    thread: what is slow to start (a driver) must not delay the role. ``say`` is for lines of the role's log.

    Telemetry never ends a run: whatever fails in here is said once and left out.
    """

    def __init__(
        self,
        path: Path,
        prepare: Callable[[], Sequence[tuple[str, Sampler]]],
        *,
        node: str,
        interval_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._path = path
        self._prepare = prepare
        self._node = node
        self._interval_s = interval_s
        self._say = say
        self._said: set[object] = set()
        self._size = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"disagg-telemetry-{path.stem}", daemon=True)

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        # A driver or a file system that hangs must not keep a role from ending: the thread is a daemon.
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._sample(self._prepare())
        except Exception as error:  # noqa: BLE001 - see the class
            self._once("end", f"telemetry: no more samples: {type(error).__name__}: {error}")

    def _sample(self, samplers: Sequence[tuple[str, Sampler]]) -> None:
        due = time.monotonic()
        while True:
            self._keep([sample for kind, sampler in samplers for sample in self._ask(kind, sampler)])
            # Intervals that a slow sampler has eaten are left out, never made up for.
            due += self._interval_s * max(1, -(-(time.monotonic() - due) // self._interval_s))
            if self._done.wait(max(0.0, due - time.monotonic())):
                return

    def _ask(self, kind: str, sampler: Sampler) -> list[Sample]:
        try:
            readings = list(sampler.sample())
        except Exception as error:  # noqa: BLE001 - see the class
            name = type(sampler).__name__
            self._once((sampler, type(error)), f"telemetry: {name}: {type(error).__name__}: {error}")
            return []
        now = time.monotonic(), time.time()
        return [Sample(*now, self._node, kind, each.source, each.name, each.values, each.text) for each in readings]

    def _keep(self, samples: Sequence[Sample]) -> None:
        if self._size > MAX_BYTES:
            self._once(
                "size", f"telemetry: {self._path.name} has {MAX_BYTES >> 20} MiB: engine metrics are no longer kept"
            )
            samples = [sample for sample in samples if sample.source != "engine"]
        try:
            self._size = append(self._path, samples)
        except OSError as error:
            self._once("path", f"telemetry: {self._path}: {error.strerror or error}")

    def _once(self, what: object, text: str) -> None:
        # One that was left behind has no role any more that would tell it.
        if what not in self._said and not self._done.is_set():
            self._said.add(what)
            self._say(text)
