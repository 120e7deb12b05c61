"""A proxy in front of a server that misbehaves as told, one request after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import requests

Manner = int | Literal["cut", "torn", "silent", "pass"]
"""A status code; the connection closed before the server saw the request; closed after it; no answer; passed on."""

_HOP = {"connection", "transfer-encoding", "content-encoding", "content-length", "keep-alive", "host"}


class Proxy:
    """``manners`` are used up by the requests that come, in order; after that all are passed on.

    ``seen`` lists what came: method, path, and the manner it met.
    """

    def __init__(self, upstream: str) -> None:
        self.manners: list[Manner] = []
        self.seen: list[tuple[str, str, Manner]] = []
        self.ended = threading.Event()
        self._upstream = upstream
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                proxy._handle(self)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _any

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator[Proxy]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.ended.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            manner = self.manners.pop(0) if self.manners else "pass"
            self.seen.append((request.command, request.path, manner))
        if manner == "cut":
            request.close_connection = True
            return
        if manner == "silent":
            self.ended.wait()
            request.close_connection = True
            return
        if isinstance(manner, int):
            self._answer(request, manner, {"Content-Type": "application/json"}, b'{"error": "as told"}')
            return
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in _HOP - {"content-encoding"}
        }
        answer = requests.request(
            request.command, self._upstream + request.path, headers=headers, data=body, timeout=30
        )
        if manner == "torn":
            request.close_connection = True
            return
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        self._answer(request, answer.status_code, kept, b"" if request.command == "HEAD" else answer.content)

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
