"""What the simulated servers answer, and the hand-over between them."""

from __future__ import annotations

import base64
import http.client
import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pytest_disagg.engines.sim.settings import Timing
from tests.local.sim.conftest import FAST, MODEL, Cluster, body
from tests.waiting import LIMIT_S, until

ROW = re.compile(r"iter\s*=\s*(\d+),.*?prev_device_step_time\s*=\s*([\d.]+)\s*ms")
TOKENS = re.compile(r"'num_generation_tokens':\s*(\d+)")
SCHEDULED = re.compile(r"iter\s*=\s*(\d+),.*?num_scheduled_requests\s*=\s*(\d+)")
"""The patterns that gen_only cases are parsed with."""


def test_an_aggregated_server_speaks_the_completions_api(cluster: Cluster) -> None:
    server = cluster.server("server")

    whole = server.post(body(prompt=5, max_tokens=3)).json
    events = server.post(body(prompt=5, max_tokens=3, stream=True, stream_options={"include_usage": True})).events

    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    assert (whole["object"], whole["model"], whole["usage"]) == ("text_completion", MODEL, usage)
    assert (whole["choices"][0]["text"], whole["choices"][0]["finish_reason"]) == (" tok tok tok", "length")
    assert [[choice["text"] for choice in event["choices"]] for event in events] == [[" tok"], [" tok"], [" tok"], []]
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None, None, "length"]
    assert [event.get("usage") for event in events] == [None, None, None, usage]
    assert server.get("/v1/models").json["data"][0]["id"] == MODEL
    assert server.get("/server_info").json["kind"] == "server"


def test_a_chat_opens_with_the_role_and_counts_its_messages(cluster: Cluster) -> None:
    server = cluster.server("server")
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "x" * 40}], "max_completion_tokens": 2}

    whole = server.post(chat, "/v1/chat/completions").json
    events = server.post({**chat, "stream": True}, "/v1/chat/completions").events

    assert whole["choices"][0]["message"] == {"role": "assistant", "content": " tok tok"}
    assert whole["usage"]["prompt_tokens"] == 10
    assert [event["choices"][0]["delta"] for event in events] == [
        {"role": "assistant", "content": ""},
        {"content": " tok"},
        {"content": " tok"},
    ]


def test_bad_requests_are_refused_with_an_error_object(cluster: Cluster) -> None:
    server = cluster.server("server")
    unknown = server.post({**body(), "model": "other"})
    no_json = server.post("{")
    no_prompt = server.post({"model": MODEL})

    assert (unknown.status, unknown.json["error"]["code"]) == (404, "model_not_found")
    assert "'other'" in unknown.error
    assert (no_json.status, no_prompt.status) == (400, 400)
    assert no_prompt.json["error"]["param"] == "prompt"
    assert server.post(body(stream="yes")).error == "SERVER_0: stream: found 'yes', expected true or false"


def test_several_tokens_travel_in_one_chunk_after_the_first(cluster: Cluster) -> None:
    server = cluster.server("server", tokens_per_chunk=4)

    texts = server.post(body(max_tokens=10, stream=True)).texts

    assert [text.count(" tok") for text in texts] == [1, 3, 4, 2]


def test_a_request_goes_through_ctx_and_gen(cluster: Cluster) -> None:
    ctx, gen, coordinator = cluster.pair()

    answer = coordinator.post(body(prompt=6, max_tokens=4, stream=True, stream_options={"include_usage": True}))
    whole = coordinator.post(body(prompt=6, max_tokens=4)).json

    assert answer.texts == [" tok"] * 4
    assert answer.events[-1]["usage"] == {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}
    assert whole["choices"][0]["text"] == " tok" * 4
    assert ctx.metric("sim_prompt_tokens_total") == 12
    assert gen.metric("sim_prompt_tokens_total") == 0
    assert gen.metric("sim_generation_tokens_total") == 8
    assert gen.metric("sim_iterations_total") == 6, "the first token of each request comes from the CTX server"


def _handle(answer: Any) -> dict[str, Any]:
    params = answer.json["choices"][0]["disaggregated_params"]
    return {**params, "request_type": "generation_only"}


def test_gen_refuses_what_no_ctx_server_prepared_and_takes_each_handle_once(cluster: Cluster) -> None:
    ctx, gen = cluster.server("ctx"), cluster.server("gen")
    handle = _handle(ctx.post(body(disaggregated_params={"request_type": "context_only"})))
    forged = base64.b64encode(json.dumps({"address": ctx.address, "block": "0" * 32}).encode()).decode()

    def decode(**changes: Any) -> Any:
        return gen.post(body(disaggregated_params={**handle, **changes}))

    assert gen.post(body()).status == 400
    assert "without the handle of a CTX server" in gen.post(body()).error
    assert decode(opaque_state=None).status == 400
    assert decode(opaque_state="bm9uc2Vuc2U=").status == 400
    assert f"CTX server {ctx.address} has no KV block of that handle" in decode(opaque_state=forged).error
    assert decode().json["choices"][0]["text"] == " tok" * 4
    again = decode()
    assert (again.status, "used before" in again.error) == (400, True)


def test_gen_refuses_the_context_of_another_request(cluster: Cluster) -> None:
    ctx, gen = cluster.server("ctx"), cluster.server("gen")
    context = {"request_type": "context_only"}
    first = _handle(ctx.post(body(prompt=4, disaggregated_params=context)))
    second = _handle(ctx.post(body(prompt=4, disaggregated_params=context)))

    assert "of another request" in gen.post(body(prompt=9, disaggregated_params=first)).error
    mixed = {**second, "ctx_request_id": first["ctx_request_id"]}
    assert "of another request" in gen.post(body(prompt=4, disaggregated_params=mixed)).error


def test_ctx_and_aggregated_servers_refuse_work_of_the_other_kind(cluster: Cluster) -> None:
    ctx, server = cluster.server("ctx"), cluster.server("server")

    assert "context_only alone" in ctx.post(body()).error
    assert "no disaggregated_params" in server.post(body(disaggregated_params={"request_type": "context_only"})).error


@pytest.mark.parametrize("how", ["setting", "environment"])
def test_without_context_the_coordinator_goes_straight_to_gen(cluster: Cluster, how: str) -> None:
    no_context = how == "setting"
    if not no_context:
        cluster.setenv("TRTLLM_DISAGG_BENCHMARK_GEN_ONLY", "1")
    gen = cluster.server("gen", no_context=no_context)
    coordinator = cluster.coordinator([], [gen], no_context=no_context)

    assert coordinator.post(body(max_tokens=3, stream=True)).texts == [" tok"] * 3
    assert gen.metric("sim_iterations_total") == 3


def test_the_fill_gate_holds_decoding_until_its_share_is_queued_and_stays_open(
    cluster: Cluster, pool: ThreadPoolExecutor
) -> None:
    gen = cluster.server("gen", no_context=True, fill_gate=3)
    held = [pool.submit(gen.post, body()) for _ in range(2)]
    until(lambda: gen.metric("sim_requests_waiting") == 2, "two requests queued")
    assert gen.metric("sim_iterations_total") == 0

    third = gen.post(body())

    assert third.status == 200
    assert [future.result().status for future in held] == [200, 200]
    assert gen.post(body()).status == 200, "a single later request is not held"


def test_four_gen_servers_fill_their_gates_from_one_concurrency(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    gens = [cluster.server("gen", f"GEN_{i}", no_context=True, fill_gate=2) for i in range(4)]
    coordinator = cluster.coordinator([], gens, no_context=True)

    answers = [pool.submit(coordinator.post, body(stream=True)) for _ in range(8)]

    assert [len(answer.result().texts) for answer in answers] == [4] * 8
    assert [gen.metric("sim_requests_total") for gen in gens] == [2] * 4


def test_the_coordinator_spreads_requests_over_ctx_and_gen(cluster: Cluster) -> None:
    ctxs = [cluster.server("ctx", f"CTX_{i}") for i in range(2)]
    gens = [cluster.server("gen", f"GEN_{i}") for i in range(2)]
    coordinator = cluster.coordinator(ctxs, gens)

    for _ in range(8):
        assert coordinator.post(body()).status == 200

    assert [server.metric("sim_requests_total") for server in (*ctxs, *gens)] == [4, 4, 4, 4]


def test_a_server_that_answers_at_once_does_not_starve_the_gate_of_another(
    cluster: Cluster, pool: ThreadPoolExecutor
) -> None:
    held = cluster.server("gen", "GEN_0", no_context=True, fill_gate=2)
    free = cluster.server("gen", "GEN_1", no_context=True)
    coordinator = cluster.coordinator([], [held, free], no_context=True)
    waiting = pool.submit(coordinator.post, body())
    until(lambda: held.metric("sim_requests_waiting") == 1, "one request held")

    for _ in range(3):
        assert coordinator.post(body()).status == 200

    assert waiting.result().status == 200
    assert [server.metric("sim_requests_total") for server in (held, free)] == [2, 2]


def test_requests_share_a_batch_up_to_its_maximum(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    gen = cluster.server("gen", no_context=True, fill_gate=4, max_batch_size=2, iteration_log=True)

    answers = [pool.submit(gen.post, body(max_tokens=8)) for _ in range(4)]

    assert [answer.result().status for answer in answers] == [200] * 4
    batches = [int(found) for found in TOKENS.findall(gen.log)]
    assert batches == [2] * 16


def test_a_decode_step_grows_with_its_batch_and_prefill_with_the_prompt(
    cluster: Cluster, pool: ThreadPoolExecutor
) -> None:
    timing = Timing(decode_step_ms=2.0, decode_step_per_request_ms=3.0, prefill_tokens_per_s=1000.0)
    gen = cluster.server("gen", no_context=True, fill_gate=4, iteration_log=True, timing=timing)
    ctx = cluster.server("ctx", iteration_log=True, timing=timing)

    for answer in [pool.submit(gen.post, body(max_tokens=3)) for _ in range(4)]:
        assert answer.result().status == 200
    for prompt in (20, 40, 5):
        ctx.post(body(prompt=prompt, disaggregated_params={"request_type": "context_only"}))

    assert [float(step) for _, step in ROW.findall(gen.log)] == [14.0, 14.0]
    assert [float(step) for _, step in ROW.findall(ctx.log)] == [20.0, 40.0]


def test_the_kv_cache_takes_its_time_over_the_link(cluster: Cluster) -> None:
    timing = Timing(decode_step_ms=1.0, kv_bytes_per_token=1_000_000, kv_transfer_gbps=0.8)
    ctx, gen = cluster.server("ctx", timing=timing), cluster.server("gen", timing=timing, truth=True)
    coordinator = cluster.coordinator([ctx], [gen])

    coordinator.post(body(prompt=20, stream=True))
    until(lambda: len(gen.truth) == 4, "truth log written")

    first = gen.truth[0]
    assert first["monotonic_s"] - first["received_s"] >= 0.2, "20 MB over 0.8 Gb/s are 0.2 s"


def test_the_iteration_log_is_what_gen_only_cases_parse(cluster: Cluster) -> None:
    gen = cluster.server("gen", no_context=True, iteration_log=True)

    gen.post(body(max_tokens=6))

    lines = [line for line in gen.log.splitlines() if line.startswith("iter = ")]
    assert "prev_device_step_time = N/A" in lines[0]
    assert [(match[1], float(match[2])) for line in lines[1:] if (match := ROW.search(line))] == [
        (str(number), 1.0) for number in range(2, 7)
    ]
    assert [TOKENS.findall(line) for line in lines] == [["1"]] * 6
    assert [SCHEDULED.findall(line) for line in lines] == [[(str(number), "1")] for number in range(1, 7)]
    assert all(re.search(r"global_rank\s*=\s*0", line) for line in lines)


def test_the_truth_logs_hold_every_chunk_of_every_request(cluster: Cluster) -> None:
    ctx = cluster.server("ctx")
    gen = cluster.server("gen", truth=True, tokens_per_chunk=2)
    coordinator = cluster.coordinator([ctx], [gen], truth=True)

    for _ in range(3):
        coordinator.post(body(max_tokens=5, stream=True))
    for server in (gen, coordinator):
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=LIMIT_S) == 0

    for server in (gen, coordinator):
        by_request: dict[str, list[dict[str, Any]]] = {}
        for entry in server.truth:
            by_request.setdefault(entry["request_id"], []).append(entry)
        assert len(by_request) == 3
        for entries in by_request.values():
            assert [entry["chunk"] for entry in entries] == list(range(len(entries)))
            assert sum(entry["tokens"] for entry in entries) == 5
            times = [entries[0]["received_s"], *(entry["monotonic_s"] for entry in entries)]
            assert times == sorted(times)
    assert {entry["request_id"] for entry in gen.truth} == {entry["request_id"] for entry in coordinator.truth}


def test_a_client_that_leaves_frees_its_place(cluster: Cluster) -> None:
    ctx, gen = cluster.server("ctx"), cluster.server("gen", max_batch_size=1, timing=Timing(decode_step_ms=10.0))
    coordinator = cluster.coordinator([ctx], [gen])
    host, _, port = coordinator.address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=LIMIT_S)
    connection.request("POST", "/v1/completions", body=json.dumps(body(max_tokens=100_000, stream=True)))
    connection.getresponse().read(10)
    assert gen.metric("sim_requests_running") == 1
    connection.close()

    assert coordinator.post(body(max_tokens=2)).status == 200
    assert gen.metric("sim_requests_running") == 0


def test_metrics_count_work(cluster: Cluster) -> None:
    ctx, gen, coordinator = cluster.pair()

    coordinator.post(body(prompt=7, max_tokens=5, stream=True))

    assert ctx.metric("sim_prompt_tokens_total") == 7
    assert gen.metric("sim_generation_tokens_total") == 5
    assert coordinator.metric("sim_forwarded_chunks_total") >= 1
    assert coordinator.metric("sim_requests_running") == 0


def test_a_server_that_starts_up_has_an_address_and_refuses_requests(cluster: Cluster) -> None:
    server = cluster.server("server", ready=False, timing=Timing(startup_s=3600.0))

    assert server.get("/health").status == 503
    refused = server.post(body())
    assert (refused.status, refused.error) == (503, "SERVER_0 is starting")
    assert server.get("/server_info").json["ready"] is False


@pytest.mark.parametrize("kind", ["ctx", "gen", "server"])
def test_sigterm_ends_a_server_in_the_middle_of_its_streams(
    cluster: Cluster, kind: Any, pool: ThreadPoolExecutor
) -> None:
    timing = Timing(decode_step_ms=50.0, prefill_tokens_per_s=1.0)
    server = cluster.server(kind, no_context=kind == "gen", timing=timing)
    context: dict[str, Any] = {"disaggregated_params": {"request_type": "context_only"}} if kind == "ctx" else {}
    cut = pool.submit(server.post, body(max_tokens=100_000, **context))
    until(lambda: server.metric("sim_requests_running") == 1, "one request running")

    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(timeout=LIMIT_S) == 0
    assert cut.exception() is not None
    assert f"{server.role} stops" in server.log


def test_sigterm_ends_a_coordinator_in_the_middle_of_its_streams(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    gen = cluster.server("gen", no_context=True)
    coordinator = cluster.coordinator([], [gen], no_context=True)
    cut = pool.submit(coordinator.post, body(max_tokens=1_000_000, stream=True))
    until(lambda: coordinator.metric("sim_forwarded_chunks_total") > 2, "a stream under way")

    coordinator.process.send_signal(signal.SIGTERM)

    assert coordinator.process.wait(timeout=LIMIT_S) == 0
    assert cut.exception() is not None
    until(lambda: gen.metric("sim_requests_running") == 0, "GEN gave the request up")


def test_the_first_log_line_says_who_where_and_how(cluster: Cluster) -> None:
    server = cluster.server("server", seed=7, timing=FAST)

    first = server.log.splitlines()[0]

    assert first.startswith(f"[sim] SERVER_0 listens on {server.address}: kind=server ")
    assert "seed=7" in first
    assert "decode_step_ms=1.0" in first
