"""One role's life: claim its file, beat, enter stages, wait on conditions, end with the one cause."""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, TypeVar

from pytest_disagg.errors import DisaggError, Kind, RunError
from pytest_disagg.redact import redact
from pytest_disagg.roles.children import ServerProcess
from pytest_disagg.roles.monitor import Monitor
from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.stacks import dump_stacks
from pytest_disagg.rundir.state import Failure, RoleState
from pytest_disagg.rundir.watch import Watch
from pytest_disagg.rundir.writer import RoleWriter, node_name
from pytest_disagg.topology.deadlines import Deadlines, deadlines
from pytest_disagg.version import __version__

T = TypeVar("T")
POLL_S = 0.1
SETTLE_S = 2.0


class RoleSession:
    """Context manager around one role of one run. ``others`` are the roles it depends on (default: all of the case).

    On the way out it stops the role's processes, publishes ``stopped`` or ``failed`` and ends the heartbeat. Leaving
    with a :class:`RunError` keeps it; any other exception is published as ``infrastructure`` and re-raised.
    """

    def __init__(self, options: RunOptions, role: str, others: Sequence[str] | None = None) -> None:
        self.options = options
        self.case = options.case
        self.role = role
        self.rundir = options.rundir
        self.limits: Deadlines = deadlines(options.case, external_s=options.external_limit_s)
        self.stage_name = "launch"
        self.timeline: list[tuple[str, float, float | None]] = []
        self.failed: Failure | None = None
        self._asked_to_stop = ""
        self._old_handler: Any = None
        self._interrupted = False
        self.servers: list[ServerProcess] = []
        self.progress = ""
        self._writer = RoleWriter(
            self.rundir,
            RoleState(role=role, pid=os.getpid(), node=node_name(), digest=options.case.digest, version=__version__),
            at_beat=lambda: {"progress": self.progress},
        )
        if others is None:
            others = [other for other in options.case.roles if other != role]
        watch = Watch(self.rundir, others, heartbeat_timeout_s=options.case.timeouts.heartbeat_timeout_s)
        self.monitor = Monitor(watch, options.case.digest, __version__, role)
        self._ends_at = time.monotonic() + self.limits.total_s

    def __enter__(self) -> RoleSession:
        self.rundir.make()
        self._writer.claim()
        self.log(
            f"role {self.role} rank {os.environ.get('SLURM_PROCID', '0')} node {node_name()} run {self.options.run_id} "
            f"config {self.case.digest[:12]} python {platform.python_version()} pytest-disagg {__version__}"
        )
        if threading.current_thread() is threading.main_thread():
            self._old_handler = signal.signal(signal.SIGTERM, self._on_term)
        self.monitor.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failure = self.failed if exc is None else self.failure_of(exc)
        try:
            if failure is not None:
                self._writer.update(state="failed", failure=failure)
                if self._stacks_wanted(failure):
                    self.dump_stacks()
            else:
                self._writer.update(state="stopping", stage="stop")
            self.stop_servers()
            self._writer.update(state="failed" if failure else "stopped")
        finally:
            self.monitor.stop()
            self._writer.close()
            if self._old_handler is not None:
                signal.signal(signal.SIGTERM, self._old_handler)
        if self._interrupted and exc is None:
            raise KeyboardInterrupt

    def log(self, text: str) -> None:
        self.options.log(redact(text))

    def publish(self, **changes: object) -> None:
        """Publish fields of this role's state."""
        self._writer.update(**changes)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Enter a stage: its start and end go to the timeline (seconds since the epoch), its name into every error."""
        self.stage_name = name
        position = len(self.timeline)
        self.timeline.append((name, time.time(), None))
        self._writer.update(stage=name, timeline=tuple(self.timeline))
        self.options.hooks.stage(self.case, self.role, name, "start")
        try:
            yield
        finally:
            self.timeline[position] = (*self.timeline[position][:2], time.time())
            self._writer.update(timeline=tuple(self.timeline))
            self.options.hooks.stage(self.case, self.role, name, "end")

    def stage_seconds(self) -> dict[str, float]:
        """Seconds spent in each stage so far."""
        spent: dict[str, float] = {}
        for name, started, ended in self.timeline:
            spent[name] = round(spent.get(name, 0.0) + (ended or time.time()) - started, 3)
        return spent

    def start(self, server: ServerProcess) -> None:
        """Start a process of this role; it is watched by every wait and stopped on the way out."""
        self.servers.append(server)
        server.start(self.stage_name)

    def stop_servers(self) -> None:
        for server in self.servers:
            ended = server.stop()
            if ended is not None:
                self.publish(server_exit={"name": server.name, "exit_code": ended.exit_code, "signal": ended.signal})
        self.servers.clear()

    def check(self) -> None:
        """Raise when this role cannot go on: another role failed, an own process died, the run's time is over."""
        cause = self.monitor.cause
        if cause is not None:
            raise because(cause, self.role)
        if self._asked_to_stop:
            raise RunError(self._asked_to_stop, kind="infrastructure", stage=self.current_stage())
        for server in self.servers:
            server.check(self.current_stage())
        if time.monotonic() > self._ends_at:
            raise RunError(
                f"the whole run's limit of {self.limits.total_s:g} s (slurm.timeout) has passed",
                kind="infrastructure",
                stage=self.current_stage(),
            )

    def trouble(self) -> str | None:
        """What :meth:`check` would raise, in words; quick enough to be asked during a load."""
        try:
            self.check()
        except RunError as error:
            return error.message
        return None

    def settle(self) -> None:
        """Give another role a moment to report the cause of what was seen here, and raise that instead."""
        ends_at = time.monotonic() + SETTLE_S
        while time.monotonic() < ends_at:
            self.check()
            self.monitor.pause(POLL_S)
        self.check()

    def current_stage(self) -> str:
        """The stage of the run: BENCHMARK's once it is past the others' own."""
        benchmark = self.monitor.states.get("BENCHMARK")
        if benchmark is not None and self.stage_name in ("ready", "serve"):
            return benchmark.stage
        return self.stage_name

    def wait_quietly(self, done: Callable[[], bool], *, limit_s: float) -> bool:
        """Wait for ``done`` whatever happens to the run; False when the limit passed first."""
        ends_at = time.monotonic() + limit_s
        while not done():
            if time.monotonic() >= ends_at:
                return False
            self.monitor.pause(POLL_S)
        return True

    def wait(
        self,
        look: Callable[[], tuple[T | None, str]],
        *,
        what: str,
        limit_s: float,
        key: str,
        kind: Kind = "functional",
    ) -> T:
        """Ask ``look`` until it gives a value; it also says in words what it saw.

        ``key`` is the config key of the limit, named in the error.

        Raises:
            RunError: the limit passed (what was awaited, what was last seen), or see :meth:`check`.
        """
        ends_at = time.monotonic() + limit_s
        while True:
            value, seen = look()
            if value is not None:
                return value
            self.check()
            if time.monotonic() >= ends_at:
                logs = [line for server in self.servers for line in server.tail()]
                raise RunError(
                    f"waited {limit_s:g} s ({key}) for {what}; last seen: {seen}",
                    kind=kind,
                    stage=self.stage_name,
                    evidence=logs,
                )
            self.monitor.pause(POLL_S)

    @contextmanager
    def noting_failure(self) -> Iterator[None]:
        """Keep what goes wrong inside as ``failed`` instead of raising it: the outcome has to be written first."""
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - nothing is lost: it becomes the outcome's cause
            self.failed = self.failure_of(error)
            self._interrupted = isinstance(error, KeyboardInterrupt)

    def failure_of(self, exc: BaseException) -> Failure:
        """What to publish for an exception: a symptom gives way to a cause that another role reports meanwhile."""
        if isinstance(exc, RunError):
            return Failure.of(self.role, exc)
        if isinstance(exc, KeyboardInterrupt):
            return Failure(self.role, "infrastructure", self.current_stage(), "interrupted (Ctrl-C)")
        kind: Kind = "infrastructure"
        text = str(exc) if isinstance(exc, DisaggError) else f"{type(exc).__name__}: {exc}"
        return Failure(self.role, kind, self.current_stage(), redact(text))

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        # Only noted: every wait looks at it many times a second, and none is torn apart half-way.
        self._asked_to_stop = f"stopped from outside ({signal.Signals(number).name})"

    def _stacks_wanted(self, failure: Failure) -> bool:
        cause = self.monitor.cause
        return failure.dump_stacks or (cause is not None and cause.dump_stacks)

    def dump_stacks(self) -> None:
        """Write where this process and its servers stand to ``logs/<ROLE>.stacks.txt``."""
        pids = [child.pid for server in self.servers if (child := server.child) is not None]
        dump_stacks(self.rundir.stacks(self.role), pids)


def because(cause: Failure, role: str) -> RunError:
    """The error of a role that stops because of another one: same kind, same cause, one text everywhere."""
    return RunError(
        cause.headline() if cause.because_of is None else cause.message,
        kind=cause.kind,
        stage=cause.stage,
        because_of=cause.because_of or cause.role,
        exit_code=cause.exit_code,
        signal=cause.signal,
        evidence=cause.evidence,
    )
