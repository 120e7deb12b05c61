"""A thread that reads the other roles' files, so that a load in progress never waits for a file system."""

from __future__ import annotations

import threading
import time
from typing import Any

from pytest_disagg.rundir.state import Failure, RoleState
from pytest_disagg.rundir.watch import Watch, cause_of

POLL_S = 0.2


class Monitor:
    """The latest view of the other roles. ``cause`` and ``outcome`` are set once and stay."""

    def __init__(self, watch: Watch, digest: str, version: str, me: str) -> None:
        self._watch = watch
        self._mine = (digest, version)
        self._me = me
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"disagg-monitor-{me}", daemon=True)
        self.states: dict[str, RoleState] = {}
        self.cause: Failure | None = None
        self.outcome: dict[str, Any] | None = None
        self.error: Exception | None = None
        self._blind_since: float | None = None

    def start(self) -> None:
        self._look()
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def blind_s(self) -> float:
        """Seconds for which the run directory could not be read; 0 while it can."""
        since = self._blind_since
        return 0.0 if since is None else time.monotonic() - since

    def pause(self, seconds: float) -> None:
        """Return at the next change, or after ``seconds``."""
        with self._changed:
            self._changed.wait(seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._stopped, POLL_S):
                    return
            self._look()

    def _look(self) -> None:
        try:
            self._poll()
        except (OSError, ValueError) as error:
            # A shared file system may fail for a moment; whether that lasted too long is for the session to say.
            self.error = error
            self._blind_since = self._blind_since or time.monotonic()
        else:
            self._blind_since = None

    def _poll(self) -> None:
        outcome = self._watch.outcome()
        failures = self._watch.failures()
        states = dict(self._watch.states)
        cause = cause_of(failures) or self._different(states)
        with self._changed:
            if (states, cause, outcome) != (self.states, self.cause, self.outcome):
                self.states = states
                self.outcome = self.outcome or outcome
                self.cause = self.cause or cause
                self._changed.notify_all()

    def _different(self, states: dict[str, RoleState]) -> Failure | None:
        """Two roles with different effective configs or versions would measure nonsense."""
        for role, state in states.items():
            theirs = (state.digest, state.version)
            if theirs != self._mine:
                return Failure(
                    role=role,
                    kind="infrastructure",
                    stage="launch",
                    message=(
                        f"{self._me} runs config {self._mine[0][:12]} with pytest-disagg {self._mine[1]}, "
                        f"{role} runs config {theirs[0][:12]} with pytest-disagg {theirs[1]}: "
                        "all roles of a run need the same"
                    ),
                )
        return None
