"""The engine's questions, asked of real servers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pytest_disagg.engines.sim.engine import SimEngine
from tests.local.sim.conftest import Cluster, body, fault
from tests.waiting import until

ENGINE = SimEngine()


def test_healthy_is_what_the_server_says(cluster: Cluster) -> None:
    up = cluster.server("ctx")
    never = cluster.server("gen", ready=False, faults=fault("never_ready"))

    assert ENGINE.healthy(up.url, 5.0).ok
    seen = ENGINE.healthy(never.url, 5.0)
    assert not seen.ok
    assert "503" in seen.seen
    assert "GEN_0 is starting" in seen.seen


def test_routable_counts_instances(cluster: Cluster) -> None:
    ctx, gen = cluster.server("ctx"), cluster.server("gen")
    coordinator = cluster.coordinator([ctx], [gen])

    assert ENGINE.routable(coordinator.url, ctx=1, gen=1, timeout_s=5.0).ok
    short = ENGINE.routable(coordinator.url, ctx=1, gen=2, timeout_s=5.0)
    assert not short.ok
    assert short.seen == f"1 of 1 CTX and 1 of 2 GEN servers routable at {coordinator.url}"

    gen.process.kill()
    until(lambda: not ENGINE.routable(coordinator.url, ctx=1, gen=1, timeout_s=5.0).ok, "GEN not routable")


def test_a_server_is_no_coordinator(cluster: Cluster) -> None:
    seen = ENGINE.routable(cluster.server("server").url, ctx=0, gen=0, timeout_s=5.0)

    assert (seen.ok, "404" in seen.seen) == (False, True)


def test_progress_grows_with_work_and_stands_still_in_a_hang(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    ctx = cluster.server("ctx")
    gen = cluster.server("gen", faults=fault("hang", after_requests=1))
    coordinator = cluster.coordinator([ctx], [gen])
    urls = [server.url for server in (ctx, gen, coordinator)]
    assert [ENGINE.progress(url, 5.0) for url in urls] == [0, 0, 0]

    assert coordinator.post(body(stream=True)).status == 200
    after = [ENGINE.progress(url, 5.0) for url in urls]
    assert all(after)

    hanging = pool.submit(coordinator.post, body(stream=True))
    until(lambda: "hangs from request 2 on" in gen.log, "the hang")
    assert [ENGINE.progress(url, 5.0) for url in urls[1:]] == after[1:]
    assert ENGINE.progress(urls[0], 5.0) != after[0], "the CTX server did its part"
    coordinator.process.kill()
    assert hanging.exception() is not None
