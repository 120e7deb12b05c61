"""One connection that is used for one request after the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from time import monotonic

import httptools

from pytest_disagg.clients.native.exchange import Exchange
from pytest_disagg.clients.native.target import Address, Target

Ended = Callable[[Exchange, float, str], None]
"""Called with the exchange, the time and why it broke (empty: it is complete) when an exchange is over."""


class Connection(asyncio.Protocol):
    """Carries at most one exchange at a time; ``on_end``, its owner's, is called once for each."""

    __slots__ = ("_exchange", "_idle_since", "_sock", "_tls", "_transport", "closed", "lost", "on_end")

    def __init__(self, sock: socket.socket, *, tls: bool, on_end: Ended) -> None:
        self._sock = sock
        self._tls = tls
        self.on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._idle_since = monotonic()
        self.closed = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def idle_s(self) -> float:
        """Seconds since the last exchange ended or, before the first, since the connection was made."""
        return monotonic() - self._idle_since

    def send(self, exchange: Exchange, request: bytes) -> float:
        """Write ``request`` and return the time of the write. The connection must be open and free."""
        if self._transport is None or self.closed or self._exchange is not None:
            raise RuntimeError("the connection is closed or busy")
        self._exchange = exchange
        if self._tls:
            written_s = monotonic()
            self._transport.write(request)
            return written_s
        # A transport may keep a write until its loop has served everybody else (uvloop does), which would stand in
        # every TTFT. Nothing is buffered here, so the socket can take the bytes at once.
        written_s = monotonic()
        try:
            sent = self._sock.send(request)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            asyncio.get_running_loop().call_soon(self._break, f"write failed: {reason(error)}")
            return written_s
        if sent < len(request):
            self._transport.write(memoryview(request)[sent:])
        return written_s

    def abort(self) -> None:
        """Close at once; an exchange under way gets no further call."""
        self.closed = True
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a Protocol is given a Transport

    def data_received(self, data: bytes) -> None:
        now = monotonic()
        exchange = self._exchange
        if exchange is None:
            # Bytes that nobody asked for: what follows could not be told from the next response.
            self.abort()
            return
        try:
            exchange.feed(data, now)
        except httptools.HttpParserError as error:
            self._break(f"malformed HTTP response: {error}")
            return
        if exchange.complete:
            if not exchange.keep_alive:
                self._close()
            self._end(now, "")

    def eof_received(self) -> bool:
        self._closed_by_peer("")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed_by_peer(str(exc) if exc else "")
        if not self.lost.done():
            self.lost.set_result(None)

    def _closed_by_peer(self, reason: str) -> None:
        self.closed = True
        exchange = self._exchange
        if exchange is None:
            return
        now = monotonic()
        exchange.eof(now)
        if exchange.complete:
            self._end(now, "")
            return
        when = "inside the response" if exchange.received else "before any byte of the response"
        self._end(now, f"connection closed {when}" + (f": {reason}" if reason else ""))

    def _break(self, error: str) -> None:
        self._close()
        self._end(monotonic(), error)

    def _close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def _end(self, now: float, error: str) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        self._idle_since = now
        self.on_end(exchange, now, error)


def reason(error: OSError) -> str:
    """Why a connection failed, in the system's words (asyncio's own name the call instead)."""
    if error.errno and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return f"[Errno {error.errno}] {os.strerror(error.errno)}"
    return str(error)


async def connect(target: Target, addresses: list[Address], timeout_s: float, on_end: Ended) -> Connection:
    """Open a connection to the first address that accepts one; that address is moved to the front of the list.

    Raises:
        OSError: no address accepted (the last reason), TLS failed, or ``timeout_s`` passed (``TimeoutError``).
    """
    try:
        return await asyncio.wait_for(_connect(target, addresses, on_end), timeout_s)
    except asyncio.TimeoutError:  # on Python 3.10 not the builtin, and no OSError
        raise TimeoutError(f"no connection within {timeout_s:g} s") from None


async def _connect(target: Target, addresses: list[Address], on_end: Ended) -> Connection:
    failure: OSError | None = None
    for position, (family, address) in enumerate(addresses):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection = await _open(target, sock, address, on_end)
        except OSError as error:
            failure = error
            with contextlib.suppress(OSError):
                sock.close()
            continue
        except BaseException:
            sock.close()
            raise
        if position:
            addresses.insert(0, addresses.pop(position))
        return connection
    raise failure or OSError(f"no address for {target.host}")


async def _open(target: Target, sock: socket.socket, address: object, on_end: Ended) -> Connection:
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await loop.sock_connect(sock, address)  # type: ignore[arg-type]  # as getaddrinfo gave it
    _, connection = await loop.create_connection(
        lambda: Connection(sock, tls=target.tls is not None, on_end=on_end),
        sock=sock,
        ssl=target.tls,
        server_hostname=target.host if target.tls else None,
    )
    return connection
