"""HTTP/1.1 for simulated processes, on httptools: what a server needs that starts at once and streams to many.

Connections are kept alive, requests of one connection are answered in their order, bodies may be chunked either way,
and a handler is cancelled when its client leaves. There is no TLS, no compression, no HTTP/2.
"""

from __future__ import annotations

import asyncio
import json
import socket
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

import httptools

from pytest_disagg.engines.sim.console import log

MAX_BODY_BYTES = 64 * 2**20
MAX_HEAD_BYTES = 64 * 2**10


@dataclass(frozen=True)
class Request:
    """A request that was read completely. ``path`` is without the query; names of ``headers`` are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    transport: asyncio.Transport
    chunked: bool
    """Whether the client takes an answer of unknown length; one of HTTP/1.0 does not."""
    keep_alive: bool
    streams: list[Stream] = field(default_factory=list)
    """The stream that answers it, once its head is out."""


@dataclass(frozen=True)
class Response:
    """A whole answer."""

    body: bytes = b""
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


class Stream:
    """An answer of unknown length. Its head is sent at once; ``frame`` says how pieces of its body look on the wire."""

    def __init__(self, request: Request, content_type: str) -> None:
        if not request.chunked:
            raise HttpError(Response(b"a stream needs HTTP/1.1", 505))
        self.ended = False
        self._transport = request.transport
        headers = (f"Content-Type: {content_type}", "Cache-Control: no-cache", "Transfer-Encoding: chunked")
        self._transport.write(_head(200, request.keep_alive, *headers))
        request.streams.append(self)

    def end(self, data: bytes) -> None:
        """Write the last piece, and that it was the last."""
        self.ended = True
        if not self._transport.is_closing():
            self._transport.write((frame(data) if data else b"") + b"0\r\n\r\n")


Answer = Response | Stream
Handler = Callable[[Request], Awaitable[Answer]]


class HttpError(Exception):
    """Carries the answer to a request that no handler can answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def frame(data: bytes) -> bytes:
    """One chunk of HTTP/1.1 chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def json_response(content: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(json.dumps(content).encode(), status, "application/json; charset=utf-8")


class App:
    """Routes, and the connections that are open."""

    def __init__(self) -> None:
        self._routes: dict[str, dict[str, Handler]] = {}
        self._open: set[_Connection] = set()

    def add_get(self, path: str, handler: Handler) -> None:
        """GET and HEAD of ``path``. One that ends with a slash stands for everything below."""
        self._routes.setdefault(path, {}).update({"GET": handler, "HEAD": handler})

    def add_post(self, path: str, handler: Handler) -> None:
        """POST to ``path``, see :meth:`add_get`."""
        self._routes.setdefault(path, {})["POST"] = handler

    def connection(self) -> asyncio.Protocol:
        """What a listener makes for each client."""
        return _Connection(self, self._open)

    async def close(self) -> None:
        """Cancel every handler and close every connection."""
        tasks = [connection.close() for connection in tuple(self._open)]
        await asyncio.gather(*tasks, return_exceptions=True)

    def handler(self, method: str, path: str) -> Handler:
        """Raises HttpError: there is no such path, or it does not take the method."""
        methods = self._routes.get(path) or self._routes.get(path[: path.rfind("/") + 1])
        if methods is None:
            raise HttpError(Response(b"404: Not Found", 404))
        if method not in methods:
            raise HttpError(Response(f"405: {path} takes {', '.join(methods)}".encode(), 405))
        return methods[method]


class _Connection(asyncio.Protocol):
    """One client. A task answers its requests one after the other, and ends with the connection."""

    def __init__(self, app: App, connections: set[_Connection]) -> None:
        self._app = app
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self._target = b""
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._body = bytearray()

    def close(self) -> asyncio.Task[None]:
        """Close what is written; the task that is ending."""
        self._transport.close()
        self._task.cancel()
        return self._task

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by behaviour, not by class.
        self._transport = cast(asyncio.Transport, transport)
        # asyncio sets it where it knows that a socket is TCP's, which it does not of one that was accepted by ours.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(self)
        self._task = asyncio.get_running_loop().create_task(self._answer_all())

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise HttpError(Response(b"431: the head is too long", 431))
        except httptools.HttpParserUpgrade:
            pass  # An offer that is not taken up; the request itself is complete, as it has no body.
        except httptools.HttpParserCallbackError as error:
            self._refuse(error.__context__)
        except (httptools.HttpParserError, HttpError) as error:
            self._refuse(error)

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body = b"", {}, bytearray()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        # The parser takes what follows such an offer for the other protocol: a body would be lost.
        has_body = self._headers.get("content-length", "0") != "0" or "transfer-encoding" in self._headers
        if self._parser.should_upgrade() and has_body:
            raise HttpError(Response(b"501: a request with a body may not offer another protocol", 501))
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._head_bytes = 0
        self._body += data
        if len(self._body) > MAX_BODY_BYTES:
            raise HttpError(Response(f"413: a body has at most {MAX_BODY_BYTES} bytes".encode(), 413))

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._requests.put_nowait(
            Request(
                method=self._parser.get_method().decode("latin-1"),
                path=self._target.partition(b"?")[0].decode("latin-1"),
                headers=self._headers,
                body=bytes(self._body),
                transport=self._transport,
                chunked=self._parser.get_http_version() == "1.1",
                keep_alive=self._parser.should_keep_alive() and not self._parser.should_upgrade(),
            )
        )

    def _refuse(self, error: BaseException | None) -> None:
        """Nothing that follows on this connection can be told apart."""
        response = error.response if isinstance(error, HttpError) else Response(f"400: {error}".encode(), 400)
        self._send(response, keep_alive=False)
        self.close()

    async def _answer_all(self) -> None:
        keep_alive = True
        try:
            while keep_alive:
                request = await self._requests.get()
                keep_alive = request.keep_alive
                answer = await self._answer(request)
                if isinstance(answer, Response):
                    self._send(answer, keep_alive=keep_alive, head_only=request.method == "HEAD")
                else:
                    keep_alive = keep_alive and answer.ended
        finally:
            self._transport.close()

    async def _answer(self, request: Request) -> Answer:
        answer: Answer
        try:
            answer = await self._app.handler(request.method, request.path)(request)
        except HttpError as error:
            answer = error.response
        except Exception:  # noqa: BLE001 - a bug in one handler is one failed request
            log(f"{request.method} {request.path} failed\n{traceback.format_exc()}")
            answer = Response(b"500: see the log", 500)
        # Once the head of a stream is out no other answer can follow: it is torn, as its handler left it.
        return request.streams[-1] if request.streams else answer

    def _send(self, answer: Response, *, keep_alive: bool, head_only: bool = False) -> None:
        if self._transport.is_closing():
            return
        headers = (f"Content-Type: {answer.content_type}", f"Content-Length: {len(answer.body)}")
        head = _head(answer.status, keep_alive, *headers)
        self._transport.write(head if head_only else head + answer.body)


def _head(status: int, keep_alive: bool, *headers: str) -> bytes:
    connection = "keep-alive" if keep_alive else "close"
    lines = (f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *headers, f"Connection: {connection}")
    return "\r\n".join((*lines, "", "")).encode("latin-1")
