"""Simulated servers as sglang-router speaks with them: a request goes to both at once, with a room to meet in."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pytest_disagg.engines.sim.settings import Timing
from tests.local.sim.conftest import FAST, Answer, Cluster, Server, body
from tests.ports import hold
from tests.waiting import until

SLOW_PREFILL = Timing(prefill_tokens_per_s=1.0)
"""One that is still going on when the test ends."""


class Pair:
    """A CTX and a GEN server, asked together."""

    def __init__(self, cluster: Cluster, pool: ThreadPoolExecutor, timing: Timing = FAST) -> None:
        self._pool = pool
        held, (self.port,) = hold(1)
        held.release()
        self.ctx = cluster.server("ctx", timing=timing, bootstrap_port=self.port)
        self.gen = cluster.server("gen")

    def ask(self, room: int, **more: Any) -> tuple[Future[Answer], Future[Answer]]:
        """The answers of CTX and GEN."""
        where = {"bootstrap_host": "127.0.0.1", "bootstrap_port": self.port, "bootstrap_room": room}
        content = body(prompt=40, max_tokens=6, **where, **more)
        return self._pool.submit(self.ctx.post, content), self._pool.submit(self.gen.post, content)

    def both_work_on(self, number: int) -> None:
        def there(server: Server) -> bool:
            return server.metric("sim_requests_total") == number

        until(lambda: there(self.gen) and there(self.ctx), "both servers to have the request")
        until(lambda: self.ctx.metric("sim_requests_running") == 1, "the CTX server to prefill")


def test_the_gen_server_streams_what_the_ctx_server_began(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    pair = Pair(cluster, pool)
    answers = [[each.result() for each in pair.ask(room, stream=True)] for room in (1, 2**62)]
    for ctx, gen in answers:
        assert (ctx.status, gen.status) == (200, 200)
        assert (len(ctx.texts), len(gen.texts)) == (1, 6)
    assert pair.ctx.metric("sim_prompt_tokens_total") == 80
    assert pair.gen.metric("sim_prompt_tokens_total") == 0
    for server in (pair.ctx, pair.gen):
        assert server.get("/model_info").json["served_model_name"] == "tiny"


def test_a_ctx_server_that_dies_fails_the_gen_servers_request(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    pair = Pair(cluster, pool, SLOW_PREFILL)
    _, gen = pair.ask(1)
    pair.both_work_on(1)
    pair.ctx.process.kill()
    answer = gen.result()
    assert answer.status == 502
    assert f"CTX server 127.0.0.1:{pair.port} did not hand over" in answer.error


def test_a_gen_server_that_dies_fails_the_ctx_servers_request(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    # Four seconds, in which both have to be seen at work.
    pair = Pair(cluster, pool, Timing(prefill_tokens_per_s=10.0))
    ctx, _ = pair.ask(1)
    pair.both_work_on(1)
    pair.gen.process.kill()
    answer = ctx.result()
    assert answer.status == 502
    assert "the GEN server left room 1" in answer.error


def test_servers_with_rooms_take_no_other_requests(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    pair = Pair(cluster, pool)
    for server, wanted in ((pair.ctx, "bootstrap_room"), (pair.gen, "handle of a CTX server")):
        answer = server.post(body())
        assert answer.status == 400
        assert wanted in answer.error
    # A room of a CTX server that is not there.
    answer = pair.gen.post(body(bootstrap_host="127.0.0.1", bootstrap_port=1, bootstrap_room=1))
    assert answer.status == 502
    for room in ("x", ""):
        assert pair.ctx.post("", f"/rooms/{room}").status == 404
