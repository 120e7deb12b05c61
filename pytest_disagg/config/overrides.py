"""``--disagg-set key=value``: values laid over a document, typed as YAML, on a copy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_disagg.config import yaml
from pytest_disagg.config.text import did_you_mean, one_of, shown
from pytest_disagg.config.yaml import Key, dotted
from pytest_disagg.errors import ConfigError, Problem, UsageError


def parse_set(text: str) -> tuple[tuple[str, ...], Any]:
    """Split ``benchmark.concurrency_list=1,2`` into its key and its value as YAML reads it.

    Raises:
        UsageError: not of that form; says which form is.
    """
    name, equals, value = text.partition("=")
    parts = tuple(part.strip() for part in name.split("."))
    if not equals or not all(parts):
        raise UsageError(f"--disagg-set {text!r}: expected key=value, for example benchmark.concurrency_list=1,2")
    try:
        return parts, yaml.parse_value(value)
    except yaml.SyntaxErrors as error:
        raise UsageError(f"--disagg-set {text!r}: the value is not YAML: {str(error).splitlines()[0]}") from error


def apply_sets(
    data: Mapping[str, Any], sets: Sequence[str], *, path: Path, sections: Collection[str]
) -> tuple[dict[str, Any], dict[Key, str]]:
    """A copy of the document with every override applied in order, and which option set which key.

    A block that the file does not have is made when it is one of ``sections`` (the top-level blocks of the schema);
    any other parent must exist. A number in a key is an index where the document has a list.

    Raises:
        UsageError: an override that is not ``key=value``.
        ConfigError: every override whose parent does not exist.
    """
    result: dict[str, Any] = unshared(data)
    changed: dict[Key, str] = {}
    problems: list[Problem] = []
    for text in sets:
        parts, value = parse_set(text)
        try:
            key = _assign(result, parts, value, sections)
        except _NoSuchKeyError as error:
            problems.append(Problem(path, None, f"--disagg-set {text}", error.found, error.expected, error.hint))
        else:
            changed[key] = f"--disagg-set {text}"
    if problems:
        raise ConfigError(problems)
    return result, changed


def unshared(value: Any) -> Any:
    """A deep copy in which YAML aliases have become values of their own: changing one must not change the other."""
    if isinstance(value, Mapping):
        return {key: unshared(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unshared(item) for item in value]
    return value


class _NoSuchKeyError(Exception):
    def __init__(self, found: str, expected: str, hint: str = "") -> None:
        super().__init__(found)
        self.found, self.expected, self.hint = found, expected, hint


def _assign(root: dict[str, Any], parts: tuple[str, ...], value: Any, sections: Collection[str]) -> Key:
    node: Any = root
    key: list[str | int] = []
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise _NoSuchKeyError(f"index {part!r} of {dotted(key)}", f"an index from 0 to {len(node) - 1}")
            key.append(int(part))
            if last:
                node[int(part)] = value
            else:
                node = node[int(part)]
            continue
        if not isinstance(node, dict):
            raise _NoSuchKeyError(f"{dotted(key)} is {shown(node)}", "a mapping or a list to set a key in")
        known = [*map(str, node), *(sections if depth == 0 else ())]
        if depth == 0 and part not in known:
            raise _NoSuchKeyError(f"no key {part!r}", one_of(sorted(set(known))), did_you_mean(part, known))
        key.append(part)
        if last:
            node[part] = value
            break
        if node.get(part) is None:
            if depth > 0:
                found = f"no key {dotted(key)!r} in the file"
                raise _NoSuchKeyError(found, f"one of {', '.join(known)}", did_you_mean(part, known))
            node[part] = {}
        node = node[part]
    return tuple(key)
