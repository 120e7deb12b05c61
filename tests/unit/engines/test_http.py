"""Questions over HTTP, asked of a server of the test's own."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pytest_disagg.engines import http

LIMIT_S = 60.0
"""More than any answer here takes."""
PAGES = {
    "/metrics": (200, "tokens_total 3\ntokens_total +Inf\ntokens_total 1.5e1\ntokens_total many\n"),
    "/object": (200, '{"a": 1}'),
    "/list": (200, "[1]"),
    "/text": (200, "no JSON"),
    "/busy": (503, '{"a": 1}'),
}


class _Handler(BaseHTTPRequestHandler):
    over: threading.Event

    def do_GET(self) -> None:
        status, text = PAGES.get(self.path, (404, ""))
        self._send(status, text.encode())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/echo":
            self._send(200, json.dumps({**asked, "type": self.headers["Content-Type"]}).encode())
            return
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(3000):  # 30 s: longer than the test lets it take, but no hang where nobody goes away
                self.wfile.write(b"data: {}\n\n")
                if self.over.wait(0.01):
                    return
        except OSError:
            pass  # whoever asked has gone

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def url() -> Iterator[str]:
    over = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"over": over}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_answer_is_its_status_and_text(url: str) -> None:
    assert http.get(f"{url}/busy", LIMIT_S) == (503, '{"a": 1}')


def test_json_is_sent_as_such(url: str) -> None:
    answer = http.post(f"{url}/echo", {"prompt": [1, 2]}, LIMIT_S)
    assert json.loads(answer.text) == {"prompt": [1, 2], "type": "application/json"}


def test_a_stream_that_does_not_end_is_left(url: str) -> None:
    with pytest.raises(TimeoutError):
        http.post(f"{url}/endless", {}, 1.0)


def test_text_is_that_of_an_answer_200(url: str) -> None:
    assert http.text_of(f"{url}/text", LIMIT_S) == "no JSON"
    assert http.text_of(f"{url}/busy", LIMIT_S) == ""
    assert http.text_of("http://127.0.0.1:1/text", LIMIT_S) == ""


def test_json_is_an_object_or_none(url: str) -> None:
    assert http.json_of(f"{url}/object", LIMIT_S) == {"a": 1}
    assert [http.json_of(f"{url}/{page}", LIMIT_S) for page in ("list", "text", "busy", "gone")] == [None] * 4


def test_numbers_of_metrics_are_finite(url: str) -> None:
    pattern = re.compile(r"^tokens_total (\S+)", re.MULTILINE)
    assert http.numbers(pattern, http.text_of(f"{url}/metrics", LIMIT_S)) == [3.0, 15.0]
    assert http.numbers(pattern, "") == []
