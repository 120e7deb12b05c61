"""What the native client sends, counts and times."""

from __future__ import annotations

import gc
import json
import ssl
import threading
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trustme

from pytest_disagg.clients.native.arrivals import EARLY_S, OpenLoop
from pytest_disagg.clients.native.client import NativeClient
from pytest_disagg.clients.protocol import LoadProgress
from pytest_disagg.errors import ConfigError, RunError, UsageError
from tests.local.native.conftest import (
    END,
    POINT,
    SSE,
    Request,
    Server,
    hold,
    index_of,
    text,
    usage,
    whole_stream,
)


def test_a_closed_loop_keeps_every_slot_busy_on_one_connection_each(server: Server, client: NativeClient) -> None:
    together = threading.Barrier(4)
    finish = threading.Lock()

    def answer(request: Request) -> None:
        # Four must be in flight at once or nobody gets an answer. The in-flight count drops before the next is written.
        together.wait(60)
        with finish:
            whole_stream(request)

    server.answer = answer
    result = client.measure(server.url, replace(POINT, concurrency=4, num_prompts=12), 0)
    assert [sample.error for sample in result.samples] == [""] * 12
    assert [sample.index for sample in result.samples] == list(range(12))
    assert sorted(index_of(request) for request in server.posts) == list(range(12))
    assert result.max_in_flight == 4
    # How close to 4 depends on who else wants the cores; one request after the other would give 1.
    assert 1 < result.achieved_concurrency <= 4
    assert server.connections == 4
    assert result.reconnects == 0
    assert result.health is not None
    assert result.health.loop in ("uvloop", "asyncio")
    for sample in result.samples:
        assert sample.first_s is not None
        assert sample.scheduled_s <= sample.written_s < sample.first_s <= sample.done_s
        assert (sample.output_tokens, sample.prompt_tokens, sample.usage_reported) == (4, 8, True)
        assert len(sample.chunk_s) == 4


def test_connections_are_warmed_before_the_clock_and_outside_the_samples(server: Server) -> None:
    result = NativeClient().measure(server.url, replace(POINT, concurrency=3, num_prompts=3), 0)
    assert sorted(request.connection for request in server.gets) == [0, 1, 2]
    assert all(request.number > 0 for request in server.posts)
    assert len(result.samples) == 3


def test_the_request_asks_for_what_the_point_says(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    NativeClient().probe(server.url + "/prefix/", replace(POINT, seed=3))
    (request,) = server.posts
    assert request.path == "/prefix/v1/completions"
    assert request.headers["authorization"] == "Bearer k"
    ids = request.body.pop("prompt")
    assert ids == [(ids[0] + k) % 32000 for k in range(8)]
    assert request.body == {
        "model": "m",
        "max_tokens": 4,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }


def test_chat_and_no_stream(server: Server) -> None:
    def answer(request: Request) -> None:
        message = {"role": "assistant", "content": "hello"}
        body = json.dumps(
            {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage(4)["usage"]}
        ).encode()
        request.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        request.write(body)

    server.answer = answer
    point = replace(POINT, use_chat_template=True, streaming=False, ignore_eos=False)
    (sample,) = NativeClient().measure(server.url, point, 0).samples
    assert server.posts[0].path == "/v1/chat/completions"
    assert server.posts[0].body["messages"][0]["role"] == "user"
    assert len(server.posts[0].body["messages"][0]["content"].split()) == 8
    assert "ignore_eos" not in server.posts[0].body
    assert "stream_options" not in server.posts[0].body
    assert sample.ok
    assert (sample.ttft_s, sample.tpot_s, sample.chunk_s) == (None, None, ())
    assert sample.e2el_s == sample.done_s - sample.written_s
    assert sample.output_tokens == 4


def test_the_first_token_is_the_first_text_not_the_first_chunk(server: Server) -> None:
    text_written_s: list[float] = []

    def answer(request: Request) -> None:
        request.write(SSE)
        request.events({"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
        text_written_s.append(monotonic())
        request.events({"choices": [{"delta": {"content": "hi"}, "finish_reason": None}]})
        request.events({"choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]}, usage(3), "[DONE]")
        request.write(END)

    server.answer = answer
    sample = NativeClient().probe(server.url, POINT)
    assert sample.first_s is not None
    assert sample.first_s >= text_written_s[0]
    assert sample.chunk_s == (sample.first_s,)
    assert sample.output_tokens == 3


def test_a_stream_may_come_byte_by_byte(server: Server, client: NativeClient) -> None:
    def answer(request: Request) -> None:
        lines = [": a comment", "data: {", f"data: {json.dumps(text('x'))[1:]}", "", "data: [DONE]", ""]
        stream = "".join(f"{line}\r\n" for line in lines).encode()
        for byte in SSE + b"".join(b"1\r\n%c\r\n" % value for value in stream) + END:
            request.write(bytes([byte]))

    server.answer = answer
    sample = client.probe(server.url, POINT)
    assert sample.error == ""
    assert sample.output_tokens == 1


def test_a_reason_to_stop_ends_the_load(server: Server, client: NativeClient) -> None:
    server.answer = lambda request: hold(server)
    with pytest.raises(RunError, match="GEN_0 is dead"):
        client.measure(server.url, POINT, 0, should_stop=lambda: "GEN_0 is dead" if server.posts else None)


def test_what_a_callback_raises_ends_the_load(server: Server) -> None:
    def on_progress(progress: LoadProgress) -> None:
        raise KeyError(progress.total)

    server.answer = lambda request: hold(server)
    with pytest.raises(KeyError, match="7"):
        NativeClient().measure(server.url, replace(POINT, num_prompts=7), 0, on_progress=on_progress)


def test_progress_counts_what_happened(server: Server) -> None:
    seen: list[LoadProgress] = []
    NativeClient().measure(server.url, replace(POINT, num_prompts=3), 0, on_progress=seen.append)
    last = seen[-1]
    assert (last.completed, last.failed, last.in_flight, last.output_chunks, last.total) == (3, 0, 0, 12, 3)


def test_an_open_loop_sends_at_seeded_times_within_the_concurrency(server: Server, client: NativeClient) -> None:
    point = replace(POINT, concurrency=2, num_prompts=20, request_rate=400.0, seed=5)
    result = client.measure(server.url, point, 0)
    expected = OpenLoop(20, 400.0, 5)
    expected.begin(0.0)
    times: list[float] = []
    while (due := expected.next_due()) is not None:
        times.append(due)
        expected.take(due)
    begun = result.samples[0].scheduled_s
    assert [s.scheduled_s - begun for s in result.samples] == pytest.approx(times)
    assert all(s.written_s >= s.scheduled_s - EARLY_S for s in result.samples)
    assert all(s.ok for s in result.samples)
    assert server.most_in_flight <= 2


def test_a_repeat_is_the_same_work_with_other_prompts(server: Server) -> None:
    point = replace(POINT, num_prompts=5, random_range_ratio=0.5, isl=100)
    bodies: list[list[Any]] = []
    for repeat in (0, 0, 1):
        NativeClient().measure(server.url, point, repeat)
        bodies.append([request.body["prompt"] for request in server.posts])
        server.posts.clear()
    assert bodies[0] == bodies[1]
    assert bodies[0] != bodies[2]
    assert [len(prompt) for prompt in bodies[0]] == [len(prompt) for prompt in bodies[2]]


def test_a_short_dataset_is_used_again_and_noted(server: Server, tmp_path: Path) -> None:
    lines = [{"input": {"messages": [{"role": "user", "content": f"p{i}"}], "max_tokens": 4}} for i in range(2)]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    result = NativeClient().measure(server.url, replace(POINT, num_prompts=4, dataset_file=path), 0)
    assert sorted(request.body["prompt"] for request in server.posts) == ["p0", "p0", "p1", "p1"]
    assert result.notes == (f"dataset {path}: 2 prompts for 4 requests, used 2.0 times",)
    with pytest.raises(ConfigError, match=r"gone\.jsonl"):
        NativeClient().measure(server.url, replace(POINT, dataset_file=tmp_path / "gone.jsonl"), 0)


def test_points_and_urls_that_cannot_be_sent(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"concurrency.*\n.*request_rate"):
        NativeClient().measure(server.url, replace(POINT, concurrency=0, request_rate=-1.0), 0)
    with pytest.raises(UsageError, match="expected http://HOST:PORT"):
        NativeClient().measure("127.0.0.1:80", POINT, 0)


def test_garbage_collection_is_off_during_the_load_and_back_on_after_it(server: Server) -> None:
    enabled: list[bool] = []

    def answer(request: Request) -> None:
        enabled.append(gc.isenabled())
        whole_stream(request)

    server.answer = answer
    NativeClient().measure(server.url, POINT, 0)
    assert enabled == [False]
    assert gc.isenabled()


def test_https_is_verified_against_the_given_authority(
    client: NativeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = Server(tls=context)
    try:
        with pytest.raises(RunError, match=r"no connection to https://.*certificate verify failed"):
            client.measure(server.url, POINT, 0)
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        result = client.measure(server.url, replace(POINT, concurrency=2, num_prompts=6), 0)
    finally:
        server.stop()
    assert [sample.error for sample in result.samples] == [""] * 6
    assert result.reconnects == 0
