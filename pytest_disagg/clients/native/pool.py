"""Opens connections to the target: many before the clock starts, single ones again during the load."""

from __future__ import annotations

import asyncio

from pytest_disagg.clients.native.connection import Connection, Ended, connect, reason
from pytest_disagg.clients.native.exchange import Exchange
from pytest_disagg.clients.native.target import Address, Target
from pytest_disagg.errors import RunError

AT_ONCE = 64
"""Connections being opened at the same time; half of what the shortest usual listen backlog (128) holds."""
CONNECT_S = 30.0
WARM_UP_S = 2.0


class Pool:
    """Every connection of one load. ``warm_up`` is a request sent once on each before the clock, None for none.

    A server has then accepted the connection and set up what it sets up per connection; what it answers does not
    matter. If it does not answer at all, the rest is opened without.
    """

    def __init__(self, target: Target, addresses: list[Address], warm_up: bytes | None, timeout_s: float) -> None:
        self._target = target
        self._addresses = addresses
        self._warm_up = warm_up
        self._timeout_s = min(timeout_s, CONNECT_S)
        self._live: set[Connection] = set()
        self.notes: list[str] = []

    async def open(self, count: int) -> list[Connection | None]:
        """``count`` connections, None in place of each that could not be opened.

        Raises:
            RunError: the first one could not be opened (functional).
        """
        try:
            first = await self._open_warm(self._warm_up)
        except OSError as error:
            raise RunError(
                f"no connection to {self._target.url}: {reason(error)} (0 of {count} connections opened)",
                kind="functional",
                stage="measure",
            ) from None
        turn = asyncio.Semaphore(AT_ONCE)
        failures: list[str] = []

        async def one() -> Connection | None:
            async with turn:
                try:
                    return await self._open_warm(self._warm_up)
                except OSError as error:
                    failures.append(reason(error))
                    return None

        others = await asyncio.gather(*(one() for _ in range(count - 1)))
        if failures:
            self.notes.append(f"{len(failures)} of {count} connections not opened before the load: {failures[0]}")
        return [first, *others]

    async def connect(self, on_end: Ended) -> Connection:
        """One more connection, not warmed.

        Raises:
            OSError: it could not be opened.
        """
        connection = await connect(self._target, self._addresses, self._timeout_s, on_end)
        self._live.add(connection)
        connection.lost.add_done_callback(lambda _: self._live.discard(connection))
        return connection

    async def close(self) -> None:
        """Close every connection and wait until it is gone."""
        live = list(self._live)
        for connection in live:
            connection.abort()
        await asyncio.gather(*(connection.lost for connection in live))

    async def _open_warm(self, request: bytes | None) -> Connection:
        connection = await self.connect(_nobody)
        if request is None or await self._warmed(connection, request):
            return connection
        connection.abort()
        return await self.connect(_nobody)

    async def _warmed(self, connection: Connection, request: bytes) -> bool:
        """Whether ``connection`` has been used for ``request`` and can be used again."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_end(_exchange: Exchange, _now: float, _error: str) -> None:
            if not over.done():
                over.set_result(None)

        connection.on_end = on_end
        connection.send(Exchange(), request)
        try:
            await asyncio.wait_for(over, WARM_UP_S)
        except asyncio.TimeoutError:  # on Python 3.10 not the builtin
            if self._warm_up is not None:
                self._warm_up = None
                self.notes.append(f"connections not warmed: GET /v1/models had no answer within {WARM_UP_S:g} s")
            return False
        connection.on_end = _nobody
        return not connection.closed


def _nobody(_exchange: Exchange, _now: float, _error: str) -> None:
    """The end of an exchange on a connection that has no owner yet."""
