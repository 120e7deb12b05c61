"""Which of several equal servers gets the next request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Instance:
    """A server behind the coordinator. ``healthy`` is what its last health check or request said."""

    name: str
    address: str
    healthy: bool = False
    outstanding: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


class Pool:
    """Equal servers: the healthy one with the fewest outstanding requests is next, ties go round."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        self.instances = tuple(instances)
        self._next = 0

    @property
    def healthy(self) -> int:
        """How many can be routed to."""
        return sum(instance.healthy for instance in self.instances)

    @contextmanager
    def lease(self) -> Iterator[Instance | None]:
        """The next server, counted as outstanding for as long as the block runs; None where none is healthy."""
        count = len(self.instances)
        order = [(self._next + offset) % count for offset in range(count)]
        healthy = [index for index in order if self.instances[index].healthy]
        if not healthy:
            yield None
            return
        index = min(healthy, key=lambda candidate: self.instances[candidate].outstanding)
        self._next = (index + 1) % count
        instance = self.instances[index]
        instance.outstanding += 1
        try:
            yield instance
        finally:
            instance.outstanding -= 1
