"""A line that a role leaves among its samples once, for the outcome."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_disagg.telemetry.reading import Reading


class Note:
    """A sampler that gives one reading, a text, once."""

    def __init__(self, text: str) -> None:
        self._text = text

    def sample(self) -> Iterable[Reading]:
        """The note, the first time."""
        text, self._text = self._text, ""
        return [Reading("note", "", {}, text)] if text else []
