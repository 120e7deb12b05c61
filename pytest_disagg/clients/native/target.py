"""Where a load goes: a URL taken apart, its addresses, its TLS settings."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pytest_disagg.errors import RunError, UsageError

Address = tuple[socket.AddressFamily, Any]
"""A family and the socket address that ``connect`` takes for it."""


@dataclass(frozen=True)
class Target:
    """``http[s]://host:port[/prefix]``. ``authority`` is the Host header; ``prefix`` has no slash at its end."""

    url: str
    host: str
    port: int
    authority: str
    prefix: str
    tls: ssl.SSLContext | None


def parse_target(url: str) -> Target:
    """Take ``url`` apart. https is verified against the system's CAs, or those of ``SSL_CERT_FILE`` / ``SSL_CERT_DIR``.

    Raises:
        UsageError: not an http or https URL with a host, or one with user, password, query or fragment.
    """
    expected = "http://HOST:PORT or https://HOST:PORT"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"url: found a URL that cannot be parsed ({error}), expected {expected}") from None
    if "@" in parts.netloc:
        raise UsageError(f"url: found user information before the host {parts.hostname!r}, expected {expected}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"url: found {url!r}, expected {expected}")
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    if port is None:
        port = 443 if tls else 80
    return Target(url, parts.hostname, port, parts.netloc, parts.path.rstrip("/"), tls)


def resolve(target: Target) -> list[Address]:
    """The addresses of the target's host, in the system's order.

    Raises:
        RunError: the name cannot be resolved (functional).
    """
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise RunError(
            f"no connection to {target.url}: cannot resolve {target.host!r}: {error.strerror or error}",
            kind="functional",
            stage="measure",
        ) from None
    return [(family, address) for family, _, _, _, address in found]
