"""What SGLang's servers and its router say of themselves over HTTP. Nothing here raises."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pytest_disagg.engines import http
from pytest_disagg.engines.protocol import Seen
from pytest_disagg.engines.sim import metrics

HEALTH_S = 5.0
"""A server that is up takes a second for ``GET /health``: it looks once a second whether it made a token meanwhile."""

PROGRESS = re.compile(r"^sglang:(?:prompt|generation|realtime)_tokens_total(?:\{[^}]*\})? (\S+)", re.MULTILINE)
"""Tokens of finished requests, and those of each log interval."""

STARTUP = ("version", "startup_time")
"""Keys of ``GET /server_info`` that tell of the start; the others repeat every option of the server."""


def healthy(url: str, timeout_s: float) -> Seen:
    """Whether ``GET /health`` is 200."""
    return http.healthy(url, max(timeout_s, HEALTH_S))


def routable(url: str, ctx: int, gen: int, timeout_s: float) -> Seen:
    """Whether ``GET /workers`` of the router lists that many prefill and decode workers as healthy."""
    try:
        answer = http.get(f"{url}/workers", timeout_s)
        if answer.status != 200:
            return Seen(False, f"GET {url}/workers: {answer.status} {answer.text[:200]}".rstrip())
        kinds = [worker["worker_type"] for worker in json.loads(answer.text)["workers"] if worker["is_healthy"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Seen(False, f"GET {url}/workers: {error!r}")
    have_ctx, have_gen = kinds.count("prefill"), kinds.count("decode")
    seen = f"{have_ctx} of {ctx} CTX and {have_gen} of {gen} GEN servers routable at {url}"
    return Seen(have_ctx >= ctx and have_gen >= gen, seen)


def progress(url: str, timeout_s: float) -> int | None:
    """The sum of the counters that grow while a server works, SGLang's or a simulated one; None where it has none."""
    text = http.text_of(f"{url}/metrics", timeout_s)
    found = http.numbers(PROGRESS, text)
    return int(sum(found)) if found else metrics.progress(text)


def startup(url: str, timeout_s: float) -> Mapping[str, Any] | None:
    """Version and seconds of each part of the start (weights, KV cache, CUDA graphs, the whole of it)."""
    info = http.json_of(f"{url}/server_info", timeout_s) or {}
    return {key: info[key] for key in STARTUP if info.get(key)} or None
