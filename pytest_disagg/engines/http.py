"""Questions asked of serving processes. Standard library only: an HTTP package would delay the start of every role."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import re
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from pytest_disagg.engines.protocol import Seen

PART_BYTES = 65536


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
    return _ask(url, timeout_s, "GET", None)


def post(url: str, document: Mapping[str, object], timeout_s: float) -> Answer:
    """Send ``document`` as JSON, as :func:`get` asks; a streamed answer comes back whole.

    Raises:
        OSError: as :func:`get`; or the stream has not ended ``timeout_s`` after the request.
    """
    return _ask(url, timeout_s, "POST", json.dumps(document).encode())


def _ask(url: str, timeout_s: float, method: str, body: bytes | None) -> Answer:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {} if body is None else {"Content-Type": "application/json"}
    ends_at = time.monotonic() + timeout_s
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            if body is None:
                return Answer(answer.status, answer.read().decode("utf-8", "replace"))
            received = bytearray()
            while part := answer.read1(PART_BYTES):
                received += part
                if time.monotonic() > ends_at:
                    raise TimeoutError(f"the answer did not end within {timeout_s:g} s")
            return Answer(answer.status, received.decode("utf-8", "replace"))
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


def text_of(url: str, timeout_s: float) -> str:
    """The text at ``url``; empty where nothing answers 200. Never raises."""
    try:
        answer = get(url, timeout_s)
    except OSError:
        return ""
    return answer.text if answer.status == 200 else ""


def json_of(url: str, timeout_s: float) -> dict[str, object] | None:
    """The JSON object at ``url``; None where there is no such answer. Never raises."""
    try:
        found = json.loads(text_of(url, timeout_s))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def numbers(pattern: re.Pattern[str], text: str) -> list[float]:
    """The finite numbers among what the group of ``pattern`` matches in ``text`` (metrics in Prometheus' format)."""
    found = []
    for word in pattern.findall(text):
        with contextlib.suppress(ValueError):
            found.append(float(word))
    return [number for number in found if math.isfinite(number)]
