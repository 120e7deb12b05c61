"""Connections to other simulated processes: answers whole, or piece by piece with next to nothing in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import httptools

CONNECT_TIMEOUT_S = 10.0


class Exchange:
    """One request and its answer. ``head`` becomes the status, ``done`` is set after the last byte of the body.

    Both fail with ConnectionError where the connection ends before that.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.head: asyncio.Future[int] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self._body = bytearray()
        self._sink: Callable[[bytes], None] = self._body.extend

    @property
    def complete(self) -> bool:
        """Whether the whole answer came. A wait that was cancelled has cancelled ``done`` too, so that says nothing."""
        return self.done.done() and not self.done.cancelled() and self.done.exception() is None

    def feed(self, data: bytes) -> None:
        """A piece of the body came in."""
        self._sink(data)

    def fail(self, error: ConnectionError) -> None:
        """The connection broke."""
        for future in (self.head, self.done):
            if not future.done():
                future.set_exception(error)
                # Whoever waits sees it; one of the two is often waited for by nobody.
                future.exception()

    def pipe(self, sink: Callable[[bytes], None]) -> None:
        """Hand every piece to ``sink`` from now on, what is there already first."""
        if self._body:
            sink(bytes(self._body))
        self._sink = sink

    async def read(self) -> bytes:
        """The whole body. Raises ConnectionError."""
        await self.done
        return bytes(self._body)


class _Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection, used for one exchange at a time."""

    def __init__(self) -> None:
        self.open = False
        self._exchange: Exchange | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    def start(self, request: bytes) -> Exchange:
        """Send a request. Raises ConnectionResetError where the connection is closed."""
        if self._transport is None or not self.open:
            raise ConnectionResetError("the connection is closed")
        self._exchange = Exchange()
        self._transport.write(request)
        return self._exchange

    def abort(self) -> None:
        """Close at once; what is under way fails."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by behaviour, not by class.
        self._transport = cast(asyncio.Transport, transport)
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._exchange is not None:
            reason = f": {exc}" if exc else ""
            self._exchange.fail(ConnectionResetError(f"connection closed before the end of the answer{reason}"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._exchange is not None:
                self._exchange.fail(ConnectionResetError(f"the answer is not HTTP: {error}"))
            self.abort()

    def on_headers_complete(self) -> None:
        if self._exchange is not None and not self._exchange.head.done():
            self._exchange.head.set_result(self._parser.get_status_code())

    def on_body(self, data: bytes) -> None:
        if self._exchange is not None:
            self._exchange.feed(data)

    def on_message_complete(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None and not exchange.done.done():
            exchange.done.set_result(None)
        self._parser = httptools.HttpResponseParser(self)


class Upstreams:
    """Connections by address, reused while they are open."""

    def __init__(self) -> None:
        self._idle: dict[str, list[_Connection]] = {}

    @asynccontextmanager
    async def exchange(
        self, address: str, method: str, path: str, body: bytes = b"", request_id: str = ""
    ) -> AsyncIterator[Exchange]:
        """Send a JSON body to ``host:port``; the exchange is given up where it is not done when the block ends.

        Raises:
            OSError: no connection.
            asyncio.TimeoutError: no connection within ``CONNECT_TIMEOUT_S``.
        """
        connection = await self._connect(address)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
            f"X-Request-Id: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        exchange = connection.start(head.encode("latin-1") + body)
        try:
            yield exchange
        finally:
            if exchange.complete and connection.open:
                self._idle.setdefault(address, []).append(connection)
            else:
                connection.abort()

    async def ask(
        self, address: str, method: str, path: str, body: bytes = b"", request_id: str = ""
    ) -> tuple[int, bytes]:
        """Status and body of the answer. Raises as :meth:`exchange`, ConnectionError where the answer is cut off."""
        async with self.exchange(address, method, path, body, request_id) as exchange:
            status = await exchange.head
            return status, await exchange.read()

    def close(self) -> None:
        """Close what is idle."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()

    async def _connect(self, address: str) -> _Connection:
        idle = self._idle.get(address, [])
        while idle:
            connection = idle.pop()
            if connection.open:
                return connection
        host, _, port = address.rpartition(":")
        connecting = asyncio.get_running_loop().create_connection(_Connection, host.strip("[]"), int(port))
        _transport, connection = await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S)
        return connection
