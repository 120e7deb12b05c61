"""Questions about a URL, answered by a server that says what the real ones were seen to say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.unit.engines.sglang.conftest import ENGINE

SERVER_METRICS = """\
# HELP sglang:prompt_tokens_total Number of prefill tokens processed.
# TYPE sglang:prompt_tokens_total counter
sglang:prompt_tokens_total{model_name="m",tp_rank="0"} 1000.0
sglang:generation_tokens_total{model_name="m"} 20.0
sglang:realtime_tokens_total{mode="decode",model_name="m"} 3.0
sglang:generation_tokens_histogram_sum{model_name="m"} 9999.0
sglang:num_running_reqs{model_name="m"} 77.0
"""
WAIT_S = 30.0
"""A limit that nothing here gets to."""


class Server:
    """Pages by path; anything else is 404."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = pages.get(self.path)
                self.send_response(404 if text is None else 200)
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def asked() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def workers(*listed: tuple[str, bool]) -> str:
    return json.dumps({"workers": [{"url": "u", "worker_type": kind, "is_healthy": up} for kind, up in listed]})


def test_routable_counts_healthy_workers_of_each_kind(asked: Server) -> None:
    asked.pages["/workers"] = workers(("decode", True), ("prefill", True), ("decode", False))
    seen = ENGINE.routable(asked.url, ctx=1, gen=2, timeout_s=WAIT_S)
    assert (seen.ok, seen.seen) == (False, f"1 of 1 CTX and 1 of 2 GEN servers routable at {asked.url}")
    asked.pages["/workers"] = workers(("decode", True), ("prefill", True), ("decode", True))
    assert ENGINE.routable(asked.url, ctx=1, gen=2, timeout_s=WAIT_S).ok


@pytest.mark.parametrize("page", ["no JSON", "[]", '{"workers": [1]}', None])
def test_a_router_that_says_something_else(asked: Server, page: str | None) -> None:
    if page is not None:
        asked.pages["/workers"] = page
    seen = ENGINE.routable(asked.url, ctx=1, gen=1, timeout_s=WAIT_S)
    assert not seen.ok
    assert "/workers: " in seen.seen


def test_health_has_more_time_than_a_server_needs_for_it(asked: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.pages["/health"] = ""
    assert ENGINE.healthy(asked.url, WAIT_S).ok
    given: list[float] = []

    def healthy(_url: str, timeout_s: float) -> None:
        given.append(timeout_s)

    monkeypatch.setattr("pytest_disagg.engines.http.healthy", healthy)
    for timeout_s in (1.0, 30.0):
        ENGINE.healthy(asked.url, timeout_s)
    assert given == [5.0, 30.0]


def test_progress_of_a_server(asked: Server) -> None:
    assert ENGINE.progress(asked.url, WAIT_S) is None
    asked.pages["/metrics"] = SERVER_METRICS
    assert ENGINE.progress(asked.url, WAIT_S) == 1023
    asked.pages["/metrics"] = "sim_iterations_total 4\nsim_generation_tokens_total 5\nsim_requests_total 6\n"
    assert ENGINE.progress(asked.url, WAIT_S) == 9
    asked.pages["/metrics"] = "something_else 1\n"
    assert ENGINE.progress(asked.url, WAIT_S) is None
    assert ENGINE.metrics_url(asked.url, {}) == f"{asked.url}/metrics"


def test_what_a_server_says_of_its_start(asked: Server) -> None:
    assert ENGINE.startup(asked.url, WAIT_S) is None
    asked.pages["/server_info"] = '{"version": "0.5.23", "startup_time": {"load_weight": 12.5}, "api_key": "hidden"}'
    assert ENGINE.startup(asked.url, WAIT_S) == {"version": "0.5.23", "startup_time": {"load_weight": 12.5}}
    asked.pages["/server_info"] = '{"role": "GEN_0"}'
    assert ENGINE.startup(asked.url, WAIT_S) is None


def test_nobody_is_there(asked: Server) -> None:
    asked.close()
    assert not ENGINE.healthy(asked.url, WAIT_S).ok
    assert not ENGINE.routable(asked.url, ctx=1, gen=1, timeout_s=WAIT_S).ok
    assert ENGINE.progress(asked.url, WAIT_S) is None
    assert ENGINE.startup(asked.url, WAIT_S) is None
