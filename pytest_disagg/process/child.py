"""One guarded child process: started in a group of its own, ended with all it ever started. See :mod:`.guard`."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg import redact
from pytest_disagg.errors import DisaggError

GUARD = Path(__file__).with_name("guard.py")
LOG_HEAD_BYTES = 16 << 20
LOG_TAIL_BYTES = 64 << 20
START_TIMEOUT_S = 30.0
GUARD_MARGIN_S = 5.0
GIVES_BACK = "DISAGG_GIVES_BACK"
"""As ``guard.GIVES_BACK``: 1 in the environment of what a guard must not kill before it has undone something."""


@dataclass(frozen=True)
class Exit:
    """How a process ended: an exit code or a signal's name, never both; ``reason`` says who asked for it, if anyone."""

    exit_code: int | None
    signal: str | None
    reason: str = ""

    def __str__(self) -> str:
        how = f"killed by {self.signal}" if self.signal else f"exit code {self.exit_code}"
        return f"{how} ({self.reason})" if self.reason else how


class Child:
    """A running child. Not thread-safe; ``stop`` may be called any number of times."""

    def __init__(self, name: str, guard: subprocess.Popen[bytes], pid: int, grace_s: float) -> None:
        self.name = name
        self.pid = pid
        self._guard = guard
        self._grace_s = grace_s
        self._exit: Exit | None = None

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        *,
        name: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
        exit_file: Path | None = None,
        grace_s: float = 10.0,
        log_head_bytes: int = LOG_HEAD_BYTES,
        log_tail_bytes: int = LOG_TAIL_BYTES,
    ) -> Child:
        """Start ``argv`` (no shell) below a guard; its output goes, redacted, to ``log``, its ending to ``exit_file``.

        ``env`` is the whole environment, None for ours. ``grace_s`` lies between TERM and KILL. The log keeps its first
        ``log_head_bytes`` and at least its last ``log_tail_bytes``.

        Raises:
            DisaggError: the program cannot be started; says which and why.
        """
        spec = {
            "argv": list(argv),
            "name": name,
            "cwd": str(cwd) if cwd else None,
            "log": str(log) if log else None,
            "redact": redact.__file__,
            "exit_file": str(exit_file) if exit_file else None,
            "grace_s": grace_s,
            "log_head_bytes": log_head_bytes,
            "log_tail_bytes": log_tail_bytes,
        }
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=None if env is None else dict(env),
            start_new_session=True,
        )
        first = _read_line(guard, START_TIMEOUT_S)
        if first is None or "pid" not in first:
            guard.kill()
            _close(guard)
            why = first["error"] if first else "its guard said nothing"
            raise DisaggError(f"{name}: cannot start {argv[0]!r}: {why}")
        return cls(name, guard, int(str(first["pid"])), grace_s)

    def poll(self) -> Exit | None:
        """How it ended, None while it runs (or while its descendants are still being ended)."""
        if self._exit is None and self._guard.poll() is not None:
            self._exit = self._read_exit()
        return self._exit

    def wait(self, timeout_s: float) -> Exit | None:
        """Wait at most ``timeout_s`` for the end; None when it still runs."""
        deadline = time.monotonic() + timeout_s
        while (ended := self.poll()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            try:
                self._guard.wait(min(left, 0.5))
            except subprocess.TimeoutExpired:
                continue
        return ended

    def ask_to_stop(self) -> None:
        """Begin TERM, grace, KILL without waiting for it."""
        if self.poll() is None:
            self._guard.send_signal(signal.SIGTERM)

    def stop(self) -> Exit:
        """TERM, grace, KILL for the whole tree; returns how it ended. Never raises for a process already gone."""
        self.ask_to_stop()
        ended = self.wait(self._grace_s + GUARD_MARGIN_S)
        if ended is None:
            self._guard.kill()
            self._guard.wait()
            ended = self._exit = Exit(None, "SIGKILL", "its guard did not end in time")
        return ended

    def kill(self) -> None:
        """KILL the child itself (not its guard), as an out-of-memory killer would."""
        os.kill(self.pid, signal.SIGKILL)

    def _read_exit(self) -> Exit:
        message = _read_line(self._guard, 0.0)
        _close(self._guard)
        if message is None:
            code = self._guard.returncode
            name = signal.Signals(-code).name if code < 0 else None
            return Exit(None if name else code, name, "its guard was killed" if name else "its guard said nothing")
        exit_code = message["exit_code"]
        return Exit(
            None if exit_code is None else int(str(exit_code)),
            None if message["signal"] is None else str(message["signal"]),
            str(message["reason"]),
        )


def _read_line(guard: subprocess.Popen[bytes], timeout_s: float) -> dict[str, object] | None:
    """The guard's next message; None at end of file or after ``timeout_s``."""
    if guard.stdout is None:
        return None
    descriptor = guard.stdout.fileno()
    line = b""
    deadline = time.monotonic() + timeout_s
    while not line.endswith(b"\n"):
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        byte = os.read(descriptor, 1)
        if not byte:
            return None
        line += byte
    message: dict[str, object] = json.loads(line)
    return message


def _close(guard: subprocess.Popen[bytes]) -> None:
    guard.wait()
    for stream in (guard.stdin, guard.stdout):
        if stream is not None:
            stream.close()
