"""A plain series from a file: JSON ``{"values": [...]}`` or a list, or the last column of a CSV."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pytest_disagg.errors import ConfigError, Problem

_EXPECTED = '{"values": [numbers]}, a list of numbers, or a CSV whose last column is numbers'


def read_values(path: Path) -> list[float]:
    """The values, in order.

    Raises:
        ConfigError: the file cannot be read, or has something in it that is no finite number; all such lines of a CSV.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = (error.strerror or str(error)) if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise ConfigError([Problem(path, None, "", found, _EXPECTED)]) from error
    if text.lstrip()[:1] in ("{", "["):
        return _json(path, text)
    return _csv(path, text)


def _json(path: Path, text: str) -> list[float]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ConfigError([Problem(path, getattr(error, "lineno", None), "", str(error), _EXPECTED)]) from error
    values = document.get("values") if isinstance(document, dict) else document
    if not isinstance(values, list):
        raise ConfigError([Problem(path, None, "values", type(values).__name__, _EXPECTED)])
    problems = [
        Problem(path, None, f"values.{index}", repr(value), "a finite number")
        for index, value in enumerate(values)
        if not _finite(value)
    ]
    if problems:
        raise ConfigError(problems)
    return [float(value) for value in values]


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _csv(path: Path, text: str) -> list[float]:
    values: list[float] = []
    problems = []
    seen = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cell = line.rsplit(",", 1)[-1].strip().strip('"')
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            values.append(value)
        elif seen:
            problems.append(Problem(path, number, "", repr(cell), "a finite number in the last column"))
        seen = True  # the first line may be a header
    if problems:
        raise ConfigError(problems)
    return values
