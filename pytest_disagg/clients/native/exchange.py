"""One HTTP request and its response, as httptools reports it: what came, when, and whether it was good.

An exchange is the callback object of its own :class:`httptools.HttpResponseParser`. The connection sets ``now`` from
the clock before it feeds bytes, so all that arrived together carries the same time.
"""

from __future__ import annotations

import httptools

from pytest_disagg.clients.native.chunks import Chunk, error_text, read_body, read_chunk
from pytest_disagg.clients.native.sse import SseParser
from pytest_disagg.records.sample import RequestSample

BODY_LIMIT = 64 * 1024
"""Bytes kept of a response that is not what was asked for; enough for any error message."""


class Exchange:
    """A request whose response body is of no interest beyond its end (warm-up)."""

    __slots__ = (
        "_interim",
        "body",
        "complete",
        "content_type",
        "keep_alive",
        "now",
        "parser",
        "received",
        "sized",
        "status",
    )

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.now = 0.0
        self.status = 0
        self.content_type = ""
        self.body = bytearray()
        self.received = False
        self.sized = False
        self.keep_alive = False
        self.complete = False
        self._interim = False

    def feed(self, data: bytes, now: float) -> None:
        """Take what arrived at ``now``.

        Raises:
            httptools.HttpParserError: not HTTP.
        """
        self.now = now
        self.received = True
        self.parser.feed_data(data)

    def eof(self, now: float) -> None:
        """The server closed its side: the end of a response that has no length and is not chunked."""
        if self.status and not self.sized and not self.complete:
            self.now = now
            self.complete = True

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.lower()
        if key in (b"content-length", b"transfer-encoding"):
            self.sized = True
        elif key == b"content-type":
            self.content_type = value.decode("latin-1").partition(";")[0].strip().lower()

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        self._interim = 100 <= status < 200
        if not self._interim:
            self.status = status
            self.sized = self.sized or status in (204, 304)

    def on_body(self, data: bytes) -> None:
        if len(self.body) < BODY_LIMIT:
            self.body += data[: BODY_LIMIT - len(self.body)]

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            return
        self.keep_alive = self.parser.should_keep_alive()
        self.complete = True


class Completion(Exchange):
    """A measured request that is answered in one piece. Base of :class:`Stream`."""

    __slots__ = ("asked_tokens", "chunk_s", "decoded_per_iter", "error", "index", "output_tokens", "prompt_tokens",
                 "scheduled_s", "usage", "written_s")  # fmt: skip

    def __init__(self, index: int, prompt_tokens: int, asked_tokens: int, scheduled_s: float) -> None:
        super().__init__()
        self.index = index
        self.prompt_tokens = prompt_tokens
        self.asked_tokens = asked_tokens
        self.scheduled_s = scheduled_s
        self.written_s = 0.0
        self.chunk_s: list[float] = []
        self.output_tokens = 0
        self.usage = False
        self.decoded_per_iter: float | None = None
        self.error = ""

    def on_body(self, data: bytes) -> None:
        self.body += data

    def sample(self, done_s: float, error: str = "") -> RequestSample:
        """What was measured. ``error`` says why the exchange ended early, empty when the response is whole."""
        self.error = error or self.error or self._judge()
        last_s = self._last_s(done_s) if not self.error else None
        return RequestSample(
            index=self.index,
            scheduled_s=self.scheduled_s,
            written_s=self.written_s or done_s,
            first_s=self.chunk_s[0] if self.chunk_s else None,
            last_s=last_s,
            done_s=done_s,
            chunk_s=tuple(self.chunk_s),
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            asked_tokens=self.asked_tokens,
            usage_reported=self.usage,
            status=self.status,
            error=self.error,
            decoded_per_iter=self.decoded_per_iter,
        )

    def take_usage(self, chunk: Chunk) -> None:
        if chunk.completion_tokens is not None:
            self.output_tokens = chunk.completion_tokens
            self.usage = True
        if chunk.prompt_tokens:
            self.prompt_tokens = chunk.prompt_tokens
        if chunk.decoded_per_iter is not None:
            self.decoded_per_iter = chunk.decoded_per_iter

    def _judge(self) -> str:
        """Why a whole response is not a success; empty when it is one."""
        if self.status != 200:
            return f"HTTP {self.status}: {error_text(bytes(self.body)) or 'empty body'}"
        try:
            chunk = read_body(bytes(self.body))
        except ValueError as error:
            return f"malformed response: {error}"
        if chunk.error:
            return f"error in the response: {chunk.error}"
        self.take_usage(chunk)
        if not self.usage:
            self.output_tokens = int(chunk.text)
        return ""

    def _last_s(self, done_s: float) -> float | None:
        return done_s


class Stream(Completion):
    """A measured request that is answered with server-sent events."""

    __slots__ = ("_collect", "_finished", "_sse", "_text_chunks")

    def __init__(self, index: int, prompt_tokens: int, asked_tokens: int, scheduled_s: float) -> None:
        super().__init__(index, prompt_tokens, asked_tokens, scheduled_s)
        self._sse = SseParser()
        self._collect = False
        self._finished = False
        self._text_chunks = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._collect = self.status != 200 or self.content_type not in ("text/event-stream", "")

    def on_body(self, data: bytes) -> None:
        if self._collect:
            Exchange.on_body(self, data)
            return
        for event in self._sse.feed(data):
            self._on_event(event)

    def _on_event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._finished = True
            return
        try:
            chunk = read_chunk(data)
        except ValueError as error:
            self.error = self.error or f"malformed chunk {len(self.chunk_s)}: {error}"
            return
        if chunk.text:
            self._text_chunks += 1
            self.chunk_s.append(self.now)
        elif self._tokens_without_text(chunk):
            self.chunk_s.append(self.now)
        if chunk.error:
            self.error = self.error or f"error in the stream: {chunk.error}"
        self._finished = self._finished or chunk.finished
        self.take_usage(chunk)

    def _tokens_without_text(self, chunk: Chunk) -> bool:
        """Whether a chunk with empty text stands for tokens: its usage grew.

        A server that reports usage only once, with the end, says nothing about the chunk it comes in, unless no other
        chunk had tokens.
        """
        if not chunk.choices or chunk.completion_tokens is None:
            return False
        return chunk.completion_tokens > (self.output_tokens if self.usage else 0) and (self.usage or not self.chunk_s)

    def _judge(self) -> str:
        if self.status != 200:
            return f"HTTP {self.status}: {error_text(bytes(self.body)) or 'empty body'}"
        if self._collect:
            return (
                f"expected text/event-stream, found {self.content_type}: {error_text(bytes(self.body)) or 'empty body'}"
            )
        if self._sse.error is not None:
            return f"error in the stream: {self._sse.error}"
        if not self._finished:
            cut = "inside an event" if self._sse.pending else f"after {len(self.chunk_s)} chunks with tokens"
            return f"stream ended {cut}, without [DONE] and without finish_reason"
        if not self.usage:
            self.output_tokens = self._text_chunks
        return ""

    def _last_s(self, done_s: float) -> float | None:
        return self.chunk_s[-1] if self.chunk_s else None
