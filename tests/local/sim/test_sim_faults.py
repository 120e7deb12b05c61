"""Faults on request, as a client and a coordinator see them."""

from __future__ import annotations

import http.client
import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_disagg.engines.sim.settings import Timing
from tests.local.sim.conftest import Cluster, body, fault
from tests.waiting import LIMIT_S, until


def test_a_slow_start_adds_to_the_start_up_time(cluster: Cluster) -> None:
    slow = cluster.server("gen", timing=Timing(startup_s=0.1), faults=fault("slow_start", delay_s=0.3))

    ready = re.search(r"GEN_0 is ready after ([\d.]+) s", slow.log)

    assert ready is not None
    assert float(ready[1]) >= 0.4


def test_a_server_that_is_never_ready_is_never_routable(cluster: Cluster) -> None:
    ctx = cluster.server("ctx")
    gen = cluster.server("gen", ready=False, faults=fault("never_ready"))
    coordinator = cluster.coordinator([ctx], [gen], ready=False)

    until(lambda: coordinator.get("/cluster_info").json["context"][0]["healthy"], "CTX routable")

    info = coordinator.get("/cluster_info").json
    assert info == {
        "context": [{"url": ctx.url, "healthy": True}],
        "generation": [{"url": gen.url, "healthy": False}],
        "is_ready": False,
    }
    refused = coordinator.post(body())
    assert (refused.status, refused.error) == (503, "DISAGG_SERVER: no GEN server is routable")


def test_a_coordinator_that_is_never_ready_says_so(cluster: Cluster) -> None:
    coordinator = cluster.coordinator([], [], ready=False, faults=fault("never_ready"))

    assert [coordinator.get(path).status for path in ("/health", "/cluster_info")] == [503, 503]


def test_exit_after_some_requests(cluster: Cluster) -> None:
    server = cluster.server("server", faults=fault("exit", after_requests=3, exit_code=42))

    assert [server.post(body()).status for _ in range(2)] == [200, 200]
    with pytest.raises((http.client.HTTPException, OSError)):
        server.post(body())

    assert server.process.wait(timeout=LIMIT_S) == 42
    assert "exit 42: fault exit after 3 requests" in server.log


def test_exit_at_the_start_publishes_an_address_first(cluster: Cluster) -> None:
    server = cluster.server("server", ready=False, faults=fault("exit", exit_code=9))

    assert server.process.wait(timeout=LIMIT_S) == 9


def test_a_coordinator_can_exit_too(cluster: Cluster) -> None:
    gen = cluster.server("gen", no_context=True)
    faults = fault("exit", after_requests=1, exit_code=5)
    coordinator = cluster.coordinator([], [gen], no_context=True, faults=faults)

    with pytest.raises((http.client.HTTPException, OSError)):
        coordinator.post(body())

    assert coordinator.process.wait(timeout=LIMIT_S) == 5


def test_a_hang_accepts_requests_stops_decoding_and_stays_healthy(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    timing = Timing(decode_step_ms=5.0)
    server = cluster.server("server", timing=timing, faults=fault("hang", after_requests=1))
    running = pool.submit(server.post, body(max_tokens=100_000, stream=True))
    until(lambda: server.metric("sim_iterations_total") > 2, "decoding")

    hanging = pool.submit(server.post, body())
    until(lambda: "hangs from request 2 on" in server.log, "the hang")
    before = server.metric("sim_iterations_total")
    queued = pool.submit(server.post, body())
    until(lambda: server.metric("sim_requests_total") == 3, "a third request accepted")

    assert server.metric("sim_iterations_total") == before
    assert server.get("/health").status == 200
    assert not any(future.done() for future in (running, hanging, queued))
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=LIMIT_S) == 0
    assert all(future.exception() is not None for future in (running, hanging, queued))


def test_a_hanging_coordinator_stops_forwarding(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    gen = cluster.server("gen", no_context=True, timing=Timing(decode_step_ms=5.0))
    faults = fault("hang", after_requests=1)
    coordinator = cluster.coordinator([], [gen], no_context=True, faults=faults)
    running = pool.submit(coordinator.post, body(max_tokens=100_000, stream=True))
    until(lambda: coordinator.metric("sim_forwarded_chunks_total") > 2, "a stream under way")
    hanging = pool.submit(coordinator.post, body())
    until(lambda: "hangs from request 2 on" in coordinator.log, "the hang")

    before = coordinator.metric("sim_forwarded_chunks_total")
    tokens = gen.metric("sim_generation_tokens_total")
    until(lambda: gen.metric("sim_generation_tokens_total") > tokens + 5, "GEN goes on")

    assert coordinator.metric("sim_forwarded_chunks_total") == before
    coordinator.process.kill()
    assert all(future.exception() is not None for future in (running, hanging))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_share_of_requests_fails_and_the_seed_says_which(cluster: Cluster, seed: int) -> None:
    faults = fault("fail_requests", ratio=0.5, after_requests=2)
    twins = [cluster.server("server", seed=seed, faults=faults) for _ in range(2)]

    outcomes = [[twin.post(body()).status for _ in range(20)] for twin in twins]

    assert outcomes[0] == outcomes[1]
    assert outcomes[0][:2] == [200, 200]
    assert set(outcomes[0]) == {200, 500}


def test_a_failed_request_has_an_error_object_that_names_the_server(cluster: Cluster) -> None:
    ctx, gen = cluster.server("ctx"), cluster.server("gen", faults=fault("fail_requests"))
    coordinator = cluster.coordinator([ctx], [gen])

    answer = coordinator.post(body(stream=True))

    assert answer.status == 500
    assert f"GEN_0 ({gen.address}) answered 500: GEN_0 failed this request" in answer.error


@pytest.mark.parametrize("stream", [True, False])
def test_an_empty_answer_is_well_formed_and_has_no_tokens(cluster: Cluster, stream: bool) -> None:
    ctx, gen = cluster.server("ctx"), cluster.server("gen", faults=fault("empty_streams"))
    coordinator = cluster.coordinator([ctx], [gen])

    answer = coordinator.post(body(stream=stream, stream_options={"include_usage": True}))

    assert answer.status == 200
    last = answer.events[-1] if stream else answer.json
    assert last["usage"]["completion_tokens"] == 0
    if stream:
        assert answer.texts == [""]


def test_a_ctx_server_without_a_context_is_named(cluster: Cluster) -> None:
    ctx, gen = cluster.server("ctx", faults=fault("empty_streams")), cluster.server("gen")
    coordinator = cluster.coordinator([ctx], [gen])

    answer = coordinator.post(body())

    assert (answer.status, f"CTX_0 ({ctx.address}) answered without a context" in answer.error) == (502, True)


@pytest.mark.parametrize("dead", ["CTX_0", "GEN_0"])
def test_a_dead_server_is_a_502_that_names_it(cluster: Cluster, dead: str) -> None:
    servers = {server.role: server for server in (cluster.server("ctx"), cluster.server("gen"))}
    coordinator = cluster.coordinator([servers["CTX_0"]], [servers["GEN_0"]])
    assert coordinator.post(body()).status == 200
    servers[dead].process.kill()
    servers[dead].process.wait()

    answers = [coordinator.post(body()) for _ in range(2)]

    assert answers[0].status in (502, 503), "503 where a health check noticed first"
    assert answers[-1].status == 503
    assert dead[:3] in answers[0].error
    until(lambda: not coordinator.get("/cluster_info").json["is_ready"], f"{dead} not routable")


def test_a_stream_whose_server_dies_ends_with_an_error_and_without_its_end(
    cluster: Cluster, pool: ThreadPoolExecutor
) -> None:
    gen = cluster.server("gen", no_context=True, timing=Timing(decode_step_ms=5.0))
    coordinator = cluster.coordinator([], [gen], no_context=True)

    def read() -> tuple[bytes, bool]:
        host, _, port = coordinator.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=LIMIT_S)
        connection.request("POST", "/v1/completions", body=json.dumps(body(max_tokens=100_000, stream=True)))
        answer = connection.getresponse()
        data = b""
        try:
            while piece := answer.read1():
                data += piece
        except http.client.IncompleteRead as error:
            return data + error.partial, True
        finally:
            connection.close()
        return data, False

    reading = pool.submit(read)
    until(lambda: gen.metric("sim_generation_tokens_total") > 3, "tokens")
    gen.process.kill()
    data, torn = reading.result()

    assert b"data: [DONE]" not in data
    assert f"GEN_0 ({gen.address}) is dead".encode() in data.split(b"\n\n")[-2]
    assert torn
