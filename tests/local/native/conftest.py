"""A real socket server whose every byte a test decides, and the native client on both event loops."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_disagg.clients.native.client import NativeClient
from pytest_disagg.clients.protocol import LoadPoint

POINT = LoadPoint(concurrency=1, num_prompts=1, isl=8, osl=4, model="m", request_timeout_s=20, timeout_s=60)
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


class Hangup(Exception):
    """Raised by a test's answer to close the connection at once."""


@dataclass
class Request:
    """What the server read. ``connection`` and ``number`` count from 0: which connection, which request on it."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int
    number: int
    write: Callable[[bytes], None]

    def events(self, *events: dict[str, Any] | str) -> None:
        """Write each event as one server-sent event in one HTTP chunk."""
        for event in events:
            text = event if isinstance(event, str) else json.dumps(event)
            data = f"data: {text}\n\n".encode()
            self.write(b"%x\r\n%b\r\n" % (len(data), data))


def text(content: str, finish: str | None = None, usage: int | None = None) -> dict[str, Any]:
    counts = None if usage is None else {"prompt_tokens": 8, "completion_tokens": usage}
    return {"choices": [{"index": 0, "text": content, "finish_reason": finish}], "usage": counts}


def usage(tokens: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": tokens}}


def whole_stream(request: Request) -> None:
    """A usual answer: four chunks of one token."""
    request.write(SSE)
    request.events(text("a"), text("b"), text("c"), text("d", "length"), usage(4), "[DONE]")
    request.write(END)


@dataclass
class Server:
    """Answers each POST with ``answer`` and each GET with an empty list, a thread per connection."""

    answer: Callable[[Request], None] = whole_stream
    tls: ssl.SSLContext | None = None
    posts: list[Request] = field(default_factory=list)
    gets: list[Request] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self) -> None:
        self.stopping.set()
        for sock in [self._listener, *self._sockets]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock, self.connections))
            self.connections += 1
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, connection: int) -> None:
        with suppress(OSError, Hangup):
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            with sock.makefile("rb") as reader:
                number = 0
                while line := reader.readline():
                    self._one(sock, reader, line, connection, number)
                    number += 1
        with suppress(OSError):
            sock.close()

    def _one(self, sock: socket.socket, reader: Any, line: bytes, connection: int, number: int) -> None:
        method, path, _ = line.decode().split()
        headers: dict[str, str] = {}
        while (header := reader.readline().decode().strip()) != "":
            name, _, value = header.partition(": ")
            headers[name.lower()] = value
        body = json.loads(reader.read(int(headers.get("content-length", 0))) or b"{}")
        request = Request(method, path, headers, body, connection, number, sock.sendall)
        if method == "GET":
            self.gets.append(request)
            sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
            return
        with self._lock:
            self.posts.append(request)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self.answer(request)
        finally:
            with self._lock:
                self.in_flight -= 1


def index_of(request: Request) -> int:
    """The number that the client gave this request."""
    return int(request.headers["x-request-id"].rpartition("-")[2])


def hold(server: Server) -> None:
    """Answer nothing until the test is over."""
    server.stopping.wait()
    raise Hangup


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def client(request: pytest.FixtureRequest) -> NativeClient:
    if request.param:
        pytest.importorskip("uvloop")
    return NativeClient(uvloop=request.param)
