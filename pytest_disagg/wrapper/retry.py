"""Trying again: only after failures that may pass, with a pause that a signal ends, and with the true exit code."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pytest_disagg.wrapper.console import WrapperError, say
from pytest_disagg.wrapper.redaction import redact
from pytest_disagg.wrapper.stopping import Stopped, Stopping
from pytest_disagg.wrapper.supervise import Ended, Stop, Supervisor

ATTEMPTS = 3
PAUSE_VARIABLE, PAUSE_S = "DISAGG_RETRY_PAUSE_S", 10.0
TIMED_OUT = 124
"""What ``timeout`` reports; so does a command whose last attempt took too long."""
LINES_KEPT = 200
LINES_SHOWN = 20

_TRANSIENT = re.compile(
    r"(?i)timed? ?out|connection (?:reset|refused|aborted|broken)|temporary failure|name resolution"
    r"|network is unreachable|no route to host|incompleteread|incomplete read|protocolerror|remote end closed"
    r"|remotedisconnected|newconnectionerror|max retries exceeded"
    r"|(?:http error|status|status code|returned error):? (?:429|50[0234])\b"
    r"|\b(?:429|50[0234]) (?:client error|server error|too many|internal server|bad gateway|service unav|gateway time)"
    r"|early eof|the remote end hung up|could not resolve host|text file busy|stale file handle"
)


class Attempts:
    """How often and how long one thing may be tried: at most ``most`` attempts of ``timeout_s`` each."""

    def __init__(self, timeout_s: float, pause_s: float, most: int = ATTEMPTS) -> None:
        self.timeout_s = timeout_s
        self._pause_s = pause_s
        self._most = most
        self.made = 1

    def again(self, why: str, stopping: Stopping) -> bool:
        """Pause before the next attempt and return True; False when this was the last.

        Raises:
            Stopped: a signal came during the pause.
        """
        if self.made >= self._most:
            return False
        say(f"{why}; attempt {self.made + 1} of {self._most} in {self._pause_s:g} s")
        until = time.monotonic() + self._pause_s
        while time.monotonic() < until:
            stopping.wait(until - time.monotonic())
            stopping.check()
        self.made += 1
        return True


class Log:
    """Output of commands: printed redacted, line by line, and kept in a file; the last lines are remembered."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else path.open("a", encoding="utf-8", errors="replace")
        self._rest = b""
        self.last: deque[str] = deque(maxlen=LINES_KEPT)

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.line(line.decode(errors="replace"))

    def end(self) -> None:
        """Print what came without a line end."""
        if self._rest:
            self.write(b"\n")

    def line(self, text: str) -> None:
        clean = redact(text)
        self.last.append(clean)
        say(clean)
        if self._file is not None:
            self._file.write(clean + "\n")
            self._file.flush()

    def close(self) -> None:
        self.end()
        if self._file is not None:
            self._file.close()


class Runner:
    """Runs the commands of an installation."""

    def __init__(self, supervisor: Supervisor, log: Log, cwd: Path, pause_s: float) -> None:
        self.cwd = cwd
        self.pause_s = pause_s
        self.stopping = supervisor.stopping
        self.log = log
        self.tick: Callable[[], None] | None = None
        self._supervisor = supervisor

    def run(
        self, what: str, argv: Sequence[str], env: Mapping[str, str], timeout_s: float, *, cwd: Path | None = None
    ) -> None:
        """Run ``argv``, again after failures that look like the network's, at most three times.

        Raises:
            WrapperError: the last attempt failed; with its exit code (124: it took longer than ``timeout_s``) and its
                last lines.
            Stopped: a signal came meanwhile.
        """
        attempts = Attempts(timeout_s, self.pause_s)
        while True:
            self.log.last.clear()
            self.log.line(f"{what}: {' '.join(argv)}")
            ended = self._once(argv, env, timeout_s, cwd)
            if ended.asked_by is not None:
                raise Stopped(ended.asked_by)
            if ended.code == 0:
                return
            lines = list(self.log.last)[1:]
            transient = ended.timed_out or any(_TRANSIENT.search(line) for line in lines)
            if not transient or not attempts.again(f"{what}: {ended}", self.stopping):
                code = TIMED_OUT if ended.timed_out else ended.code
                raise WrapperError("\n".join([f"{what}: {ended}", *lines[-LINES_SHOWN:]]), code)

    def _once(self, argv: Sequence[str], env: Mapping[str, str], timeout_s: float, cwd: Path | None) -> Ended:
        ended = self._supervisor.run(
            argv, env=env, cwd=cwd or self.cwd, output=self.log.write, timeout_s=timeout_s, tick=self._tick
        )
        self.log.end()
        return ended

    def _tick(self) -> Stop | None:
        if self.tick is not None:
            self.tick()
        return None
