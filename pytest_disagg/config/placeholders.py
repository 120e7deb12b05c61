"""Placeholders: values written ``<like_this>`` that a site fills in.

Reading, collecting and planning accept them as they are. Whoever is about to use a value asks :func:`unfilled`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_disagg.config import yaml
from pytest_disagg.config.yaml import Key, dotted

_PLACEHOLDER = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>")


def is_placeholder(value: object) -> bool:
    """Whether the whole value is one placeholder."""
    return isinstance(value, str) and _PLACEHOLDER.fullmatch(value.strip()) is not None


def placeholders_in(value: Any, key: Key = ()) -> Iterator[tuple[Key, str]]:
    """Every placeholder in a document with the key of the value that holds it, in file order."""
    if isinstance(value, str):
        for name in _PLACEHOLDER.findall(value):
            yield key, name
    elif isinstance(value, Mapping):
        for part, item in value.items():
            yield from placeholders_in(item, (*key, str(part)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from placeholders_in(item, (*key, index))


def fill(document: Any, values: Mapping[str, str]) -> Any:
    """A copy of the document with every placeholder replaced that ``values`` (name -> text) knows.

    A value that is one placeholder becomes what the text means in YAML (``8`` is a number); inside a longer text the
    replacement is text.
    """
    if isinstance(document, Mapping):
        return {key: fill(item, values) for key, item in document.items()}
    if isinstance(document, list):
        return [fill(item, values) for item in document]
    if not isinstance(document, str):
        return document
    whole = _PLACEHOLDER.fullmatch(document.strip())
    if whole and whole.group(1) in values:
        return _typed(values[whole.group(1)])
    return _PLACEHOLDER.sub(lambda match: values.get(match.group(1), match.group()), document)


def values_for(document: Any, given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """What fills the placeholders of a document: ``given``, else the environment variable of the upper-cased name."""
    names = {name for _, name in placeholders_in(document)}
    found = {name: environ[name.upper()] for name in names if environ.get(name.upper())}
    return {**found, **{name: text for name, text in given.items() if name in names}}


def unfilled(document: Mapping[str, Any], keys: Iterable[str]) -> list[tuple[str, str]]:
    """The placeholders that are left at or below the given dotted keys, as (dotted key, placeholder name)."""
    wanted = [tuple(key.split(".")) for key in keys]
    return [
        (dotted(key), name)
        for key, name in placeholders_in(document)
        if any(tuple(map(str, key[: len(prefix)])) == prefix for prefix in wanted)
    ]


def _typed(text: str) -> Any:
    """Only numbers and booleans change type: an account named ``null`` or ``a: b`` stays the text it is."""
    try:
        value = yaml.parse_value(text)
    except yaml.SyntaxErrors:
        return text
    return value if isinstance(value, (int, float)) else text
