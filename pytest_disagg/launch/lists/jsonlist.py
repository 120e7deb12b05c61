"""JSON lists: ``[{"config_file": "...", "mode": "..."}, ...]``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_disagg.config.text import did_you_mean, one_of, shown
from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.launch.lists.entry import Entry

KEYS = ("config_file", "mode")
CASE_MODES = {
    "e2e": "disagg-e2e",
    "gen_only": "disagg-gen_only",
    "gen_only_no_context": "disagg-gen_only_no_context",
    "ctx_only": "aggr-ctx_only",
}
"""A mode that means one case of a disaggregated file -> what that case's id begins with."""
MODES = ("disagg", "aggr", *CASE_MODES)

_SPACE = " \t\r\n"
_EXPECTED = 'a list of {"config_file": ..., "mode": ...}'


def parse_json(text: str, path: Path) -> list[Entry]:
    """The entries of a JSON list. ``config_file`` is a file, a config name or a test id.

    Raises:
        ConfigError: no JSON, or everything that is wrong with its items.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    try:
        items = list(_items(text, path))
    except json.JSONDecodeError as error:
        raise ConfigError([Problem(path, error.lineno, "", f"no JSON ({error.msg})", _EXPECTED)]) from error
    for line, pairs in items:
        found = _problems(pairs, path, line)
        problems += found
        if not found:
            item = dict(pairs)
            entries.append(Entry(item["config_file"], path, line, mode=item.get("mode")))
    if problems:
        raise ConfigError(problems)
    return entries


def _items(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    """Each item with its line; an object as its pairs. The standard parser knows no lines of what it has read."""
    decoder = json.JSONDecoder(object_pairs_hook=_Pairs)
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        raise ConfigError([Problem(path, 1, "", shown(text[at : at + 20]), _EXPECTED)])
    at = _skip(text, at + 1)
    if text[at : at + 1] != "]":
        while True:
            line = text.count("\n", 0, at) + 1
            value, at = decoder.raw_decode(text, at)
            yield line, value
            at = _skip(text, at)
            if text[at : at + 1] != ",":
                break
            at = _skip(text, at + 1)
    if text[at : at + 1] != "]":
        raise json.JSONDecodeError("expecting ',' or ']'", text, at)
    if text[_skip(text, at + 1) :]:
        raise json.JSONDecodeError("more text after the list", text, _skip(text, at + 1))


class _Pairs(list[tuple[str, Any]]):
    """An object that still knows keys that were given twice."""


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _problems(pairs: Any, path: Path, line: int) -> list[Problem]:
    if not isinstance(pairs, _Pairs):
        return [Problem(path, line, "", shown(pairs), 'an object with "config_file" and "mode"')]
    names = [name for name, _ in pairs]
    item = dict(pairs)
    problems = [
        Problem(path, line, name, "an unknown key", one_of(KEYS), did_you_mean(name, KEYS))
        for name in names
        if name not in KEYS
    ]
    problems += [Problem(path, line, name, "the key again", "each key once") for name in KEYS if names.count(name) > 1]
    file, mode = item.get("config_file"), item.get("mode", MODES[0])
    if not isinstance(file, str) or not file.strip():
        found = shown(file) if "config_file" in item else "nothing"
        problems.append(Problem(path, line, "config_file", found, "a file, a config name or a test id"))
    if mode not in MODES:
        hint = did_you_mean(mode, MODES) if isinstance(mode, str) else ""
        problems.append(Problem(path, line, "mode", shown(mode), one_of(MODES), hint))
    return problems
