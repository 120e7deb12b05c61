"""The kernel's side of ending processes: subreaper, death signal, descendants."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LEFTOVER_GRACE_S = 1.0
GIVES_BACK = "DISAGG_GIVES_BACK"
"""In the environment of a process that undoes something on its node when it ends (GPU clocks): it gets more time."""
GIVE_BACK_S = 15.0


def prctl_function() -> Callable[[int, int], None]:
    """``prctl(option, value)``, loaded before a fork; does nothing where ctypes is missing (some bare Pythons)."""
    try:
        import ctypes

        function = ctypes.CDLL(None, use_errno=True).prctl
    except (ImportError, OSError, AttributeError):
        return lambda option, value: None

    def prctl(option: int, value: int) -> None:
        function(option, value, 0, 0, 0)

    return prctl


def descendants(root: int) -> list[int]:
    """Process ids below ``root`` that still run, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields and fields[0] not in (b"Z", b"X"):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def gives_back(pid: int) -> bool:
    """Whether a process says that it must not be killed before it has undone what it did to its node."""
    try:
        return f"{GIVES_BACK}=1".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def reap(known: dict[int, int]) -> None:
    """Collect every child that has ended: pid -> wait status, into ``known``."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        known[pid] = status


def has_child() -> bool:
    """Whether this process has any child. A subreaper without one has no descendant either: /proc need not be read."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def sweep(known: dict[int, int]) -> None:
    """End whatever still runs below this process: TERM, a moment (longer for what gives back), KILL, until nothing is
    left.
    """
    reap(known)
    if not has_child():
        return
    left = descendants(os.getpid())
    send(left, signal.SIGTERM)
    began = time.monotonic()
    while left:
        waited_s = time.monotonic() - began
        if waited_s >= LEFTOVER_GRACE_S:
            send([pid for pid in left if waited_s >= GIVE_BACK_S or not gives_back(pid)], signal.SIGKILL)
        reap(known)
        # A grandchild that ends gives no signal here until it has been adopted: look again soon.
        select.select([], [], [], 0.01)
        left = descendants(os.getpid())
    reap(known)
