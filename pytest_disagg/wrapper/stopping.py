"""TERM, INT and HUP: while a command runs they are noted and passed on to it, else they end what is being done."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(Exception):
    """A signal asked this program to end, outside of a command."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Stopping:
    """The first signal received, and a way to wait that a signal ends. One per process, on its main thread."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.noted_only = False
        self.wake, self._write = os.pipe()
        for descriptor in (self.wake, self._write):
            os.set_blocking(descriptor, False)

    def install(self) -> None:
        """Take over the signals. SIGCHLD only wakes up whoever waits."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in NUMBERS:
            signal.signal(number, self._received)
        signal.signal(signal.SIGCHLD, lambda received, frame: None)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            if not self.noted_only:
                raise Stopped(number)

    def check(self) -> None:
        """Raises Stopped if a signal was noted."""
        if self.number is not None:
            raise Stopped(self.number)

    def wait(self, wait_s: float, *others: int) -> list[int]:
        """Wait until a signal came, one of the descriptors ``others`` can be read, or ``wait_s`` passed; which can."""
        readable, _, _ = select.select([self.wake, *others], [], [], max(0.0, wait_s))
        if self.wake in readable:
            readable.remove(self.wake)
            os.read(self.wake, 4096)
        return readable
