"""A role's own file: claimed once, beaten every second, and the only file of its name that this role writes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pytest_disagg.errors import RunError
from pytest_disagg.rundir.files import create_text, read_json, to_json, write_text
from pytest_disagg.rundir.layout import RunDir, unusable
from pytest_disagg.rundir.state import Failure, RoleState

BEAT_S = 1.0


def refuse_used(rundir: RunDir, roles: Iterable[str]) -> None:
    """Before any of ``roles`` is started: what the first of them would find when it claims its file.

    Raises:
        RunError: the run is over, see :meth:`RoleWriter.claim`.
    """
    try:
        outcome = read_json(rundir.outcome)
        claimed = next((role for role in roles if read_json(rundir.role(role)) is not None), None)
    except OSError as error:
        raise unusable(rundir.path, error) from error
    if outcome is not None:
        raise _over(rundir, f"has an outcome, {_words(outcome)}")
    if claimed is not None:
        raise _over(rundir, f"already has a {claimed}")


def _over(rundir: RunDir, what: str) -> RunError:
    return RunError(
        f"run {rundir.path.parent.name} is over: {rundir.path} {what}; set DISAGG_RUN_ID to a new word",
        kind="infrastructure",
        stage="launch",
    )


def _too_late(rundir: RunDir, role: str, cause: Failure) -> RunError:
    run = rundir.path.parent.name
    return RunError(
        cause.headline(),
        kind=cause.kind,
        stage=cause.stage,
        because_of=cause.role,
        evidence=(f"run {run} was over before its {role} started; to play it again set DISAGG_RUN_ID to a new word",),
    )


class RoleWriter:
    """Publishes one role's state. ``claim`` first; thread-safe afterwards.

    ``at_beat`` gives fields that are published with each beat: cheap to change in between, as a load's progress is.
    """

    def __init__(self, rundir: RunDir, state: RoleState, at_beat: Callable[[], Mapping[str, Any]] = dict) -> None:
        self._rundir = rundir
        self._state = state
        self._lock = threading.Lock()
        self._at_beat = at_beat
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> RoleState:
        return self._state

    def claim(self) -> None:
        """Create the role's file and start the heartbeat.

        Raises:
            RunError: this role of this run was claimed before, or the run has an outcome: it is over. Or the directory
                cannot be used. A run that failed before this role came to it ends this role with the run's own cause.
        """
        role = self._state.role
        try:
            outcome = read_json(self._rundir.outcome)
            claimed = outcome is None and create_text(self._rundir.role(role), to_json(self._state.to_dict()))
            late = outcome is not None and read_json(self._rundir.role(role)) is None
        except OSError as error:
            raise unusable(self._rundir.path, error) from error
        if not claimed:
            if late and outcome is not None and outcome.get("cause"):
                raise _too_late(self._rundir, role, Failure.from_dict(outcome["cause"]))
            what = f"already has a {role}" if outcome is None else f"has an outcome, {_words(outcome)}"
            raise _over(self._rundir, what)
        self._thread = threading.Thread(target=self._beat, name=f"disagg-beat-{role}", daemon=True)
        self._thread.start()

    def update(self, **changes: Any) -> None:
        """Publish changed fields now."""
        with self._lock:
            self._state = dataclasses.replace(self._state, beat=self._state.beat + 1, **changes)
            self._write()

    def close(self) -> None:
        """End the heartbeat; the last published state stays."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT_S):
            # A full disk must not end the thread: a still beat would name this role dead for the wrong reason.
            with contextlib.suppress(OSError):
                self.update(**self._at_beat())

    def _write(self) -> None:
        write_text(self._rundir.role(self._state.role), to_json(self._state.to_dict()))


def _words(outcome: Mapping[str, Any]) -> str:
    """For a role that comes too late: why the run ended without it."""
    return str(next(iter(outcome.get("red", ())), outcome.get("verdict")))


def node_name() -> str:
    """The node as Slurm names it, else the host's name (several Slurm nodes can share one host).

    ``slurm_run`` clears Slurm's own variables for some steps and keeps this one under a name of ours.
    """
    names = ("SLURMD_NODENAME", "DISAGG_SLURMD_NODENAME")
    return next((os.environ[name] for name in names if os.environ.get(name)), os.uname().nodename)
