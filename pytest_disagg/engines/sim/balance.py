"""Which of several equal servers gets the next request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Instance:
    """A server behind the coordinator. ``healthy`` is what its last health check or request said."""

    name: str
    address: str
    healthy: bool = False

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


class Pool:
    """Equal servers that can be routed to take turns, as behind TensorRT-LLM's coordinator by default.

    The one with the fewest outstanding requests would seem better, and starves gates: a server whose gate is full
    answers, has nothing outstanding, and gets what the others wait for.
    """

    def __init__(self, instances: Sequence[Instance]) -> None:
        self.instances = tuple(instances)
        self._next = 0

    @property
    def healthy(self) -> int:
        """How many can be routed to."""
        return sum(instance.healthy for instance in self.instances)

    def next(self) -> Instance | None:
        """The server whose turn it is; None where none is healthy."""
        count = len(self.instances)
        for index in (each % count for each in range(self._next, self._next + count)):
            if self.instances[index].healthy:
                self._next = (index + 1) % count
                return self.instances[index]
        return None
