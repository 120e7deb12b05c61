"""The GEN server's side of the hand-over: a handle is used up at the CTX server that issued it, or a room is shared."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from pytest_disagg.engines.sim.kv import decode_handle
from pytest_disagg.engines.sim.model import TimingModel
from pytest_disagg.engines.sim.openai import Bootstrap, DisaggParams, Refusal
from pytest_disagg.engines.sim.rooms import TIMEOUT_S as ROOM_TIMEOUT_S
from pytest_disagg.engines.sim.upstream import Upstreams

TIMEOUT_S = 60.0
KV = "/kv/"
ROOMS = "/rooms/"
"""What a CTX server hands over lies below these paths."""
PARAM = "disaggregated_params"


class ContextFetcher:
    """Fetches KV blocks over HTTP. Transfers into this server share one link, one after the other."""

    def __init__(self, model: TimingModel) -> None:
        self._model = model
        self._link_free_s = 0.0
        self._upstreams = Upstreams()

    def close(self) -> None:
        """Give up the connections to CTX servers."""
        self._upstreams.close()

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
        await self._transfer(prompt_tokens)

    async def meet(self, where: Bootstrap, prompt_tokens: int) -> None:
        """Come to the room, wait until the CTX server has filled it and the KV cache has arrived.

        Raises:
            Refusal: the CTX server is dead, gave the request up, or prefilled another one (502).
        """
        host = f"[{where.host}]" if ":" in where.host and not where.host.startswith("[") else where.host
        found = await self._post(f"{host}:{where.port}", f"{ROOMS}{where.room}", ROOM_TIMEOUT_S)
        if found != {"tokens": prompt_tokens}:
            message = f"room {where.room} has the KV cache of another request: found {found}, expected {prompt_tokens}"
            raise Refusal(f"{message} tokens", status=502)
        await self._transfer(prompt_tokens)

    async def _transfer(self, prompt_tokens: int) -> None:
        now = time.monotonic()
        self._link_free_s = max(now, self._link_free_s) + self._model.transfer_s(prompt_tokens)
        await asyncio.sleep(self._link_free_s - now)

    async def _take(self, address: str, key: str) -> dict[str, Any] | None:
        return await self._post(address, f"{KV}{key}", TIMEOUT_S)

    async def _post(self, address: str, path: str, timeout_s: float) -> dict[str, Any] | None:
        try:
            status, body = await asyncio.wait_for(self._upstreams.ask(address, "POST", path), timeout_s)
            if status == 404:
                return None
            if status != 200:
                said = f"{status} {body.decode(errors='replace')}"
                raise Refusal(f"CTX server {address} handed over no KV cache: {said}", status=502)
            found: dict[str, Any] = json.loads(body)
            return found
        except (OSError, asyncio.TimeoutError, ValueError) as error:
            message = f"CTX server {address} did not hand over a KV block: {str(error) or type(error).__name__}"
            raise Refusal(message, status=502) from error
