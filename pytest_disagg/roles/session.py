"""One role's life: claim its file, beat, enter stages, wait on conditions, end with the one cause."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from pytest_disagg.config.case import Case
from pytest_disagg.errors import Kind, RunError
from pytest_disagg.process.ports import Ports
from pytest_disagg.process.termination import Termination
from pytest_disagg.redact import redact, register_environ
from pytest_disagg.roles.causes import because, error_of, unforeseen
from pytest_disagg.roles.children import ServerProcess
from pytest_disagg.roles.monitor import Monitor
from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.stacks import dump_stacks
from pytest_disagg.rundir.state import Failure, RoleState
from pytest_disagg.rundir.watch import ENDED, Watch, serving_stage
from pytest_disagg.rundir.writer import RoleWriter, node_name
from pytest_disagg.topology.deadlines import DEADLINE_VARIABLE, Deadlines, deadlines
from pytest_disagg.version import __version__

T = TypeVar("T")
POLL_S = 0.1
SETTLE_S = 2.0


class RoleSession:
    """Context manager around one role of one run. ``others`` are the roles it depends on (default: all of the case).

    On the way out it stops the role's processes, publishes ``stopped`` or ``failed`` and ends the heartbeat. Leaving
    with a :class:`RunError` or an interrupt keeps it; any other exception is published, and raised, as a RunError of
    kind ``infrastructure``. A failure that was noted before stays the one that is published. ``doubts`` are reasons why
    nothing that this run measures can be trusted.
    """

    def __init__(self, options: RunOptions, role: str, others: Sequence[str] | None = None) -> None:
        self.options = options
        self.case = options.case
        self.role = role
        self.rundir = options.rundir
        self.limits: Deadlines = deadlines(options.case, repeats=options.repeats, external_s=options.external_limit_s)
        self.stage_name = "launch"
        self.timeline: list[tuple[str, float, float | None]] = []
        self.failed: Failure | None = None
        self.doubts: list[str] = []
        self._termination = Termination()
        self._interrupted = False
        self._dumped = False
        self.servers: list[ServerProcess] = []
        self.ports = Ports(options.host)
        self.progress = ""
        self._writer = RoleWriter(
            self.rundir,
            RoleState(role=role, pid=os.getpid(), node=node_name(), digest=options.case.digest, version=__version__),
            at_beat=lambda: {"progress": self.progress},
        )
        if others is None:
            others = [other for other in options.case.roles if other != role]
        watch = Watch(self.rundir, others, heartbeat_timeout_s=self.limits.heartbeat_timeout_s)
        self.monitor = Monitor(watch, options.case.digest, __version__, role)
        self._ends_at = time.monotonic() + self.limits.total_s

    def __enter__(self) -> RoleSession:
        # What the file gives its servers is in no process's environment yet, and a server may print it.
        for environ in environments(self.case):
            register_environ(environ)
        self.rundir.make()
        self._writer.claim()
        self.log(
            f"role {self.role} rank {os.environ.get('SLURM_PROCID', '0')} node {node_name()} run {self.options.run_id} "
            f"config {self.case.digest[:12]} python {platform.python_version()} pytest-disagg {__version__}"
        )
        self._termination.__enter__()
        self.monitor.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = self.failed or (None if exc is None else self.failure_of(exc))
        try:
            if failure is not None:
                self._say(state="failed", failure=self._own(failure))
                if self._stacks_wanted(failure):
                    self.dump_stacks()
            else:
                self._say(state="stopping", stage="stop")
            self.stop_servers()
            self._say(state="failed" if failure else "stopped")
        finally:
            self.monitor.stop()
            self._writer.close()
            self._termination.__exit__(exc_type, exc, trace)
        if self._interrupted and exc is None:
            raise KeyboardInterrupt
        if failure is not None and exc is not None and not isinstance(exc, (RunError, KeyboardInterrupt)):
            raise self._error(failure, exc) from exc

    def log(self, text: str) -> None:
        self.options.log(redact(text))

    def say(self, text: str) -> None:
        """Log a line that whoever started this role should see, too."""
        self.log(text)
        self.publish(said=(*self._writer.state.said, text))

    def publish(self, **changes: object) -> None:
        """Publish fields of this role's state."""
        self._writer.update(**changes)

    def publish_facts(self, facts: Mapping[str, str]) -> None:
        """Publish ``facts`` beside those that are published already."""
        if facts:
            self.publish(facts={**self._writer.state.facts, **facts})

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
        except BaseException:
            # The stage's own failure is the cause, whatever a full disk or somebody's hook adds to it.
            try:
                self._end_stage(position)
            except Exception as error:  # noqa: BLE001 - said, and less than what is raised below
                self.log(f"at the end of stage {name}: {type(error).__name__}: {error}")
            raise
        self._end_stage(position)

    def _end_stage(self, position: int) -> None:
        name, began, _ = self.timeline[position]
        self.timeline[position] = (name, began, time.time())
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
        self.ports.release()
        server.start(self.stage_name)

    def stop_servers(self, *, keep: int = 0) -> None:
        """End every process of this role but the first ``keep``, and publish how each ended."""
        # What was started last leans on what was started before it.
        ended = [(server.name, server.stop()) for server in reversed(self.servers[keep:])]
        del self.servers[keep:]
        self.ports.close()
        for name, how in ended:
            if how is not None:
                self._say(server_exit={"name": name, "exit_code": how.exit_code, "signal": how.signal})

    def check(self) -> None:
        """Raise when this role cannot go on: another role failed, an own process died, the run's time is over."""
        cause = self.monitor.cause
        if cause is not None:
            raise because(cause)
        blind_s = self.monitor.blind_s()
        if blind_s > self.limits.heartbeat_timeout_s:
            raise RunError(
                f"cannot read the run directory for {blind_s:.0f} s: {self.monitor.error}",
                kind="infrastructure",
                stage=self.current_stage(),
            )
        if self._termination.reason:
            reason, stage = self._termination.reason, self.current_stage()
            raise RunError(reason, kind="infrastructure", stage=stage, signal=signal.SIGTERM.name)
        for server in self.servers:
            if (ended := server.ended()) is not None:
                raise server.died(ended, self.current_stage())
        if time.monotonic() > self._ends_at:
            key = "slurm.timeout" if self.limits.total_s == self.case.total_s else DEADLINE_VARIABLE
            seen = f"; last seen: {self.progress}" if self.progress else ""
            raise RunError(
                f"the whole run's limit of {self.limits.total_s:g} s ({key}) has passed{seen}",
                kind="infrastructure",
                stage=self.current_stage(),
            )

    def left_s(self) -> float:
        """Seconds left of the whole run's limit."""
        return self._ends_at - time.monotonic()

    def trouble(self) -> str | None:
        """What :meth:`check` would raise, in words; quick enough to be asked during a load."""
        try:
            self.check()
        except RunError as error:
            return error.message
        return None

    def settle(self) -> None:
        """Give another role time to report the cause of what was seen here, and raise that instead.

        A moment where every role goes on beating; until its heartbeat timeout where one has fallen silent.
        """
        before = {role: state.beat for role, state in self.monitor.states.items() if state.state not in ENDED}
        began = time.monotonic()
        while (spent_s := time.monotonic() - began) < SETTLE_S or (
            spent_s < SETTLE_S + self.limits.heartbeat_timeout_s
            and any(self.monitor.states[role].beat == beat for role, beat in before.items())
        ):
            self.check()
            self.monitor.pause(POLL_S)
        self.check()

    def current_stage(self) -> str:
        """The stage of the run: BENCHMARK's, read anew, while this role serves it."""
        if self.stage_name != "serve":
            return self.stage_name
        with contextlib.suppress(OSError, ValueError):
            return serving_stage(self.rundir) or self.stage_name
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
        dump_stacks: bool = False,
    ) -> T:
        """Ask ``look`` until it gives a value; it also says in words what it saw.

        ``key`` is the config key of the limit, named in the error. ``dump_stacks``: when the limit passes, every role
        is to say where it stands.

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
                    dump_stacks=dump_stacks,
                )
            self.monitor.pause(POLL_S)

    @contextmanager
    def noting_failure(self) -> Iterator[None]:
        """Keep what goes wrong inside as ``failed`` instead of raising it: the outcome has to be written first."""
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - nothing is lost: it becomes the outcome's cause
            follows = isinstance(error, RunError) and error.because_of is not None
            self.failed = (self.monitor.cause if follows else None) or self.failure_of(error)
            if self.failed.dump_stacks:
                # Now, not on the way out: where everything stands is only of use while it still stands there.
                self.dump_stacks()
            self._interrupted = isinstance(error, KeyboardInterrupt)

    def failure_of(self, exc: BaseException) -> Failure:
        """What an exception means for the run."""
        if isinstance(exc, RunError):
            return Failure.of(self.role, exc)
        if isinstance(exc, KeyboardInterrupt):
            return Failure(self.role, "infrastructure", self.current_stage(), "interrupted (Ctrl-C)")
        return unforeseen(self.role, self.current_stage(), exc)

    def _say(self, **changes: object) -> None:
        """Publish on the way out: a run directory that cannot be written by now must not hide how the role ended."""
        try:
            self._writer.update(**changes)
        except OSError as error:
            self.log(f"cannot publish {', '.join(changes)}: {error}")

    def _own(self, failure: Failure) -> Failure:
        """What this role publishes when the run ends with ``failure``, whoever's it is."""
        return failure if failure.role == self.role else Failure.of(self.role, because(failure))

    def _error(self, failure: Failure, exc: BaseException) -> RunError:
        """``failure`` as this role's error; what went wrong after it is told below it."""
        error = because(failure) if failure.role != self.role else error_of(failure)
        if failure is self.failed:
            error.evidence += (redact(f"then, in stage {self.stage_name}: {type(exc).__name__}: {exc}"),)
        return error

    def _stacks_wanted(self, failure: Failure) -> bool:
        cause = self.monitor.cause
        return failure.dump_stacks or (cause is not None and cause.dump_stacks)

    def dump_stacks(self) -> None:
        """Write where this process and its servers stand to ``logs/<ROLE>.stacks.txt``, once."""
        if self._dumped:
            return
        self._dumped = True
        pids = [child.pid for server in self.servers if (child := server.child) is not None]
        try:
            dump_stacks(self.rundir.stacks(self.role), pids)
        except OSError as error:
            self.log(f"cannot write the stacks: {error}")


def environments(case: Case) -> Iterator[Mapping[str, str]]:
    """Every environment that a case file gives to a process."""
    yield case.coordinator_env
    for spec in case.servers:
        yield spec.env
        yield from (load.env for load in spec.clients)
    yield from (load.env for load in case.clients)
