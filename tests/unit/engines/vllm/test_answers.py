"""What servers, router and proxy answer, as it was seen from vllm-router 0.1.17 and in vLLM 0.33.0's source."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from pytest_disagg.engines import http
from pytest_disagg.engines.http import Answer
from tests.unit.engines.vllm.conftest import ENGINE

URL = "http://h:1"
METRICS = """\
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 4096.0
vllm:prompt_tokens_total{engine="1",model_name="m"} 1.0e+03
vllm:prompt_tokens_created{engine="0",model_name="m"} 1.7e+09
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_compute"} 9999.0
vllm:generation_tokens_total{engine="0",model_name="m"} 7.0
vllm:cache_config_info{block_size="16",engine="0",note="a\\"b",num_gpu_blocks="1024"} 1.0
"""

Pages = Callable[[Mapping[str, "str | Answer"]], None]


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Pages:
    """Gives a server its pages by path; others are 404."""

    def give(known: Mapping[str, str | Answer]) -> None:
        def get(url: str, timeout_s: float) -> Answer:
            found = known.get(url.removeprefix(URL), Answer(404, "Not Found"))
            return Answer(200, found) if isinstance(found, str) else found

        monkeypatch.setattr(http, "get", get)

    return give


def readiness(ctx: int, gen: int) -> Answer:
    counts = {kind: {"healthy": healthy, "total": 2} for kind, healthy in (("prefill", ctx), ("decode", gen))}
    return Answer(200 if ctx and gen else 503, json.dumps({"status": "ready", **counts}))


@pytest.mark.parametrize(("ctx", "gen", "ok"), [(2, 1, True), (1, 1, False), (2, 0, False)])
def test_the_router_counts_what_is_healthy(pages: Pages, ctx: int, gen: int, ok: bool) -> None:
    pages({"/readiness": readiness(ctx, gen)})
    seen = ENGINE.routable(URL, ctx=2, gen=1, timeout_s=1)
    assert seen == (type(seen)(ok, f"{ctx} of 2 CTX and {gen} of 1 GEN servers routable at {URL}"))


def test_the_proxy_counts_what_it_was_told_of(pages: Pages) -> None:
    pages({"/healthcheck": '{"status": "ok", "prefill_instances": 1, "decode_instances": 2}'})
    assert ENGINE.healthy(URL, 1).ok
    assert ENGINE.routable(URL, ctx=1, gen=2, timeout_s=1).ok
    assert not ENGINE.routable(URL, ctx=2, gen=2, timeout_s=1).ok


def test_a_server_that_is_not_healthy(pages: Pages) -> None:
    pages({"/health": Answer(503, "starting"), "/healthcheck": "{}"})
    seen = ENGINE.healthy(URL, 1)
    assert (seen.ok, seen.seen) == (False, f"GET {URL}/health: 503 starting")


@pytest.mark.parametrize("answer", ["[]", "no JSON", '{"prefill": {}}', Answer(500, "")])
def test_an_answer_that_counts_nothing(pages: Pages, answer: str | Answer) -> None:
    pages({"/readiness": answer})
    seen = ENGINE.routable(URL, ctx=1, gen=1, timeout_s=1)
    assert not seen.ok
    assert seen.seen.startswith(f"GET {URL}/readiness: ")


def test_nobody_there() -> None:
    """A port below which nobody can listen."""
    url = "http://127.0.0.1:1"
    assert not ENGINE.healthy(url, 1).ok
    assert not ENGINE.routable(url, ctx=1, gen=1, timeout_s=1).ok
    assert (ENGINE.progress(url, 1), ENGINE.startup(url, 1)) == (None, None)


def test_progress_is_tokens_of_all_engine_cores(pages: Pages) -> None:
    pages({"/metrics": METRICS})
    assert ENGINE.progress(URL, 1) == 4096 + 1000 + 7
    pages({"/metrics": "vllm:num_requests_running 1.0\n"})
    assert ENGINE.progress(URL, 1) is None
    # The router answers so on its own port.
    pages({"/metrics": Answer(405, "Only POST requests are supported for transparent proxy")})
    assert ENGINE.progress(URL, 1) is None


def test_what_a_server_says_of_its_start(pages: Pages) -> None:
    pages({"/metrics": METRICS, "/version": '{"version": "0.33.0"}'})
    cache = {"block_size": "16", "engine": "0", "note": 'a\\"b', "num_gpu_blocks": "1024"}
    assert ENGINE.startup(URL, 1) == {"version": "0.33.0", "cache_config": [cache]}
