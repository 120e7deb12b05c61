"""The first look at a file, as cheap as it gets: is it YAML, of which kind, which names does it offer.

Called for every file of a config directory at each pytest start, so nothing is built that a few regular expressions
over the bytes can tell; where they cannot be sure (flow style, anchors, unusual indentation), the file is parsed.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_disagg.config import yaml
from pytest_disagg.config.ids import AGGR_FILE_CASES, DISAGG_FILE_CASES, Kind
from pytest_disagg.config.names import explicit_server_names
from pytest_disagg.config.text import did_you_mean, one_of, shown
from pytest_disagg.errors import ConfigError, Problem

# Each begins with a line break, which the search jumps to: several times faster than ^. Hence b"\n" + text below.
_KEYS = re.compile(rb"\n[\"']?([A-Za-z_][\w\-]*)[\"']?[ \t]*:(?=[ \t\r\n]|$)")
_INLINE_CASES = re.compile(rb"\ncases[ \t]*:[ \t]*\[([\w\-, \t]*)\][ \t]*(?:#.*)?\r?$", re.MULTILINE)
_SERVERS = re.compile(rb"\nserver_configs[ \t]*:[ \t]*(?:#.*)?\r?(?=\n)")
_NEXT_KEY = re.compile(rb"\n[^ \t\r\n#\-]")
_FIRST_ITEM = re.compile(rb"\n([ ]*)-([ ]+)\S")
_PLAIN_NAME = rb"[ ]*(?:\"([\w.+\-]+)\"|'([\w.+\-]+)'|([A-Za-z_][\w.+\-]*))[ \t]*(?:#.*)?\r?$"


@dataclass(frozen=True)
class Scan:
    """What a first look shows. With a ``problem`` the file offers nothing and its one case fails with that.

    ``cases`` are the names its ``cases:`` lists, None where it has none; ``servers`` the names that an aggregated file
    gives to servers, in file order.
    """

    kind: Kind
    cases: tuple[str, ...] | None = None
    servers: tuple[str, ...] = ()
    problem: Problem | None = None

    @property
    def offered(self) -> tuple[str, ...]:
        """The case names (``disagg-e2e``, ``aggr``) of this file."""
        if self.cases is not None:
            return self.cases
        return {"disagg": DISAGG_FILE_CASES, "aggr": AGGR_FILE_CASES}.get(self.kind, ())

    @property
    def one_case(self) -> bool:
        """Whether the file offers a single case: loading that says what may be wrong with the file."""
        return self.problem is None and self.cases is not None and len(self.cases) == 1 and len(self.servers) <= 1


def scan(path: Path) -> Scan:
    """Look at a file. Never raises for what the file holds."""
    try:
        text = yaml.read(path)
        found = _scan(text, path)
        # The dearest part by far, and only of use where a broken file would fail as often as it seems to have cases.
        if not found.one_case and (problem := yaml.check_syntax(text, path)):
            return Scan("unknown", problem=problem)
        return found
    except ConfigError as error:
        return Scan("unknown", problem=error.problems[0])


def _scan(text: bytes, path: Path) -> Scan:
    text = text.removeprefix(codecs.BOM_UTF8)
    listed_keys = _KEYS.findall(b"\n" + text)
    keys = set(listed_keys)
    data: Mapping[str, Any] | None = None
    # A key that comes twice: of one document, which is an error, or of two.
    if len(keys) < len(listed_keys) or not keys & {b"worker_config", b"server_configs"}:
        data = yaml.parse(text, path).data
        keys = {str(key).encode() for key in data}
    disagg, aggr = b"worker_config" in keys, b"server_configs" in keys
    if not disagg and not aggr:
        if b"clusters" in keys or path.name.startswith("cluster"):
            return Scan("cluster")
        hint = next((hint for key in data or () if (hint := did_you_mean(str(key), _CASE_KEYS, 0.8))), "")
        return _bad(path, 1, "", "neither worker_config nor server_configs", "one of them at the top level", hint)
    if disagg and aggr:
        return _bad(path, _line(text, b"server_configs"), "", "worker_config and server_configs", "one of them")
    kind: Kind = "disagg" if disagg else "aggr"
    cases: tuple[str, ...] | None = None
    if b"cases" in keys:
        listed = _listed_cases(text, data, path)
        if problem := cases_problem(listed, kind, path):
            return Scan(kind, problem=replace(problem, line=_line(text, b"cases")))
        cases = tuple(listed)
    servers = () if disagg else _server_names(text, data, path)
    return Scan(kind, cases, servers)


_CASE_KEYS = ("worker_config", "server_configs")


def _listed_cases(text: bytes, data: Mapping[str, Any] | None, path: Path) -> Any:
    inline = _INLINE_CASES.search(b"\n" + text) if data is None else None
    if inline is None:
        return (data if data is not None else yaml.parse(text, path).data)["cases"]
    return [name.strip().decode() for name in inline.group(1).split(b",") if name.strip()]


def cases_problem(listed: Any, kind: Kind, path: Path, line: int | None = None) -> Problem | None:
    """What is wrong with a file's ``cases:``, None where nothing is."""
    allowed = DISAGG_FILE_CASES if kind == "disagg" else AGGR_FILE_CASES
    if not isinstance(listed, list) or not listed:
        return Problem(path, line, "cases", shown(listed), f"a list with at least one of {', '.join(allowed)}")
    for index, name in enumerate(listed):
        if name not in allowed:
            return Problem(path, line, f"cases.{index}", shown(name), one_of(allowed), did_you_mean(str(name), allowed))
        if name in listed[:index]:
            return Problem(path, line, f"cases.{index}", f"{name} twice", "each case once")
    return None


def _server_names(text: bytes, data: Mapping[str, Any] | None, path: Path) -> tuple[str, ...]:
    if data is None and (names := _quick_server_names(text)) is not None:
        return names
    return explicit_server_names(data if data is not None else yaml.parse(text, path).data)


def _quick_server_names(text: bytes) -> tuple[str, ...] | None:
    """The names of a block-style list of servers that all have one; None where that is not plain to see."""
    text = b"\n" + text
    head = _SERVERS.search(text)
    if head is None:
        return None
    end = _NEXT_KEY.search(text, head.end())
    body = text[head.end() : end.start() if end else None]
    first = _FIRST_ITEM.search(body)
    if first is None or b"<<" in body:
        return None
    indent, gap = first.groups()
    items = body.count(b"\n" + indent + b"-")
    name = rb"\n" + indent + rb"(?:-" + gap + rb"| " + gap + rb")name:" + _PLAIN_NAME
    found = [b"".join(groups).decode() for groups in re.findall(name, body, re.MULTILINE)]
    return tuple(found) if len(found) == items else None


def _line(text: bytes, key: bytes) -> int | None:
    match = re.search(rb"^" + key + rb"[ \t]*:", text, re.MULTILINE)
    return text.count(b"\n", 0, match.start()) + 1 if match else None


def _bad(path: Path, line: int | None, key: str, found: str, expected: str, hint: str = "") -> Scan:
    return Scan("unknown", problem=Problem(path, line, key, found, expected, hint))
