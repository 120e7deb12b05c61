"""What Dynamo's processes say, as 1.6.1 says it, and what is made of it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.unit.engines.dynamo.conftest import AGGREGATED, ENGINE, LoadCase

MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model"}]}
WORKER_METRICS = """\
# TYPE dynamo_component_requests_total counter
dynamo_component_requests_total{dynamo_endpoint="generate",worker_id="a"} 2
dynamo_component_response_bytes_total{dynamo_endpoint="generate",worker_id="a"} 1500
dynamo_component_response_bytes_total{dynamo_endpoint="worker_kv_query_source_1",worker_id="a"} 700
dynamo_component_request_bytes_total{dynamo_endpoint="generate",worker_id="a"} 2616
dynamo_component_model_load_time_seconds{model="m"} 12.5
dynamo_component_uptime_seconds 30.2
"""


@dataclass
class Server:
    """Answers by path: text, or a status, or JSON. ``asked`` keeps the documents that were posted."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)

    def text(self, path: str) -> tuple[int, str]:
        found = self.answers.get(path, 404)
        if isinstance(found, int):
            return found, '{"error":"no"}'
        return 200, found if isinstance(found, str) else json.dumps(found)


@pytest.fixture
def said() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = server.text(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def do_POST(self) -> None:
            server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        http.shutdown()
        thread.join()


def instances(*components: str, namespace: str = "mine", endpoint: str = "generate") -> list[dict[str, Any]]:
    return [
        {"component": component, "endpoint": endpoint, "namespace": namespace, "instance_id": number}
        for number, component in enumerate(components)
    ]


def health(*found: dict[str, Any]) -> dict[str, Any]:
    return {"status": "healthy", "endpoints": [], "instances": list(found)}


def test_a_worker_is_healthy_by_its_status(said: Server) -> None:
    said.answers["/health"] = {"status": "ready", "endpoints": {"generate": "ready"}}
    assert ENGINE.healthy(said.url, 5).ok
    said.answers["/health"] = 503
    assert not ENGINE.healthy(said.url, 5).ok


def test_a_frontend_alone_is_not_healthy(said: Server) -> None:
    said.answers |= {"/health": health(), "/v1/models": {"data": []}}
    assert not ENGINE.healthy(said.url, 5).ok
    said.answers["/health"] = health(*instances("backend"))
    found = ENGINE.healthy(said.url, 5)
    assert (found.ok, "models: none" in found.seen) == (False, True)
    said.answers["/v1/models"] = MODELS
    assert ENGINE.healthy(said.url, 5).ok
    said.answers["/health"] = health(*instances("prefill"))
    assert not ENGINE.healthy(said.url, 5).ok, "a model may be listed before a worker decodes"


@pytest.mark.parametrize(
    ("found", "ok", "seen"),
    [
        (instances("prefill", "backend", "backend"), True, "1 of 1 prefill and 2 of 2 decode"),
        (instances("backend", "backend"), False, "0 of 1 prefill and 2 of 2 decode"),
        (instances("prefill", "backend"), False, "1 of 1 prefill and 1 of 2 decode"),
        # What a prefill worker serves besides is no second worker.
        (
            [*instances("backend", "backend"), *instances("prefill", endpoint="worker_kv_query_source_1")],
            False,
            "0 of 1",
        ),
        # Workers of another run that has the same etcd.
        ([*instances("prefill", "backend"), *instances("backend", namespace="other")], False, "1 of 2 decode"),
        (
            [*instances("prefill", "backend", "backend"), *instances("prefill", namespace="other")],
            True,
            "2 of 2 decode",
        ),
    ],
)
def test_routable(said: Server, found: list[dict[str, Any]], ok: bool, seen: str) -> None:
    said.answers |= {"/health": health(*found), "/v1/models": MODELS}
    answer = ENGINE.routable(said.url, ctx=1, gen=2, timeout_s=5)
    assert (answer.ok, seen in answer.seen) == (ok, True), answer
    assert "tiny" in answer.seen


def test_routable_without_a_model_or_an_answer(said: Server) -> None:
    said.answers |= {"/health": health(*instances("prefill", "backend"))}
    assert not ENGINE.routable(said.url, ctx=1, gen=1, timeout_s=5).ok
    assert not ENGINE.routable("http://127.0.0.1:9", ctx=1, gen=1, timeout_s=1).ok


def stream(*workers: dict[str, Any] | None) -> str:
    events = [{"choices": [{"text": " w"}], **({"nvext": {"worker_id": each}} if each else {})} for each in workers]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("answer", "ok", "seen"),
    [
        (stream({"prefill_worker_id": 11}, {"decode_worker_id": 22}), True, "prefill worker 11, decode worker 22"),
        (stream({"decode_worker_id": 22}, None), False, "prefill worker not named, decode worker 22"),
        # An aggregated worker calls itself both.
        (stream({"prefill_worker_id": 22, "decode_worker_id": 22}), False, "prefill worker 22"),
        (stream(None), False, "not named"),
        ("data: no json\n\n", False, "not named"),
        (503, False, "503"),
    ],
)
def test_a_request_has_to_name_its_workers(
    said: Server, load: LoadCase, answer: str | int, ok: bool, seen: str
) -> None:
    said.answers["/v1/completions"] = answer
    found = ENGINE.proof(load(), said.url, 5)
    assert (found.ok, seen in found.seen) == (ok, True), found
    (asked,) = said.asked
    assert len(asked["prompt"]) == 32, "the length of the load: routers may treat short prompts in another way"
    assert (asked["stream"], asked["nvext"]) == (True, {"extra_fields": ["worker_id", "timing"]})


def test_a_stream_that_does_not_end_is_no_answer(load: LoadCase) -> None:
    """Each of its parts comes in time."""
    over = threading.Event()

    def trickle(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with contextlib.suppress(OSError):
                while not over.wait(0.02):
                    connection.sendall(b"data: {}\n\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        found = ENGINE.proof(load(), f"http://127.0.0.1:{listener.getsockname()[1]}", 0.2)
        over.set()
        thread.join()
    assert (found.ok, "did not end within 0.2 s" in found.seen) == (False, True), found


def test_an_aggregated_worker_is_asked_as_its_load_asks(said: Server, load: LoadCase) -> None:
    (block,) = AGGREGATED["server_configs"]
    client = {"concurrency": 1, "isl": 8, "use_chat_template": True}
    case = load(AGGREGATED, server_configs=[{**block, "client_configs": [client]}])
    said.answers["/v1/chat/completions"] = stream({"prefill_worker_id": 22, "decode_worker_id": 22})
    assert ENGINE.proof(case, said.url, 5).ok
    assert len(said.asked[0]["messages"][0]["content"].split()) == 8


def test_nobody_to_ask(load: LoadCase) -> None:
    found = ENGINE.proof(load(), "http://127.0.0.1:9", 1)
    assert not found.ok
    assert "127.0.0.1:9" in found.seen


def test_progress_and_load_time(said: Server) -> None:
    assert ENGINE.progress(said.url, 5) is None
    assert ENGINE.startup(said.url, 5) is None
    said.answers["/metrics"] = WORKER_METRICS
    assert ENGINE.progress(said.url, 5) == 1502
    assert ENGINE.startup(said.url, 5) == {"model_load_time_s": 12.5}
    said.answers["/metrics"] = 'dynamo_frontend_output_tokens_total{model="tiny"} 56\n'
    assert ENGINE.progress(said.url, 5) == 56
    assert ENGINE.startup(said.url, 5) is None
    assert ENGINE.metrics_url("http://h:1", {}) == "http://h:1/metrics"
