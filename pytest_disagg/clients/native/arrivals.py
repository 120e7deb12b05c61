"""When the next request of a load is due."""

from __future__ import annotations

import random
from typing import Protocol

EARLY_S = 0.0005
"""A timer may fire this much before its time (uvloop counts whole milliseconds); the request goes out then."""


class Arrivals(Protocol):
    """Hands out request numbers 0, 1, ... in order."""

    def begin(self, now: float) -> None:
        """The load begins at ``now``."""
        ...

    def take(self, now: float) -> tuple[int, float] | None:
        """The next request that is due and the time it was due; None when none is."""
        ...

    def next_due(self) -> float | None:
        """When the next request is due; None when all have been handed out."""
        ...


class ClosedLoop:
    """A request is due whenever somebody is free to send it."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._next = 0
        self._begun_s = 0.0

    def begin(self, now: float) -> None:
        self._begun_s = now

    def take(self, now: float) -> tuple[int, float] | None:
        if self._next >= self._count:
            return None
        self._next += 1
        return self._next - 1, now

    def next_due(self) -> float | None:
        return self._begun_s if self._next < self._count else None


class OpenLoop:
    """Requests are due at the times of a Poisson process of ``rate`` per second, the first at once.

    As benchmark_serving with burstiness 1: gaps are exponential. The same seed gives the same gaps.
    """

    def __init__(self, count: int, rate: float, seed: int) -> None:
        generator = random.Random(f"arrivals/{seed}")
        self._due_s = [0.0] * count
        for i in range(1, count):
            self._due_s[i] = self._due_s[i - 1] + generator.expovariate(rate)
        self._next = 0
        self._begun_s = 0.0

    def begin(self, now: float) -> None:
        self._begun_s = now

    def take(self, now: float) -> tuple[int, float] | None:
        due = self.next_due()
        if due is None or due > now + EARLY_S:
            return None
        self._next += 1
        return self._next - 1, due

    def next_due(self) -> float | None:
        return self._begun_s + self._due_s[self._next] if self._next < len(self._due_s) else None
