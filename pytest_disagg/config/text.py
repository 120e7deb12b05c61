"""Words for error messages: how a value is shown, and which known word was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

_SHOWN_CHARS = 80


def shown(value: Any) -> str:
    """A YAML value as a reader of the file would call it, cut at 80 characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."


def closest(word: str, known: Collection[str], cutoff: float = 0.8) -> str | None:
    """The known word most like ``word``, None below ``cutoff`` (difflib ratio) or where ``word`` itself is known."""
    if word in known:
        return None
    found = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return found[0] if found else None


def did_you_mean(word: str, known: Collection[str], cutoff: float = 0.6) -> str:
    """``did you mean 'account'?``, empty where nothing known is close."""
    match = closest(word, known, cutoff)
    return f"did you mean {match!r}?" if match else ""


def one_of(words: Collection[str]) -> str:
    """``one of a, b, c``; ``a`` where there is only one."""
    listed = list(words)
    return listed[0] if len(listed) == 1 else f"one of {', '.join(listed)}"
