"""Environment strings of case files: ``A=1 B="x y"``."""

from __future__ import annotations

import re
import shlex

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_env(text: str | None) -> dict[str, str]:
    """The variables that a string of ``NAME=value`` words sets; of a name given twice, the last value counts.

    Words are separated as a POSIX shell separates them, so a quoted value keeps its spaces, wherever the quotes begin
    (``"A=x y"`` and ``A="x y"`` are the same). Nothing is expanded.

    Raises:
        ValueError: a word without ``=``, a name that is none, a quote without an end. Says which.
    """
    if not text:
        return {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{error} in {text!r}") from error
    variables: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"the word {word!r} without '='")
        if not _NAME.fullmatch(name):
            raise ValueError(f"the variable name {name!r}")
        variables[name] = value
    return variables


def join_env(*texts: str | None) -> str:
    """Environment strings, one after the other; the last one wins where two set the same variable."""
    return " ".join(text.strip() for text in texts if text and text.strip())
