"""Splits command text into words as bash would, without a shell, and refuses everything that only a shell could do.

Known: blanks, ``'...'``, ``"..."``, backslashes, ``$NAME``, ``${NAME}``, ``&&``. A glob stays the word it is (a test id
holds brackets). Whatever else bash would give a meaning to is an error that names the token and its position.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_disagg.wrapper.console import WrapperError

AND = "&&"
USAGE = 2

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLANK = " \t\n\r"
_OPERATOR = re.compile(r"(?:[;&|<>()]+)")
_SPECIAL_PARAMETER = "0123456789?$!@*#-"
_BRACES = re.compile(r"\{[^{}]*(?:,|\.\.)[^{}]*\}")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")


class CommandError(WrapperError):
    """Command text that cannot be run without a shell, or at all."""

    def __init__(self, message: str) -> None:
        super().__init__(message, USAGE)


@dataclass(frozen=True)
class Part:
    """A piece of a word: literal text, or the variable ``name`` whose value belongs there."""

    text: str
    name: str
    quoted: bool


@dataclass(frozen=True)
class Token:
    """A word, or ``&&`` (then ``parts`` is empty and ``operator`` says so). ``at`` counts characters from 1."""

    parts: tuple[Part, ...]
    at: int
    source: str
    operator: str = ""

    @property
    def variable(self) -> str:
        """The name if the word is one unquoted variable and nothing else: such a word is command text, not data."""
        return self.parts[0].name if len(self.parts) == 1 and not self.parts[0].quoted else ""

    @property
    def unquoted(self) -> str:
        """The word where nothing in it is quoted or expanded, else an empty string."""
        return "" if any(part.quoted or part.name for part in self.parts) else "".join(p.text for p in self.parts)


def refuse(source: str, at: int, token: str, why: str) -> CommandError:
    return CommandError(f"{source}, character {at}: {token!r} {why}")


def split(text: str, source: str) -> list[Token]:
    """The tokens of ``text``; ``source`` is its name in errors (``pytestCommand``, ``$partialPytestCommand``).

    Raises:
        CommandError: shell syntax beyond the above, or a quote without an end.
    """
    return _Splitter(text, source).run()


class _Splitter:
    def __init__(self, text: str, source: str) -> None:
        self.text, self.source = text, source
        self.at = 0
        self.tokens: list[Token] = []
        self.parts: list[Part] = []
        self.start: int | None = None

    def run(self) -> list[Token]:
        while self.at < len(self.text):
            self.step(self.text[self.at])
        self.end_word()
        return self.tokens

    def error(self, at: int, token: str, why: str) -> CommandError:
        return refuse(self.source, at + 1, token, why)

    def step(self, char: str) -> None:
        operator = _OPERATOR.match(self.text, self.at)
        if char in _BLANK:
            self.end_word()
            self.at += 1
        elif operator is not None:
            self.operator(operator.group())
        elif char == "#" and self.start is None:
            raise self.error(self.at, "#", "begins a comment: quote it")
        elif char == "\\":
            self.backslash()
        elif char == "'":
            self.single()
        elif char == '"':
            self.double()
        elif char == "$":
            self.dollar(quoted=False)
        elif char == "`":
            raise self.error(self.at, "`", "is a command substitution, which is not run here")
        else:
            self.add(char)
            self.at += 1

    def add(self, text: str, *, name: str = "", quoted: bool = False) -> None:
        if self.start is None:
            self.start = self.at
        last = self.parts[-1] if self.parts else None
        if last is not None and not name and not last.name and last.quoted == quoted:
            self.parts[-1] = Part(last.text + text, "", quoted)
        else:
            self.parts.append(Part(text, name, quoted))

    def end_word(self) -> None:
        if self.start is None:
            return
        token = Token(tuple(self.parts), self.start + 1, self.source)
        self.check(token)
        self.tokens.append(token)
        self.parts, self.start = [], None

    def check(self, token: Token) -> None:
        """Refuse what bash would do to a finished word: tilde and brace expansion."""
        bare = "".join("\0" if part.quoted or part.name else part.text for part in token.parts)
        assignment = _ASSIGNMENT.match(bare)
        value = bare[assignment.end() :] if assignment else bare
        if bare.startswith("~") or (assignment and (value.startswith("~") or ":~" in value)):
            raise refuse(self.source, token.at, "~", "is a home folder: write $HOME")
        braces = None if assignment else _BRACES.search(bare)
        if braces is not None:
            raise refuse(self.source, token.at + braces.start(), braces.group(), "is a brace expansion: quote it")

    def operator(self, text: str) -> None:
        if text != AND:
            raise self.error(self.at, text, "is shell syntax, and no shell runs this: quote it if it is data")
        self.end_word()
        self.tokens.append(Token((), self.at + 1, self.source, AND))
        self.at += len(text)

    def backslash(self) -> None:
        if self.at + 1 == len(self.text):
            raise self.error(self.at, "\\", "has nothing after it")
        following = self.text[self.at + 1]
        if following != "\n":
            self.add(following, quoted=True)
        self.at += 2

    def single(self) -> None:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise self.error(self.at, "'", "has no closing quote")
        self.add(self.text[self.at + 1 : end], quoted=True)
        self.at = end + 1

    def double(self) -> None:
        opened = self.at
        self.add("", quoted=True)
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == '"':
                self.at += 1
                return
            if char == "$":
                self.dollar(quoted=True)
            elif char == "`":
                raise self.error(self.at, "`", "is a command substitution, which is not run here")
            elif char == "\\" and self.text[self.at + 1 : self.at + 2] in ("$", "`", '"', "\\", "\n"):
                following = self.text[self.at + 1]
                self.add("" if following == "\n" else following, quoted=True)
                self.at += 2
            else:
                self.add(char, quoted=True)
                self.at += 1
        raise self.error(opened, '"', "has no closing quote")

    def dollar(self, *, quoted: bool) -> None:
        rest = self.text[self.at + 1 : self.at + 2]
        name = _NAME.match(self.text, self.at + 1)
        if name is not None:
            self.add("", name=name.group(), quoted=quoted)
            self.at = name.end()
        elif rest == "{":
            self.braced(quoted=quoted)
        elif rest == "(":
            raise self.error(self.at, "$(", "is a command substitution, which is not run here")
        elif rest in ("'", '"') and not quoted:
            raise self.error(self.at, "$" + rest, "is a bash quote that is not known here")
        elif rest and rest in _SPECIAL_PARAMETER:
            raise self.error(self.at, "$" + rest, "is a shell parameter, and there is no shell")
        else:
            self.add("$", quoted=quoted)
            self.at += 1

    def braced(self, *, quoted: bool) -> None:
        end = self.text.find("}", self.at)
        whole = self.text[self.at : end + 1] if end >= 0 else self.text[self.at : self.at + 2]
        name = _NAME.fullmatch(whole[2:-1]) if end >= 0 else None
        if name is None:
            raise self.error(self.at, whole, "is not ${NAME}")
        self.add("", name=name.group(), quoted=quoted)
        self.at = end + 1
