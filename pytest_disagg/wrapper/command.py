"""Runs command text without running a shell: what ``eval`` would have started, as an argument list and an environment.

    unset A B && export K=V && L="$K" pytest 'perf/test.py::test_e2e[a-b]' --x=${SLURM_LOCALID}

``$NAME`` inside a word or in quotes is data: its value is neither split nor read again. An unquoted ``$NAME`` that is
a word of its own stands for command text (``$partialPytestCommand``, ``$CTX_WORKER_ENV_VARS``): its words, its quotes,
its leading assignments, its ``unset`` and ``export`` count as if they had been written there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_disagg.wrapper.shellwords import AND, CommandError, Part, Token, refuse, split


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_APPENDS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\+=|\[.*\]\+?=)")
_RESERVED = _set("! { } [[ ]] case coproc do done elif else esac fi for function if in select then time")
_BUILTINS = _set(
    ". : alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs "
    "disown enable eval exec exit fc fg getopts hash help history jobs let local logout mapfile popd "
    "pushd read readarray readonly return set shift shopt source suspend times trap type typeset ulimit "
    "umask unalias wait until while"
)


@dataclass(frozen=True)
class Command:
    """What to start: ``argv[0]`` is looked up in ``env['PATH']``; ``env`` is the whole environment.

    ``assigned`` are the names that the command text itself set, so that only those are searched for placeholders.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    assigned: frozenset[str]


def interpret(text: str, environ: Mapping[str, str], source: str = "pytestCommand") -> Command:
    """The command that ``text`` means with ``environ``. Nothing is started, nothing is looked up on disk.

    Raises:
        CommandError: shell syntax that is not known, an unset variable, a variable that holds itself, no program.
    """
    return _Interpreter(environ).run(text, source)


class _Interpreter:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.env = dict(environ)
        self.exported: set[str] = set()

    def run(self, text: str, source: str) -> Command:
        tokens = split(text, source)
        while True:
            tokens = self.open_first(tokens, source)
            keyword = tokens[0].unquoted if tokens else ""
            if keyword not in ("unset", "export"):
                return self.program(tokens, source)
            tokens = self.declaration(keyword, tokens)

    def open_first(self, tokens: list[Token], source: str) -> list[Token]:
        """``tokens`` whose first word is no longer a variable that stands for command text."""
        while tokens and tokens[0].variable:
            tokens = self.opened(tokens[0], self.env) + tokens[1:]
        return tokens

    def declaration(self, keyword: str, tokens: list[Token]) -> list[Token]:
        """Apply ``unset`` or ``export`` up to its ``&&``; the tokens after it."""
        before = dict(self.env)  # As in bash: the words of one export do not see each other.
        end = 1
        while end < len(tokens) and tokens[end].operator != AND:
            if tokens[end].variable:
                tokens = tokens[:end] + self.opened(tokens[end], before) + tokens[end + 1 :]
                continue
            word = self.word(tokens[end], before) or ""
            if keyword == "unset":
                self.unset(word, tokens[end])
            else:
                self.export(word, tokens[end])
            end += 1
        if end == len(tokens):
            raise refuse(tokens[0].source, tokens[0].at, keyword, "must be followed by && and a command")
        return tokens[end + 1 :]

    def unset(self, word: str, token: Token) -> None:
        if not _NAME.fullmatch(word):
            raise refuse(token.source, token.at, word, "is no variable name: unset takes nothing else here")
        self.env.pop(word, None)
        self.exported.discard(word)

    def export(self, word: str, token: Token) -> None:
        assignment = _ASSIGNMENT.fullmatch(word)
        if assignment is not None:
            self.env[assignment.group(1)] = assignment.group(2)
            self.exported.add(assignment.group(1))
        elif not _NAME.fullmatch(word):
            raise refuse(token.source, token.at, word, "is not NAME=value: export takes nothing else here")

    def program(self, tokens: list[Token], source: str) -> Command:
        """Leading assignments, then the argument list. As in bash, arguments do not see those assignments."""
        own: dict[str, str] = {}
        argv: list[str] = []
        while tokens:
            token, tokens = tokens[0], tokens[1:]
            if token.operator:
                raise refuse(token.source, token.at, token.operator, "may follow unset and export only")
            if token.variable:
                tokens = self.opened(token, self.env if argv else {**self.env, **own}) + tokens
                continue
            word = self.word(token, self.env if argv else {**self.env, **own})
            assigns = not argv and word is not None and _ASSIGNMENT.match(_literal_head(token))
            assignment = _ASSIGNMENT.fullmatch(word or "") if assigns else None
            if assignment is not None:
                own[assignment.group(1)] = assignment.group(2)
            elif word is not None:
                if not argv:
                    _check_program(word, token)
                argv.append(word)
        if not argv:
            raise CommandError(f"{source}: found no program to start, expected one after the variables")
        return Command(tuple(argv), {**self.env, **own}, frozenset(own).union(self.exported))

    def opened(self, token: Token, env: Mapping[str, str]) -> list[Token]:
        """The tokens of the command text that the variable of ``token`` holds."""
        name = token.variable
        source = f"${name} in {token.source}"
        if f"${name} in " in f"{token.source} in ":
            raise refuse(token.source, token.at, f"${name}", "holds itself")
        return split(self.value(name, token, env), source)

    def word(self, token: Token, env: Mapping[str, str]) -> str | None:
        """The word with its variables filled in; None where it was made of nothing but empty unquoted variables."""
        texts = [self.value(part.name, token, env) if part.name else part.text for part in token.parts]
        return "".join(texts) if any(texts) or any(map(_is_there, token.parts)) else None

    def value(self, name: str, token: Token, env: Mapping[str, str]) -> str:
        if name not in env:
            raise refuse(token.source, token.at, f"${name}", "is not set")
        return env[name]


def _is_there(part: Part) -> bool:
    """Whether a part makes a word even when it is empty."""
    return part.quoted or not part.name


def _literal_head(token: Token) -> str:
    """The word up to its first variable: a value never becomes the name of an assignment."""
    head = ""
    for part in token.parts:
        if part.name:
            break
        head += part.text
    return head


def _check_program(word: str, token: Token) -> None:
    if _APPENDS.match(_literal_head(token)):
        raise refuse(token.source, token.at, word, "is an assignment that only a shell knows")
    if token.unquoted in _RESERVED:
        raise refuse(token.source, token.at, word, "is shell syntax, and no shell runs this")
    if word in _BUILTINS:
        raise refuse(token.source, token.at, word, "is a shell builtin; only unset and export are known here")
