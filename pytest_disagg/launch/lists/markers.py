"""The markers of a test-list line, as TensorRT-LLM's test lists spell them."""

from __future__ import annotations

from dataclasses import dataclass, fields

NAMES = ("XFAIL", "SKIP", "UNSTABLE", "TIMEOUT", "ISOLATION")


@dataclass(frozen=True)
class Markers:
    """``skip``, ``xfail`` and ``unstable`` are reasons, empty where none is given, None where the marker is absent.

    ``timeout_min`` bounds the run, in minutes; an ``isolated`` case runs while no other job of the command does.
    """

    timeout_min: int | None = None
    skip: str | None = None
    xfail: str | None = None
    unstable: str | None = None
    isolated: bool = False

    def over(self, below: Markers) -> Markers:
        """These markers, and those of ``below`` that are not among them."""
        values = {each.name: (getattr(self, each.name), getattr(below, each.name)) for each in fields(self)}
        return Markers(**{name: mine if mine not in (None, False) else other for name, (mine, other) in values.items()})

    def __str__(self) -> str:
        words = [f"TIMEOUT ({self.timeout_min})"] if self.timeout_min is not None else []
        for name, reason in (("SKIP", self.skip), ("XFAIL", self.xfail), ("UNSTABLE", self.unstable)):
            words += [] if reason is None else [f"{name} ({reason})" if reason else name]
        return " ".join([*words, *(["ISOLATION"] if self.isolated else [])])
