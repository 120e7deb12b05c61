"""Text lists and waives files: one line each, see :mod:`.line`."""

from __future__ import annotations

from pathlib import Path

from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.launch.lists.entry import Entry
from pytest_disagg.launch.lists.line import parse_line


def parse_text(text: str, path: Path) -> list[Entry]:
    """The entries of a text list.

    Raises:
        ConfigError: every line that is wrong.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, raw in enumerate(text.splitlines(), 1):
        try:
            line = parse_line(raw, path, number)
        except ConfigError as error:
            problems += error.problems
        else:
            if line is not None:
                entries.append(Entry(line.target, path, number, line.markers, line.scope))
    if problems:
        raise ConfigError(problems)
    return entries
