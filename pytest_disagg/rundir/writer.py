"""A role's own file: claimed once, beaten every second, and the only file of its name that this role writes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from pytest_disagg.errors import RunError
from pytest_disagg.rundir.files import create_text, read_json, to_json, write_text
from pytest_disagg.rundir.layout import RunDir, unusable
from pytest_disagg.rundir.state import RoleState

BEAT_S = 1.0


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
                cannot be used.
        """
        role = self._state.role
        try:
            over = read_json(self._rundir.outcome) is not None
            claimed = not over and create_text(self._rundir.role(role), to_json(self._state.to_dict()))
        except OSError as error:
            raise unusable(self._rundir.path, error) from error
        if not claimed:
            what = "has an outcome" if over else f"already has a {role}"
            raise RunError(
                f"run {self._rundir.path.parent.name} is over: {self._rundir.path} {what}; "
                "set DISAGG_RUN_ID to a new word",
                kind="infrastructure",
                stage="launch",
            )
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


def node_name() -> str:
    """The node as Slurm names it, else the host's name (several Slurm nodes can share one host)."""
    return os.environ.get("SLURMD_NODENAME") or os.uname().nodename
