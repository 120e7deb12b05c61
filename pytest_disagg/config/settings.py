"""What options and environment add to a case file. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from pytest_disagg.config.text import did_you_mean
from pytest_disagg.errors import UsageError


@dataclass(frozen=True)
class RehearseLimits:
    """The largest load and deployment of a rehearsal. ``isl`` and ``osl`` are tokens.

    ``requests`` bounds one load, ``servers`` CTX and GEN servers together (at least one of each stays). Aggregated
    servers run one at a time and are not bounded.
    """

    concurrency: int = 8
    requests: int = 16
    isl: int = 512
    osl: int = 16
    servers: int = 8

    @classmethod
    def parse(cls, text: str) -> RehearseLimits:
        """``concurrency=8,osl=4``; what is not named keeps its default.

        Raises:
            UsageError: an unknown name, or a value that is no positive whole number.
        """
        known = [each.name for each in fields(cls)]
        values: dict[str, int] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, _, number = (part.strip() for part in item.partition("="))
            if name not in known:
                hint = did_you_mean(name, known)
                raise UsageError(
                    f"rehearse limit {item!r}: found the name {name!r}, expected one of {', '.join(known)}"
                    + (f" ({hint})" if hint else "")
                )
            if not (number.isascii() and number.isdigit() and int(number) >= 1):
                raise UsageError(f"rehearse limit {item!r}: found {number!r}, expected a whole number of at least 1")
            values[name] = int(number)
        return cls(**values)


@dataclass(frozen=True)
class Settings:
    """Everything beside the file that a case depends on; the same in every role of a run.

    ``engine`` lies above the file's own. ``sets`` are ``key=value`` overrides in order. ``models_root`` (default:
    ``LLM_MODELS_ROOT``) is where relative dataset files lie. ``placeholders`` are site values by placeholder name; they
    come before the environment.
    """

    engine: str | None = None
    sets: tuple[str, ...] = ()
    llm_src: Path | None = None
    models_root: Path | None = None
    rehearse_limits: RehearseLimits = RehearseLimits()
    placeholders: Mapping[str, str] = field(default_factory=dict)
