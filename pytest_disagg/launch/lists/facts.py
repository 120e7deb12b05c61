"""What ``--test-db-match`` says about the machine and the stage: ``gpu``, ``system_gpu_count``, ``stage``, ..."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pytest_disagg.config import yaml
from pytest_disagg.errors import UsageError

Fact = str | int | float | bool
Facts = Mapping[str, Fact]

OPTION = "--test-db-match"


def parse_facts(texts: Sequence[str]) -> dict[str, Fact]:
    """Facts from option values, each a JSON object or ``name=value,name=value``; values are typed as in YAML.

    Raises:
        UsageError: a value of neither form, a fact that is no plain value, a name given twice.
    """
    facts: dict[str, Fact] = {}
    for text in texts:
        for name, value in _object(text) if text.lstrip().startswith("{") else _pairs(text):
            if not isinstance(value, (str, int, float)):
                raise UsageError(f"{OPTION}: {name}: found {value!r}, expected a text, a number, true or false")
            if name in facts:
                raise UsageError(f"{OPTION}: {name}: given twice, expected once")
            facts[name] = value
    return facts


def _object(text: str) -> list[tuple[str, object]]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{OPTION} {text!r}: found no JSON ({error.msg}, column {error.colno})") from error
    return list(found.items())


def _pairs(text: str) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for part in text.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not name or not value:
            raise UsageError(f"{OPTION} {text!r}: found {part!r}, expected name=value or a JSON object")
        try:
            pairs.append((name, yaml.parse_value(value)))
        except yaml.SyntaxErrors:
            pairs.append((name, value))  # a pattern such as *gb200* is text, not an alias
    return pairs
