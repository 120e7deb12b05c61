"""Fetches an archive: whole or not at all, with a limit for each attempt, without showing what the URL may hold."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from pytest_disagg.wrapper.console import WrapperError, say
from pytest_disagg.wrapper.redaction import redact
from pytest_disagg.wrapper.retry import Attempts
from pytest_disagg.wrapper.stopping import Stopping

ATTEMPT_TIMEOUT_S = 1800.0
SOCKET_TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20
TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)
DOWNLOAD_FAILED = 8


class TransientError(Exception):
    """An attempt that may well succeed if it is made again."""


def is_url(source: str) -> bool:
    return urllib.parse.urlsplit(source).scheme in ("http", "https")


def fetch(url: str, target: Path, sha256: str, attempts: Attempts, stopping: Stopping) -> None:
    """Download ``url`` to ``target``: into a temporary file beside it, checked, then renamed.

    User and password of the URL become a header for its own host only, and are never printed. Made again after network
    errors, timeouts and the status codes 408, 425, 429 and 500 to 504; nothing else becomes better by waiting.

    Raises:
        WrapperError: the server refuses, the checksum is another one, or the last attempt failed.
    """
    shown = redact(url)
    temporary = target.with_name(f".{target.name}.part")
    found = ""
    while not found:
        try:
            found = _attempt(url, temporary, attempts.timeout_s, stopping)
        except TransientError as error:
            why = redact(str(error))
            temporary.unlink()
            if not attempts.again(f"download of {shown}: {why}", stopping):
                message = f"cannot download {shown}: {why} ({attempts.made} attempts)"
                raise WrapperError(message, DOWNLOAD_FAILED) from error
    if sha256 and found != sha256.lower():
        temporary.unlink()
        raise WrapperError(f"{shown}: found SHA-256 {found}, expected {sha256.lower()}", DOWNLOAD_FAILED)
    temporary.replace(target)
    say(f"downloaded {shown} to {target}: {target.stat().st_size} bytes, SHA-256 {found}")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    value = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            value.update(chunk)
    return value.hexdigest()


def _request(url: str) -> urllib.request.Request:
    parts = urllib.parse.urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=netloc)))
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        # Unredirected: another host that we are sent to must not learn it.
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    return request


def _attempt(url: str, temporary: Path, timeout_s: float, stopping: Stopping) -> str:
    """One attempt, into ``temporary``; the SHA-256 of what came."""
    deadline = time.monotonic() + timeout_s
    value = hashlib.sha256()
    with temporary.open("wb") as file:
        try:
            with urllib.request.urlopen(_request(url), timeout=min(SOCKET_TIMEOUT_S, timeout_s)) as answer:
                expected = answer.headers.get("Content-Length")
                while True:
                    chunk = answer.read(CHUNK_BYTES)
                    stopping.check()
                    if not chunk:
                        break
                    if time.monotonic() > deadline:
                        raise TransientError(f"not done after {timeout_s:g} s")
                    file.write(chunk)
                    value.update(chunk)
                if expected is not None and file.tell() != int(expected):
                    raise TransientError(f"found {file.tell()} bytes, expected {expected}")
        except urllib.error.HTTPError as error:
            if error.code in TRANSIENT_STATUS:
                raise TransientError(f"HTTP status {error.code} {error.reason}") from error
            message = f"cannot download {redact(url)}: HTTP status {error.code} {error.reason}"
            raise WrapperError(message, DOWNLOAD_FAILED) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                message = f"cannot download {redact(url)}: {error.reason}"
                raise WrapperError(message, DOWNLOAD_FAILED) from error
            raise TransientError(str(error.reason)) from error
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error
    return value.hexdigest()
