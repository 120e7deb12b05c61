"""What one streamed chunk of an OpenAI-compatible answer says: text, usage, the end, an error."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_TEXT = re.compile(rb'"(?:text|content|reasoning_content|reasoning)"\s*:\s*"[^"]')
_MORE = re.compile(rb'"(?:usage"\s*:\s*\{|finish_reason"\s*:\s*"|error"|object"\s*:\s*"error|tool_calls"\s*:\s*\[)')
_TEXT_KEYS = ("content", "reasoning_content", "reasoning")


@dataclass(slots=True)
class Chunk:
    """One chunk. ``completion_tokens`` is cumulative, None where the chunk has no usage."""

    text: bool
    choices: bool
    finished: bool
    completion_tokens: int | None = None
    prompt_tokens: int | None = None
    decoded_per_iter: float | None = None
    error: str = ""


PLAIN = Chunk(text=True, choices=True, finished=False)
"""The chunk that makes up nearly all of a stream: text and nothing else."""


def read_chunk(data: bytes) -> Chunk:
    """Interpret the data of one event.

    A chunk that has text and neither usage, end nor error is recognised by two searches instead of a parse: a raw
    ``"key":`` cannot stand inside a JSON string, where quotes are escaped.

    Raises:
        ValueError: not a JSON object.
    """
    if _TEXT.search(data) and not _MORE.search(data) and data.endswith(b"}") and data.startswith(b"{"):
        return PLAIN
    document: Any = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError(f"expected a JSON object, found {type(document).__name__}")
    return _interpret(document)


def read_body(body: bytes) -> Chunk:
    """Interpret a whole answer that was not streamed.

    Raises:
        ValueError: not a JSON object.
    """
    document: Any = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError(f"expected a JSON object, found {type(document).__name__}")
    return _interpret(document)


def error_text(body: bytes) -> str:
    """The message in the error object of a response's body, else the start of the body."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict):
        message = _error(document) or document.get("detail") or document.get("message")
        if message:
            return _short(message if isinstance(message, str) else json.dumps(message))
    return _short(body.decode("utf-8", "replace").strip())


def _interpret(document: dict[str, Any]) -> Chunk:
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    chunk = Chunk(text=False, choices=first is not None, finished=False, error=_error(document))
    if first is not None:
        chunk.finished = first.get("finish_reason") is not None
        chunk.text = _has_text(first)
    decoded = document.get("avg_decoded_tokens_per_iter") or (first or {}).get("avg_decoded_tokens_per_iter")
    if isinstance(decoded, int | float) and not isinstance(decoded, bool):
        chunk.decoded_per_iter = float(decoded)
    usage = document.get("usage")
    if isinstance(usage, dict):
        chunk.completion_tokens = _count(usage.get("completion_tokens"))
        chunk.prompt_tokens = _count(usage.get("prompt_tokens"))
    return chunk


def _has_text(choice: dict[str, Any]) -> bool:
    if choice.get("text"):
        return True
    part = choice.get("delta") or choice.get("message")
    if not isinstance(part, dict):
        return False
    return any(part.get(key) for key in _TEXT_KEYS) or _has_arguments(part.get("tool_calls"))


def _has_arguments(calls: object) -> bool:
    if not isinstance(calls, list):
        return False
    functions = [call.get("function") for call in calls if isinstance(call, dict)]
    return any(isinstance(f, dict) and (f.get("arguments") or f.get("name")) for f in functions)


def _error(document: dict[str, Any]) -> str:
    error = document.get("error")
    if isinstance(error, dict):
        message = error.get("message") or error.get("type") or json.dumps(error)
        return _short(str(message))
    if error:
        return _short(str(error))
    if document.get("object") == "error":
        return _short(str(document.get("message") or "error object without a message"))
    return ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _short(text: str, limit: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"
