"""One request as the client saw it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestSample:
    """One request. Times are seconds of CLOCK_MONOTONIC; ``chunk_s`` are receive times of chunks that carried tokens.

    ``output_tokens`` comes from ``usage`` (``usage_reported``), else it is the number of chunks with text. ``ttft`` is
    measured from ``written_s`` (the request's write); ``scheduled_s`` is when the arrival process wanted it.
    ``error`` is empty on success; a request with an error enters no latency statistic. ``decoded_per_iter`` is the
    engine's own average of tokens per decoding iteration (TensorRT-LLM with speculative decoding), None where it says
    none. A request that was never written (no connection) has ``written_s == done_s`` and ``status`` 0.
    """

    index: int
    scheduled_s: float
    written_s: float
    first_s: float | None
    last_s: float | None
    done_s: float
    chunk_s: tuple[float, ...]
    prompt_tokens: int
    output_tokens: int
    asked_tokens: int
    usage_reported: bool
    status: int
    error: str = ""
    decoded_per_iter: float | None = None

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def ttft_s(self) -> float | None:
        """Time to first token, from the write of the request."""
        return None if self.first_s is None else self.first_s - self.written_s

    @property
    def scheduled_ttft_s(self) -> float | None:
        """Time to first token, from the moment the request was due."""
        return None if self.first_s is None else self.first_s - self.scheduled_s

    @property
    def e2el_s(self) -> float | None:
        """End-to-end latency: write of the request to its last token."""
        return None if self.last_s is None else self.last_s - self.written_s

    @property
    def tpot_s(self) -> float | None:
        """(latency - TTFT) / (output tokens - 1), as benchmark_serving defines it; None below two tokens."""
        if self.first_s is None or self.last_s is None or self.output_tokens < 2:
            return None
        return (self.last_s - self.first_s) / (self.output_tokens - 1)
