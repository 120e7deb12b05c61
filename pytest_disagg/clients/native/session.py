"""Puts a load together: prompts, connections, clock, watchers; and takes the result out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from pytest_disagg.clients.checks import wrong_numbers
from pytest_disagg.clients.native import eventloop
from pytest_disagg.clients.native.arrivals import Arrivals, ClosedLoop, OpenLoop
from pytest_disagg.clients.native.health import LagMeter, allow_open_files, quiet_gc
from pytest_disagg.clients.native.load import Load
from pytest_disagg.clients.native.pool import Pool
from pytest_disagg.clients.native.requests import RequestBuilder
from pytest_disagg.clients.native.target import parse_target, resolve
from pytest_disagg.clients.native.watch import watching
from pytest_disagg.clients.prompts import prompts_of, variant
from pytest_disagg.clients.protocol import ClientHealth, LoadPoint, LoadProgress, LoadResult
from pytest_disagg.errors import ConfigError, RunError
from pytest_disagg.records.sample import RequestSample
from pytest_disagg.records.summary import achieved_concurrency, max_in_flight
from pytest_disagg.version import __version__


def probe(
    url: str, point: LoadPoint, *, should_stop: Callable[[], str | None] | None, prefer_uvloop: bool
) -> RequestSample:
    """One request, its connection opened inside; see :meth:`NativeClient.probe`."""
    session = _Session(url, point, "probe", warm=False)
    try:
        with watching(session.progress, None, should_stop, session.stop):
            result = eventloop.run(session.main, prefer_uvloop=prefer_uvloop)
    except RunError as error:
        return _unsent(error.message, session.prompts.prompts[0].output_tokens)
    return result[0][0]


def measure(
    url: str,
    point: LoadPoint,
    repeat: int,
    *,
    on_progress: Callable[[LoadProgress], None] | None,
    should_stop: Callable[[], str | None] | None,
    prefer_uvloop: bool,
) -> LoadResult:
    """One load; see :meth:`NativeClient.measure`."""
    session = _Session(url, point, variant(point, repeat), warm=True)
    with watching(session.progress, on_progress, should_stop, session.stop):
        samples, health = eventloop.run(session.main, prefer_uvloop=prefer_uvloop)
    if on_progress is not None:
        on_progress(session.progress())
    started_s = min(sample.written_s for sample in samples)
    return LoadResult(
        point=point,
        repeat=repeat,
        samples=samples,
        duration_s=max(sample.done_s for sample in samples) - started_s,
        started_monotonic_s=started_s,
        achieved_concurrency=achieved_concurrency(samples) or 0.0,
        max_in_flight=max_in_flight(samples),
        health=health,
        tool="native",
        tool_version=__version__,
        reconnects=session.reconnects,
        notes=session.notes,
    )


class _Session:
    """The parts of one load, and the two ways in which it ends early: ``stop`` and its time limit."""

    def __init__(self, url: str, point: LoadPoint, made_for: str, *, warm: bool) -> None:
        if problems := wrong_numbers(point):
            raise ConfigError(problems)
        self._target = parse_target(url)
        self._point = point
        self._warm = warm
        self.prompts = prompts_of(point, made_for)
        self._builder = RequestBuilder(self._target, point, self.prompts)
        self._pool: Pool | None = None
        self._load: Load | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[tuple[tuple[RequestSample, ...], ClientHealth]] | None = None
        self._ended_by: str | BaseException | None = None

    @property
    def reconnects(self) -> int:
        return self._load.reconnects if self._load is not None else 0

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.prompts.notes, *(self._pool.notes if self._pool is not None else ()))

    def progress(self) -> LoadProgress:
        if self._load is not None:
            return self._load.progress()
        return LoadProgress(0, 0, 0, 0, 0.0, self._point.num_prompts)

    def stop(self, reason: str | BaseException) -> None:
        """End the load from another thread."""
        if self._ended_by is None:
            self._ended_by = reason
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    async def main(self, loop_name: str) -> tuple[tuple[RequestSample, ...], ClientHealth]:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(loop_name))
        if self._ended_by is not None:
            self._task.cancel()
        done, _ = await asyncio.wait({self._task}, timeout=self._point.timeout_s)
        if not done:
            self._ended_by = self._ended_by or self._late()
            self._task.cancel()
            await asyncio.wait({self._task})
        if not self._task.cancelled():
            return self._task.result()
        if isinstance(self._ended_by, BaseException):
            raise self._ended_by
        raise RunError(self._ended_by or "the load was cancelled", kind="functional", stage="measure")

    async def _run(self, loop_name: str) -> tuple[tuple[RequestSample, ...], ClientHealth]:
        point = self._point
        slots = min(point.concurrency, point.num_prompts)
        allow_open_files(slots)
        warm_up = self._builder.warm_up if self._warm else None
        self._pool = Pool(self._target, resolve(self._target), warm_up, point.request_timeout_s)
        try:
            connections = await self._pool.open(slots)
            self._load = Load(point, self._builder, _arrivals(point), self._pool, connections)
            meter = LagMeter()
            with quiet_gc():
                meter.start()
                try:
                    samples = await self._load.run()
                finally:
                    health = meter.stop(loop_name)
            return samples, health
        finally:
            await self._pool.close()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _late(self) -> str:
        seen = self.progress()
        return (
            f"the load did not end within {self._point.timeout_s:g} s: awaited {seen.total} requests, last seen "
            f"{seen.completed} completed, {seen.failed} failed, {seen.in_flight} in flight, {seen.output_chunks} chunks"
        )


def _arrivals(point: LoadPoint) -> Arrivals:
    if point.request_rate is None:
        return ClosedLoop(point.num_prompts)
    return OpenLoop(point.num_prompts, point.request_rate, point.seed)


def _unsent(error: str, asked_tokens: int) -> RequestSample:
    """The sample of a request for which there was no connection."""
    now = monotonic()
    return RequestSample(
        index=0,
        scheduled_s=now,
        written_s=now,
        first_s=None,
        last_s=None,
        done_s=now,
        chunk_s=(),
        prompt_tokens=0,
        output_tokens=0,
        asked_tokens=asked_tokens,
        usage_reported=False,
        status=0,
        error=error,
    )
