"""Questions asked of serving processes. Standard library only: an HTTP package would delay the start of every role."""

from __future__ import annotations

import http.client
import json
from typing import NamedTuple
from urllib.parse import urlsplit

from pytest_disagg.engines.protocol import Seen


class Answer(NamedTuple):
    """``status`` is HTTP's, ``text`` the whole body."""

    status: int
    text: str


def get(url: str, timeout_s: float) -> Answer:
    """Ask ``url`` (http or https, whose certificate is verified); no proxy is used, no redirect is followed.

    ``timeout_s`` bounds the connection and each read.

    Raises:
        OSError: no answer, or one that is not HTTP.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
        try:
            connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode("utf-8", "replace"))
        finally:
            connection.close()
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error


def healthy(url: str, timeout_s: float) -> Seen:
    """Whether ``GET /health`` is 200. Never raises."""
    try:
        answer = get(f"{url}/health", timeout_s)
    except OSError as error:
        return Seen(False, f"GET {url}/health: {error}")
    return Seen(answer.status == 200, f"GET {url}/health: {answer.status} {answer.text[:200]}".rstrip())


def json_of(url: str, timeout_s: float) -> dict[str, object] | None:
    """The JSON object at ``url``; None where there is no such answer. Never raises."""
    try:
        answer = get(url, timeout_s)
        found = json.loads(answer.text) if answer.status == 200 else None
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
