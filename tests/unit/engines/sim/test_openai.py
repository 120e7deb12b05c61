from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_disagg.engines.sim.openai import Refusal, Renderer, Request, count_prompt, parse_body, parse_request


def parsed(chat: bool = False, **fields: Any) -> Request:
    body = {"model": "m", **({"messages": [{"content": "hello"}]} if chat else {"prompt": "hello"}), **fields}
    return parse_request(body, chat=chat, model="m")


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [("x", 1), ("x" * 40, 10), ([5, 6, 7], 3), ([[5, 6]], 2), (["x" * 8], 2)],
)
def test_prompts_are_text_ids_or_a_list_of_one(prompt: object, tokens: int) -> None:
    assert count_prompt(prompt) == tokens


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        (None, "NoneType"),
        ("", "an empty prompt"),
        ([], "an empty prompt"),
        ([1, "x"], "list"),
        ([True], "list"),
        ([[1], [2]], "2 prompts"),
        (["a", "b"], "2 prompts"),
    ],
)
def test_a_prompt_that_cannot_be_served_is_refused(prompt: object, found: str) -> None:
    with pytest.raises(Refusal, match=f"prompt: found {found}") as caught:
        count_prompt(prompt)

    assert (caught.value.status, caught.value.param) == (400, "prompt")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": None}, "model: found None, expected a string"),
        ({"n": 2}, "n: found 2, expected 1"),
        ({"max_tokens": 0}, "max_tokens: found 0, expected an integer of at least 1"),
        ({"max_tokens": 2.5}, "max_tokens: found 2.5, expected an integer of at least 1"),
        ({"max_tokens": True}, "max_tokens: found True, expected an integer of at least 1"),
        ({"stream": 1}, "stream: found 1, expected true or false"),
        ({"stream_options": [1]}, r"stream_options: found \[1\], expected an object"),
        ({"disaggregated_params": "ctx"}, "disaggregated_params: found str, expected an object"),
        ({"disaggregated_params": {"request_type": "both"}}, "request_type: found 'both'"),
        ({"disaggregated_params": {"request_type": "context_only", "opaque_state": 3}}, "a string opaque_state"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal, match=message):
        parsed(**fields)


@pytest.mark.parametrize("messages", [None, [], "hi", [{"role": "user"}], ["hi"]])
def test_a_chat_needs_messages(messages: object) -> None:
    with pytest.raises(Refusal, match="messages"):
        parsed(chat=True, messages=messages)


def test_what_a_request_leaves_out_has_the_usual_value() -> None:
    request = parsed()

    assert (request.max_tokens, request.stream, request.include_usage, request.ignore_eos) == (16, False, False, False)
    assert parsed(max_tokens=None).max_tokens == 16
    assert parsed(chat=True, max_completion_tokens=3, max_tokens=9).max_tokens == 3
    assert parsed(max_tokens=3, min_tokens=9).min_tokens == 3


def test_a_chat_counts_the_text_of_its_parts() -> None:
    parts = [{"type": "text", "text": "x" * 8}, {"type": "text", "text": "x" * 8}]

    assert parsed(chat=True, messages=[{"content": "x" * 8}, {"content": parts}]).prompt_tokens == 6


@pytest.mark.parametrize("raw", [b"", b"[1]", b"{", b"\xff"])
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Refusal, match="the body is"):
        parse_body(raw)


def test_events_are_rendered_once_per_size() -> None:
    renderer = Renderer(parsed(stream=True), "abc")

    event = renderer.event(2, None)

    assert renderer.event(2, None) is event
    assert event.endswith(b"\n\n")
    content = json.loads(event.removeprefix(b"data: "))
    assert (content["id"], content["choices"][0]["text"]) == ("cmpl-abc", " tok tok")
    assert renderer.closing(2) == b"data: [DONE]\n\n", "no usage event where none was asked for"
