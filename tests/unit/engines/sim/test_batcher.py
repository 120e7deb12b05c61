from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_disagg.engines.sim.batcher import Batcher, Sequence
from pytest_disagg.engines.sim.model import TimingModel
from pytest_disagg.engines.sim.settings import Kind, ServerSettings, Timing

TIMING = Timing(decode_step_ms=1.0, decode_step_per_request_ms=0.0, prefill_tokens_per_s=1e6)


@dataclass
class Rig:
    """A batcher and what its sequences were given, in order: (name, tokens, last)."""

    batcher: Batcher
    given: list[tuple[str, int, bool]] = field(default_factory=list)

    def add(self, name: str, *, prefill: int = 0, target: int = 2, head: int = 0) -> Sequence:
        def sink(tokens: int, last: bool) -> None:
            self.given.append((name, tokens, last))

        sequence = Sequence(prefill=prefill, target=target, head=head, sink=sink)
        self.batcher.submit(sequence)
        return sequence


def play(scene: Callable[[Rig], Awaitable[None]], kind: Kind = "gen", **settings: Any) -> Rig:
    """Run a scene beside a batcher."""

    async def main() -> Rig:
        told = ServerSettings("R", "m", timing=TIMING, **settings)
        rig = Rig(Batcher(kind, told, TimingModel(TIMING, random.Random(0))))
        loop = asyncio.ensure_future(rig.batcher.run())
        try:
            await asyncio.wait_for(scene(rig), timeout=20)
        finally:
            loop.cancel()
        return rig

    return asyncio.run(main())


def test_running_requests_take_turns_and_a_slot_is_refilled() -> None:
    async def scene(rig: Rig) -> None:
        sequences = [rig.add("a", target=1), rig.add("b"), rig.add("c")]
        await asyncio.gather(*(sequence.done for sequence in sequences))

    rig = play(scene, max_batch_size=2)

    assert rig.given == [("a", 1, True), ("b", 1, False), ("b", 1, True), ("c", 1, False), ("c", 1, True)]
    assert (rig.batcher.iterations, rig.batcher.generation_tokens) == (3, 5)


def test_the_token_of_the_ctx_server_comes_first_and_without_a_step() -> None:
    async def scene(rig: Rig) -> None:
        await rig.add("only", target=1, head=1).done
        assert rig.batcher.iterations == 0
        await rig.add("more", target=3, head=1).done

    rig = play(scene)

    assert rig.given == [("only", 1, True), ("more", 1, False), ("more", 1, False), ("more", 1, True)]
    assert rig.batcher.iterations == 2


@pytest.mark.parametrize(("interval", "chunks"), [(1, [1] * 7), (3, [1, 2, 3, 1]), (7, [1, 6]), (100, [1, 6])])
def test_chunks_follow_the_stream_interval(interval: int, chunks: list[int]) -> None:
    async def scene(rig: Rig) -> None:
        await rig.add("a", target=7).done

    assert [tokens for _, tokens, _ in play(scene, tokens_per_chunk=interval).given] == chunks


def test_an_aggregated_server_prefills_prompts_together_and_in_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(rig: Rig) -> None:
        sequences = [rig.add(name, prefill=60, target=1) for name in "abc"]
        await asyncio.gather(*(sequence.done for sequence in sequences))

    rig = play(scene, "server", prefill_chunk_tokens=100, iteration_log=True)

    shares = re.findall(r"'num_ctx_requests': (\d+), 'num_ctx_tokens': (\d+)", capsys.readouterr().out)
    assert shares == [("2", "100"), ("2", "80")]
    assert [name for name, _, _ in rig.given] == ["a", "b", "c"]


def test_a_ctx_server_prefills_one_prompt_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(rig: Rig) -> None:
        sequences = [rig.add(name, prefill=10, target=1) for name in "ab"]
        await asyncio.gather(*(sequence.done for sequence in sequences))

    play(scene, "ctx", iteration_log=True)

    assert re.findall(r"'num_ctx_tokens': (\d+)", capsys.readouterr().out) == ["10", "10"]


@pytest.mark.parametrize("prefill", [0, 500])
def test_a_request_that_is_given_up_gets_nothing_more(prefill: int) -> None:
    async def scene(rig: Rig) -> None:
        gone = rig.add("gone", prefill=prefill, target=1000)
        kept = rig.add("kept", prefill=prefill, target=3)
        rig.batcher.cancel(gone)
        await kept.done
        running = rig.add("gone", target=100_000)
        while rig.given[-1][0] != "gone":
            await asyncio.sleep(0)
        rig.batcher.cancel(running)
        seen = len(rig.given)
        await rig.add("kept").done
        assert [name for name, _, _ in rig.given[seen:]] == ["kept", "kept"]
        assert rig.batcher.running == 0

    rig = play(scene, "server")

    assert {name for name, _, _ in rig.given[:3]} == {"kept"}


def test_a_request_given_up_before_the_gate_opens_does_not_count() -> None:
    async def scene(rig: Rig) -> None:
        gone = rig.add("gone")
        rig.batcher.cancel(gone)
        first = rig.add("a")
        await asyncio.sleep(0)
        assert rig.batcher.waiting == 1
        second = rig.add("b")
        await asyncio.gather(first.done, second.done)

    assert {name for name, _, _ in play(scene, fill_gate=2).given} == {"a", "b"}


def test_a_hang_stops_between_two_tokens() -> None:
    async def scene(rig: Rig) -> None:
        rig.add("a", target=100_000)
        while not rig.given:
            await asyncio.sleep(0)
        rig.batcher.hang()
        seen, iterations = len(rig.given), rig.batcher.iterations
        late = rig.add("b")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(late.done, timeout=0.05)
        assert (len(rig.given), rig.batcher.iterations) == (seen, iterations)

    play(scene)
