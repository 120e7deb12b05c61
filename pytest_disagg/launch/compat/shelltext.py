"""Shell text as atoms, characters and expansions, so that words can be taken apart and written again unchanged.

Two readers: *trusted* text (a pipeline's own script prefix) may hold any expansion; in other text (a file of srun
arguments) only a plain ``$NAME`` or ``${NAME}`` is one, and every other ``$`` and backtick is the character itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_PLAIN = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})")
_SPECIAL = re.compile(r"\$[0-9@*#?$!-]")
_BLANK = " \t\r\n"


class QuoteError(ValueError):
    """A quote or an expansion without an end; ``at`` counts characters from 0."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(f"{what} without an end")
        self.at = at


@dataclass(frozen=True)
class Atom:
    """One character as the shell sees it after its quotes are gone, or one expansion (``$NAME``, ``$(...)``)."""

    text: str
    expansion: bool = False


Word = tuple[Atom, ...]


@dataclass(frozen=True)
class Placed:
    """A word and where it stands: ``start`` of its first character, ``end`` after its last."""

    word: Word
    start: int
    end: int


def literal(text: str) -> Word:
    """``text`` as data: no character of it means anything."""
    return tuple(Atom(char) for char in text)


def shown(word: Iterable[Atom]) -> str:
    """The word as it reads without quotes; expansions as they are written."""
    return "".join(atom.text for atom in word)


def in_double_quotes(word: Iterable[Atom]) -> str:
    """Shell text that gives the word: everything but its expansions arrives as data."""
    inner = (atom.text if atom.expansion else re.sub(r'([\\"$`])', r"\\\1", atom.text) for atom in word)
    return '"' + "".join(inner) + '"'


def words(text: str, *, trusted: bool = False) -> list[Placed]:
    """The words of ``text``, split at blanks and line breaks outside of quotes, as a POSIX shell splits them.

    Raises:
        QuoteError: a quote or an expansion without an end.
    """
    found: list[Placed] = []
    at = 0
    while at < len(text):
        if text[at] in _BLANK:
            at += 1
            continue
        placed = first_word(text, at, trusted=trusted)
        found.append(placed)
        at = placed.end
    return found


def first_word(text: str, at: int = 0, *, trusted: bool = False) -> Placed:
    """The word that begins at ``at``; empty where a blank, a line break, or (trusted) an operator stands there."""
    ends = _BLANK + (";&|<>()" if trusted else "")
    atoms: list[Atom] = []
    start = at
    while at < len(text) and text[at] not in ends:
        char = text[at]
        if char == "'":
            end = _closing(text, at + 1, "'", at)
            atoms += literal(text[at + 1 : end])
            at = end + 1
        elif char == '"':
            at = _double(text, at, atoms, trusted=trusted)
        elif char == "\\" and at + 1 < len(text):
            atoms += literal(text[at + 1].replace("\n", ""))
            at += 2
        else:
            at = _plain(text, at, atoms, trusted=trusted)
    return Placed(tuple(atoms), start, at)


def split(word: Sequence[Atom]) -> list[Word]:
    """What ``eval`` would make of the value of ``word``: its words, each with the quotes that stand in the value.

    An expansion is never split: what it holds is known only when the script runs.
    """
    found: list[Word] = []
    current: list[Atom] = []
    quote = ""
    escaped = False
    for atom in word:
        char = "" if atom.expansion else atom.text
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif char in ("'", '"') and quote in ("", char):
            quote = "" if quote else char
        elif char and char in _BLANK and not quote:
            if current:
                found.append(tuple(current))
            current = []
            continue
        current.append(atom)
    return [*found, tuple(current)] if current else found


def unquoted(word: Sequence[Atom]) -> Word:
    """A word of :func:`split` without the quotes that stand in it."""
    kept: list[Atom] = []
    quote = ""
    escaped = False
    for atom in word:
        char = "" if atom.expansion else atom.text
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
            continue
        elif char in ("'", '"') and quote in ("", char):
            quote = "" if quote else char
            continue
        kept.append(atom)
    return tuple(kept)


def _double(text: str, opened: int, atoms: list[Atom], *, trusted: bool) -> int:
    at = opened + 1
    while at < len(text):
        char = text[at]
        if char == '"':
            return at + 1
        if char == "\\" and text[at + 1 : at + 2] in ("$", "`", '"', "\\", "\n"):
            atoms += literal(text[at + 1].replace("\n", ""))
            at += 2
        else:
            at = _plain(text, at, atoms, trusted=trusted)
    raise QuoteError('"', opened)


def _plain(text: str, at: int, atoms: list[Atom], *, trusted: bool) -> int:
    """One character or expansion that no quote or backslash changes."""
    expansion = _PLAIN.match(text, at)
    end = expansion.end() if expansion else _trusted_end(text, at) if trusted else None
    if end is None:
        atoms.append(Atom(text[at]))
        return at + 1
    atoms.append(Atom(text[at:end], expansion=True))
    return end


def _trusted_end(text: str, at: int) -> int | None:
    """Where an expansion that is more than a name ends; None where none begins."""
    if text[at] == "`":
        return _closing(text, at + 1, "`", at) + 1
    if special := _SPECIAL.match(text, at):
        return special.end()
    pairs = {"(": ")", "{": "}"}
    opening = text[at + 1 : at + 2]
    if text[at] != "$" or opening not in pairs:
        return None
    depth, end = 0, at + 1
    while end < len(text):
        char = text[end]
        if char == "\\":
            end += 1
        elif char == "'" and opening == "(":
            end = _closing(text, end + 1, "'", end)
        elif char == opening:
            depth += 1
        elif char == pairs[opening]:
            depth -= 1
            if depth == 0:
                return end + 1
        end += 1
    raise QuoteError(f"${opening}", at)


def _closing(text: str, at: int, mark: str, opened: int) -> int:
    end = text.find(mark, at)
    if end < 0:
        raise QuoteError(mark, opened)
    return end
