"""Result files that hold one list per quantity, an entry per request: the family of vLLM's benchmark_serving."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from pytest_disagg.clients.tool.client import NoResult
from pytest_disagg.clients.tool.times import Request
from pytest_disagg.config.text import shown

UNSAID = "failed, and the tool does not say why"
NO_STARTS = "{}: says no start times; they were worked out from how long each request and the whole load took"
NO_LENGTHS = "{}: does not say how many tokens each request asked for, so the gate cannot hold answers to it"

_FORMS: Mapping[str, tuple[Any, str]] = {"itls": ([], "a list of numbers"), "errors": ("", "text")}
"""Lists that hold something else than numbers: what stands for nothing, and what is expected."""


def read_object(path: Path, *, last_line: bool = False) -> dict[str, Any]:
    """The JSON object in ``path``, or in its last line.

    Raises:
        NoResult: there is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text.splitlines()[-1] if last_line else text)
    except (OSError, ValueError, IndexError) as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
        raise NoResult(f"{path.name}: {why}") from None
    if not isinstance(found, dict):
        raise NoResult(f"{path.name}: found a JSON {type(found).__name__}, expected an object")
    return found


def number(document: Mapping[str, Any], key: str) -> float:
    """A number of the result.

    Raises:
        NoResult: it is not there.
    """
    value = document.get(key)
    if not _is_number(value):
        raise NoResult(f"{key}: found {value!r}, expected a number")
    return float(value)


def columns(document: Mapping[str, Any], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """One tuple per request, in the order of ``names``. A null is what these tools mean by 0.

    Raises:
        NoResult: a list is missing, they differ in length, or one holds something else than it should.
    """
    lists = []
    for name in names:
        values = document.get(name)
        if not isinstance(values, list):
            raise NoResult(f"{name}: found {'nothing' if values is None else type(values).__name__}, expected a list")
        lists.append([_entry(name, position, value) for position, value in enumerate(values)])
    lengths = {name: len(values) for name, values in zip(names, lists, strict=True)}
    if len(set(lengths.values())) > 1:
        raise NoResult(f"lists of one entry per request that differ in length: {lengths}")
    return list(zip(*lists, strict=True))


def _entry(name: str, position: int, value: Any) -> Any:
    """``value`` of that request in the list ``name``: gaps, the text of an error, else a number."""
    empty, expected = _FORMS.get(name, (0.0, "a number"))
    if value is None:
        return empty
    if isinstance(empty, list):
        fits = isinstance(value, list) and all(map(_is_number, value))
    else:
        fits = isinstance(value, str) if isinstance(empty, str) else _is_number(value)
    if not fits:
        raise NoResult(f"{name}[{position}]: found {shown(value)}, expected {expected}")
    return value


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def request(
    *,
    ttft_s: float,
    gaps_s: Sequence[float],
    latency_s: float,
    prompt_tokens: int,
    output_tokens: int,
    asked_tokens: int,
    error: str,
    streaming: bool,
    usage: bool = True,
    decoded_per_iter: float | None = None,
) -> Request:
    """One entry of the lists. These tools leave a failed request at 0 tokens and 0 s, not always with an error."""
    failed = bool(error) or (not output_tokens and not gaps_s and ttft_s <= 0 and latency_s <= 0)
    return Request(
        ttft_s=ttft_s if streaming and not failed else None,
        gaps_s=gaps_s if streaming and not failed else (),
        latency_s=max(0.0, latency_s),
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        asked_tokens=asked_tokens,
        usage=usage,
        status=0 if failed else 200,
        error=told(error) if failed else "",
        decoded_per_iter=decoded_per_iter,
    )


def told(error: str) -> str:
    """The line of an error that says what it is: the last one of a traceback, else the first."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if not lines:
        return UNSAID
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]
