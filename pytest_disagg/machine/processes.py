"""Which processes of this machine are of one run, and what to call those that are not."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import psutil

PROC = Path("/proc")
RUN_VARIABLE = "DISAGG_RUN_ID"


class RunProcesses:
    """The processes of a run, told by its id in their environment and by descent from this process."""

    def __init__(self, run_id: str) -> None:
        self._mark = f"{RUN_VARIABLE}={run_id}".encode()

    def pids(self) -> Iterator[int]:
        """Every one of them that runs now."""
        below = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        for entry in PROC.iterdir():
            if entry.name.isdigit() and (int(entry.name) in below or self._marked(int(entry.name))):
                yield int(entry.name)

    def has(self, pid: int) -> bool:
        """Whether process ``pid`` is one of them; False of a process that cannot be looked at."""
        if self._marked(pid):
            return True
        try:
            return os.getpid() in {pid, *(parent.pid for parent in psutil.Process(pid).parents())}
        except psutil.Error:
            return False

    def _marked(self, pid: int) -> bool:
        try:
            return self._mark in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            return False


def told(pid: int, name: str) -> str:
    """A process in words: its program, pid and owner, as far as this machine says them."""
    program = name.rpartition("/")[2] or "a process"
    try:
        owner = pwd.getpwuid((PROC / str(pid)).stat().st_uid).pw_name
    except (OSError, KeyError):
        return f"{program} (pid {pid})"
    return f"{program} (pid {pid} of {owner})"
