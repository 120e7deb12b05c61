"""Files of dated lines beside the baselines (accepted.yaml, quarantine.yaml), reviewed in git like any other change."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pytest_disagg.config.text import did_you_mean, shown
from pytest_disagg.config.yaml import Document, parse, read
from pytest_disagg.errors import ConfigError, Problem, UsageError
from pytest_disagg.redact import redact

FOLDER = "baselines"
"""Below a config directory; it holds no cases."""

Entry = TypeVar("Entry")


class Wrong(Protocol):
    """Notes what is wrong with a key of an entry."""

    def __call__(self, name: str, found: str, expected: str, hint: str = "") -> None: ...


@dataclass(frozen=True)
class DatedFile(Generic[Entry]):
    """The form of a file: a list under ``key``, its only key, of mappings with the ``needed`` and ``optional`` keys.

    ``check`` notes what is wrong with an entry beyond these and its ``date``; ``make`` gets only entries without fault.
    """

    key: str
    needed: tuple[str, ...]
    optional: tuple[str, ...]
    check: Callable[[Mapping[Any, Any], Wrong], None]
    make: Callable[[Mapping[str, Any]], Entry]

    def load(self, path: Path) -> tuple[Entry, ...]:
        """The entries of a file; of one that is not there, none.

        Raises:
            ConfigError: it cannot be read, or entries are wrong; all of them with their lines.
        """
        return self._entries(parse(read(path), path)) if path.exists() else ()

    def append(self, path: Path, lines: Sequence[str]) -> str:
        """Add entries, one a line, at the end of the file, replacing it whole; comments and everything else in it stay.
        What was added.

        Raises:
            ConfigError: the file as it is cannot be read.
            UsageError: it is of a form to which nothing can be added.
        """
        before = read(path).decode("utf-8") if path.exists() else f"{self.key}:\n"
        known = len(self._entries(parse(before.encode(), path))) if path.exists() else 0
        items = re.findall(r"^( *)- ", before, re.MULTILINE)
        indent = items[-1] if items else "  "
        added = "".join(f"{indent}{line}\n" for line in lines)
        after = before + ("" if before.endswith("\n") else "\n") + added
        try:
            complete = len(self._entries(parse(after.encode(), path))) == known + len(lines)
        except ConfigError:
            complete = False
        if not complete:
            raise UsageError(f"{path}: cannot add to it; expected the list {self.key!r}, one entry a line, at its end")
        # Only here: every role reads such files, and hardly anybody writes them.
        from pytest_disagg.verdict.update import write

        write(path, after)
        return added

    def _entries(self, document: Document) -> tuple[Entry, ...]:
        problems: list[Problem] = []

        def wrong(key: tuple[str | int, ...], found: str, expected: str, hint: str = "") -> None:
            dotted = ".".join(map(str, key))
            problems.append(Problem(document.path, document.line(key), dotted, found, expected, hint))

        for name in document.data:
            if name != self.key:
                wrong((name,), f"the unknown key {name!r}", f"{self.key!r} alone")
        listed = document.data.get(self.key)
        if listed is None:
            listed = []
        if not isinstance(listed, list):
            wrong((self.key,), shown(listed), "a list")
            listed = []
        found = []
        for index, entry in enumerate(listed):

            def about(name: str, found: str, expected: str, hint: str = "", index: int = index) -> None:
                wrong((self.key, index, name), found, expected, hint)

            if not isinstance(entry, dict):
                wrong((self.key, index), shown(entry), f"a mapping with {', '.join(self.needed)}")
                continue
            before = len(problems)
            self._check_keys(entry, about)
            self.check(entry, about)
            if len(problems) == before:
                found.append(self.make(entry))
        if problems:
            raise ConfigError(problems)
        return tuple(found)

    def _check_keys(self, entry: Mapping[Any, Any], wrong: Wrong) -> None:
        known = (*self.needed, *self.optional)
        for name in entry:
            if name not in known:
                hint = did_you_mean(str(name), known)
                wrong(str(name), f"the unknown key {name!r}", f"one of {', '.join(known)}", hint)
        for name in self.needed:
            if entry.get(name) in (None, ""):
                wrong(name, "nothing", "a value")
        check_date(entry, "date", wrong)


def find(directories: Sequence[Path], name: str) -> Path | None:
    """``baselines/<name>`` of the first config directory that has one."""
    places = (directory / FOLDER / name for directory in directories)
    return next((path for path in places if path.is_file()), None)


def check_date(entry: Mapping[Any, Any], name: str, wrong: Wrong) -> datetime.date | None:
    """The date under that key; None where there is nothing, which :class:`DatedFile` notes, or no date."""
    value = entry.get(name)
    if value in (None, ""):
        return None
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    try:
        return datetime.date.fromisoformat(str(value))
    except ValueError:
        wrong(name, shown(value), "a date such as 2026-11-21")
        return None


def line(fields: Mapping[str, object]) -> str:
    """An entry as it stands in a file, without indentation."""
    return "- {" + ", ".join(f"{name}: {_scalar(value)}" for name, value in fields.items()) + "}"


def today() -> datetime.date:
    return datetime.date.today()


def _scalar(value: object) -> str:
    """A YAML scalar: JSON, which is YAML, where a plain word would not do."""
    text = redact(value) if isinstance(value, str) else value
    if isinstance(text, str) and not re.fullmatch(r"[A-Za-z_][\w.-]*|\d{4}-\d\d-\d\d", text):
        return json.dumps(text, ensure_ascii=False)
    if isinstance(text, str) and text.lower() in ("y", "n", "yes", "no", "on", "off", "true", "false", "null"):
        return json.dumps(text)
    return str(text)
