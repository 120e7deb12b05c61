"""A server that knows when it wrote: streams chunks on an absolute schedule and tells the true times afterwards.

``POST`` anything: a streamed completion of ``max_tokens`` chunks, the first ``--first-ms`` after the request was read,
then one every ``--gap-ms``, each due at its own absolute time (a late chunk does not move the next). ``GET /truth``:
the times, CLOCK_MONOTONIC seconds, of every request since the last such GET, as ``[{"received_s": R, "written_s":
[...]}, ...]``. ``GET`` anything else: an empty list of models. With ``--address-file`` the address is written there
once it is bound.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import os
import re
import signal
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


def chunked(event: dict[str, Any]) -> bytes:
    """One server-sent event as one HTTP chunk."""
    data = b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def token(text: str, finish: str | None) -> dict[str, Any]:
    """A completion chunk."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return {"id": "cmpl-truth", "object": "text_completion", "model": "truth", "choices": [choice], "usage": None}


TOKEN = chunked(token(" the", None))
LAST = chunked(token(" end", "length"))
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Stream:
    """One response under way."""

    def __init__(self, connection: Connection, received_s: float, chunks: int, prompt_tokens: int) -> None:
        self.connection = connection
        self.received_s = received_s
        self.chunks = chunks
        self.prompt_tokens = prompt_tokens
        self.written_s: list[float] = []

    def write_next(self) -> bool:
        """Write the chunk that is due; whether another one follows."""
        number = len(self.written_s) + 1
        data = TOKEN
        if number == self.chunks:
            usage = {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": number,
                "total_tokens": self.prompt_tokens + number,
            }
            data = LAST + chunked({"id": "cmpl-truth", "choices": [], "usage": usage}) + DONE
        if number == 1:
            data = HEAD + data
        self.written_s.append(monotonic())
        self.connection.write(data)
        return number < self.chunks


class Schedule:
    """Writes every stream's chunks at their times."""

    def __init__(self, first_s: float, gap_s: float) -> None:
        self._first_s = first_s
        self._gap_s = gap_s
        self._due: list[tuple[float, int, Stream]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self.finished: list[Stream] = []

    def add(self, stream: Stream) -> None:
        self._push(stream.received_s + self._first_s, stream)

    def _push(self, due_s: float, stream: Stream) -> None:
        heapq.heappush(self._due, (due_s, next(self._order), stream))
        if self._timer is None:
            self._arm()

    def _arm(self) -> None:
        delay_s = max(0.0, self._due[0][0] - monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        while self._due and self._due[0][0] <= monotonic():
            due_s, _, stream = heapq.heappop(self._due)
            if stream.write_next():
                heapq.heappush(self._due, (due_s + self._gap_s, next(self._order), stream))
            else:
                self.finished.append(stream)
        if self._due and self._timer is None:
            self._arm()


class Connection(asyncio.Protocol):
    """Reads requests, one at a time."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a Protocol is given a Transport
        self._fd = transport.get_extra_info("socket").fileno()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def write(self, data: bytes) -> None:
        if self._transport is None:
            return
        try:
            # At once: a transport may keep a write for later, and the time just taken would not be the truth.
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._transport.abort()
            return
        if sent < len(data):
            self._transport.write(data[sent:])

    def data_received(self, data: bytes) -> None:
        now = monotonic()
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        size = int(length.group(1)) if length else 0
        if not separator or len(body) < size:
            return
        self._buffer = body[size:]
        if head.startswith(b"GET "):
            self._answer_get(head.split(b" ", 2)[1])
            return
        request = json.loads(body[:size])
        self._schedule.add(Stream(self, now, request["max_tokens"], len(request["prompt"])))

    def _answer_get(self, path: bytes) -> None:
        answer: Any = {"object": "list", "data": []}
        if path == b"/truth":
            finished = self._schedule.finished
            answer = [{"received_s": stream.received_s, "written_s": stream.written_s} for stream in finished]
            finished.clear()
        body = json.dumps(answer).encode()
        self.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )


async def serve(args: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    schedule = Schedule(args.first_ms / 1000, args.gap_ms / 1000)
    server = await loop.create_server(lambda: Connection(schedule), args.host, args.port, backlog=4096)
    address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
    if args.address_file is not None:
        temporary = args.address_file.with_suffix(".tmp")
        temporary.write_text(address)
        temporary.replace(args.address_file)
    print(f"serving on {address}", flush=True)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--address-file", type=Path)
    parser.add_argument("--first-ms", type=float, default=50.0)
    parser.add_argument("--gap-ms", type=float, default=20.0)
    args = parser.parse_args()
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(args))
    else:
        uvloop.run(serve(args))


if __name__ == "__main__":
    main()
