"""``export pytestCommand=...`` of a script prefix: found, taken apart into words, and made into each role's form."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.launch.compat.shelltext import (
    Atom,
    Placed,
    QuoteError,
    Word,
    first_word,
    literal,
    shown,
    split,
    unquoted,
)

KEY = "pytestCommand"
LAUNCHER = "trtllm-llmapi-launch"
RESULT_OPTIONS = ("--csv", "--cov", "--periodic")
"""Options of the role that owns the results; by their first letters, so ``--cov-report`` is one."""
_FLAGS = frozenset({"--periodic-junit", "--periodic-save-unfinished-test", "--periodic-hang-traceback"})
"""Of those, the ones that take no value, so that the word after them is not theirs."""
_ASSIGNED = re.compile(rf"^[ \t]*(?:export[ \t]+)?{KEY}=", re.MULTILINE)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True)
class PytestCommandText:
    """The words of the command, environment assignments and launcher included; ``line`` is where it is exported."""

    words: tuple[Word, ...]
    path: Path
    line: int

    @property
    def pytest_at(self) -> int:
        """The position of the word ``pytest``; behind the last word where there is none."""
        for at, word in enumerate(self.words):
            if shown(unquoted(word)).rpartition("/")[2] in ("pytest", "py.test"):
                return at
        return len(self.words)

    @property
    def has_declarations(self) -> bool:
        """Whether it begins with ``unset ... &&`` or the like, before which no assignment may stand."""
        return any(shown(word) == "&&" for word in self.words)

    def option(self, name: str) -> Word | None:
        """The value of a pytest option, the last one; None where it is not given."""
        value: Word | None = None
        for at in range(self.pytest_at + 1, len(self.words)):
            word = unquoted(self.words[at])
            if shown(word) == name and at + 1 < len(self.words):
                value = unquoted(self.words[at + 1])
            elif shown(word).startswith(f"{name}="):
                value = word[len(name) + 1 :]
        return value

    def without_launcher(self) -> PytestCommandText:
        """Without TensorRT-LLM's MPI launcher: coordinator and benchmark are no ranks."""
        kept = (word for word in self.words if shown(unquoted(word)).rpartition("/")[2] != LAUNCHER)
        return PytestCommandText(tuple(kept), self.path, self.line)

    def without_results(self) -> PytestCommandText:
        """Without the options of the role that owns the results, and their values."""
        kept: list[Word] = list(self.words[: self.pytest_at + 1])
        dropped_option = False
        for word in self.words[self.pytest_at + 1 :]:
            text = shown(unquoted(word))
            if text.startswith(RESULT_OPTIONS):
                dropped_option = "=" not in text and text not in _FLAGS
            elif dropped_option and not text.startswith("-") and "::" not in text:
                dropped_option = False
            else:
                kept.append(word)
                dropped_option = False
        return PytestCommandText(tuple(kept), self.path, self.line)

    def below(self, wrapper: Sequence[str]) -> PytestCommandText:
        """With the words of ``wrapper`` before its program, behind everything that sets the environment."""
        at = max((i + 1 for i, word in enumerate(self.words) if shown(word) == "&&"), default=0)
        while at < len(self.words) and _ASSIGNMENT.match(shown(self.words[at])):
            at += 1
        more = tuple(literal(shlex.quote(word)) for word in wrapper)
        return PytestCommandText((*self.words[:at], *more, *self.words[at:]), self.path, self.line)

    def joined(self) -> Word:
        """One word again, as the value of a variable."""
        return joined(self.words)


def joined(words: Iterable[Word]) -> Word:
    """The words with a space between each two."""
    atoms: list[Atom] = []
    for word in words:
        atoms += (Atom(" "), *word) if atoms else word
    return tuple(atoms)


def find(prefix: str, path: Path) -> PytestCommandText:
    """The command that the prefix exports; the last one where it does so more than once.

    Raises:
        ConfigError: none, an empty one, or one whose quotes do not end where its line does.
    """
    matches = list(_ASSIGNED.finditer(prefix))
    if not matches:
        raise ConfigError([Problem(path, None, KEY, "no such line", f'export {KEY}="pytest ..."')])
    start = matches[-1].end()
    line = prefix.count("\n", 0, start) + 1
    try:
        placed = first_word(prefix, start, trusted=True)
    except QuoteError as error:
        raise ConfigError([Problem(path, prefix.count("\n", 0, error.at) + 1, KEY, str(error), "its end")]) from None
    _check_rest(prefix, placed, path)
    found = split(placed.word)
    if not found:
        raise ConfigError([Problem(path, line, KEY, "nothing", "a pytest command")])
    return PytestCommandText(tuple(found), path, line)


def _check_rest(prefix: str, placed: Placed, path: Path) -> None:
    """An inner quote that closes the outer one leaves the rest of the command outside: bash would cut it there."""
    rest = prefix[placed.end :].partition("\n")[0].strip()
    if rest and not rest.startswith((";", "#", "&&")):
        line = prefix.count("\n", 0, placed.end) + 1
        expected = "the end of the line: the quotes around the command end before it (a quote within needs a \\)"
        raise ConfigError([Problem(path, line, KEY, repr(rest[:40]), expected)])
