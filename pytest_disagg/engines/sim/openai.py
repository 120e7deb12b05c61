"""The OpenAI-compatible wire format: requests taken apart, answers and stream events put together."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

TOKEN_TEXT = " tok"
"""The text of every token. One word without markup, so that tokens can be counted in a stream."""

DEFAULT_MAX_TOKENS = 16
"""What the OpenAI completions API generates where the request names no limit."""

DONE = b"data: [DONE]\n\n"


class Refusal(Exception):
    """A request that is answered with an error object: 400 unless another status fits better."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


@dataclass(frozen=True)
class DisaggParams:
    """``disaggregated_params`` of a request. ``opaque_state`` names the KV block, see :mod:`.kv`."""

    request_type: str
    ctx_request_id: int | None = None
    opaque_state: str | None = None


@dataclass(frozen=True)
class Bootstrap:
    """Where the two servers of a request meet, as sglang-router tells both: a CTX server's room, see :mod:`.rooms`."""

    host: str
    port: int
    room: int


@dataclass(frozen=True)
class Request:
    """A completion request. ``prompt_tokens`` is counted, not tokenized: see :func:`count_prompt`."""

    chat: bool
    model: str
    prompt_tokens: int
    max_tokens: int
    min_tokens: int
    stream: bool
    include_usage: bool
    ignore_eos: bool
    disagg: DisaggParams | None
    bootstrap: Bootstrap | None = None


def error_body(message: str, *, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The error object of the OpenAI API."""
    kind = {400: "invalid_request_error", 404: "not_found_error"}.get(status, "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code or status}}


def parse_body(raw: bytes) -> dict[str, Any]:
    """The JSON object of a request body. Raises Refusal."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Refusal(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Refusal(f"the body is a JSON {type(body).__name__}, expected an object")
    return body


def parse_request(body: dict[str, Any], *, chat: bool, model: str) -> Request:
    """Check a request against what this server serves. Raises Refusal that names the parameter."""
    asked = body.get("model")
    if not isinstance(asked, str):
        raise Refusal(f"model: found {asked!r}, expected a string", param="model")
    if asked != model:
        message = f"the model {asked!r} does not exist, this server has {model!r}"
        raise Refusal(message, status=404, param="model", code="model_not_found")
    if body.get("n", 1) not in (1, None):
        raise Refusal(f"n: found {body['n']!r}, expected 1", param="n")
    prompt_tokens = _count_messages(body) if chat else count_prompt(body.get("prompt"))
    limit_key = "max_completion_tokens" if chat and body.get("max_completion_tokens") is not None else "max_tokens"
    max_tokens = _integer(body, limit_key, DEFAULT_MAX_TOKENS, least=1)
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise Refusal(f"stream_options: found {options!r}, expected an object", param="stream_options")
    return Request(
        chat=chat,
        model=asked,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        min_tokens=min(max_tokens, _integer(body, "min_tokens", 1, least=0)),
        stream=_boolean(body, "stream"),
        include_usage=_boolean(options, "include_usage"),
        ignore_eos=_boolean(body, "ignore_eos"),
        disagg=_disagg_params(body.get("disaggregated_params")),
        bootstrap=_bootstrap(body),
    )


def count_prompt(prompt: object) -> int:
    """Tokens of a prompt: the length of a list of ids; for text one per four characters, at least one.

    A list that holds one prompt is taken as that prompt and more than one is refused, as ``trtllm-serve
    disaggregated`` does.
    """
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], (str, list)):
        if len(prompt) != 1:
            raise Refusal(f"prompt: found {len(prompt)} prompts, expected one per request", param="prompt")
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt:
        return max(1, len(prompt) // 4)
    if isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
        return len(prompt)
    found = "an empty prompt" if prompt in ("", [], [[]]) else type(prompt).__name__
    raise Refusal(f"prompt: found {found}, expected text or a list of token ids", param="prompt")


def _count_messages(body: dict[str, Any]) -> int:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(f"messages: found {messages!r}, expected a list of messages", param="messages")
    count = 0
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if not isinstance(content, str):
            raise Refusal(f"messages[{index}]: found no content, expected role and content", param="messages")
        count += len(content) // 4
    return max(1, count)


def _integer(body: dict[str, Any], key: str, default: int, *, least: int) -> int:
    value = body.get(key)
    if value is None:
        return default
    if type(value) is not int or value < least:
        raise Refusal(f"{key}: found {value!r}, expected an integer of at least {least}", param=key)
    return value


def _boolean(body: dict[str, Any], key: str) -> bool:
    value = body.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Refusal(f"{key}: found {value!r}, expected true or false", param=key)
    return value


def _disagg_params(value: object) -> DisaggParams | None:
    if value is None:
        return None
    key = "disaggregated_params"
    if not isinstance(value, dict):
        raise Refusal(f"{key}: found {type(value).__name__}, expected an object", param=key)
    kind, request_id, state = (value.get(name) for name in ("request_type", "ctx_request_id", "opaque_state"))
    if kind not in ("context_only", "generation_only"):
        raise Refusal(f"{key}.request_type: found {kind!r}, expected context_only or generation_only", param=key)
    if not isinstance(request_id, int | None) or not isinstance(state, str | None):
        raise Refusal(f"{key}: expected an integer ctx_request_id and a string opaque_state", param=key)
    return DisaggParams(request_type=kind, ctx_request_id=request_id, opaque_state=state)


def _bootstrap(body: dict[str, Any]) -> Bootstrap | None:
    host, port, room = (body.get(f"bootstrap_{name}") for name in ("host", "port", "room"))
    if room is None:
        return None
    if not isinstance(host, str) or not host or type(port) is not int or not 0 < port < 65536 or type(room) is not int:
        found = f"bootstrap_host {host!r}, bootstrap_port {port!r}, bootstrap_room {room!r}"
        raise Refusal(f"found {found}, expected a host, a port and the number of a room", param="bootstrap_room")
    return Bootstrap(host, port, room)


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """The ``usage`` object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


class Renderer:
    """The answer to one request: one object, or stream events (server-sent events, one per chunk of tokens)."""

    def __init__(self, request: Request, request_id: str) -> None:
        self._request = request
        self._head = {"id": ("chatcmpl-" if request.chat else "cmpl-") + request_id}
        self._created = int(time.time())
        self._events: dict[tuple[int, str | None], bytes] = {}

    def event(self, tokens: int, finish: str | None) -> bytes:
        """The event of a chunk; rendered once per size."""
        event = self._events.get((tokens, finish))
        if event is None:
            event = self._events[tokens, finish] = self._sse([self._delta({"content": TOKEN_TEXT * tokens}, finish)])
        return event

    def opening(self) -> bytes:
        """What precedes the first token: in a chat the event that carries the role alone, else nothing."""
        if not self._request.chat:
            return b""
        return self._sse([self._delta({"role": "assistant", "content": ""}, None)])

    def closing(self, completion_tokens: int) -> bytes:
        """What follows the last token: the usage event where the request asked for it, and the end mark."""
        if not self._request.include_usage:
            return DONE
        return self._sse([], usage(self._request.prompt_tokens, completion_tokens)) + DONE

    def whole(self, tokens: int, finish: str, disaggregated_params: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a request that does not stream."""
        text = TOKEN_TEXT * tokens
        content: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
        choice = {
            "index": 0,
            **(content if self._request.chat else {"text": text}),
            "logprobs": None,
            "finish_reason": finish,
            "disaggregated_params": disaggregated_params,
        }
        return {
            **self._head,
            "object": "chat.completion" if self._request.chat else "text_completion",
            "created": self._created,
            "model": self._request.model,
            "choices": [choice],
            "usage": usage(self._request.prompt_tokens, tokens),
        }

    def _delta(self, delta: dict[str, str], finish: str | None) -> dict[str, Any]:
        body: dict[str, Any] = {"delta": delta} if self._request.chat else {"text": delta["content"]}
        return {"index": 0, **body, "logprobs": None, "finish_reason": finish}

    def _sse(self, choices: list[dict[str, Any]], total: dict[str, int] | None = None) -> bytes:
        event: dict[str, Any] = {
            **self._head,
            "object": "chat.completion.chunk" if self._request.chat else "text_completion",
            "created": self._created,
            "model": self._request.model,
            "choices": choices,
        }
        if total is not None:
            event["usage"] = total
        return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
