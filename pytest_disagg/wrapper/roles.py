"""The part of the run directory that a step writes and reads: how its ranks ended, and that they live.

``roles/<ROLE>.<rank>.json`` beats every second for each rank of a step of several tasks. ``roles/<ROLE>.exit.json``
says how rank 0's command ended, ``roles/<ROLE>.<rank>.exit.json`` how another rank's did; each is written once. The
run is over when ``outcome.json`` is there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_disagg.wrapper.files import create_json, read_json, write_json
from pytest_disagg.wrapper.step import OWNERS, Step
from pytest_disagg.wrapper.supervise import Ended, Stop, signal_name

HEARTBEAT_VARIABLE, HEARTBEAT_TIMEOUT_S = "DISAGG_HEARTBEAT_TIMEOUT_S", 10.0
AFTER_END_S = 10.0
"""Seconds that a command may go on after there is nothing left to do for it, before it is stopped."""
AFTER_OUTCOME_S = 60.0


class RoleFiles:
    """The files of one task. Does nothing where no run directory is set. An aggregated case plays as BENCHMARK."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._role = step.role or "BENCHMARK"
        self._beat = 0
        self._folder = None if step.run_dir is None else step.run_dir / "roles"

    @property
    def known(self) -> bool:
        return self._folder is not None

    def make(self) -> None:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)

    def exit_path(self, rank: int) -> Path | None:
        name = f"{self._role}.exit.json" if rank == 0 else f"{self._role}.{rank}.exit.json"
        return None if self._folder is None else self._folder / name

    def beat_path(self, rank: int) -> Path | None:
        return None if self._folder is None else self._folder / f"{self._role}.{rank}.json"

    def write_exit(self, exit_code: int | None, number: int | None, reason: str) -> None:
        """How this rank ended, unless that was said before."""
        path = self.exit_path(self._step.rank)
        if path is not None:
            self.make()
            name = None if number is None else signal_name(number)
            create_json(path, {"role": self._role, "exit_code": exit_code, "signal": name, "reason": reason[:2000]})

    def write_ended(self, ended: Ended) -> None:
        self.write_exit(None if ended.signal is not None else ended.exit_code, ended.signal, ended.reason)

    def beat(self) -> None:
        """Count once more. A full disk does not end the rank: whoever watches it sees the beat stand still."""
        path = self.beat_path(self._step.rank)
        if path is not None and self._step.tasks > 1:
            self._beat += 1
            state = {"role": self._role, "rank": self._step.rank, "node": self._step.node}
            with contextlib.suppress(OSError):
                write_json(path, {**state, "pid": os.getpid(), "state": "ready", "beat": self._beat})

    def exit_of(self, rank: int) -> dict[str, Any] | None:
        path = self.exit_path(rank)
        return None if path is None else read_json(path)

    def over(self) -> bool:
        """Whether the run has its outcome."""
        return self._step.run_dir is not None and read_json(self._step.run_dir / "outcome.json") is not None


class Stillness:
    """Finds a beat that stands still, by the reader's own monotonic clock."""

    def __init__(self, path: Path, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._clock = clock
        self._last: object = None
        self._since = clock()

    def still_for(self) -> float | None:
        """Seconds without a new beat once they are more than the limit, else None. A missing file never beat."""
        said = read_json(self._path)
        beat = None if said is None else said.get("beat")
        now = self._clock()
        if beat != self._last:
            self._last, self._since = beat, now
        return now - self._since if now - self._since > self._timeout_s else None


class Watch:
    """What a rank must know of the other ranks of its step and of the run, asked every second while it runs.

    Rank 0 stops when another rank ended badly or stands still. Another rank stops when rank 0 has ended (no failure of
    its own) or stands still. After the run's outcome a server's command has a minute to end by itself.
    """

    def __init__(
        self,
        files: RoleFiles,
        step: Step,
        heartbeat_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._files = files
        self._step = step
        others = range(1, step.tasks) if step.rank == 0 else range(1)
        self._beats: dict[int, Stillness] = {}
        for rank in others if step.tasks > 1 else ():
            path = files.beat_path(rank)
            if path is not None:
                self._beats[rank] = Stillness(path, heartbeat_timeout_s, clock)
        self._ended_at: float | None = None
        self._over_at: float | None = None

    def tick(self) -> Stop | None:
        """Beat, and say whether this rank's command must end."""
        self._files.beat()
        if not self._files.known:
            return None
        return self._rank() or self._run_over()

    def first_to_blame(self) -> str:
        """Which other rank ended badly by itself, for rank 0 that was stopped because of it; empty where none did."""
        for rank in range(1, self._step.tasks if self._step.rank == 0 else 1):
            said = self._files.exit_of(rank)
            if said is not None and code_of(said) not in (0, 143):
                return f"rank {rank} of this step ended: {described(said)}"
        return ""

    def leader_ended(self) -> dict[str, Any] | None:
        """Rank 0's exit file, for a rank that has nothing else to do than to wait for it."""
        return self._files.exit_of(0)

    def _rank(self) -> Stop | None:
        for rank, beat in list(self._beats.items()):
            said = self._files.exit_of(rank)
            if said is not None:
                del self._beats[rank]
                if self._step.rank == 0 and code_of(said) != 0:
                    return Stop(f"rank {rank} of this step ended: {described(said)}", on_purpose=False)
                if self._step.rank != 0:
                    self._ended_at = self._clock()
                continue
            still = beat.still_for()
            if still is not None:
                why = f"rank {rank} of this step vanished: its beat stood still for {still:.0f} s"
                return Stop(why, on_purpose=False)
        if self._ended_at is not None and self._clock() - self._ended_at > AFTER_END_S:
            return Stop("rank 0 of this step has ended", on_purpose=True)
        return None

    def _run_over(self) -> Stop | None:
        if self._step.role in OWNERS:
            return None
        if self._over_at is None and self._files.over():
            self._over_at = self._clock()
        if self._over_at is not None and self._clock() - self._over_at > AFTER_OUTCOME_S:
            return Stop("the run is over", on_purpose=True)
        return None


def code_of(said: dict[str, Any]) -> int:
    """The exit code in an exit file, 128 + n for a signal."""
    if said.get("signal"):
        return 128 + _number(str(said["signal"]))
    return int(said.get("exit_code") or 0)


def described(said: dict[str, Any]) -> str:
    how = f"killed by {said['signal']}" if said.get("signal") else f"exit code {said.get('exit_code')}"
    return f"{how} ({said['reason']})" if said.get("reason") else how


def _number(name: str) -> int:
    try:
        return int(signal.Signals[name])
    except KeyError:
        return 0
