"""Faults on request: which of them act on this process, and on which of its requests."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal

from pytest_disagg.engines.sim.settings import Fault

Action = Literal["serve", "fail", "empty", "hang", "exit"]


class Faults:
    """The faults of one process. ``after_requests`` = M: ``exit`` acts on request M, the others from M + 1 on."""

    def __init__(self, faults: Iterable[Fault], rng: random.Random) -> None:
        self._faults = {fault.kind: fault for fault in faults}
        self._rng = rng
        self.requests = 0
        self.hung = False

    @property
    def startup_delay_s(self) -> float:
        """Seconds that a slow start adds."""
        fault = self._faults.get("slow_start")
        return fault.delay_s if fault else 0.0

    @property
    def never_ready(self) -> bool:
        """Whether this process is never healthy."""
        return "never_ready" in self._faults

    @property
    def exits_at_start(self) -> bool:
        """Whether this process ends as soon as it is up."""
        fault = self._faults.get("exit")
        return fault is not None and fault.after_requests == 0

    @property
    def exit_code(self) -> int:
        """The status with which an ``exit`` ends the process."""
        fault = self._faults.get("exit")
        return fault.exit_code if fault else 0

    def next_request(self) -> Action:
        """Count one more request and say what happens to it. A hang is for good."""
        self.requests += 1
        exit_fault = self._faults.get("exit")
        if exit_fault and self.requests >= exit_fault.after_requests:
            return "exit"
        if self._acts("hang"):
            self.hung = True
            return "hang"
        if self._acts("fail_requests") and self._drawn("fail_requests"):
            return "fail"
        if self._acts("empty_streams") and self._drawn("empty_streams"):
            return "empty"
        return "serve"

    def _acts(self, kind: str) -> bool:
        fault = self._faults.get(kind)
        return fault is not None and self.requests > fault.after_requests

    def _drawn(self, kind: str) -> bool:
        return self._rng.random() < self._faults[kind].ratio
