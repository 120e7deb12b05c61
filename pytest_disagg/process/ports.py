"""Ports for processes that must be told one: bound by us, so that nobody else gets them before that process does."""

from __future__ import annotations

import contextlib
import random
import socket

from pytest_disagg.errors import UsageError

LOWEST = 20_000
"""Of ports that may not be just any: below it lie most well-known ones."""
HIGHEST = 2**16 - 1
UNDRAWN = 32_000
"""Up to here Linux gives no port to a connection by itself: for ports that are taken long after they were chosen."""
TRIES = 200


class Ports:
    """Free TCP ports of ``host``. Each stays bound, never listening, until it is released."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._held: list[tuple[socket.socket, bool]] = []

    def __call__(self, *, shared: bool = False, highest: int | None = None, count: int = 1) -> int:
        """A port. A ``shared`` one has SO_REUSEPORT: a process that sets it too can listen while we hold the port.

        ``highest`` is for programs that take no higher one; the system's own choice may be any. With ``count`` the
        ports that follow it are free, too.

        Raises:
            UsageError: ``host`` is no address of this machine, or none of many ports was free.
        """
        try:
            if count > 1:
                held = self._bound_in_a_row(count, highest or HIGHEST, shared=shared)
            else:
                held = [self._bound(0, shared=shared) if highest is None else self._bound_below(highest, shared=shared)]
        except OSError as error:
            raise UsageError(f"cannot bind a port of {self._host}: {error.strerror or error}") from error
        self._held += [(each, shared) for each in held]
        port: int = held[0].getsockname()[1]
        return port

    def _bound_in_a_row(self, count: int, highest: int, *, shared: bool) -> list[socket.socket]:
        for _ in range(TRIES):
            held: list[socket.socket] = []
            try:
                held.append(self._bound_below(highest - count + 1, shared=shared))
                first: int = held[0].getsockname()[1]
                for port in range(first + 1, first + count):
                    held.append(self._bound(port, shared=shared))
            except OSError:
                for each in held:
                    each.close()
            else:
                return held
        raise OSError(f"none of {TRIES} rows of {count} ports is free")

    def _bound_below(self, highest: int, *, shared: bool) -> socket.socket:
        self._bound(0, shared=shared).close()  # where the host is wrong, no port is right
        # Drawn, as the system does: two roles of this machine that went up from the same port would meet at each, and
        # so would two whose pytest seeds its numbers alike.
        for port in random.SystemRandom().sample(range(LOWEST, highest + 1), TRIES - 1):
            with contextlib.suppress(OSError):
                return self._bound(port, shared=shared)
        return self._bound(highest, shared=shared)

    def _bound(self, port: int, *, shared: bool) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(self._host, port, type=socket.SOCK_STREAM)[0]
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
