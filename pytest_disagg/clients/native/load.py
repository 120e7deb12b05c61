"""One load: keeps the connections busy as the arrivals say and collects a sample per request.

Nothing here waits in a task for a response. A connection calls back when its request is over and gets the next one in
the same callback, so a free slot never waits for its turn in the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic

from pytest_disagg.clients.native.arrivals import Arrivals
from pytest_disagg.clients.native.connection import Connection, reason
from pytest_disagg.clients.native.exchange import Completion, Exchange, Stream
from pytest_disagg.clients.native.pool import Pool
from pytest_disagg.clients.native.requests import RequestBuilder
from pytest_disagg.clients.protocol import LoadPoint, LoadProgress
from pytest_disagg.records.sample import RequestSample

SWEEP_S = 0.05
IDLE_RACE_S = 0.5
"""A server may close a connection that was idle for its keep-alive time just as a request is written. Only after such
an idle time, which no closed loop has, and without a byte of an answer, is a request written a second time."""


class Slot:
    """One place in the concurrency: a connection and the request that it carries."""

    __slots__ = ("connection", "deadline_s", "exchange", "idle_s", "rewritten")

    def __init__(self, connection: Connection | None) -> None:
        self.connection = connection
        self.exchange: Completion | None = None
        self.deadline_s = 0.0
        self.idle_s = 0.0
        self.rewritten = False


class Load:
    """Sends ``point.num_prompts`` requests over one slot per given connection (None: opened when it is needed)."""

    def __init__(
        self,
        point: LoadPoint,
        builder: RequestBuilder,
        arrivals: Arrivals,
        pool: Pool,
        connections: list[Connection | None],
    ) -> None:
        self._point = point
        self._builder = builder
        self._arrivals = arrivals
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._slots = [Slot(connection) for connection in connections]
        self._idle = deque(self._slots)
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._samples: list[RequestSample | None] = [None] * point.num_prompts
        self._completed = self._failed = self._chunks = 0
        self._begun_s = 0.0
        self.reconnects = 0
        for slot in self._slots:
            if slot.connection is not None:
                self._own(slot, slot.connection)

    async def run(self) -> tuple[RequestSample, ...]:
        """Send every request; the samples in request order."""
        self._begun_s = monotonic()
        self._arrivals.begin(self._begun_s)
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        try:
            self._dispatch()
            await self._over
        finally:
            self._sweeper.cancel()
            if self._timer is not None:
                self._timer.cancel()
            for task in self._opening:
                task.cancel()
            await asyncio.gather(*self._opening, return_exceptions=True)
        return tuple(sample for sample in self._samples if sample is not None)

    def progress(self) -> LoadProgress:
        """How far the load is; may be called from another thread."""
        exchanges = [exchange for slot in self._slots if (exchange := slot.exchange) is not None]
        return LoadProgress(
            completed=self._completed,
            failed=self._failed,
            in_flight=sum(1 for exchange in exchanges if exchange.written_s),
            output_chunks=self._chunks + sum(len(exchange.chunk_s) for exchange in exchanges),
            elapsed_s=monotonic() - self._begun_s if self._begun_s else 0.0,
            total=self._point.num_prompts,
        )

    def _dispatch(self) -> None:
        """Give one free slot the next request that is due, and come back for the others.

        One write per turn of the event loop: the first answers are read while the last requests are still being
        written.
        """
        if self._over.done() or not self._idle:
            return
        job = self._arrivals.take(monotonic())
        if job is not None:
            self._begin(self._idle.popleft(), *job)
            self._loop.call_soon(self._dispatch)
        else:
            self._wait_for_arrival()

    def _wait_for_arrival(self) -> None:
        due = self._arrivals.next_due()
        if due is None or self._timer is not None:
            return
        self._timer = self._loop.call_later(max(0.0, due - monotonic()), self._arrived)

    def _arrived(self) -> None:
        self._timer = None
        self._dispatch()

    def _begin(self, slot: Slot, index: int, scheduled_s: float) -> None:
        prompt = self._builder.prompt(index)
        kind = Stream if self._point.streaming else Completion
        slot.exchange = kind(index, prompt.tokens, prompt.output_tokens, scheduled_s)
        slot.rewritten = False
        self._send(slot, slot.exchange)

    def _send(self, slot: Slot, exchange: Completion) -> None:
        connection = slot.connection
        if connection is None or connection.closed:
            task = self._loop.create_task(self._reopen(slot, exchange))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
            return
        request = self._builder.build(exchange.index)
        slot.idle_s = connection.idle_s
        exchange.written_s = connection.send(exchange, request)
        slot.deadline_s = exchange.written_s + self._point.request_timeout_s

    async def _reopen(self, slot: Slot, exchange: Completion) -> None:
        """Open the slot's connection again, outside the measured time, then send."""
        self.reconnects += 1
        try:
            connection = await self._pool.connect(lambda *_: None)
        except OSError as error:
            self._finish(slot, exchange, monotonic(), f"no connection: {reason(error)}")
            return
        self._own(slot, connection)
        slot.connection = connection
        self._send(slot, exchange)

    def _own(self, slot: Slot, connection: Connection) -> None:
        def on_end(exchange: Exchange, now: float, error: str) -> None:
            if slot.exchange is not None and slot.exchange is exchange:
                self._ended(slot, slot.exchange, now, error)

        connection.on_end = on_end

    def _ended(self, slot: Slot, exchange: Completion, now: float, error: str) -> None:
        if error and not exchange.received and slot.idle_s >= IDLE_RACE_S and not slot.rewritten:
            slot.rewritten = True
            exchange.written_s = 0.0
            self._send(slot, exchange)
            return
        self._finish(slot, exchange, now, error)

    def _finish(self, slot: Slot, exchange: Completion, now: float, error: str) -> None:
        sample = exchange.sample(now, error)
        self._samples[exchange.index] = sample
        slot.exchange = None
        self._chunks += len(exchange.chunk_s)
        if sample.ok:
            self._completed += 1
        else:
            self._failed += 1
        if self._completed + self._failed == self._point.num_prompts:
            if not self._over.done():
                self._over.set_result(None)
            return
        job = self._arrivals.take(monotonic())
        if job is None:
            self._idle.append(slot)
            self._wait_for_arrival()
        elif sample.status or exchange.written_s:
            self._begin(slot, *job)
        else:
            # Without a connection a failure costs nothing; the event loop gets its turn between two of them.
            self._loop.call_soon(self._begin, slot, *job)

    def _sweep(self) -> None:
        """End the requests that are over their time."""
        now = monotonic()
        for slot in self._slots:
            exchange = slot.exchange
            if exchange is not None and exchange.written_s and now > slot.deadline_s:
                if slot.connection is not None:
                    slot.connection.abort()
                seen = f"{len(exchange.chunk_s)} chunks with tokens" if exchange.status else "no byte of a response"
                limit = f"no end of the response within {self._point.request_timeout_s:g} s"
                self._finish(slot, exchange, now, f"timeout: {limit}, last seen {seen}")
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
