"""All roles of a disaggregated run on this machine: one child pytest each, below a guard of its own."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pytest_disagg.launch.command import PytestCommand, child_environment
from pytest_disagg.process.child import Child, Exit
from pytest_disagg.process.termination import Termination
from pytest_disagg.rundir.files import tail_lines
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.state import HOLD, Failure, RoleState
from pytest_disagg.rundir.watch import Watch, cause_of
from pytest_disagg.rundir.writer import refuse_used

POLL_S = 0.1


@dataclass(frozen=True)
class Event:
    """Something a person waiting wants to see. ``transient`` lines (load progress) may replace one another."""

    text: str
    transient: bool = False


@dataclass
class LocalRun:
    """Starts, watches and ends the roles of one run.

    ``limit_s`` bounds the whole run from outside: roles have shorter limits of their own, so it passes only when they
    are broken. ``stop_s`` is how long the others may take to end after BENCHMARK (or a cause) has.
    """

    rundir: RunDir
    run_id: str
    case_id: str
    roles: tuple[str, ...]
    command: PytestCommand
    limit_s: float
    stop_s: float
    grace_s: float
    heartbeat_timeout_s: float
    keep: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    termination: Termination = field(default_factory=Termination)

    def start(self) -> dict[str, Child]:
        """Start every role.

        Raises:
            DisaggError: the run is over, or a role cannot be started; those already started are ended first.
        """
        refuse_used(self.rundir, self.roles)
        self.rundir.make()
        children: dict[str, Child] = {}
        try:
            for role in self.roles:
                children[role] = Child.start(
                    self.command.argv(self.rundir.junit(role)),
                    name=role,
                    env=child_environment(self.environ, role=role, run_id=self.run_id),
                    cwd=self.command.rootdir,
                    log=self.rundir.pytest_log(role),
                    exit_file=self.rundir.exit(role),
                    # A role needs a moment of its own beyond its servers' grace to publish how it ended.
                    grace_s=self.grace_s + 5.0,
                )
        except BaseException:
            self.stop(children)
            raise
        return children

    def stop(self, children: Mapping[str, Child]) -> None:
        """End every role and everything below it, together rather than one after the other."""
        for child in children.values():
            child.ask_to_stop()
        for child in children.values():
            child.stop()
        self.rundir.remove_secrets()

    @contextmanager
    def started(self) -> Iterator[dict[str, Child]]:
        """The running roles; all of them are gone afterwards, however this is left. :meth:`follow` sees SIGTERM."""
        with self.termination:
            children = self.start()
            try:
                yield children
            finally:
                self.stop(children)

    def run(self, on_event: Callable[[Event], None]) -> Outcome:
        """Play the whole run; how it ended."""
        with self.started() as children:
            watch = Watch(self.rundir, self.roles, heartbeat_timeout_s=self.heartbeat_timeout_s)
            try:
                overdue = self.follow(children, watch, on_event)
            except KeyboardInterrupt:
                if not self.keep or _stage(watch, "BENCHMARK") != HOLD:
                    raise
                # BENCHMARK holds a kept deployment until this file is there; then the run ends as any other.
                self.rundir.release.touch()
                overdue = self.follow(children, watch, on_event)
            ended = {role: how for role, child in children.items() if (how := child.poll()) is not None}
        return self.outcome(watch, overdue, ended)

    def follow(self, children: Mapping[str, Child], watch: Watch, on_event: Callable[[Event], None]) -> Failure | None:
        """Report what happens until every role has ended; a failure when the run had to be ended from here."""
        seen = Seen(on_event)
        ends_at = time.monotonic() + self.limit_s
        closing_at: float | None = None
        while True:
            running = [role for role, child in children.items() if child.poll() is None]
            failures = watch.failures()
            seen.look(watch.states.values())
            if not running:
                return None
            now = time.monotonic()
            if closing_at is None and self.termination.reason:
                # BENCHMARK tells the others: one cause for all of them.
                for role in {"BENCHMARK"} & children.keys() or children:
                    children[role].ask_to_stop()
                closing_at = now + self.stop_s
            if closing_at is None and (failures or watch.outcome() is not None):
                closing_at = now + self.stop_s
            if closing_at is not None and now >= closing_at:
                on_event(Event(f"{', '.join(running)} did not end within {self.stop_s:g} s (timeouts.stop_s): killed"))
                return None
            if now >= ends_at:
                return Failure(
                    role=running[0],
                    kind="infrastructure",
                    stage=_stage(watch, running[0]),
                    message=f"the launcher's limit of {self.limit_s:g} s passed; still running: {', '.join(running)}",
                )
            time.sleep(POLL_S)

    def outcome(self, watch: Watch, overdue: Failure | None, ended: Mapping[str, Exit] | None = None) -> Outcome:
        """What BENCHMARK wrote; without it, the cause that the roles left behind.

        A role in ``ended`` that failed after a good outcome makes the run red: nobody else looks at it.
        """
        written = watch.outcome()
        if written is not None:
            outcome = Outcome.from_dict(written)
            late = None if outcome.kind else self._late(ended or {})
            if late is None:
                return outcome
            return dataclasses.replace(
                outcome, verdict="failed", kind=late.kind, cause=late, red=(late.headline(), *outcome.red)
            )
        found = overdue or cause_of(watch.failures())
        told = self.termination.reason
        if told and (found is None or (found.signal == "SIGTERM" and found.message != told)):
            # The role had no time to say so itself: it was stopped because this launcher was.
            role = found.role if found else self.roles[-1]
            found = Failure(role, "infrastructure", _stage(watch, role), told)
        cause = found or _silent(watch)
        return Outcome(
            run_id=self.run_id,
            case=self.case_id,
            verdict="failed",
            kind=cause.kind,
            cause=cause,
            red=(cause.headline(),),
            records=str(self.rundir.records) if self.rundir.records.exists() else "",
        )

    def _late(self, ended: Mapping[str, Exit]) -> Failure | None:
        """The first role whose pytest failed by itself."""
        for role, how in ended.items():
            if how.exit_code != 0 and not how.reason:
                return Failure(
                    role=role,
                    kind="infrastructure",
                    stage="stop",
                    message=f"its pytest failed after the outcome: {how}",
                    exit_code=how.exit_code,
                    signal=how.signal,
                    evidence=tuple(tail_lines(self.rundir.pytest_log(role))),
                )
        return None


class Seen:
    """Turns changes of role states into lines."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self._last: dict[str, str] = {}
        self._progress = ""
        self._said: dict[str, int] = {}

    def look(self, states: Iterable[RoleState]) -> None:
        for state in states:
            for line in state.said[self._said.get(state.role, 0) :]:
                self._on_event(Event(f"{state.role}: {line}"))
            self._said[state.role] = len(state.said)
            stage = state.stage if state.role == "BENCHMARK" else ""
            now = stage or state.state
            if self._last.get(state.role) != now:
                self._last[state.role] = now
                where = f" at {state.address}" if state.address and state.state == "ready" else ""
                self._on_event(Event(f"{state.role}: {now}{where}"))
            if state.progress and state.progress != self._progress:
                self._progress = state.progress
                self._on_event(Event(f"{state.role}: {state.progress}", transient=stage != HOLD))


def _stage(watch: Watch, role: str) -> str:
    state = watch.states.get(role)
    return state.stage if state else "launch"


def _silent(watch: Watch) -> Failure:
    return Failure(
        "BENCHMARK", "infrastructure", _stage(watch, "BENCHMARK"), "ended without an outcome and without a cause"
    )
