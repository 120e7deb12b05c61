from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_disagg.clients.native.chunks import PLAIN, Chunk, error_text, read_body, read_chunk


def completion(text: str, **more: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "text": text, "finish_reason": None, **more}], "usage": None}


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"delta": fields, "finish_reason": None}]}


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize(
    "document",
    [
        completion(" the"),
        completion('"'),
        completion("\\"),
        completion('say "usage": {"completion_tokens": 9}, "finish_reason":"stop" and "error"'),
        delta(content="x"),
        delta(role="assistant", content=None, reasoning_content="hm"),
    ],
)
def test_a_plain_chunk_is_recognised_without_a_parse(document: dict[str, Any], separators: tuple[str, str]) -> None:
    assert read_chunk(json.dumps(document, separators=separators).encode()) is PLAIN


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize(
    ("document", "chunk"),
    [
        (completion(""), Chunk(text=False, choices=True, finished=False)),
        (completion('"text":"x"', finish_reason="length"), Chunk(text=True, choices=True, finished=True)),
        (delta(role="assistant", content=""), Chunk(text=False, choices=True, finished=False)),
        (delta(tool_calls=[{"function": {"arguments": "{"}}]), Chunk(text=True, choices=True, finished=False)),
        (delta(tool_calls=[{"function": {"arguments": ""}}]), Chunk(text=False, choices=True, finished=False)),
        (
            {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}},
            Chunk(text=False, choices=False, finished=False, completion_tokens=3, prompt_tokens=5),
        ),
        (
            completion("x") | {"usage": {"completion_tokens": 3}},
            Chunk(text=True, choices=True, finished=False, completion_tokens=3),
        ),
        (
            completion("", finish_reason="stop", avg_decoded_tokens_per_iter=2.5),
            Chunk(text=False, choices=True, finished=True, decoded_per_iter=2.5),
        ),
        ({"error": {"message": "boom"}}, Chunk(text=False, choices=False, finished=False, error="boom")),
        ({"object": "error", "message": "bad"}, Chunk(text=False, choices=False, finished=False, error="bad")),
        (completion("x") | {"error": "late"}, Chunk(text=True, choices=True, finished=False, error="late")),
    ],
)
def test_everything_else_is_parsed(document: dict[str, Any], chunk: Chunk, separators: tuple[str, str]) -> None:
    assert read_chunk(json.dumps(document, separators=separators).encode()) == chunk


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"null", b'{"text":"x', b'{"choices": [{"text": "a"}]'])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_chunk(data)


def test_a_whole_answer() -> None:
    body = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}
    assert read_body(json.dumps(body).encode()) == Chunk(True, True, True, completion_tokens=2)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"message": "no\\nblocks"}}', "no blocks"),
        (b'{"error": "plain"}', "plain"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"detail": [{"loc": 1}]}', '[{"loc": 1}]'),
        (b"<html>bad gateway</html>", "<html>bad gateway</html>"),
        (b"x" * 400, "x" * 300 + "…"),
        (b"", ""),
    ],
)
def test_the_error_text_of_a_body(body: bytes, text: str) -> None:
    assert error_text(body) == text
