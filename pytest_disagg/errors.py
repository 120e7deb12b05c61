"""Every error this project raises on purpose, and the four kinds of bad ending.

The text of an error is what a person reads in the first line of a report, so each one says what was found, what was
expected and where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["infrastructure", "functional", "invalid", "regression"]
"""Why a case is red: nodes, network or install; a server or its requests; numbers that cannot be trusted; slower."""

KINDS: tuple[Kind, ...] = ("infrastructure", "functional", "invalid", "regression")


class DisaggError(Exception):
    """Base of all errors raised by this package."""


class UsageError(DisaggError):
    """A command line, an option or an environment variable that cannot be used (exit code 4)."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file.

    ``line`` counts from 1; ``key`` is the dotted path (``worker_config.gen.tensor_parallel_size``), empty for the file
    as a whole. ``hint`` is a suggestion (``did you mean 'account'?``), empty when there is none.
    """

    path: Path | None
    line: int | None
    key: str
    found: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}:{self.line}" if self.line is not None else f"{self.path}"
        what = f"found {self.found}, expected {self.expected}"
        text = ": ".join(part for part in (where, self.key, what) if part)
        return f"{text} ({self.hint})" if self.hint else text


class ConfigError(DisaggError):
    """Files, ids or values that cannot be used; holds *all* problems found, one line each in ``str()``."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RunError(DisaggError):
    """A run that ended badly, with its kind, its stage and the role that caused it.

    ``because_of`` names the role whose failure this one follows; None means this failure is a cause of its own.
    ``evidence`` are lines worth showing below the message (log tails, stacks); ``dump_stacks`` asks every role for
    where it stands before it stops (a stall).
    """

    def __init__(
        self,
        message: str,
        *,
        kind: Kind,
        stage: str,
        because_of: str | None = None,
        exit_code: int | None = None,
        signal: str | None = None,
        evidence: Sequence[str] = (),
        dump_stacks: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind: Kind = kind
        self.stage = stage
        self.because_of = because_of
        self.exit_code = exit_code
        self.signal = signal
        self.evidence = tuple(evidence)
        self.dump_stacks = dump_stacks


def told(error: BaseException) -> str:
    """An error in a line of text: ours speak for themselves, others are named."""
    return str(error) if isinstance(error, DisaggError) else f"{type(error).__name__}: {error}"
