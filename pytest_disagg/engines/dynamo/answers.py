"""What Dynamo's frontend and workers say of themselves over HTTP (Dynamo 1.6.1). Nothing here raises."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_disagg.config.case import Case, LoadSpec
from pytest_disagg.engines import http
from pytest_disagg.engines.protocol import Seen

PREFILL, DECODE = "prefill", "backend"
"""Components that prefill workers, and all others, register as."""

PROGRESS = re.compile(
    r"^dynamo_(?:frontend_output_tokens_total(?:\{[^}]*\})?"
    r'|component_(?:requests|response_bytes)_total\{[^}]*dynamo_endpoint="generate"[^}]*\}) (\S+)',
    re.MULTILINE,
)
"""Of a worker only what takes requests: routers ask other endpoints on their own."""

LOAD_TIME = re.compile(r"^dynamo_component_model_load_time_seconds(?:\{[^}]*\})? (\S+)", re.MULTILINE)
PROOF_TOKENS = 4


def healthy(url: str, timeout_s: float) -> Seen:
    """A worker: its endpoint ``generate`` is served. The frontend: it has a model and a worker that decodes.

    A frontend alone answers 200 from its first moment on.
    """
    asked = f"{url}/health"
    try:
        answer = http.get(asked, timeout_s)
    except OSError as error:
        return Seen(False, f"GET {asked}: {error}")
    if answer.status != 200:
        return Seen(False, f"GET {asked}: {answer.status} {answer.text[:200]}".rstrip())
    said = _object(answer.text)
    if "instances" not in said:
        return Seen(True, f"GET {asked}: 200")
    return _serves(url, _by_namespace(said), 0, 1, timeout_s)


def routable(url: str, ctx: int, gen: int, timeout_s: float) -> Seen:
    """Whether the frontend has a model and knows at least that many prefill and decode instances.

    ``/health`` lists all that discovery knows. With an etcd that several runs share those are other runs' workers, too,
    so instances are counted by namespace, and the fullest one is taken. A process with several workers in it
    (``num_workers`` of the mocker) is several instances.
    """
    said = http.json_of(f"{url}/health", timeout_s)
    if said is None:
        return Seen(False, f"GET {url}/health: no answer with instances")
    return _serves(url, _by_namespace(said), ctx, gen, timeout_s)


def proof(case: Case, url: str, timeout_s: float) -> Seen:
    """A streamed request of the measured load's kind and prompt length, which has to name the workers that it met.

    With CTX servers these are a prefill worker and another, the decode worker; an aggregated worker is both.
    """
    load = next((load for server in case.servers for load in server.clients), None) or case.clients[0]
    path = "/v1/chat/completions" if load.use_chat_template else "/v1/completions"
    try:
        answer = http.post(f"{url}{path}", _request(case, load), timeout_s)
    except OSError as error:
        return Seen(False, f"POST {url}{path}: {error}")
    if answer.status != 200:
        return Seen(False, f"POST {url}{path}: {answer.status} {answer.text[:200]}".rstrip())
    workers: dict[str, Any] = {}
    for event in _events(answer.text):
        workers |= _workers(event)
    prefill, decode = (workers.get(f"{kind}_worker_id") for kind in ("prefill", "decode"))
    seen = f"POST {url}{path}: prefill worker {prefill or 'not named'}, decode worker {decode or 'not named'}"
    if case.num_ctx:
        return Seen(bool(prefill and decode and prefill != decode), seen)
    return Seen(bool(decode), seen)


def progress(url: str, timeout_s: float) -> int | None:
    """Output tokens of a frontend, or requests and bytes of answers of a worker; both grow with every token."""
    found = http.numbers(PROGRESS, http.text_of(f"{url}/metrics", timeout_s))
    return int(sum(found)) if found else None


def startup(url: str, timeout_s: float) -> dict[str, Any] | None:
    """How long a worker took to load its model, in seconds, where it says so (a mocker has none)."""
    found = http.numbers(LOAD_TIME, http.text_of(f"{url}/metrics", timeout_s))
    return {"model_load_time_s": max(found)} if found else None


def _serves(url: str, counted: Mapping[str, Counter[str]], ctx: int, gen: int, timeout_s: float) -> Seen:
    best = max(counted.values(), key=lambda each: min(each[PREFILL], ctx) + min(each[DECODE], gen), default=Counter())
    models = http.json_of(f"{url}/v1/models", timeout_s) or {}
    listed = models.get("data")
    names = [str(model.get("id")) for model in listed if isinstance(model, Mapping)] if isinstance(listed, list) else []
    seen = (
        f"{best[PREFILL]} of {ctx} prefill and {best[DECODE]} of {gen} decode instances at {url}, "
        f"models: {', '.join(names) or 'none'}"
    )
    return Seen(best[PREFILL] >= ctx and best[DECODE] >= gen and bool(names), seen)


def _by_namespace(said: Mapping[str, Any]) -> Mapping[str, Counter[str]]:
    """How many instances of each component take requests; a worker has other endpoints besides."""
    instances = said.get("instances")
    found: dict[str, Counter[str]] = {}
    for instance in instances if isinstance(instances, list) else ():
        if isinstance(instance, Mapping) and instance.get("endpoint") == "generate":
            components = found.setdefault(str(instance.get("namespace")), Counter())
            components[str(instance.get("component"))] += 1
    return found


def _request(case: Case, load: LoadSpec) -> dict[str, Any]:
    fields = {
        "model": case.model,
        "max_tokens": min(load.osl, PROOF_TOKENS),
        "temperature": 0,
        "stream": True,
        "ignore_eos": True,
        "nvext": {"extra_fields": ["worker_id", "timing"]},
    }
    if load.use_chat_template:
        return {**fields, "messages": [{"role": "user", "content": " ".join(["route"] * load.isl)}]}
    return {**fields, "prompt": [1000 + number % 1000 for number in range(load.isl)]}


def _events(text: str) -> Iterator[Mapping[str, Any]]:
    for line in text.splitlines():
        if line.startswith("data:") and (event := _object(line[5:])):
            yield event


def _workers(event: Mapping[str, Any]) -> Mapping[str, Any]:
    said = event.get("nvext")
    workers = said.get("worker_id") if isinstance(said, Mapping) else None
    return {key: value for key, value in workers.items() if value} if isinstance(workers, Mapping) else {}


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
