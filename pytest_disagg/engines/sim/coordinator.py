"""The coordinator: context first, then generation, as ``trtllm-serve disaggregated`` routes a request."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any

from pytest_disagg.engines.sim import web
from pytest_disagg.engines.sim.balance import Instance, Pool
from pytest_disagg.engines.sim.console import log
from pytest_disagg.engines.sim.faults import Faults
from pytest_disagg.engines.sim.openai import TOKEN_TEXT, Refusal, error_body
from pytest_disagg.engines.sim.service import Job, Service, open_stream, without_context
from pytest_disagg.engines.sim.settings import CoordinatorSettings
from pytest_disagg.engines.sim.truth import TruthLog
from pytest_disagg.engines.sim.upstream import Exchange, Upstreams
from pytest_disagg.engines.sim.web import frame

POLL_UNHEALTHY_S = 0.05
POLL_HEALTHY_S = 1.0
POLL_TIMEOUT_S = 10.0
"""Neighbours may starve a server for a while; taken out of turn, it would miss what its fill gate waits for."""

_TOKEN = TOKEN_TEXT.encode()
_BROKEN = (OSError, asyncio.TimeoutError)


class Coordinator(Service):
    """Sends each request to a CTX server and, with the handle that comes back, to a GEN server."""

    def __init__(self, settings: CoordinatorSettings, truth: TruthLog | None) -> None:
        rng = random.Random(f"{settings.seed}:{settings.role}")
        faults = Faults(settings.faults, rng)
        super().__init__(
            role=settings.role, model=settings.model, startup_s=settings.startup_s, faults=faults, truth=truth
        )
        self._settings = settings
        self._no_context = without_context(settings.no_context)
        self._ctx = Pool([Instance(f"CTX_{i}", address) for i, address in enumerate(settings.ctx)])
        self._gen = Pool([Instance(f"GEN_{i}", address) for i, address in enumerate(settings.gen)])
        self._upstreams = Upstreams()
        self._running = 0
        self._forwarded = 0

    def describe(self) -> str:
        """The settings, for the first line of the log."""
        return f"no_context={self._no_context} {self._settings}"

    def counters(self) -> Mapping[str, int]:
        """What ``/metrics`` shows."""
        return {"sim_requests_running": self._running, "sim_forwarded_chunks_total": self._forwarded}

    def info(self) -> Mapping[str, Any]:
        """What ``/server_info`` shows besides role and model."""
        return {"kind": "coordinator", "no_context": self._no_context}

    def app(self) -> web.App:
        """The routes; ``/cluster_info`` counts what can be routed to."""
        app = super().app()
        app.add_get("/cluster_info", self._cluster_info)
        return app

    def close(self) -> None:
        """Give up the connections to the servers."""
        self._upstreams.close()

    async def work(self) -> None:
        """Ask every server for its health, for ever; without servers, wait."""
        instances = (*self._ctx.instances, *self._gen.instances)
        await asyncio.gather(asyncio.Event().wait(), *(self._poll(instance) for instance in instances))

    def on_hang(self) -> None:
        """Nothing to stop: streams stand still at their next piece."""

    async def handle(self, job: Job) -> web.Answer:
        """Context first, then generation."""
        self._running += 1
        try:
            body = dict(job.body)
            if not self._no_context:
                body["disaggregated_params"] = await self._context(job)
            return await self._generation(job, body, _found(self._gen.next(), "GEN"))
        finally:
            self._running -= 1

    async def _poll(self, instance: Instance) -> None:
        while True:
            try:
                asked = self._upstreams.ask(instance.address, "GET", "/health")
                healthy = (await asyncio.wait_for(asked, POLL_TIMEOUT_S))[0] == 200
            except _BROKEN:
                healthy = False
            if healthy != instance.healthy:
                log(f"{instance} is {'routable' if healthy else 'not routable'}")
            instance.healthy = healthy
            await asyncio.sleep(POLL_HEALTHY_S if healthy else POLL_UNHEALTHY_S)

    async def _cluster_info(self, _http: web.Request) -> web.Response:
        if (starting := self.not_ready()) is not None:
            return starting
        pools = [self._gen] if self._no_context else [self._ctx, self._gen]
        return web.json_response(
            {
                "context": [{"url": server.url, "healthy": server.healthy} for server in self._ctx.instances],
                "generation": [{"url": server.url, "healthy": server.healthy} for server in self._gen.instances],
                "is_ready": all(pool.healthy == len(pool.instances) > 0 for pool in pools),
            }
        )

    async def _context(self, job: Job) -> dict[str, Any]:
        """``disaggregated_params`` for the GEN server. Raises Refusal."""
        params = {"request_type": "context_only"}
        body = {**job.body, "max_tokens": 1, "min_tokens": 1, "stream": False, "disaggregated_params": params}
        body.pop("max_completion_tokens", None)
        body.pop("stream_options", None)
        server = _found(self._ctx.next(), "CTX")
        try:
            status, answer = await self._upstreams.ask(
                server.address, "POST", job.path, json.dumps(body).encode(), job.request_id
            )
        except _BROKEN as error:
            raise _dead(server, error) from error
        if status != 200:
            raise _refused(server, status, answer)
        handle = json.loads(answer)["choices"][0]["disaggregated_params"]
        if handle is None:
            raise Refusal(f"{server} answered without a context", status=502)
        return {**handle, "request_type": "generation_only"}

    async def _generation(self, job: Job, body: Mapping[str, Any], server: Instance) -> web.Answer:
        data = json.dumps(body, separators=(",", ":")).encode()
        try:
            async with self._upstreams.exchange(server.address, "POST", job.path, data, job.request_id) as exchange:
                if await exchange.head != 200:
                    raise _refused(server, exchange.head.result(), await exchange.read())
                if job.request.stream:
                    return await self._pass_on(job, exchange, server)
                whole = await exchange.read()
                await self.hang_if_hung()
                self._forwarded += 1
                return web.Response(whole, content_type="application/json")
        except _BROKEN as error:
            raise _dead(server, error) from error

    async def _pass_on(self, job: Job, exchange: Exchange, server: Instance) -> web.Answer:
        """Stream the GEN server's bytes through untouched, each piece as it comes."""
        stream = open_stream(job.http)
        transport = job.http.transport
        chunks = 0

        def write(data: bytes) -> None:
            nonlocal chunks
            if self.faults.hung or transport.is_closing():
                return
            self._forwarded += 1
            if self.truth is not None and (tokens := data.count(_TOKEN)):
                self.truth.add(job.request_id, chunks, tokens, job.received_s)
                chunks += 1
            transport.write(frame(data))

        exchange.pipe(write)
        try:
            await exchange.done
        except ConnectionError as error:
            # The head is out, so the error is an event; the body is left without its end, as a torn stream is.
            refusal = _dead(server, error)
            log(f"request {job.request_id}: {refusal}")
            event = json.dumps(error_body(str(refusal), status=refusal.status))
            write(f"data: {event}\n\n".encode())
            return stream
        await self.hang_if_hung()
        stream.end(b"")
        return stream


def _found(server: Instance | None, kind: str) -> Instance:
    if server is None:
        raise Refusal(f"no {kind} server is routable", status=503)
    return server


def _refused(server: Instance, status: int, body: bytes) -> Refusal:
    """What the server refused with, under the server's name."""
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = body[:200].decode(errors="replace")
    return Refusal(f"{server} answered {status}: {message}", status=status)


def _dead(server: Instance, error: BaseException) -> Refusal:
    server.healthy = False
    return Refusal(f"{server} is dead: {str(error) or type(error).__name__}", status=502)
