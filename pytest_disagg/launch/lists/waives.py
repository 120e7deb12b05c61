"""Waives files (TensorRT-LLM's ``waives.txt``): markers laid over a list's, by test id and platform."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pytest_disagg.config import ids
from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.launch.lists.entry import Entry
from pytest_disagg.launch.lists.markers import NAMES, Markers

ARCHITECTURE = "sm"
"""A scope that begins so names a GPU architecture, which a launcher cannot know: no such waive is applied."""


class Waives:
    """Waives by case id. ``scope`` is the platform that this command runs for, as :func:`platform_of` gives it.

    Raises:
        ConfigError: a line without a marker.
    """

    def __init__(self, entries: Iterable[Entry] = (), platform: str | None = None) -> None:
        self._markers: dict[str, Markers] = {}
        problems: list[Problem] = []
        for entry in entries:
            if entry.markers == Markers():
                expected = f"one of the markers {', '.join(NAMES)} after it"
                problems.append(Problem(entry.path, entry.line, "", repr(entry.target), expected))
            elif in_scope(entry.scope, platform):
                case_id = ids.unwrapped(entry.target)
                named = replace(entry.markers, skip=_with_source(entry.markers.skip, entry))
                self._markers[case_id] = named.over(self._markers.get(case_id, Markers()))
        if problems:
            raise ConfigError(problems)

    def over(self, case_id: str, markers: Markers) -> Markers:
        """The markers of a line after its waives."""
        waived = self._markers.get(case_id)
        return waived.over(markers) if waived else markers


def platform_of(stage_name: str | None) -> str | None:
    """The platform of a CI stage: what its name begins with (``GB200`` of ``GB200-8_GPUs-2_Nodes-...``)."""
    return (stage_name or "").partition("-")[0] or None


def in_scope(scope: str | None, platform: str | None) -> bool:
    """Whether a ``full:<scope>/`` line counts here: the platform is one of the words that ``-`` separates in its scope.

    TensorRT-LLM's submit.py looks for the platform anywhere in the scope, so GB200's waives are B200's there too.
    """
    if scope is None:
        return True
    return platform is not None and not scope.startswith(ARCHITECTURE) and platform in scope.split("-")


def _with_source(reason: str | None, entry: Entry) -> str | None:
    return None if reason is None else f"{reason or 'waived'}, {entry.where}"
