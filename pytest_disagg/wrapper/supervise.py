"""One command, run to its end: signals passed on with a grace, a tick every second, nothing left below it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.wrapper.processes import PR_SET_PDEATHSIG, gives_back, prctl_function, reap, send, sweep
from pytest_disagg.wrapper.processes import descendants as below
from pytest_disagg.wrapper.stopping import Stopping

TICK_S = 1.0
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""What a shell reports for a program that is not there, or cannot be executed."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: ``exit_code``, or the number of the signal that killed it.

    ``reason`` says who asked for the end, empty where nobody did. ``asked_by`` is the signal that this process got and
    passed on; ``on_purpose`` is set where we ended it ourselves because there was nothing left to do for it.
    """

    exit_code: int | None
    signal: int | None
    reason: str = ""
    asked_by: int | None = None
    on_purpose: bool = False
    started: bool = True
    timed_out: bool = False

    @property
    def code(self) -> int:
        """The exit code a shell would report."""
        return 128 + self.signal if self.signal is not None else int(self.exit_code or 0)

    def __str__(self) -> str:
        how = f"killed by {signal_name(self.signal)}" if self.signal is not None else f"exit code {self.exit_code}"
        return f"{how} ({self.reason})" if self.reason else how


@dataclass(frozen=True)
class Stop:
    """Why a tick wants the command to end; ``on_purpose`` where that is no failure."""

    reason: str
    on_purpose: bool


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Supervisor:
    """Runs commands one after the other. ``grace_s`` lies between TERM and KILL."""

    def __init__(self, stopping: Stopping, grace_s: float) -> None:
        self.stopping = stopping
        self.grace_s = grace_s

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        output: Callable[[bytes], None] | None = None,
        tick: Callable[[], Stop | None] | None = None,
        timeout_s: float | None = None,
        ended: Callable[[Ended], None] | None = None,
    ) -> Ended:
        """Run ``argv`` (no shell) to its end and end everything it left behind.

        ``output`` gets standard output and error as they come; without it they are inherited. ``tick`` is asked every
        second and may end the command. ``ended`` is called before the leftovers are swept: whoever waits for this
        command learns of its end first. A program that cannot be started gives exit code 127 or 126.

        Raises:
            Stopped: a signal came before the command was started.
        """
        self.stopping.check()
        self.stopping.noted_only = True
        try:
            result = _Running(self, argv, env, cwd, output).watch(tick, timeout_s)
            if ended is not None:
                ended(result.ending())
            result.finish()
            return result.ending()
        finally:
            self.stopping.noted_only = False


class _Running:
    def __init__(
        self,
        supervisor: Supervisor,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path | None,
        output: Callable[[bytes], None] | None,
    ) -> None:
        self.supervisor = supervisor
        self.output = output
        self.statuses: dict[int, int] = {}
        self.reason = ""
        self.asked_by: int | None = None
        self.on_purpose = False
        self.timed_out = False
        self.kill_at: float | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self.failure: OSError | None = None
        prctl = prctl_function()
        pipe = None if output is None else subprocess.PIPE
        try:
            self.child = subprocess.Popen(
                list(argv),
                env=dict(env),
                cwd=None if cwd is None else str(cwd),
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        except OSError as error:
            self.failure = error

    def watch(self, tick: Callable[[], Stop | None] | None, timeout_s: float | None) -> _Running:
        started_at = time.monotonic()
        next_tick = started_at
        inputs = [] if self.descriptor() is None else [self.descriptor() or 0]
        while not self.over():
            now = time.monotonic()
            if tick is not None and now >= next_tick:
                self.end_if(tick())
                next_tick = now + TICK_S
            if timeout_s is not None and now >= started_at + timeout_s and self.kill_at is None:
                self.timed_out = True
                self.end(f"its limit of {timeout_s:g} s has passed")
            if self.supervisor.stopping.number is not None and self.asked_by is None:
                self.asked_by = self.supervisor.stopping.number
                self.end(f"stopped by {signal_name(self.asked_by)}", self.asked_by)
            if self.kill_at is not None and now >= self.kill_at:
                self.signal_group(signal.SIGKILL)
                send([pid for pid in below(os.getpid()) if not gives_back(pid)], signal.SIGKILL)
                self.kill_at = now + 1.0
            waits = [next_tick] if tick is not None else []
            waits += [self.kill_at] if self.kill_at is not None else []
            waits += [started_at + timeout_s] if timeout_s is not None and self.kill_at is None else []
            wait_s = min(waits) - time.monotonic() if waits else 3600.0
            for descriptor in self.supervisor.stopping.wait(wait_s, *inputs):
                if not self.pass_on(descriptor):
                    inputs.remove(descriptor)
        return self

    def over(self) -> bool:
        if self.child is None:
            return True
        reap(self.statuses)
        if self.child.pid not in self.statuses:
            return False
        status = self.statuses[self.child.pid]
        self.child.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return True

    def end_if(self, stop: Stop | None) -> None:
        if stop is not None and self.kill_at is None:
            self.on_purpose = stop.on_purpose
            self.end(stop.reason)

    def end(self, reason: str, number: int = signal.SIGTERM) -> None:
        """Pass ``number`` on to the command's group; KILL after the grace, counted from the first request."""
        self.reason = self.reason or reason
        if self.kill_at is None:
            self.kill_at = time.monotonic() + self.supervisor.grace_s
        self.signal_group(number)

    def signal_group(self, number: int) -> None:
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, number)

    def descriptor(self) -> int | None:
        if self.child is None or self.child.stdout is None:
            return None
        return self.child.stdout.fileno()

    def pass_on(self, descriptor: int) -> bool:
        """Hand what can be read to ``output``; False at its end."""
        data = os.read(descriptor, 1 << 16)
        if data and self.output is not None:
            self.output(data)
        return bool(data)

    def finish(self) -> None:
        """End what the command left behind, then read what is still in the pipe: nobody can write to it any more."""
        sweep(self.statuses)
        descriptor = self.descriptor()
        if descriptor is not None and self.child is not None and self.child.stdout is not None:
            os.set_blocking(descriptor, False)
            with contextlib.suppress(BlockingIOError):
                while self.pass_on(descriptor):
                    pass
            self.child.stdout.close()

    def ending(self) -> Ended:
        if self.child is None:
            error = self.failure or OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            return Ended(code, None, f"{error.filename or 'program'}: {error.strerror}", started=False)
        code = self.child.returncode
        return Ended(
            exit_code=None if code < 0 else code,
            signal=-code if code < 0 else None,
            reason=self.reason,
            asked_by=self.asked_by,
            on_purpose=self.on_purpose,
            timed_out=self.timed_out,
        )
