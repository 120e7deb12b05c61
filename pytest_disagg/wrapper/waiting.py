"""Waiting for a condition, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_disagg.wrapper.stopping import Stopping

FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.2


def wait_until(done: Callable[[], bool], timeout_s: float, stopping: Stopping) -> bool:
    """Ask ``done`` until it says so; False after ``timeout_s``. Asks often at first, then five times a second.

    Raises:
        Stopped: a signal came meanwhile. Whatever ``done`` raises goes through.
    """
    deadline = time.monotonic() + timeout_s
    pause = FIRST_PAUSE_S
    while not done():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        stopping.wait(min(pause, left))
        stopping.check()
        pause = min(2 * pause, LONGEST_PAUSE_S)
    return True
