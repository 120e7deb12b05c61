"""What vLLM's servers, its router and its proxy say of themselves over HTTP. Nothing here raises."""

from __future__ import annotations

import json
import re
from typing import Any

from pytest_disagg.engines import http
from pytest_disagg.engines.protocol import Seen

PROGRESS = re.compile(r"^vllm:(?:prompt|generation)_tokens_total(?:\{[^}]*\})? (\S+)", re.MULTILINE)
"""Counters of each engine core behind a server."""

CACHE = re.compile(r"^vllm:cache_config_info\{(.*)\} 1(?:\.0)?$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def healthy(url: str, timeout_s: float) -> Seen:
    """Whether ``GET /health`` is 200; the proxy has ``/healthcheck`` instead."""
    asked = f"{url}/health"
    try:
        answer = http.get(asked, timeout_s)
        if answer.status == 404:
            asked = f"{url}/healthcheck"
            answer = http.get(asked, timeout_s)
    except OSError as error:
        return Seen(False, f"GET {asked}: {error}")
    return Seen(answer.status == 200, f"GET {asked}: {answer.status} {answer.text[:200]}".rstrip())


def routable(url: str, ctx: int, gen: int, timeout_s: float) -> Seen:
    """Whether the coordinator counts that many servers.

    The router counts healthy ones in ``GET /readiness``; the proxy those that it was told of in ``GET /healthcheck``.
    """
    asked = f"{url}/readiness"
    try:
        answer = http.get(asked, timeout_s)
        if answer.status == 404:
            asked = f"{url}/healthcheck"
            answer = http.get(asked, timeout_s)
        have_ctx, have_gen = _counted(json.loads(answer.text))
    except OSError as error:
        return Seen(False, f"GET {asked}: {error}")
    except (ValueError, KeyError, TypeError):
        return Seen(False, f"GET {asked}: {answer.status} {answer.text[:200]}".rstrip())
    seen = f"{have_ctx} of {ctx} CTX and {have_gen} of {gen} GEN servers routable at {url}"
    return Seen(have_ctx >= ctx and have_gen >= gen, seen)


def progress(url: str, timeout_s: float) -> int | None:
    """Prompt and output tokens so far, of all engine cores of a server; None where its metrics are off."""
    found = http.numbers(PROGRESS, http.text_of(f"{url}/metrics", timeout_s))
    return int(sum(found)) if found else None


def startup(url: str, timeout_s: float) -> dict[str, Any] | None:
    """Version (``GET /version``) and KV cache (``vllm:cache_config_info`` of ``/metrics``) of a server.

    vLLM gives its load times in its log alone.
    """
    version = http.json_of(f"{url}/version", timeout_s)
    caches = [dict(LABEL.findall(labels)) for labels in CACHE.findall(http.text_of(f"{url}/metrics", timeout_s))]
    said = {**(version or {}), **({"cache_config": caches} if caches else {})}
    return said or None


def _counted(info: Any) -> tuple[int, int]:
    if "prefill_instances" in info:
        return int(info["prefill_instances"]), int(info["decode_instances"])
    return int(info["prefill"]["healthy"]), int(info["decode"]["healthy"])
