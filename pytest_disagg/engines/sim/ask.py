"""A GET of a simulated process. Standard library only: an HTTP package would delay the start of every role."""

from __future__ import annotations

import http.client
from typing import NamedTuple
from urllib.parse import urlsplit


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
            connection.request("GET", parts.path or "/")
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode("utf-8", "replace"))
        finally:
            connection.close()
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
