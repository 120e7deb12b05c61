"""A serving process of a role: started from an engine's :class:`Launch`, watched, and ended with its last words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pytest_disagg.engines.protocol import Launch
from pytest_disagg.errors import DisaggError, Kind, RunError
from pytest_disagg.process.child import Child, Exit
from pytest_disagg.roles.loglines import last_lines
from pytest_disagg.rundir.files import tail_lines, write_text

LAST_LINES = 20
LINE_CHARS = 300
USAGE_EXIT_CODE = 2
"""Of a program that does not take its arguments: its last line says which."""


class ServerProcess:
    """One server (or the coordinator) of this role. ``name`` is how errors call it, ``log`` its output.

    ``kind`` is what it means for the run when it ends before it was asked to.
    """

    def __init__(
        self,
        name: str,
        launch: Launch,
        log: Path,
        *,
        grace_s: float,
        env: Mapping[str, str],
        kind: Kind = "functional",
    ) -> None:
        self.name = name
        self.launch = launch
        self.log = log
        self.child: Child | None = None
        self._grace_s = grace_s
        self._env = env
        self._kind = kind

    def start(self, stage: str) -> None:
        """Write its files, then start it.

        Raises:
            RunError: the program cannot be started (``infrastructure``).
        """
        for path, text in self.launch.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text, mode=0o600)
        if self.launch.address_file is not None:
            self.launch.address_file.parent.mkdir(parents=True, exist_ok=True)
            # An aggregated case starts a coordinator for each of its servers: the address of the one before is stale.
            self.launch.address_file.unlink(missing_ok=True)
        try:
            self.child = Child.start(
                self.launch.argv,
                name=self.name,
                env=self.environ(),
                log=self.log,
                grace_s=self._grace_s,
            )
        except DisaggError as error:
            raise RunError(str(error), kind="infrastructure", stage=stage) from error

    def environ(self) -> dict[str, str]:
        """The whole environment that it is started with."""
        return {**os.environ, **self._env, **self.launch.env}

    def address(self) -> tuple[str | None, str]:
        """``host:port`` as the process reported it or was told it, and in words what was seen."""
        if self.launch.address_file is None:
            return self.launch.address, self.launch.address
        try:
            text = self.launch.address_file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None, f"no address file {self.launch.address_file}"
        return text, text

    def ended(self) -> Exit | None:
        """How it ended; None while it runs."""
        return self.child.poll() if self.child is not None else None

    def died(self, ended: Exit, stage: str) -> RunError:
        """The error of a server that ended before it was asked to: how, and its last log lines."""
        how = f"was killed by {ended.signal}" if ended.signal else f"ended with exit code {ended.exit_code}"
        said = tail_lines(self.log, 1) if ended.exit_code == USAGE_EXIT_CODE else []
        return RunError(
            ": ".join([f"its {self.name} {how}", *(line.strip()[:LINE_CHARS] for line in said)]),
            kind=self._kind,
            stage=stage,
            exit_code=ended.exit_code,
            signal=ended.signal,
            evidence=last_lines(self.log, LAST_LINES),
        )

    def tail(self) -> list[str]:
        return tail_lines(self.log, LAST_LINES)

    def stop(self) -> Exit | None:
        """TERM, grace, KILL; how it ended, None when it never started."""
        return self.child.stop() if self.child is not None else None
