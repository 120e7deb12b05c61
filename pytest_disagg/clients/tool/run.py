"""A load generator's program as a child: started, watched, ended, with its last words where it ended badly."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.clients.protocol import LoadPoint, LoadProgress
from pytest_disagg.errors import DisaggError, RunError
from pytest_disagg.process.child import Child, Exit
from pytest_disagg.rundir.files import tail_lines

LOOK_S = 0.2
GRACE_S = 5.0
LAST_LINES = 20
LINE_CHARS = 300
_SEARCHED_LINES = 400
_TAIL_BYTES = 8192
_BAR = re.compile(r"(\d+)/(\d+) (?:\|[^|\r\n]*\| +\d+% )?\[")
"""A bar of tqdm (``44%|####  | 28/64 [00:01<00:02]``), or aiperf's (``28/64 |####  |  44% [00:01<00:02]``)."""


@dataclass(frozen=True)
class Ran:
    """A program that ended well. ``began_s`` is when its load was seen to begin (CLOCK_MONOTONIC)."""

    began_s: float
    ended_s: float


class Watch:
    """What a program's log says of its load. ``began`` matches the line after which the requests are sent."""

    def __init__(self, log: Path, began: re.Pattern[str], point: LoadPoint) -> None:
        self._log = log
        self._began = began
        self._point = point
        self._read = 0
        self._rest = ""
        self._completed = 0
        self.began_s: float | None = None

    def look(self) -> LoadProgress:
        """Read what is new in the log."""
        text = self._news()
        now = time.monotonic()
        if self.began_s is None and self._began.search(text):
            self.began_s = now
        for done, total in _BAR.findall(text):
            if int(total) == self._point.num_prompts:
                self._completed = max(self._completed, int(done))
        left = self._point.num_prompts - self._completed
        return LoadProgress(
            completed=self._completed,
            failed=0,
            in_flight=min(self._point.concurrency, left) if self.began_s is not None else 0,
            output_chunks=0,
            elapsed_s=now - self.began_s if self.began_s is not None else 0.0,
            total=self._point.num_prompts,
            starting=self.began_s is None,
        )

    def _news(self) -> str:
        """New text, from the beginning of a line that was not whole at the last look."""
        try:
            size = self._log.stat().st_size
            with self._log.open("rb") as file:
                file.seek(self._read if size >= self._read else max(0, size - _TAIL_BYTES))
                fresh = file.read()
                self._read = file.tell()
        except OSError:
            return ""
        text = self._rest + fresh.decode(errors="replace")
        self._rest = re.split(r"[\r\n]", text)[-1][-_TAIL_BYTES:]
        return text


def run(
    argv: Sequence[str],
    *,
    name: str,
    env: Mapping[str, str],
    log: Path,
    cwd: Path,
    limit_s: float,
    watch: Watch,
    cause: Callable[[Sequence[str]], str],
    on_progress: Callable[[LoadProgress], None] | None,
    should_stop: Callable[[], str | None] | None,
) -> Ran:
    """Run ``argv`` to its end; both callbacks are called five times a second. ``cause`` picks the telling log line.

    Raises:
        RunError: ``should_stop`` gave a reason or ``limit_s`` passed (functional, as with any client); the program
            could not be started or ended with another exit code than 0 (infrastructure). Nothing of it is left.
    """
    try:
        child = Child.start(argv, name=name, env=env, cwd=cwd, log=log, grace_s=GRACE_S)
    except DisaggError as error:
        raise RunError(str(error), kind="infrastructure", stage="measure") from error
    started_s = time.monotonic()
    try:
        while (ended := child.wait(LOOK_S)) is None:
            progress = watch.look()
            if on_progress is not None:
                on_progress(progress)
            if should_stop is not None and (reason := should_stop()) is not None:
                raise RunError(reason, kind="functional", stage="measure", evidence=last_words(name, log))
            if time.monotonic() - started_s > limit_s:
                raise _too_long(name, progress, log, limit_s)
    finally:
        child.stop()
    ended_s = time.monotonic()
    last = watch.look()
    if on_progress is not None:
        on_progress(last)
    if ended.exit_code != 0:
        raise _failed(name, ended, log, cause)
    return Ran(began_s=watch.began_s if watch.began_s is not None else started_s, ended_s=ended_s)


def last_words(name: str, log: Path) -> list[str]:
    """The last lines of the log, below a line that says so."""
    lines = _lines(log)
    return [f"last {len(lines)} lines of {name}'s {log.name}:", *lines] if lines else [f"{name} wrote no log"]


def last_line(lines: Sequence[str]) -> str:
    """The last line with text: Python's and argparse's errors say there what is wrong."""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _failed(name: str, ended: Exit, log: Path, cause: Callable[[Sequence[str]], str]) -> RunError:
    how = f"was killed by {ended.signal}" if ended.signal else f"ended with exit code {ended.exit_code}"
    said = cause(_lines(log, _SEARCHED_LINES))[:LINE_CHARS]
    return RunError(
        f"{name} {how}: {said}" if said else f"{name} {how} and said nothing",
        kind="infrastructure",
        stage="measure",
        exit_code=ended.exit_code,
        signal=ended.signal,
        evidence=last_words(name, log),
    )


def _too_long(name: str, progress: LoadProgress, log: Path, limit_s: float) -> RunError:
    seen = "before its load began" if progress.starting else f"after {progress.completed} of {progress.total} requests"
    said = last_line(_lines(log)) or "nothing"
    return RunError(
        f"{name}: no end of the load within {limit_s:g} s (timeouts.measure_s), stopped {seen}; last seen: {said}",
        kind="functional",
        stage="measure",
        evidence=last_words(name, log),
    )


def _lines(log: Path, count: int = LAST_LINES) -> list[str]:
    """The end of the log without empty lines and the many states of a progress bar."""
    lines = [line.rstrip() for line in tail_lines(log, _SEARCHED_LINES)]
    return [line[:LINE_CHARS] for line in lines if line and not _BAR.search(line)][-count:]
