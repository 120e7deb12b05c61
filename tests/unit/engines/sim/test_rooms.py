"""Rooms where a CTX and a GEN server meet: either may be first, and who leaves fails the other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from pytest_disagg.engines.sim import rooms as rooms_module
from pytest_disagg.engines.sim.openai import Bootstrap, Refusal, parse_request
from pytest_disagg.engines.sim.rooms import Rooms

ROOM, TOKENS = 2**62 + 7, 300


class Prefill:
    """A prefill that ends when the test says so."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.over = asyncio.Event()

    async def __call__(self) -> None:
        self.began.set()
        await self.over.wait()


def play(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def test_the_ctx_server_waits_for_the_gen_server_and_it_for_the_kv_cache() -> None:
    async def test() -> None:
        rooms, prefill = Rooms(), Prefill()
        ctx = asyncio.create_task(rooms.prefill(ROOM, TOKENS, prefill))
        await asyncio.sleep(0)
        assert not prefill.began.is_set()
        gen = asyncio.create_task(rooms.come(ROOM))
        await prefill.began.wait()
        assert not gen.done()
        prefill.over.set()
        await ctx
        assert await gen == TOKENS
        assert len(rooms) == 0

    play(test())


def test_the_gen_server_may_come_first() -> None:
    async def test() -> None:
        rooms, prefill = Rooms(), Prefill()
        prefill.over.set()
        gen = asyncio.create_task(rooms.come(ROOM))
        await asyncio.sleep(0)
        await rooms.prefill(ROOM, TOKENS, prefill)
        assert await gen == TOKENS

    play(test())


def test_a_ctx_server_that_gives_up_fails_the_gen_server() -> None:
    async def test() -> None:
        rooms, prefill = Rooms(), Prefill()
        ctx = asyncio.create_task(rooms.prefill(ROOM, TOKENS, prefill))
        gen = asyncio.create_task(rooms.come(ROOM))
        await prefill.began.wait()
        ctx.cancel()
        with pytest.raises(Refusal, match="the CTX server gave up room") as refused:
            await gen
        assert refused.value.status == 502
        assert len(rooms) == 0

    play(test())


def test_a_gen_server_that_leaves_fails_the_ctx_server() -> None:
    async def test() -> None:
        rooms, prefill = Rooms(), Prefill()
        ctx = asyncio.create_task(rooms.prefill(ROOM, TOKENS, prefill))
        gen = asyncio.create_task(rooms.come(ROOM))
        await prefill.began.wait()
        gen.cancel()
        await asyncio.wait([gen])
        prefill.over.set()
        with pytest.raises(Refusal, match="the GEN server left room"):
            await ctx
        assert len(rooms) == 0

    play(test())


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_module, "TIMEOUT_S", 0.01)

    async def test() -> None:
        rooms = Rooms()
        with pytest.raises(Refusal, match="no GEN server came to room"):
            await rooms.prefill(ROOM, TOKENS, Prefill())
        with pytest.raises(Refusal, match="no KV cache came to room") as refused:
            await rooms.come(ROOM)
        assert refused.value.status == 504
        assert len(rooms) == 0

    play(test())


def test_a_room_is_for_two() -> None:
    async def test() -> None:
        rooms, prefill = Rooms(), Prefill()
        ctx = asyncio.create_task(rooms.prefill(ROOM, TOKENS, prefill))
        gen = asyncio.create_task(rooms.come(ROOM))
        await prefill.began.wait()
        with pytest.raises(Refusal, match="another request's"):
            await rooms.prefill(ROOM, TOKENS, prefill)
        with pytest.raises(Refusal, match="has come to room"):
            await rooms.come(ROOM)
        prefill.over.set()
        await asyncio.gather(ctx, gen)

    play(test())


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": "some words", "max_tokens": 4, **fields}


def test_what_the_router_adds_to_a_request() -> None:
    named = {"bootstrap_host": "n1", "bootstrap_port": 8998, "bootstrap_room": ROOM}
    assert parse_request(body(**named), chat=False, model="m").bootstrap == Bootstrap("n1", 8998, ROOM)
    assert parse_request(body(), chat=False, model="m").bootstrap is None


@pytest.mark.parametrize("wrong", [{"bootstrap_port": None}, {"bootstrap_host": ""}, {"bootstrap_room": "1"}])
def test_a_room_without_an_address_is_refused(wrong: dict[str, Any]) -> None:
    named = {"bootstrap_host": "n1", "bootstrap_port": 8998, "bootstrap_room": ROOM, **wrong}
    with pytest.raises(Refusal, match="expected a host, a port and the number of a room"):
        parse_request(body(**named), chat=False, model="m")
