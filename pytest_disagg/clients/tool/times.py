"""From what a tool says of its requests to samples on the clock of this machine.

Tools differ in what they say of time: some when each request started, some only how long each took. For those the
starts are worked out from what they do say; :func:`taking_turns` and :func:`paced` say how.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.records.sample import RequestSample

_TOLERANCE_S = 1e-4
_ROUNDS = 40


@dataclass(frozen=True)
class Request:
    """One request as a tool tells of it. Durations are seconds.

    ``ttft_s`` is None for an answer that was not streamed. ``gaps_s`` lie between chunks with tokens. ``latency_s``
    runs to the last token or, where the tool means that, to the end of the answer; 0 where it says none.
    ``usage`` is whether ``output_tokens`` were counted by the server or with the tokenizer, not as chunks.
    """

    ttft_s: float | None
    gaps_s: Sequence[float]
    latency_s: float
    prompt_tokens: int
    output_tokens: int
    asked_tokens: int
    usage: bool = True
    status: int = 200
    error: str = ""
    decoded_per_iter: float | None = None

    @property
    def span_s(self) -> float:
        """From the start to the last thing known of it."""
        streamed = self.ttft_s + sum(self.gaps_s) if self.ttft_s is not None else 0.0
        return max(self.latency_s, streamed)


def sample(index: int, request: Request, written_s: float, *, scheduled_s: float | None = None) -> RequestSample:
    """The sample of ``request``, written at ``written_s`` (CLOCK_MONOTONIC)."""
    streamed = request.ttft_s is not None and not request.error
    chunks = tuple(accumulate(request.gaps_s, initial=written_s + (request.ttft_s or 0.0))) if streamed else ()
    done_s = written_s + request.span_s
    last_s = None if request.error else chunks[-1] if chunks else done_s
    return RequestSample(
        index=index,
        scheduled_s=written_s if scheduled_s is None else scheduled_s,
        written_s=written_s,
        first_s=chunks[0] if chunks else None,
        last_s=last_s,
        done_s=max(done_s, chunks[-1]) if chunks else done_s,
        chunk_s=chunks,
        prompt_tokens=request.prompt_tokens,
        output_tokens=0 if request.error else request.output_tokens,
        asked_tokens=request.asked_tokens,
        usage_reported=request.usage,
        status=request.status,
        error=request.error,
        decoded_per_iter=request.decoded_per_iter,
    )


def placed(
    requests: Sequence[Request], point: LoadPoint, *, duration_s: float, began_s: float
) -> tuple[RequestSample, ...]:
    """Samples of requests whose starts the tool does not say, of a load that began at ``began_s``."""
    spans = [each.span_s for each in requests]
    at_a_rate = point.request_rate is not None
    starts = paced(spans, duration_s) if at_a_rate else taking_turns(spans, point.concurrency, duration_s)
    return tuple(
        sample(index, each, began_s + start) for index, (each, start) in enumerate(zip(requests, starts, strict=True))
    )


def taking_turns(spans_s: Sequence[float], concurrency: int, duration_s: float) -> list[float]:
    """Starts, from 0, of requests that take turns: in order, each in the place that is free first.

    That is how a tool behind a semaphore of ``concurrency`` sends them. What ``duration_s`` has more than their spans
    need went by between two requests of a place; it is given to all such pauses equally, so that whatever the tool
    itself cost lowers the concurrency that is found, as it must.
    """
    low, high = 0.0, duration_s
    if not spans_s or _turns(spans_s, concurrency, 0.0)[1] >= duration_s:
        return _turns(spans_s, concurrency, 0.0)[0]
    for _ in range(_ROUNDS):
        if high - low < _TOLERANCE_S:
            break
        middle = (low + high) / 2
        low, high = (middle, high) if _turns(spans_s, concurrency, middle)[1] < duration_s else (low, middle)
    return _turns(spans_s, concurrency, low)[0]


def paced(spans_s: Sequence[float], duration_s: float) -> list[float]:
    """Starts, from 0, of requests at a rate: evenly, the last so that it ends with the load.

    A tool that draws arrival times and does not say them leaves no better guess. Only the gate's concurrency depends on
    it, and a paced load is not held to one.
    """
    if len(spans_s) < 2:
        return [0.0 for _ in spans_s]
    step = max(0.0, duration_s - spans_s[-1]) / (len(spans_s) - 1)
    return [index * step for index in range(len(spans_s))]


def _turns(spans_s: Sequence[float], concurrency: int, pause_s: float) -> tuple[list[float], float]:
    """The starts with that pause before every request but the first of a place, and when the last one ends."""
    free = [0.0] * min(concurrency, len(spans_s))
    starts, end = [], 0.0
    for index, span in enumerate(spans_s):
        start = heapq.heappop(free) + (pause_s if index >= concurrency else 0.0)
        starts.append(start)
        end = max(end, start + span)
        heapq.heappush(free, start + span)
    return starts, end
