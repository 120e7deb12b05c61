"""The path of a streamed chunk: rendered once, framed once, one write each."""

from __future__ import annotations

import asyncio

from pytest_disagg.engines.sim.openai import Renderer
from pytest_disagg.engines.sim.truth import TruthLog
from pytest_disagg.engines.sim.web import frame


class StreamSink:
    """Writes a request's chunks straight to its connection.

    Head and end of the answer are those of :class:`~pytest_disagg.engines.sim.web.Stream`. A slow reader is not waited
    for: decoding does not stop for one client, and its chunks are bounded by the request's output length.
    """

    __slots__ = (
        "_chunks",
        "_finish",
        "_frames",
        "_opening",
        "_received_s",
        "_renderer",
        "_request_id",
        "_transport",
        "_truth",
    )

    def __init__(
        self,
        renderer: Renderer,
        transport: asyncio.Transport,
        *,
        finish: str,
        request_id: str,
        received_s: float,
        truth: TruthLog | None,
    ) -> None:
        self._renderer = renderer
        self._transport = transport
        self._finish = finish
        self._request_id = request_id
        self._received_s = received_s
        self._truth = truth
        self._opening = renderer.opening()
        self._frames: dict[int, bytes] = {}
        self._chunks = 0

    def __call__(self, tokens: int, last: bool) -> None:
        if self._transport.is_closing():
            return
        if last:
            data = frame(self._renderer.event(tokens, self._finish))
        else:
            data = self._frames.get(tokens) or self._frames.setdefault(
                tokens, frame(self._renderer.event(tokens, None))
            )
        if self._opening:
            data = frame(self._opening) + data
            self._opening = b""
        if self._truth is not None:
            self._truth.add(self._request_id, self._chunks, tokens, self._received_s)
        self._chunks += 1
        self._transport.write(data)
