"""A CTX, GEN or aggregated server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from pytest_disagg.engines.sim import web
from pytest_disagg.engines.sim.batcher import Batcher, Sequence
from pytest_disagg.engines.sim.faults import Faults
from pytest_disagg.engines.sim.handover import KV, PARAM, ROOMS, ContextFetcher
from pytest_disagg.engines.sim.kv import BlockStore, encode_handle
from pytest_disagg.engines.sim.model import TimingModel
from pytest_disagg.engines.sim.openai import Refusal, Renderer, Request
from pytest_disagg.engines.sim.rooms import Rooms
from pytest_disagg.engines.sim.service import Job, Service, error_response, open_stream, without_context
from pytest_disagg.engines.sim.settings import Kind, ServerSettings
from pytest_disagg.engines.sim.stream import StreamSink
from pytest_disagg.engines.sim.truth import TruthLog


class Worker(Service):
    """A server with an engine of its own, its :class:`Batcher`."""

    def __init__(self, kind: Kind, settings: ServerSettings, truth: TruthLog | None) -> None:
        rng = random.Random(f"{settings.seed}:{settings.role}")
        self._model = TimingModel(settings.timing, rng)
        super().__init__(
            role=settings.role,
            model=settings.model,
            startup_s=self._model.startup_s(),
            faults=Faults(settings.faults, rng),
            truth=truth,
        )
        self._kind = kind
        self._settings = settings
        self._batcher = Batcher(kind, settings, self._model)
        self._blocks = BlockStore()
        self._contexts = ContextFetcher(self._model)
        self._rooms = Rooms() if settings.bootstrap_port else None
        self._no_context = without_context(settings.no_context)

    def describe(self) -> str:
        """The settings, for the first line of the log."""
        return f"kind={self._kind} no_context={self._no_context} {self._settings}"

    def counters(self) -> Mapping[str, int]:
        """What ``/metrics`` shows."""
        return {
            "sim_requests_running": self._batcher.running,
            "sim_requests_waiting": self._batcher.waiting,
            "sim_iterations_total": self._batcher.iterations,
            "sim_prompt_tokens_total": self._batcher.prompt_tokens,
            "sim_generation_tokens_total": self._batcher.generation_tokens,
        }

    def info(self) -> Mapping[str, Any]:
        """What ``/server_info`` shows besides role and model."""
        return {
            "kind": self._kind,
            "max_batch_size": self._settings.max_batch_size,
            "tokens_per_chunk": self._settings.tokens_per_chunk,
            "fill_gate": self._settings.fill_gate,
            "no_context": self._no_context,
        }

    @property
    def ports(self) -> tuple[int, ...]:
        """Where GEN servers come to a CTX server's rooms."""
        return (self._settings.bootstrap_port,) if self._rooms is not None else ()

    def app(self) -> web.App:
        """The routes; a CTX server's KV blocks are taken at ``/kv/<key>``, or in rooms on another port."""
        app = super().app()
        if self._kind == "ctx":
            app.add_post(KV, self._hand_over)
        if self._rooms is not None:
            app.add_post(ROOMS, self._come)
        return app

    def close(self) -> None:
        """Give up the connections to CTX servers."""
        self._contexts.close()

    async def work(self) -> None:
        """Iterate for ever."""
        await self._batcher.run()

    def on_hang(self) -> None:
        """Stop in the middle of whatever runs."""
        self._batcher.hang()

    async def handle(self, job: Job) -> web.Answer:
        """Prefill, decode, or both."""
        if self._rooms is not None:
            return await self._context_for_room(job, self._rooms)
        return await (self._context(job) if self._kind == "ctx" else self._generate(job))

    async def _context_for_room(self, job: Job, rooms: Rooms) -> web.Answer:
        request = job.request
        if request.bootstrap is None:
            raise Refusal("this CTX server takes requests with a bootstrap_room alone", param="bootstrap_room")
        sequence = Sequence(prefill=request.prompt_tokens, target=1, head=0, sink=_discard)
        await rooms.prefill(request.bootstrap.room, request.prompt_tokens, lambda: self._run(sequence))
        renderer = Renderer(request, job.request_id)
        if not request.stream:
            return web.json_response(renderer.whole(1, "length"))
        stream = open_stream(job.http)
        stream.end(renderer.opening() + renderer.event(1, "length") + renderer.closing(1))
        return stream

    async def _context(self, job: Job) -> web.Response:
        request = job.request
        if request.disagg is None or request.disagg.request_type != "context_only":
            raise Refusal("a CTX server takes requests of request_type context_only alone", param=PARAM)
        await self._run(Sequence(prefill=request.prompt_tokens, target=1, head=0, sink=_discard))
        key, block = self._blocks.issue(request.prompt_tokens)
        params = {
            "request_type": "context_only",
            "first_gen_tokens": [0],
            "ctx_request_id": block.ctx_request_id,
            "opaque_state": encode_handle(self.address, key),
            "draft_tokens": None,
        }
        return web.json_response(Renderer(request, job.request_id).whole(1, "length", params))

    async def _hand_over(self, http: web.Request) -> web.Response:
        await self.hang_if_hung()
        block = self._blocks.take(http.path.removeprefix(KV))
        if block is None:
            return error_response(f"{self.role} has no such KV block", 404)
        return web.json_response({"ctx_request_id": block.ctx_request_id, "tokens": block.tokens})

    async def _come(self, http: web.Request) -> web.Response:
        number = http.path.removeprefix(ROOMS)
        try:
            if self._rooms is None or not number.removeprefix("-").isdecimal():
                raise Refusal(f"{self.role} has no room {number!r}", status=404)
            return web.json_response({"tokens": await self._rooms.come(int(number))})
        except Refusal as error:
            return error_response(f"{self.role}: {error}", error.status)

    async def _generate(self, job: Job) -> web.Answer:
        request = job.request
        prefill, head = await self._prepare(request)
        target = self._model.output_tokens(request.max_tokens, request.min_tokens, request.ignore_eos)
        finish = "length" if target == request.max_tokens else "stop"
        renderer = Renderer(request, job.request_id)
        if not request.stream:
            await self._run(Sequence(prefill=prefill, target=target, head=head, sink=_discard))
            if self.truth is not None:
                self.truth.add(job.request_id, 0, target, job.received_s)
            return web.json_response(renderer.whole(target, finish))
        stream = open_stream(job.http)
        sink = StreamSink(
            renderer,
            job.http.transport,
            finish=finish,
            request_id=job.request_id,
            received_s=job.received_s,
            truth=self.truth,
        )
        await self._run(Sequence(prefill=prefill, target=target, head=head, sink=sink))
        stream.end(renderer.closing(target))
        return stream

    async def _prepare(self, request: Request) -> tuple[int, int]:
        """Prompt tokens still to prefill, and output tokens that are there already. Raises Refusal."""
        if self._kind == "server":
            if request.disagg is not None:
                raise Refusal("an aggregated server takes no disaggregated_params", param=PARAM)
            return request.prompt_tokens, 0
        if request.bootstrap is not None:
            await self._contexts.meet(request.bootstrap, request.prompt_tokens)
            return 0, 1
        if request.disagg is not None and request.disagg.request_type == "generation_only":
            await self._contexts.fetch(request.disagg, request.prompt_tokens)
            return 0, 1
        if not self._no_context:
            raise Refusal("a GEN server takes no request without the handle of a CTX server's context", param=PARAM)
        return 0, 0

    async def _run(self, sequence: Sequence) -> None:
        self._batcher.submit(sequence)
        try:
            await sequence.done
        except asyncio.CancelledError:
            self._batcher.cancel(sequence)
            raise


def _discard(_tokens: int, _last: bool) -> None:
    """The sink of an answer that is sent as a whole."""
