"""Types of config values. Each says in one phrase what is expected, and never takes a boolean for a number."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from pytest_disagg.config.env import parse_env
from pytest_disagg.config.jobtime import EXPECTED as JOB_TIME_EXPECTED
from pytest_disagg.config.jobtime import job_seconds
from pytest_disagg.config.placeholders import is_placeholder
from pytest_disagg.config.text import shown


def unexpected(expected: str, found: str = "") -> PydanticCustomError:
    """The error of a value; ``found`` where something other than the value itself is to be shown."""
    return PydanticCustomError("expected", "expected {expected}", {"expected": expected, "found": found})


def _must(expected: str, check: Callable[[Any], bool]) -> BeforeValidator:
    def validate(value: Any) -> Any:
        if not check(value):
            raise unexpected(expected)
        return value

    return BeforeValidator(validate)


_MAX_INT = 2**31 - 1
"""No count, size or token number comes near; a larger one is a slip, and places or loads nothing."""


def _bounded(value: Any) -> Any:
    if _is_int(value) and value > _MAX_INT:
        raise unexpected(f"a whole number of at most {_MAX_INT}")
    return value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


_Bounded = BeforeValidator(_bounded)
Count = Annotated[int, Field(ge=1), _must("a whole number of at least 1", lambda v: _is_int(v) and v >= 1), _Bounded]
Integer = Annotated[int, _must("a whole number", _is_int), _Bounded]
Natural = Annotated[int, Field(ge=0), _must("a whole number, 0 or more", lambda v: _is_int(v) and v >= 0), _Bounded]
Rate = Annotated[float, Field(gt=0), _must("a number greater than 0", lambda v: _is_number(v) and v > 0)]
Share = Annotated[float, Field(ge=0, le=1), _must("a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)]
Flag = Annotated[bool, _must("true or false", lambda v: isinstance(v, bool))]
Text = Annotated[str, _must("text", lambda v: isinstance(v, str))]
Word = Annotated[str, _must("a non-empty text", lambda v: isinstance(v, str) and bool(v.strip()))]
Map = Annotated[dict[Any, Any], _must("a mapping", lambda v: isinstance(v, dict))]

_NAME = re.compile(r"[^\s/,\[\]][^/,\[\]\n]*")
Name = Annotated[
    str,
    _must(
        "a name without '/', ',', '[' and ']' (it becomes part of file names and test ids)",
        lambda v: isinstance(v, str) and _NAME.fullmatch(v) is not None,
    ),
]


def _no_null(value: Any) -> Any:
    """A section whose key stands alone in the file (``timeouts:``) is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise unexpected("a mapping")
    return value


Section = BeforeValidator(_no_null)
"""Marks a field whose value is a block of keys."""


def _env_text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise unexpected("words of the form NAME=value")
    if not is_placeholder(value):
        try:
            parse_env(value)
        except ValueError as error:
            raise unexpected("words of the form NAME=value, quoted where a value has spaces", str(error)) from None
    return value


EnvText = Annotated[str, BeforeValidator(_env_text)]

_CONCURRENCIES = "positive whole numbers: one, a list, or text such as '1 2 4' or '1,2,4'"


def _concurrencies(value: Any) -> tuple[int, ...]:
    items = re.split(r"[\s,]+", value.strip()) if isinstance(value, str) else value
    items = items if isinstance(items, (list, tuple)) else [items]
    numbers: list[int] = []
    for item in items:
        digits = isinstance(item, str) and item.isascii() and item.isdigit() and len(item) <= len(str(_MAX_INT))
        number = int(item) if digits or _is_int(item) else 0
        if not 1 <= number <= _MAX_INT:
            raise unexpected(_CONCURRENCIES, shown(value))
        if number in numbers:
            raise unexpected("each concurrency once", f"{number} twice in {shown(value)}")
        numbers.append(number)
    if not numbers:
        raise unexpected(_CONCURRENCIES)
    return tuple(numbers)


Concurrencies = Annotated[
    tuple[int, ...],
    BeforeValidator(_concurrencies),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": r"^\s*[0-9]+([\s,]+[0-9]+)*\s*$"},
                {"type": "array", "minItems": 1, "items": {"type": ["integer", "string"]}},
            ]
        }
    ),
]


def _job_seconds(value: Any) -> float | None:
    if value is None or (isinstance(value, str) and is_placeholder(value)):
        return None
    try:
        return job_seconds(value if isinstance(value, str) or _is_int(value) else "")
    except ValueError:
        raise unexpected(JOB_TIME_EXPECTED) from None


JobTime = Annotated[Any, AfterValidator(_job_seconds), WithJsonSchema({"type": ["string", "integer", "null"]})]
"""Slurm's time limit; seconds once validated, None for none."""


def _words(value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise unexpected("a list of names")
    return tuple(items)


Words = Annotated[
    tuple[str, ...],
    BeforeValidator(_words),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
