"""A load generator: what is asked of it and what it gives back. ``native`` is ours; others are adapters.

Found by entry-point group ``pytest_disagg.clients`` (name -> class) through :mod:`pytest_disagg.clients.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pytest_disagg.errors import Problem
from pytest_disagg.records.sample import RequestSample


@dataclass(frozen=True)
class LoadPoint:
    """One load: ``num_prompts`` requests, at most ``concurrency`` at a time.

    Lengths are tokens. ``request_rate`` is requests/s with Poisson arrivals, None for closed loop.
    ``request_timeout_s`` bounds one request from its write to its last byte, ``timeout_s`` the whole load. With
    ``text_prompts`` random prompts are words, about one token each: the server takes no token ids.

    The rest is for load generators that are programs of their own: ``tokenizer`` is the model's folder or the name by
    which it is fetched, ``files`` a folder that need not exist, for what they write (each load makes one of its own
    below it; None: nothing is kept), ``env`` lies over the environment, ``backend`` is the file's word for the API.
    """

    concurrency: int
    num_prompts: int
    isl: int
    osl: int
    model: str
    random_range_ratio: float = 0.0
    request_rate: float | None = None
    streaming: bool = True
    ignore_eos: bool = True
    use_chat_template: bool = False
    text_prompts: bool = False
    dataset_file: Path | None = None
    seed: int = 0
    request_timeout_s: float = 600.0
    timeout_s: float = 3600.0
    slo_ms: Mapping[str, float] = field(default_factory=dict)
    backend: str = "openai"
    trust_remote_code: bool = False
    tokenizer: str = ""
    files: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClientHealth:
    """Whether the client itself could keep up: event-loop lag (ms) and CPU seconds per wall second."""

    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    cpu_ratio: float
    loop: str


@dataclass(frozen=True)
class LoadProgress:
    """A snapshot for a live line and for the watchdog: cumulative counts since the load began.

    ``starting``: the load has not begun, the client is still starting (a program that imports, makes prompts).
    """

    completed: int
    failed: int
    in_flight: int
    output_chunks: int
    elapsed_s: float
    total: int
    starting: bool = False


@dataclass(frozen=True)
class LoadResult:
    """What one load measured. ``samples`` has one entry per request asked for, failed ones too, in request order.

    ``duration_s`` runs from the first write to the last byte of the last request. ``started_monotonic_s`` is
    CLOCK_MONOTONIC of the first write. ``reconnects`` counts connections that had to be opened again during the load.
    ``notes`` are lines for a person: what the load did that its file does not say by itself.
    """

    point: LoadPoint
    repeat: int
    samples: tuple[RequestSample, ...]
    duration_s: float
    started_monotonic_s: float
    achieved_concurrency: float
    max_in_flight: int
    health: ClientHealth | None
    tool: str
    tool_version: str
    reconnects: int = 0
    notes: tuple[str, ...] = ()


class LoadClient(Protocol):
    """Puts load on a URL (``http[s]://host:port``), any number of times on the same live deployment."""

    name: str

    def unavailable(self) -> str | None:
        """Why this client cannot run here, with the command that installs it; None when it can."""
        ...

    def version(self) -> str:
        """Of the tool, for the manifest; ``unknown`` where it cannot be told. Never raises."""
        ...

    def check(self, point: LoadPoint) -> list[Problem]:
        """What of ``point`` this client cannot send, and who can; asked before anything is deployed."""
        ...

    def probe(
        self, url: str, point: LoadPoint, *, should_stop: Callable[[], str | None] | None = None
    ) -> RequestSample:
        """One request as ``point`` describes, whatever its counts say. A failure is in the sample, not raised.

        ``should_stop`` as in :meth:`measure`; its reason ends up in the sample too.
        """
        ...

    def measure(
        self,
        url: str,
        point: LoadPoint,
        repeat: int,
        *,
        on_progress: Callable[[LoadProgress], None] | None = None,
        should_stop: Callable[[], str | None] | None = None,
    ) -> LoadResult:
        """Run one load. ``should_stop`` is asked a few times a second; a reason ends the load at once with it.

        Failed requests do not raise: they are samples. ``on_progress`` is called a few times a second. Both callbacks
        may run in a helper thread, so that a slow one (a file on NFS) does not disturb the load; what they raise ends
        it.

        Raises:
            pytest_disagg.errors.ConfigError: a named dataset file is missing or unusable.
            pytest_disagg.errors.RunError: stopped from outside, ``timeout_s`` passed, or no connection at all.
        """
        ...
