"""What is wrong with a case's sizes or limits, with the line of its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_disagg.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case


def problem(case: Case, key: str, found: str, expected: str, hint: str = "") -> Problem:
    """A problem at ``key`` of the case's file; without a line where the file has neither the key nor a parent of it."""
    return Problem(path=case.path, line=_line(case, key), key=key, found=found, expected=expected, hint=hint)


def _line(case: Case, key: str) -> int | None:
    # Only a case that fails pays for reading its file again, and for PyYAML.
    from pytest_disagg.config import yaml

    try:
        return yaml.load(case.path).line([int(part) if part.isdigit() else part for part in key.split(".")])
    except ConfigError:
        return None
