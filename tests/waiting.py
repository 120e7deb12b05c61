"""Waiting for what a test expects, with a limit that only a hang gets to, however slow or busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import psutil

LIMIT_S = 180.0


def until(condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait for ``condition``; a wait in vain fails the test and says for what."""
    ends_at = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends_at, f"waited {limit_s:g} s for {what}"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether that process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until_gone(pids: Iterable[int]) -> None:
    """Wait until all of these have ended."""
    for pid in pids:
        until(partial(gone, pid), f"process {pid} to end")


def pids_in(path: Path, count: int) -> list[int]:
    """The process ids that a command wrote into ``path``, once there are ``count``."""
    until(lambda: path.exists() and len(path.read_text().split()) >= count, f"{count} process ids in {path}")
    return [int(word) for word in path.read_text().split()]
