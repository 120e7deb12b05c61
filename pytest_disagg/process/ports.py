"""Ports for processes that must be told one: bound by us, so that nobody else gets them before that process does."""

from __future__ import annotations

import socket

from pytest_disagg.errors import UsageError


class Ports:
    """Free TCP ports of ``host``. Each stays bound, never listening, until it is released."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._held: list[tuple[socket.socket, bool]] = []

    def __call__(self, *, shared: bool = False) -> int:
        """A port. A ``shared`` one has SO_REUSEPORT: a process that sets it too can listen while we hold the port.

        Raises:
            UsageError: ``host`` is no address of this machine.
        """
        try:
            held = self._bound(shared=shared)
        except OSError as error:
            raise UsageError(f"cannot bind a port of {self._host}: {error.strerror or error}") from error
        self._held.append((held, shared))
        port: int = held.getsockname()[1]
        return port

    def _bound(self, *, shared: bool) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(self._host, 0, type=socket.SOCK_STREAM)[0]
        held = socket.socket(family, kind, protocol)
        try:
            if shared:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(address)
        except OSError:
            held.close()
            raise
        return held

    def release(self) -> None:
        """Let go of those that are not shared: the process that takes them is about to start."""
        for held, shared in self._held:
            if not shared:
                held.close()
        self._held = [(held, shared) for held, shared in self._held if shared]

    def close(self) -> None:
        """Let go of all."""
        for held, _ in self._held:
            held.close()
        self._held.clear()
