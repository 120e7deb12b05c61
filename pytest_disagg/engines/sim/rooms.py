"""Where CTX and GEN servers meet behind sglang-router: rooms of the CTX server, on a port of their own.

The router posts a request to one server of each kind at once and names a room to both. The GEN server comes there
(``POST /rooms/<number>``) and stays until the KV cache of the prompt is; the CTX server begins to prefill when the GEN
server has come. Whoever is first waits for the other, and who leaves fails the other's request. SGLang's servers meet
in the same order, by a protocol of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pytest_disagg.engines.sim.openai import Refusal

_T = TypeVar("_T")

TIMEOUT_S = 300.0
"""SGLang's defaults of SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT and SGLANG_DISAGGREGATION_WAITING_TIMEOUT."""


class _Room:
    """``came`` is set by the GEN server, ``filled`` by the CTX server: prompt tokens, None where it gives up."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.came: asyncio.Future[None] = loop.create_future()
        self.filled: asyncio.Future[int | None] = loop.create_future()
        self.claimed = False
        self.left = False


class Rooms:
    """The rooms of one CTX server."""

    def __init__(self) -> None:
        self._rooms: dict[int, _Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    async def prefill(self, number: int, tokens: int, prefill: Callable[[], Awaitable[None]]) -> None:
        """Wait for the GEN server, then ``prefill``, then hand it the KV cache of that many prompt tokens.

        Raises:
            Refusal: the room is another request's (400), no GEN server came (504), or it left (502).
        """
        room = self._rooms.setdefault(number, _Room())
        if room.claimed:
            raise Refusal(f"room {number} is another request's", param="bootstrap_room")
        room.claimed = True
        try:
            await _within_limit(room.came, f"no GEN server came to room {number}")
            await prefill()
            if room.left:
                raise Refusal(f"the GEN server left room {number}", status=502)
            room.filled.set_result(tokens)
        finally:
            self._rooms.pop(number, None)
            if not room.filled.done():
                room.filled.set_result(None)

    async def come(self, number: int) -> int:
        """The GEN server's part: the prompt tokens of the KV cache, once it is there. Cancelled, it leaves the room.

        Raises:
            Refusal: another GEN server has come (409), no KV cache came (504), or the CTX server gave up (502).
        """
        room = self._rooms.setdefault(number, _Room())
        if room.came.done():
            raise Refusal(f"a GEN server has come to room {number} already", status=409)
        room.came.set_result(None)
        try:
            tokens = await _within_limit(room.filled, f"no KV cache came to room {number}")
        finally:
            room.left = not room.filled.done()
            if not room.claimed:
                self._rooms.pop(number, None)
        if tokens is None:
            raise Refusal(f"the CTX server gave up room {number}", status=502)
        return tokens


async def _within_limit(future: asyncio.Future[_T], what: str) -> _T:
    try:
        return await asyncio.wait_for(asyncio.shield(future), TIMEOUT_S)
    except asyncio.TimeoutError:
        raise Refusal(f"{what} within {TIMEOUT_S:g} s", status=504) from None
