from __future__ import annotations

import pytest

from pytest_disagg.clients.native.sse import SseParser

STREAM = (
    b"\xef\xbb\xbf: a comment\r\n"
    b"data: one\n\n"
    b"id: 7\nretry: 10\ndata:two\r\ndata:  lines\r\n\r\n"
    b"event: ping\n\n"
    b"data\n\n"
    b"data: [DONE]\r\r"
)
EVENTS = [b"one", b"two\n lines", b"", b"[DONE]"]


def test_whole() -> None:
    assert SseParser().feed(STREAM) == EVENTS


@pytest.mark.parametrize("size", range(1, 12))
def test_pieces_of_every_size(size: int) -> None:
    parser = SseParser()
    events = [e for i in range(0, len(STREAM), size) for e in parser.feed(STREAM[i : i + size])]
    assert events == EVENTS
    assert not parser.pending


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_split_anywhere(at: int) -> None:
    parser = SseParser()
    assert parser.feed(STREAM[:at]) + parser.feed(STREAM[at:]) == EVENTS


def test_the_short_path_takes_nothing_that_is_not_one_whole_event() -> None:
    parser = SseParser()
    assert parser.feed(b"data: a\n\n") == [b"a"]
    assert parser.feed(b"data: b\n") == []
    assert parser.pending
    assert parser.feed(b"data: c\n\n") == [b"b\nc"]
    assert parser.feed(b"data: d\n\ndata: e\n\n") == [b"d", b"e"]
    assert parser.feed(b"data: f\r\n\n") == [b"f"]


def test_a_line_feed_after_a_split_cr_ends_no_second_line() -> None:
    parser = SseParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\ndata: b\r\n\r") == [b"a\nb"]
    assert parser.feed(b"\ndata: c\n\n") == [b"c"]


def test_an_error_event_says_why_in_its_data_or_its_comment() -> None:
    named = SseParser()
    assert named.feed(b"event: error\ndata: no blocks\n\n") == []
    assert named.error == "no blocks"
    comment = SseParser()
    comment.feed(b"event: error\n: worker lost\n\n")
    assert comment.error == "worker lost"
    fine = SseParser()
    fine.feed(b": error\n\ndata: x\n\n")
    assert fine.error is None
