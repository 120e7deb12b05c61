"""Test-db files (TensorRT-LLM's ``test_lists/test-db`` and ``qa``): blocks of test lines, each under a condition.

::

    version: 0.0.1
    l0_gb200_multi_nodes:
    - condition:
        ranges: {system_gpu_count: {gte: 8, lte: 8}}
        wildcards: {gpu: ['*gb200*']}
        terms: {stage: post_merge}
      tests:
      - perf/test_perf_sanity.py::test_e2e[disagg-e2e-...] TIMEOUT (120)

A block is taken when nothing that is known (``--test-db-match``) contradicts its condition: what is not known excludes
nothing, since a stage's name says less about a machine than the machine would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from pytest_disagg.config.text import did_you_mean, one_of, shown
from pytest_disagg.config.yaml import Document, Key, dotted
from pytest_disagg.errors import ConfigError, Problem, UsageError
from pytest_disagg.launch.lists.entry import Entry
from pytest_disagg.launch.lists.facts import OPTION, Fact, Facts
from pytest_disagg.launch.lists.line import parse_line

VERSION = "version"
BLOCK_KEYS = ("condition", "tests")
OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "eq": lambda fact, bound: fact == bound,
    "gt": lambda fact, bound: fact > bound,
    "gte": lambda fact, bound: fact >= bound,
    "lt": lambda fact, bound: fact < bound,
    "lte": lambda fact, bound: fact <= bound,
}


@dataclass
class TestDb:
    """The entries of the blocks that are taken, and what is worth saying about the choice."""

    __test__ = False

    entries: list[Entry] = field(default_factory=list)
    taken: int = 0
    blocks: int = 0
    asked: set[str] = field(default_factory=set)


def parse_testdb(document: Document, facts: Facts) -> TestDb:
    """Read a test-db or QA file.

    Raises:
        ConfigError: everything that is wrong with the file, also in blocks that are not taken.
        UsageError: a fact that is no number where a block asks for a range.
    """
    return _Reader(document, facts).read()


class _Reader:
    def __init__(self, document: Document, facts: Facts) -> None:
        self._document = document
        self._facts = facts
        self._problems: list[Problem] = []
        self._db = TestDb()

    def read(self) -> TestDb:
        names = [name for name in self._document.data if name != VERSION]
        blocks = self._document.data[names[0]] if len(names) == 1 else None
        if len(names) != 1:
            found = f"the keys {', '.join(map(str, names))}" if names else "no list"
            self._problem((names[-1],) if names else (), found, f"{VERSION} and one list of blocks")
        elif not isinstance(blocks, list):
            self._problem((names[0],), shown(blocks), "a list of blocks with condition and tests")
        else:
            for index, block in enumerate(blocks):
                self._block((names[0], index), block)
        if self._problems:
            raise ConfigError(self._problems)
        return self._db

    def _block(self, key: Key, block: Any) -> None:
        if not isinstance(block, dict):
            self._problem(key, shown(block), "a block with condition and tests")
            return
        self._unknown(key, block, BLOCK_KEYS)
        taken = self._holds((*key, "condition"), block.get("condition"))
        self._db.blocks += 1
        self._db.taken += taken
        tests = block.get("tests")
        if tests is None:
            return
        if not isinstance(tests, list):
            self._problem((*key, "tests"), shown(tests), "a list of test lines")
            return
        for index, text in enumerate(tests):
            entry = self._entry((*key, "tests", index), text)
            if entry is not None and taken:
                self._db.entries.append(entry)

    def _entry(self, key: Key, text: Any) -> Entry | None:
        if not isinstance(text, str):
            self._problem(key, shown(text), "a test line")
            return None
        number = self._document.line(key)
        try:
            line = parse_line(text, self._document.path, number)
        except ConfigError as error:
            self._problems += error.problems
            return None
        return Entry(line.target, self._document.path, number, line.markers, line.scope) if line else None

    def _holds(self, key: Key, condition: Any) -> bool:
        if condition is None:
            return True
        if not isinstance(condition, dict):
            self._problem(key, shown(condition), f"a mapping with {', '.join(_TESTS)}")
            return False
        self._unknown(key, condition, tuple(_TESTS))
        holds = True
        for kind, test in _TESTS.items():
            asked = condition.get(kind)
            if asked is None:
                continue
            if not isinstance(asked, dict):
                self._problem((*key, kind), shown(asked), "a mapping from a field to what it has to be")
                continue
            for name, wanted in asked.items():
                self._db.asked.add(str(name))
                try:
                    holds &= test(str(name), wanted, self._facts.get(str(name)))
                except _UnusableError as error:
                    self._problem((*key, kind, name), shown(wanted), str(error))
        return holds

    def _unknown(self, key: Key, block: Mapping[Any, Any], known: tuple[str, ...]) -> None:
        for name in block:
            if name not in known:
                self._problem((*key, name), "an unknown key", one_of(known), did_you_mean(str(name), known))

    def _problem(self, key: Key, found: str, expected: str, hint: str = "") -> None:
        self._problems.append(
            Problem(self._document.path, self._document.line(key) or 1, dotted(key), found, expected, hint)
        )


class _UnusableError(Exception):
    """A condition that is none; the text is what it should have been."""


def _in_range(name: str, wanted: Any, fact: Fact | None) -> bool:
    bounds = wanted.items() if isinstance(wanted, dict) else ()
    if not bounds or not all(operator in OPERATORS and _is_number(bound) for operator, bound in bounds):
        raise _UnusableError(f"bounds such as {{gte: 8}}, with {', '.join(OPERATORS)}")
    if fact is None:
        return True
    if isinstance(fact, bool) or not isinstance(fact, (int, float)):
        raise UsageError(f"{OPTION}: {name}: found {fact!r}, expected a number, since a block asks for a range")
    return all(OPERATORS[operator](fact, bound) for operator, bound in bounds)


def _like(name: str, wanted: Any, fact: Fact | None) -> bool:
    patterns = _several(wanted, "a pattern such as '*gb200*', or a list of them")
    return fact is None or any(fnmatchcase(_text(fact), pattern) for pattern in patterns)


def _equal(name: str, wanted: Any, fact: Fact | None) -> bool:
    values = _several(wanted, "a value, or a list of them")
    return fact is None or _text(fact) in values


_TESTS: Mapping[str, Callable[[str, Any, Fact | None], bool]] = {
    "ranges": _in_range,
    "wildcards": _like,
    "terms": _equal,
}


def _several(wanted: Any, expected: str) -> list[str]:
    values = wanted if isinstance(wanted, list) else [wanted]
    if not values or not all(isinstance(value, (str, int, float)) for value in values):
        raise _UnusableError(expected)
    return [_text(value) for value in values]


def _text(value: Fact) -> str:
    """Compared without regard to case: a stage name says GB200, a condition gb200; YAML's true is True in Python."""
    return str(value).lower()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
