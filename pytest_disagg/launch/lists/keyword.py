"""``-k`` expressions: ``and``, ``or``, ``not`` and parentheses over words, with pytest's grammar and meaning.

pytest's own evaluator is private, and nothing here may need pytest. A word is true where it is a part of a name,
without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from pytest_disagg.errors import UsageError

Predicate = Callable[[Sequence[str]], bool]
"""Whether an expression is true of something with these names."""

_TOKEN = re.compile(r"[ \t]*(?:(?P<sign>[()])|(?P<word>[\w:+\-.\[\]\\/]+)|(?P<other>.))", re.DOTALL)
_OPERATORS = ("and", "or", "not")


def parse_keyword(text: str) -> Predicate:
    """Compile an expression; an empty one is true of everything, as ``-k ''`` selects everything.

    Raises:
        UsageError: not of that grammar; names the column.
    """
    if not text.strip():
        return lambda names: True
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, int]] = []
        for match in _TOKEN.finditer(text.rstrip()):
            kind = match.lastgroup or ""
            if kind == "other":
                self._fail(f"{match[kind]!r}", match.start(kind), "a word, a parenthesis, and, or, not")
            self._tokens.append((match[kind], match.start(kind)))
        self._at = 0

    def parse(self) -> Predicate:
        found = self._or()
        if self._at < len(self._tokens):
            self._unexpected("and, or, or the end")
        return found

    def _or(self) -> Predicate:
        parts = [self._and()]
        while self._accept("or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else lambda names: any(part(names) for part in parts)

    def _and(self) -> Predicate:
        parts = [self._not()]
        while self._accept("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else lambda names: all(part(names) for part in parts)

    def _not(self) -> Predicate:
        if self._accept("not"):
            inner = self._not()
            return lambda names: not inner(names)
        if self._accept("("):
            inner = self._or()
            if not self._accept(")"):
                self._unexpected("a closing parenthesis")
            return inner
        word = self._peek()
        if word is None or word in (*_OPERATORS, ")"):
            self._unexpected("a word, not, or an opening parenthesis")
        self._at += 1
        part = word.lower()
        return lambda names: any(part in name.lower() for name in names)

    def _peek(self) -> str | None:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else None

    def _accept(self, token: str) -> bool:
        if self._peek() != token:
            return False
        self._at += 1
        return True

    def _unexpected(self, expected: str) -> NoReturn:
        if self._at < len(self._tokens):
            token, at = self._tokens[self._at]
            self._fail(repr(token), at, expected)
        self._fail("the end", len(self._text), expected)

    def _fail(self, found: str, at: int, expected: str) -> NoReturn:
        raise UsageError(f"-k {self._text!r}: found {found} at column {at + 1}, expected {expected}")
