"""Work that one node does for all: its result in a file, a beat while it lasts, everybody else waits for either."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_disagg.wrapper.console import WrapperError
from pytest_disagg.wrapper.files import read_json, write_json
from pytest_disagg.wrapper.roles import Stillness
from pytest_disagg.wrapper.step import Step
from pytest_disagg.wrapper.stopping import Stopping
from pytest_disagg.wrapper.waiting import wait_until


class SharedWork:
    """``<folder>/<name>.json`` and ``<name>.beat.json``. One node writes them, any number wait."""

    def __init__(self, folder: Path, name: str, step: Step) -> None:
        self._result = folder / f"{name}.json"
        self._beat_path = folder / f"{name}.beat.json"
        self._step = step
        self._beat = 0

    def beat(self) -> None:
        """Say that the work goes on; a full disk is found out by the work itself."""
        self._beat += 1
        with contextlib.suppress(OSError):
            write_json(self._beat_path, {"beat": self._beat, "node": self._step.node})

    def do(self, work: Callable[[], None]) -> None:
        """Do the work and say how it went; what it raises goes through."""
        try:
            self.beat()
            work()
        except WrapperError as error:
            self._finish(error.exit_code, str(error))
            raise
        self._finish(0, "")

    def _finish(self, exit_code: int, message: str) -> None:
        said = {"exit_code": exit_code, "message": message, "node": self._step.node, "step": self._step.step}
        write_json(self._result, said)

    def _said(self) -> dict[str, Any] | None:
        """The result; a failure in another step of this attempt does not count, it may be tried again here."""
        said = read_json(self._result)
        return None if said is not None and said["exit_code"] != 0 and said["step"] != self._step.step else said

    def wait(
        self, what: str, timeout_s: float, still_s: float, stopping: Stopping, tick: Callable[[], None] | None = None
    ) -> None:
        """Wait until another node has done it; ``tick`` is called meanwhile.

        Raises:
            WrapperError: it failed there (its message and exit code), its beat stood still for ``still_s``, or it took
                longer than ``timeout_s``.
        """
        beat: Stillness | None = None

        def ended() -> bool:
            nonlocal beat
            if tick is not None:
                tick()
            if self._said() is not None:
                return True
            if beat is None and read_json(self._beat_path) is not None:
                beat = Stillness(self._beat_path, still_s)
            still = None if beat is None else beat.still_for()
            if still is not None:
                raise WrapperError(f"waited for {what}: its beat {self._beat_path} stood still for {still:.0f} s")
            return False

        if not wait_until(ended, timeout_s, stopping):
            raise WrapperError(f"waited {timeout_s:g} s for {what}: found no {self._result}")
        said = self._said() or {}
        if said.get("exit_code", 1) != 0:
            raise WrapperError(f"{what} failed on node {said['node']}: {said['message']}", int(said["exit_code"]))
