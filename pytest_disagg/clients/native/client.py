"""The load client ``native``. What it needs beyond the standard library is imported when a load begins."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace

from pytest_disagg.clients.checks import wrong_numbers
from pytest_disagg.clients.protocol import LoadPoint, LoadProgress, LoadResult
from pytest_disagg.errors import Problem
from pytest_disagg.records.sample import RequestSample
from pytest_disagg.version import __version__


class NativeClient:
    """Implements :class:`pytest_disagg.clients.protocol.LoadClient`. Use asyncio's own loop with ``uvloop=False``."""

    name = "native"

    def __init__(self, *, uvloop: bool = True) -> None:
        self._uvloop = uvloop

    def unavailable(self) -> str | None:
        """Why this client cannot run here; None when it can."""
        if importlib.util.find_spec("httptools") is None:
            return "the package httptools is not installed: pip install httptools"
        return None

    def version(self) -> str:
        """This project's."""
        return __version__

    def check(self, point: LoadPoint) -> list[Problem]:
        """What of ``point`` no client can send; this one sends everything else."""
        return wrong_numbers(point)

    def probe(
        self, url: str, point: LoadPoint, *, should_stop: Callable[[], str | None] | None = None
    ) -> RequestSample:
        """One request as ``point`` describes, on a new connection. A failure is in the sample.

        Raises:
            ConfigError: the point cannot be sent at all (dataset file, lengths).
            UsageError: ``url`` is no http or https URL.
        """
        from pytest_disagg.clients.native import session

        single = replace(point, num_prompts=1, concurrency=1, request_rate=None)
        return session.probe(url, single, should_stop=should_stop, prefer_uvloop=self._uvloop)

    def measure(
        self,
        url: str,
        point: LoadPoint,
        repeat: int,
        *,
        on_progress: Callable[[LoadProgress], None] | None = None,
        should_stop: Callable[[], str | None] | None = None,
    ) -> LoadResult:
        """Run one load; see :meth:`pytest_disagg.clients.protocol.LoadClient.measure`.

        Both callbacks run in a helper thread; a last ``on_progress`` comes from the caller's thread when the load is
        over. Random prompts depend on the seed, the repeat, the concurrency, the number of requests and the lengths,
        lengths on the seed alone: a repeat is the same work that no prefix cache has seen.

        Raises:
            ConfigError: the point cannot be sent at all (dataset file, lengths, counts).
            UsageError: ``url`` is no http or https URL.
            RunError: ``should_stop`` gave a reason, ``timeout_s`` passed, or there was no connection (functional); the
                limit of open files is too low (infrastructure).
        """
        from pytest_disagg.clients.native import session

        return session.measure(
            url, point, repeat, on_progress=on_progress, should_stop=should_stop, prefer_uvloop=self._uvloop
        )
