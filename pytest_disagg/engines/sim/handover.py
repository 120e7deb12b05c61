"""The GEN server's side of the hand-over: a handle is checked and used up at the CTX server that issued it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web

from pytest_disagg.engines.sim.kv import decode_handle
from pytest_disagg.engines.sim.model import TimingModel
from pytest_disagg.engines.sim.openai import DisaggParams, Refusal

TIMEOUT_S = 60.0
PARAM = "disaggregated_params"


class ContextFetcher:
    """Fetches KV blocks over HTTP. Transfers into this server share one link, one after the other."""

    def __init__(self, model: TimingModel) -> None:
        self._model = model
        self._link_free_s = 0.0
        self._session: aiohttp.ClientSession | None = None

    async def lifespan(self, _app: web.Application) -> AsyncIterator[None]:
        """The connections to CTX servers, open as long as the app runs."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as self._session:
            yield

    async def fetch(self, params: DisaggParams, prompt_tokens: int) -> None:
        """Take the KV block that ``params`` name and wait until it has arrived.

        Raises:
            Refusal: no handle, an unknown or used one, one of another request (400), or a dead CTX server (502).
        """
        try:
            address, key = decode_handle(params.opaque_state or "")
        except ValueError as error:
            raise Refusal(f"{PARAM}.opaque_state is no handle of a CTX server: {error}", param=PARAM) from None
        block = await self._take(address, key)
        if block is None:
            message = f"CTX server {address} has no KV block of that handle: never issued there, or used before"
            raise Refusal(message, param=PARAM)
        named = {"ctx_request_id": params.ctx_request_id, "tokens": prompt_tokens}
        if block != named:
            raise Refusal(f"the KV block is of another request: found {block}, expected {named}", param=PARAM)
        now = time.monotonic()
        self._link_free_s = max(now, self._link_free_s) + self._model.transfer_s(prompt_tokens)
        await asyncio.sleep(self._link_free_s - now)

    async def _take(self, address: str, key: str) -> dict[str, Any] | None:
        if self._session is None:
            raise RuntimeError("the client session of a GEN server opens with its app")
        try:
            async with self._session.post(f"http://{address}/kv/{key}") as answer:
                if answer.status == 404:
                    return None
                answer.raise_for_status()
                block: dict[str, Any] = await answer.json()
                return block
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError) as error:
            message = f"CTX server {address} did not hand over a KV block: {error or type(error).__name__}"
            raise Refusal(message, status=502) from error
