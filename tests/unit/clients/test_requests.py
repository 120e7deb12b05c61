from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_disagg.clients.dataset import Prompt, PromptSet
from pytest_disagg.clients.native.requests import RequestBuilder
from pytest_disagg.clients.native.target import parse_target
from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.errors import UsageError

POINT = LoadPoint(concurrency=1, num_prompts=1, isl=1, osl=1, model='m"x')


def body_of(request: bytes) -> dict[str, Any]:
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}" in head.decode().lower()
    document: dict[str, Any] = json.loads(body)
    return document


@pytest.mark.parametrize(("first", "count"), [(0, 1), (9, 1), (7, 25), (3, 10)])
def test_a_prompt_of_ids_counts_on_modulo_the_vocabulary(first: int, count: int) -> None:
    prompts = PromptSet((Prompt(None, 0, 25, 1), Prompt(None, first, count, 6)), vocab=10)
    builder = RequestBuilder(parse_target("http://h:1"), POINT, prompts, {})
    body = body_of(builder.build(1))
    assert body["prompt"] == [(first + k) % 10 for k in range(count)]
    assert (body["model"], body["max_tokens"], body["stream"]) == ('m"x', 6, True)


def test_text_is_escaped() -> None:
    prompts = PromptSet((Prompt('a "quoted"\nüber', 0, 0, 1),))
    builder = RequestBuilder(parse_target("http://h:1"), POINT, prompts, {})
    assert body_of(builder.build(0))["prompt"] == 'a "quoted"\nüber'


def test_two_loads_never_share_a_request_id() -> None:
    prompts = PromptSet((Prompt("a", 0, 0, 1),))
    ids = {
        RequestBuilder(parse_target("http://h:1"), POINT, prompts, {}).build(0).split(b"X-Request-Id: ")[1][:40]
        for _ in range(2)
    }
    assert len(ids) == 2


def test_a_key_that_would_break_the_header_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError) as e:
        RequestBuilder(parse_target("http://h:1"), POINT, PromptSet(()), {"OPENAI_API_KEY": "se\r\ncret"})
    assert "cret" not in str(e.value)


@pytest.mark.parametrize(
    ("url", "host", "port", "prefix"),
    [
        ("http://h:1", "h", 1, ""),
        ("http://h", "h", 80, ""),
        ("http://[::1]:8000/a/b/", "::1", 8000, "/a/b"),
    ],
)
def test_urls(url: str, host: str, port: int, prefix: str) -> None:
    target = parse_target(url)
    assert (target.host, target.port, target.prefix, target.tls) == (host, port, prefix, None)


def test_https_has_verification_on() -> None:
    tls = parse_target("https://h").tls
    assert tls is not None
    assert tls.check_hostname


@pytest.mark.parametrize("url", ["h:1", "ftp://h", "http://", "http://h:x", "http://h?q=1"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(UsageError):
        parse_target(url)


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError) as e:
        parse_target("http://user:secret@h:1")
    assert "secret" not in str(e.value)
