"""SIGTERM as a note instead of an end: whoever is asked to stop still ends its processes and says how the run ended."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Termination:
    """While inside, SIGTERM only sets ``reason``: waits look at it many times a second, and none is torn apart.

    They nest: an outer one learns of the signal too. Does nothing outside the main thread.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._old: Any = None

    def __enter__(self) -> Termination:
        if threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGTERM, self.note)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._old is not None:
            signal.signal(signal.SIGTERM, self._old)

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        self.reason = f"stopped from outside ({signal.Signals(number).name})"
        outer = getattr(self._old, "__self__", None)
        if isinstance(outer, Termination):
            outer.note(number, frame)
