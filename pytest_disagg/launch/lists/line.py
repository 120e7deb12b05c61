"""One line of a test list or a waives file: ``[full:<scope>/]<target> [MARKER [(reason)]]... [# comment]``.

Markers, the ``full:`` prefix and minutes are those of TensorRT-LLM's lists. Three things differ: a line may have
several markers, a ``#`` within a reason is no comment, and a line that Mako would have to render first is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_disagg.config.lookup import SUFFIXES
from pytest_disagg.config.text import did_you_mean, one_of
from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.launch.lists.markers import NAMES, Markers

_BRACKETS = re.compile(r"\[[^\]]*\]")
# What ends a target: a marker or a comment, but not within the brackets of a test id.
_PIECE = re.compile(rf"\[[^\]]*\]|\s+(?:{'|'.join(NAMES)})(?=[\s(#]|$)|\s*#")
_WORD = re.compile(r"[^\s(#]+")
_SCOPED = re.compile(r"full:(?P<scope>[^/]+)/(?P<target>.+)")
_MAKO = re.compile(r"^\s*%|\$\{|<%")


@dataclass(frozen=True)
class Line:
    """``target`` is a test id, a config name or a file; ``scope`` the platform of a ``full:`` prefix, else None."""

    target: str
    markers: Markers = field(default_factory=Markers)
    scope: str | None = None


def parse_line(text: str, path: Path | None, number: int | None) -> Line | None:
    """Read one line; None where it is blank or a comment. ``path`` and ``number`` are for the error.

    Raises:
        ConfigError: an unknown marker, a marker given twice, minutes that are none, text that is neither.
    """
    if _MAKO.search(text):
        raise _error(path, number, text.strip(), "a plain line", "a Mako template has to be rendered first")
    target, rest = _split(text)
    if not target:
        if rest and not rest.startswith("#"):
            raise _error(path, number, rest, "a test id, a config name or a file before the marker")
        return None
    _check_target(target, path, number)
    scope = None
    if target.startswith("full:"):
        scoped = _SCOPED.fullmatch(target)
        if scoped is None:
            raise _error(path, number, target, "full:<scope>/<test id>")
        scope, target = scoped["scope"], scoped["target"]
    return Line(target, _markers(rest, path, number), scope)


def _split(text: str) -> tuple[str, str]:
    for piece in _PIECE.finditer(f" {text.strip()}"):
        if not piece[0].startswith("["):
            return piece.string[: piece.start()].strip(), piece.string[piece.start() :].strip()
    return text.strip(), ""


def _check_target(target: str, path: Path | None, number: int | None) -> None:
    words = _BRACKETS.sub("", target).split()
    if len(words) == 1 or target.endswith(SUFFIXES):
        return
    word = words[1].partition("(")[0] or words[1]
    raise _error(path, number, word, f"one of the markers {', '.join(NAMES)} after the test id", _meant(word))


def _meant(word: str) -> str:
    upper = word.upper()
    return f"did you mean {upper!r}?" if upper in NAMES else did_you_mean(upper, NAMES)


def _markers(rest: str, path: Path | None, number: int | None) -> Markers:
    values: dict[str, Any] = {}
    while rest and not rest.startswith("#"):
        word = _WORD.match(rest)
        name = word[0] if word else rest
        if name not in NAMES:
            hint = _meant(name) or "a reason goes into parentheses"
            raise _error(path, number, name, one_of(NAMES), hint)
        reason, rest = _reason(rest[len(name) :].lstrip(), name, path, number)
        field, value = _value(name, reason, path, number)
        if field in values:
            raise _error(path, number, f"{name} again", "each marker once")
        values[field] = value
    return Markers(**values)


def _value(name: str, reason: str | None, path: Path | None, number: int | None) -> tuple[str, Any]:
    if name == "ISOLATION":
        return "isolated", True
    if name != "TIMEOUT":
        return name.lower(), reason or ""
    if reason is None or not (reason.isascii() and reason.isdigit() and int(reason) >= 1):
        found = "TIMEOUT" if reason is None else f"TIMEOUT ({reason})"
        raise _error(path, number, found, "TIMEOUT (n) with whole minutes of at least 1")
    return "timeout_min", int(reason)


def _reason(rest: str, name: str, path: Path | None, number: int | None) -> tuple[str | None, str]:
    """What stands in parentheses, None where there are none, and the text behind them."""
    if not rest.startswith("("):
        return None, rest
    depth = 0
    for at, char in enumerate(rest):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            reason = rest[1:at].strip()
            if not reason:
                raise _error(path, number, f"{name} ()", "a reason in the parentheses, or none")
            return reason, rest[at + 1 :].lstrip()
    raise _error(path, number, f"{name} {rest}", "a closing parenthesis")


def _error(path: Path | None, number: int | None, found: str, expected: str, hint: str = "") -> ConfigError:
    return ConfigError([Problem(path, number, "", repr(found), expected, hint)])
