"""List files of every form, told apart by suffix, else by how they begin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pytest_disagg.config import yaml
from pytest_disagg.config.lookup import SUFFIXES
from pytest_disagg.config.text import did_you_mean, shown
from pytest_disagg.errors import ConfigError, Problem, UsageError
from pytest_disagg.launch.lists.entry import Entry
from pytest_disagg.launch.lists.facts import OPTION, Facts
from pytest_disagg.launch.lists.jsonlist import parse_json
from pytest_disagg.launch.lists.testdb import TestDb, parse_testdb
from pytest_disagg.launch.lists.textlist import parse_text

Form = Literal["text", "json", "test-db"]

_CASE_FILE_KEYS = ("worker_config", "server_configs")
_VERSION_LINE = re.compile(r"version\s*:")


@dataclass(frozen=True)
class Lists:
    """The lines of all lists in order, and what is worth saying about the reading."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


def read_lists(paths: Sequence[Path], facts: Facts) -> Lists:
    """Read list files. A relative file that a line names is looked for from here, then from the list's folder.

    Raises:
        ConfigError: everything that is wrong with the files.
        UsageError: a fact that cannot be used, or that looks like a misspelt one.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    databases: list[tuple[Path, TestDb]] = []
    for path in paths:
        try:
            found, database = _read(path, facts)
        except ConfigError as error:
            problems += error.problems
            continue
        entries += [_located(entry, path.parent) for entry in found]
        if database is not None:
            databases.append((path, database))
    if problems:
        raise ConfigError(problems)
    return Lists(tuple(entries), tuple(_notes(databases, facts)))


def read_waives(paths: Sequence[Path]) -> list[Entry]:
    """The lines of waives files.

    Raises:
        ConfigError: everything that is wrong with the files.
    """
    return [entry for path in paths for entry in parse_text(_text(path), path)]


def form_of(path: Path, text: str) -> Form:
    """What a file with this name and content is."""
    if path.suffix == ".json":
        return "json"
    if path.suffix in SUFFIXES:
        return "test-db"
    first = next((line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith("#")), "")
    if first.startswith(("[", "{")):
        return "json"
    return "test-db" if _VERSION_LINE.match(first) else "text"


def _read(path: Path, facts: Facts) -> tuple[list[Entry], TestDb | None]:
    text = _text(path)
    form = form_of(path, text)
    if form == "json":
        return parse_json(text, path), None
    if form == "text":
        return parse_text(text, path), None
    document = yaml.parse(text.encode(), path)
    for key in _CASE_FILE_KEYS:
        if key in document.data:
            hint = "give a case file as CASE"
            raise ConfigError([Problem(path, document.line((key,)), key, "a case file", "a test list", hint)])
    database = parse_testdb(document, facts)
    return database.entries, database


def _text(path: Path) -> str:
    try:
        return yaml.read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = yaml.read(path).count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [Problem(path, line, "", f"bytes that are no UTF-8 ({error.reason})", "a text file")]
        ) from error


def _located(entry: Entry, folder: Path) -> Entry:
    beside = folder / entry.target
    is_file = entry.target.endswith(SUFFIXES) and not Path(entry.target).is_file() and beside.is_file()
    return replace(entry, target=str(beside)) if is_file else entry


def _notes(databases: Sequence[tuple[Path, TestDb]], facts: Facts) -> list[str]:
    if not databases:
        if facts:
            raise UsageError(f"{OPTION}: no test-db file is among the lists")
        return []
    asked = {name for _, database in databases for name in database.asked}
    for name in facts:
        if hint := did_you_mean(name, asked, 0.75):
            raise UsageError(f"{OPTION}: no block asks for {name!r} ({hint})")
    told = ", ".join(f"{name}={shown(value)}" for name, value in facts.items()) or f"no {OPTION}"
    notes = [f"{path}: {database.taken} of {database.blocks} blocks taken ({told})" for path, database in databases]
    if unknown := sorted(asked - set(facts)):
        notes.append(f"not known, so excluding nothing: {', '.join(unknown)}")
    return notes
