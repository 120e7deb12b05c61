"""One role's view of the others: who is ready, who failed, who vanished."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pytest_disagg.rundir.files import read_json, tail_lines
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.state import Failure, RoleState, stage_order

ENDED = ("stopped", "failed")
_OTHER_RANK = re.compile(r"rank \d+ of this step ")
"""How the exit file of a server's first rank begins where another rank was the cause."""


class Watch:
    """Reads the files of the named roles; decides by beat counters and the reader's own monotonic clock alone.

    A role whose starter writes an exit file is known to be gone at once; the still beat is the second line of evidence.
    Not thread-safe. ``states`` holds what each role last published.
    """

    def __init__(
        self,
        rundir: RunDir,
        roles: Iterable[str],
        *,
        heartbeat_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rundir = rundir
        self.roles = tuple(roles)
        self.states: dict[str, RoleState] = {}
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._clock = clock
        self._beats: dict[str, tuple[int, float]] = {}

    def read(self, role: str) -> RoleState | None:
        """What ``role`` last published; None before it claimed its file."""
        data = read_json(self.rundir.role(role))
        if data is not None:
            self.states[role] = RoleState.from_dict(data)
        return self.states.get(role)

    def outcome(self) -> dict[str, Any] | None:
        return read_json(self.rundir.outcome)

    def failures(self) -> list[Failure]:
        """Every failure that can be known now, in the order of the roles."""
        return [failure for role in self.roles if (failure := self.failure_of(role)) is not None]

    def failure_of(self, role: str) -> Failure | None:
        """Why ``role`` must be given up, if it must: it says so, its starter says so, or its beat stands still."""
        # The exit file first: a role that ended in between has published its last state before its starter wrote that.
        exit_data = read_json(self.rundir.exit(role))
        state = self.read(role)
        if state is not None and state.failure is not None:
            return state.failure
        if exit_data is not None and (state is None or state.state not in ENDED):
            return self._vanished(role, state, exit_data)
        if state is None or state.state in ENDED:
            return None
        return self._still(role, state)

    def _vanished(self, role: str, state: RoleState | None, exit_data: dict[str, Any]) -> Failure:
        signal, code = exit_data.get("signal"), exit_data.get("exit_code")
        how = f"was killed by {signal}" if signal else f"ended with exit code {code}"
        when = "before it started" if state is None else "without a word"
        # Slurm ends a step at once where one of its ranks fails, and may be quicker than this rank's own last words.
        reason = str(exit_data.get("reason") or "")
        message = f"{reason} (its leader was stopped)" if _OTHER_RANK.match(reason) else f"its process {how} {when}"
        # Who could not even start has nowhere to say why but its own report.
        if state is None and (said := first_failure(self.rundir.junit(role))):
            message = f"{message}: {said}"
        return Failure(
            role=role,
            kind="infrastructure",
            stage=self._stage(state),
            message=message,
            exit_code=code,
            signal=signal,
            evidence=tuple(tail_lines(self.rundir.pytest_log(role))),
        )

    def _stage(self, state: RoleState | None) -> str:
        """The stage of the run in which a role was lost: BENCHMARK's where the role served it."""
        if state is None:
            return "launch"
        return (serving_stage(self.rundir) if state.state == "ready" else None) or state.stage

    def _still(self, role: str, state: RoleState) -> Failure | None:
        now = self._clock()
        beat, since = self._beats.get(role, (-1, now))
        if state.beat != beat:
            self._beats[role] = (state.beat, now)
            return None
        if now - since < self._heartbeat_timeout_s:
            return None
        return Failure(
            role=role,
            kind="infrastructure",
            stage=self._stage(state),
            message=(
                f"vanished: its beat stood still at {beat} for {now - since:.0f} s "
                f"(pid {state.pid} on {state.node}, last state {state.state})"
            ),
            evidence=tuple(tail_lines(self.rundir.pytest_log(role))),
        )


def first_failure(junit: Path) -> str:
    """The first line of the first failure in a junit file; empty where there is none, or no whole file."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.parse(junit).getroot()
    except (OSError, ElementTree.ParseError):
        return ""
    said = next((each.get("message", "") for each in root.iter("failure")), "")
    return said.partition("\n")[0].removeprefix("infrastructure: ")


def serving_stage(rundir: RunDir) -> str | None:
    """The last stage of BENCHMARK that needed the servers; None before there was one.

    What comes after ``accuracy`` is left out: whoever looks a little later must name the same stage.
    """
    data = read_json(rundir.role("BENCHMARK"))
    stages = [name for name, *_ in data.get("timeline", ())] if data else []
    return next((name for name in reversed(stages) if stage_order(name) <= stage_order("accuracy")), None)


def cause_of(failures: Iterable[Failure]) -> Failure | None:
    """The run's cause: the failure that blames nobody, the earliest stage first; else the earliest that does."""
    ordered = sorted(failures, key=lambda failure: (failure.because_of is not None, stage_order(failure.stage)))
    return ordered[0] if ordered else None
