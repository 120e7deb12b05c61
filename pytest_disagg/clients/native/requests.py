"""The bytes of each request of a load, ready to be written."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from pytest_disagg.clients.dataset import Prompt, PromptSet, longest
from pytest_disagg.clients.native.target import Target
from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.errors import UsageError
from pytest_disagg.version import __version__


class RequestBuilder:
    """Builds the request of one prompt at a time, in microseconds, so that a load's memory does not grow with its size.

    All token-id prompts are runs of one endless counting sequence. It is written out once, and a prompt is a slice of
    it; the rest of the body is the same for every request but for ``max_tokens``. ``OPENAI_API_KEY``, where set, is
    sent as a bearer token, as vllm bench and benchmark_serving do.
    """

    def __init__(
        self, target: Target, point: LoadPoint, prompts: PromptSet, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._prompts = prompts.prompts
        self._point = point
        self._ids, self._at = _counting(prompts.vocab, longest(prompts.prompts))
        path = "/v1/chat/completions" if point.use_chat_template else "/v1/completions"
        common = f"Host: {target.authority}\r\nUser-Agent: pytest-disagg/{__version__}\r\n"
        if key := environ.get("OPENAI_API_KEY", "").strip():
            if not (key.isascii() and key.isprintable()):
                raise UsageError("OPENAI_API_KEY: found characters that no header can hold, expected printable ASCII")
            common += f"Authorization: Bearer {key}\r\n"
        accept = "text/event-stream" if point.streaming else "application/json"
        self._head = (
            f"POST {target.prefix}{path} HTTP/1.1\r\n{common}"
            f"Content-Type: application/json\r\nAccept: {accept}\r\nX-Request-Id: disagg-{uuid.uuid4().hex[:12]}-"
        ).encode("latin-1")
        self.warm_up = f"GET {target.prefix}/v1/models HTTP/1.1\r\n{common}\r\n".encode("latin-1")

    def prompt(self, index: int) -> Prompt:
        """The prompt of request ``index``."""
        return self._prompts[index]

    def build(self, index: int) -> bytes:
        """Head and body of request ``index``."""
        body = self.body(index)
        return b"%b%d\r\nContent-Length: %d\r\n\r\n%b" % (self._head, index, len(body), body)

    def body(self, index: int) -> bytes:
        """The JSON object of request ``index``."""
        prompt = self._prompts[index]
        fields: dict[str, Any] = {"model": self._point.model, "max_tokens": prompt.output_tokens, "temperature": 0}
        fields["stream"] = self._point.streaming
        if self._point.streaming:
            fields["stream_options"] = {"include_usage": True}
        if self._point.ignore_eos:
            fields["ignore_eos"] = True
        if prompt.text is None:
            ids = self._ids[self._at[prompt.first] : self._at[prompt.first + prompt.tokens] - 1]
            return b'{"prompt":[%b],%b' % (ids, json.dumps(fields)[1:].encode())
        if self._point.use_chat_template:
            fields["messages"] = [{"role": "user", "content": prompt.text}]
        else:
            fields["prompt"] = prompt.text
        return json.dumps(fields).encode()


def _counting(vocab: int, length: int) -> tuple[bytes, list[int]]:
    """``0,1,..,vocab-1,0,1,..`` for ``vocab + length`` ids, and the offset at which each of them begins."""
    if not length:
        return b"", [0]
    texts = [str(k % vocab) for k in range(vocab + length)]
    return ",".join(texts).encode() + b",", list(accumulate((len(text) + 1 for text in texts), initial=0))
