"""How the chunks of one response become one sample."""

from __future__ import annotations

import json
from typing import Any

from pytest_disagg.clients.native.exchange import Completion, Stream
from pytest_disagg.records.sample import RequestSample

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def sample_of(*timed: tuple[float, dict[str, Any] | str]) -> RequestSample:
    """The sample of a stream whose events arrive at the given times; written at 1.0, over at 9.0."""
    stream = Stream(0, prompt_tokens=8, asked_tokens=4, scheduled_s=0.5)
    stream.written_s = 1.0
    stream.feed(HEAD, 1.5)
    for now, event in timed:
        data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
        stream.feed(b"%x\r\n%b\r\n" % (len(data), data), now)
    stream.feed(b"0\r\n\r\n", 9.0)
    assert stream.complete
    assert stream.keep_alive
    return stream.sample(9.0)


def chunk(text: str, tokens: int | None = None, finish: str | None = None) -> dict[str, Any]:
    usage = None if tokens is None else {"prompt_tokens": 6, "completion_tokens": tokens}
    return {"choices": [{"text": text, "finish_reason": finish}], "usage": usage}


USAGE: dict[str, Any] = {"choices": [], "usage": {"prompt_tokens": 6, "completion_tokens": 9}}


def test_times_are_those_of_chunks_with_text() -> None:
    sample = sample_of((2, chunk("")), (3, chunk("a b c")), (4, chunk("")), (5, chunk("d", finish="stop")), (6, USAGE))
    assert sample.ok
    assert list(sample.chunk_s) == [3, 5]
    assert (sample.ttft_s, sample.scheduled_ttft_s, sample.e2el_s) == (2.0, 2.5, 4.0)
    assert sample.output_tokens == 9
    assert sample.prompt_tokens == 6
    assert sample.tpot_s == 2 / 8


def test_without_usage_chunks_with_text_are_counted() -> None:
    sample = sample_of((2, chunk("a")), (3, chunk("")), (4, chunk("b")), (5, "[DONE]"))
    assert (sample.output_tokens, sample.usage_reported, sample.prompt_tokens) == (2, False, 8)


def test_usage_on_every_chunk_tells_tokens_without_text() -> None:
    sample = sample_of(
        (2, chunk("", 0)), (3, chunk("", 1)), (4, chunk("", 1)), (5, chunk("x", 3)), (6, USAGE), (7, "[DONE]")
    )
    assert list(sample.chunk_s) == [3, 5]
    assert sample.output_tokens == 9


def test_usage_in_the_last_chunk_alone_is_no_token_time() -> None:
    sample = sample_of((2, chunk("a")), (3, chunk("b")), (6, chunk("", 9, "length")))
    assert list(sample.chunk_s) == [2, 3]
    assert sample.output_tokens == 9


def test_tokens_that_never_had_text_are_timed_by_the_chunk_that_counts_them() -> None:
    sample = sample_of((2, chunk("")), (3, chunk("", 1, "stop")))
    assert list(sample.chunk_s) == [3]
    assert sample.output_tokens == 1


def test_a_request_with_an_error_has_no_latency() -> None:
    sample = sample_of((2, chunk("a")), (3, {"error": {"message": "boom"}}), (4, "[DONE]"))
    assert sample.error == "error in the stream: boom"
    assert (sample.e2el_s, sample.tpot_s) == (None, None)


def test_an_error_that_cut_the_exchange_short_wins() -> None:
    stream = Stream(0, 8, 4, 0.0)
    stream.feed(HEAD, 1.5)
    assert stream.sample(2.0, "connection closed").error == "connection closed"


def test_an_answer_in_one_piece() -> None:
    completion = Completion(0, 8, 4, 0.5)
    completion.written_s = 1.0
    body = json.dumps({"choices": [{"text": "hi", "finish_reason": "stop"}]}).encode()
    completion.feed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body), 3.0)
    sample = completion.sample(3.0)
    assert (sample.first_s, sample.last_s, sample.e2el_s, sample.output_tokens) == (None, 3.0, 2.0, 1)
