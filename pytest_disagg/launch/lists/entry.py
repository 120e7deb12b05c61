"""One line of a list, whatever the list's form: what it means and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pytest_disagg.launch.lists.markers import Markers

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Entry:
    """``target`` is a test id, a config name or a file. ``path`` and ``line`` (from 1) are None for the command line.

    ``mode`` is what a JSON list says besides: ``disagg``, ``aggr``, or the mode of one case, such as ``gen_only``.
    ``scope`` is the platform that a ``full:<scope>/`` line is for.
    """

    target: str
    path: Path | None = None
    line: int | None = None
    markers: Markers = field(default_factory=Markers)
    scope: str | None = None
    mode: str | None = None

    @property
    def where(self) -> str:
        """``list.txt:3``."""
        return COMMAND_LINE if self.path is None else f"{self.path}:{self.line}"
