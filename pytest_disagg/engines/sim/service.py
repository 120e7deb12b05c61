"""What every simulated process has in common: routes, start-up, faults, the intake of a request."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_disagg.engines.sim import metrics, web
from pytest_disagg.engines.sim.console import leave, log
from pytest_disagg.engines.sim.faults import Faults
from pytest_disagg.engines.sim.openai import Refusal, Renderer, Request, error_body, parse_body, parse_request
from pytest_disagg.engines.sim.truth import TruthLog

REQUEST_ID = "X-Request-Id"
NO_CONTEXT_ENV = "TRTLLM_DISAGG_BENCHMARK_GEN_ONLY"
"""TensorRT-LLM's switch for decoding without CTX servers; 1 turns it on here too."""


def without_context(setting: bool) -> bool:
    """Whether this process works without CTX servers."""
    return setting or os.environ.get(NO_CONTEXT_ENV) == "1"


def error_response(message: str, status: int, *, param: str | None = None, code: str | None = None) -> web.Response:
    """An answer that carries the OpenAI error object."""
    return web.json_response(error_body(message, status=status, param=param, code=code), status=status)


@dataclass(frozen=True)
class Job:
    """A request as it came in. ``received_s`` is CLOCK_MONOTONIC when it was read completely."""

    http: web.Request
    body: dict[str, Any]
    request: Request
    request_id: str
    received_s: float

    @property
    def path(self) -> str:
        return "/v1/chat/completions" if self.request.chat else "/v1/completions"


class Service(ABC):
    """A simulated process. It is healthy from the end of its start-up on; until then requests are answered 503."""

    def __init__(self, *, role: str, model: str, startup_s: float, faults: Faults, truth: TruthLog | None) -> None:
        self.role = role
        self.model = model
        self.address = ""
        self.faults = faults
        self.truth = truth
        self._startup_s = startup_s + faults.startup_delay_s
        self._ready = False

    @abstractmethod
    def describe(self) -> str:
        """The settings, for the first line of the log."""

    @abstractmethod
    def counters(self) -> Mapping[str, int]:
        """What ``/metrics`` shows."""

    @abstractmethod
    def info(self) -> Mapping[str, Any]:
        """What ``/server_info`` shows besides role and model."""

    @abstractmethod
    async def handle(self, job: Job) -> web.Answer:
        """Answer a request that nothing is wrong with. Raises Refusal."""

    @abstractmethod
    async def work(self) -> None:
        """What runs beside the requests once the service is up; ends only by failing."""

    @abstractmethod
    def on_hang(self) -> None:
        """Called when the service starts to hang."""

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports beside the one that is published, where the same routes are served."""
        return ()

    def app(self) -> web.App:
        """The routes."""
        app = web.App()
        app.add_post("/v1/completions", self._completions)
        app.add_post("/v1/chat/completions", self._chat)
        app.add_get("/health", self._health)
        app.add_get("/v1/models", self._models)
        app.add_get("/metrics", self._metrics)
        app.add_get("/server_info", self._server_info)
        app.add_get("/model_info", self._model_info)
        return app

    async def run(self, address: str) -> None:
        """Start up, then work; ``address`` is where this process listens by now."""
        self.address = address
        began = time.monotonic()
        await asyncio.sleep(self._startup_s)
        if self.faults.exits_at_start:
            leave(self.faults.exit_code, self.truth, "fault exit after 0 requests")
        if not self.faults.never_ready:
            self._ready = True
            log(f"{self.role} is ready after {time.monotonic() - began:.3f} s")
        await self.work()

    def not_ready(self) -> web.Response | None:
        """The answer while the service starts up; None once it is ready."""
        return None if self._ready else error_response(f"{self.role} is starting", 503)

    @abstractmethod
    def close(self) -> None:
        """Give up the connections to other processes."""

    async def hang_if_hung(self) -> None:
        """Never return where this process hangs."""
        if self.faults.hung:
            await asyncio.Event().wait()

    async def _health(self, _http: web.Request) -> web.Response:
        return self.not_ready() or web.Response()

    async def _models(self, _http: web.Request) -> web.Response:
        model = {"id": self.model, "object": "model", "created": 0, "owned_by": "sim"}
        return web.json_response({"object": "list", "data": [model]})

    async def _metrics(self, _http: web.Request) -> web.Response:
        page = metrics.render({"sim_requests_total": self.faults.requests, **self.counters()})
        return web.Response(page.encode(), content_type=metrics.CONTENT_TYPE)

    async def _server_info(self, _http: web.Request) -> web.Response:
        return web.json_response({"role": self.role, "model": self.model, "ready": self._ready, **self.info()})

    async def _model_info(self, _http: web.Request) -> web.Response:
        return web.json_response({"served_model_name": self.model, "is_generation": True})

    async def _completions(self, http: web.Request) -> web.Answer:
        return await self._answer(http, chat=False)

    async def _chat(self, http: web.Request) -> web.Answer:
        return await self._answer(http, chat=True)

    async def _answer(self, http: web.Request, *, chat: bool) -> web.Answer:
        received_s = time.monotonic()
        if (starting := self.not_ready()) is not None:
            return starting
        action = self.faults.next_request()
        if action == "exit":
            leave(self.faults.exit_code, self.truth, f"fault exit after {self.faults.requests} requests")
        if action == "hang":
            log(f"{self.role} hangs from request {self.faults.requests} on")
            self.on_hang()
        await self.hang_if_hung()
        if action == "fail":
            return error_response(f"{self.role} failed this request: fault fail_requests", 500)
        try:
            body = parse_body(http.body)
            request = parse_request(body, chat=chat, model=self.model)
            job = Job(http, body, request, http.headers.get(REQUEST_ID.lower()) or uuid.uuid4().hex, received_s)
            return _nothing(job) if action == "empty" else await self.handle(job)
        except Refusal as error:
            return error_response(f"{self.role}: {error}", error.status, param=error.param, code=error.code)


def open_stream(http: web.Request) -> web.Stream:
    """Send the head of a streamed answer."""
    return web.Stream(http, "text/event-stream")


def _nothing(job: Job) -> web.Answer:
    """The fault of an answer without tokens: status 200, well-formed, finished."""
    renderer = Renderer(job.request, job.request_id)
    if not job.request.stream:
        return web.json_response(renderer.whole(0, "stop"))
    stream = open_stream(job.http)
    stream.end(renderer.opening() + renderer.event(0, "stop") + renderer.closing(0))
    return stream
