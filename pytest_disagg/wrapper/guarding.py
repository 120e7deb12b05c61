"""Two processes instead of one, so that ``kill -9`` of either leaves nothing behind.

The outer process is the one that Slurm started. It does nothing but wait for the inner one, which does the work. Each
is a child subreaper: whatever loses its parent comes to the next of them that lives, and is ended there. The inner
process gets TERM from the kernel when the outer one dies, and then ends as it does at any TERM.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from pytest_disagg.wrapper.processes import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    prctl_function,
    reap,
    sweep,
)
from pytest_disagg.wrapper.stopping import NUMBERS, Stopping


def guarded(work: Callable[[Stopping], int], lost: Callable[[int], None]) -> int:
    """Run ``work`` in a process of its own and return its exit code, 128 + n where a signal ended it.

    ``lost`` is called in the outer process with that code where ``work`` did not return: the inner process was killed,
    or ended by an error of ours. In the inner process this function returns, too: the caller ends the process with
    what it gets.
    """
    prctl = prctl_function()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    outer = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    returned, says_returned = os.pipe()
    inner = os.fork()
    if inner == 0:
        code = _inner(work, prctl, outer)
        os.write(says_returned, b".")
        return code
    os.close(says_returned)

    def pass_on(number: int, frame: FrameType | None) -> None:
        try:
            os.kill(inner, number)
        except ProcessLookupError:
            return

    for number in NUMBERS:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)
    statuses: dict[int, int] = {}
    while inner not in statuses:
        pid, status = os.waitpid(-1, 0)
        statuses[pid] = status
    status = statuses[inner]
    code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    os.set_blocking(returned, False)
    if not _said(returned):
        lost(code)
    sweep(statuses)
    reap(statuses)
    return code


def _said(descriptor: int) -> bool:
    try:
        return bool(os.read(descriptor, 1))
    except BlockingIOError:
        return False


def _inner(work: Callable[[Stopping], int], prctl: Callable[[int, int], None], outer: int) -> int:
    stopping = Stopping()
    stopping.noted_only = True
    stopping.install()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != outer:
        os.kill(os.getpid(), signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)
    stopping.noted_only = False
    return work(stopping)
