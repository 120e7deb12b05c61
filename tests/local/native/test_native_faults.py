"""What the native client makes of servers that misbehave."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pytest_disagg.clients.native import load as load_module
from pytest_disagg.clients.native.arrivals import OpenLoop
from pytest_disagg.clients.native.client import NativeClient
from pytest_disagg.errors import RunError
from tests.local.native.conftest import (
    END,
    POINT,
    SSE,
    Hangup,
    Request,
    Server,
    hold,
    index_of,
    text,
    usage,
    whole_stream,
)


def status(code: bytes, body: bytes) -> Callable[[Request], None]:
    return lambda request: request.write(
        b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (code, len(body), body)
    )


def streamed(*events: dict[str, Any] | str, end: bytes = END) -> Callable[[Request], None]:
    def answer(request: Request) -> None:
        request.write(SSE)
        request.events(*events)
        request.write(end)
        if not end:
            raise Hangup

    return answer


def hang_up(request: Request) -> None:
    raise Hangup


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(b"500 Oops", b'{"error": {"message": "GEN_0 is gone"}}'), "HTTP 500: GEN_0 is gone"),
        (status(b"503 Busy", b"try later"), "HTTP 503: try later"),
        (status(b"200 OK", b'{"choices": []}'), "expected text/event-stream, found application/json"),
        (lambda request: request.write(b"SMTP\r\n\r\n"), "malformed HTTP response"),
        (streamed(text("a"), {"error": {"message": "out of blocks"}}, "[DONE]"), "in the stream: out of blocks"),
        (streamed(text("a"), '{"choices": [', "[DONE]"), "malformed chunk 1"),
        (streamed(text("a"), text("b")), "stream ended after 2 chunks"),
        (streamed(text("a"), end=b""), "connection closed inside the response"),
        (hang_up, "connection closed before any byte"),
    ],
)
def test_a_bad_answer_is_an_error_and_the_load_goes_on(
    server: Server, client: NativeClient, answer: Callable[[Request], None], error: str
) -> None:
    server.answer = lambda request: (answer if index_of(request) == 1 else whole_stream)(request)
    result = client.measure(server.url, replace(POINT, num_prompts=3), 0)
    assert error in result.samples[1].error
    assert [sample.ok for sample in result.samples] == [True, False, True]
    assert len(server.posts) == 3


def test_no_tokens_is_no_error(server: Server) -> None:
    server.answer = streamed(text("", "stop"), usage(0), "[DONE]")
    sample = NativeClient().probe(server.url, POINT)
    assert sample.ok
    assert (sample.output_tokens, sample.first_s, sample.e2el_s) == (0, None, None)


@pytest.mark.parametrize(
    "head",
    [
        SSE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
    ],
    ids=["connection-close", "until-eof"],
)
def test_a_connection_is_opened_again_outside_the_measured_time(
    server: Server, client: NativeClient, head: bytes
) -> None:
    def answer(request: Request) -> None:
        is_chunked = b"chunked" in head
        events = f"data: {json.dumps(text('x', 'stop'))}\n\ndata: [DONE]\n\n".encode()
        request.write(head + (b"%x\r\n%b\r\n0\r\n\r\n" % (len(events), events) if is_chunked else events))
        raise Hangup

    server.answer = answer
    result = client.measure(server.url, replace(POINT, num_prompts=4), 0)
    assert [sample.error for sample in result.samples] == [""] * 4
    assert result.reconnects == 3


def test_an_interim_response_is_passed_over(server: Server, client: NativeClient) -> None:
    def answer(request: Request) -> None:
        request.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        whole_stream(request)

    server.answer = answer
    result = client.measure(server.url, replace(POINT, num_prompts=3), 0)
    assert [sample.error for sample in result.samples] == [""] * 3
    assert result.reconnects == 0


def test_a_connection_closed_while_it_is_idle_costs_no_request(server: Server, client: NativeClient) -> None:
    def answer(request: Request) -> None:
        whole_stream(request)
        raise Hangup

    server.answer = answer
    rate = 10.0
    seed = next(seed for seed in range(100) if gap_s(rate, seed) > 0.1)
    result = client.measure(server.url, replace(POINT, num_prompts=2, request_rate=rate, seed=seed), 0)
    assert [sample.error for sample in result.samples] == ["", ""]
    assert result.reconnects == 1


def gap_s(rate: float, seed: int) -> float:
    arrivals = OpenLoop(2, rate, seed)
    arrivals.begin(0.0)
    arrivals.take(0.0)
    return arrivals.next_due() or 0.0


def test_only_after_an_idle_time_is_a_request_written_again(
    server: Server, client: NativeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: Request) -> None:
        if request.connection == 0:
            raise Hangup
        whole_stream(request)

    server.answer = answer
    # However long this machine takes from opening a connection to writing on it.
    monkeypatch.setattr(load_module, "IDLE_RACE_S", math.inf)
    first = client.measure(server.url, POINT, 0)
    assert "before any byte" in first.samples[0].error
    monkeypatch.setattr(load_module, "IDLE_RACE_S", 0.0)
    server.connections = 0
    second = client.measure(server.url, POINT, 0)
    assert second.samples[0].ok
    assert second.reconnects == 1


def test_a_request_over_its_time_is_an_error(server: Server, client: NativeClient) -> None:
    def answer(request: Request) -> None:
        if index_of(request) == 0:
            request.write(SSE)
            request.events(text("a"))
            server.stopping.wait()
            raise Hangup
        whole_stream(request)

    server.answer = answer
    result = client.measure(server.url, replace(POINT, num_prompts=2, request_timeout_s=1.0), 0)
    assert result.samples[0].error == ("timeout: no end of the response within 1 s, last seen 1 chunks with tokens")
    assert result.samples[1].ok


def test_a_load_over_its_time_ends_with_what_was_last_seen(server: Server, client: NativeClient) -> None:
    server.answer = lambda request: whole_stream(request) if index_of(request) == 0 else hold(server)
    with pytest.raises(RunError, match=r"within 1 s: awaited 3 requests, last seen 1 completed, 0 failed, 1 in") as e:
        client.measure(server.url, replace(POINT, num_prompts=3, timeout_s=1.0), 0)
    assert (e.value.kind, e.value.stage) == ("functional", "measure")


def test_no_connection_names_the_url_and_the_reason(client: NativeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(RunError, match=rf"no connection to {url}: .*refused.*0 of 1 ") as e:
        client.measure(url, POINT, 0)
    assert e.value.kind == "functional"
    sample = client.probe(url, POINT)
    assert "refused" in sample.error
    assert (sample.status, sample.asked_tokens) == (0, 4)


def test_a_server_that_dies_leaves_a_sample_per_request(server: Server, client: NativeClient) -> None:
    def answer(request: Request) -> None:
        whole_stream(request)
        if index_of(request) == 2:
            threading.Thread(target=server.stop).start()
            raise Hangup

    server.answer = answer
    result = client.measure(server.url, replace(POINT, num_prompts=30), 0)
    assert len(result.samples) == 30
    assert result.samples[0].ok
    assert not result.samples[-1].ok
