"""The simulated engine: continuous batching, one loop of iterations on absolute deadlines."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable

from pytest_disagg.engines.sim.model import TimingModel
from pytest_disagg.engines.sim.settings import Kind, ServerSettings

Sink = Callable[[int, bool], None]
"""Takes a chunk: its number of tokens, and whether it is the last one."""


class Sequence:
    """One request in the engine.

    ``prefill_left`` prompt tokens come first, then ``target`` output tokens. ``head`` of those are there on admission:
    the token that a CTX server already made. ``done`` becomes true when the last token went to the sink.
    """

    __slots__ = ("cancelled", "done", "emitted", "head", "prefill_left", "sink", "target", "unsent")

    def __init__(self, *, prefill: int, target: int, head: int, sink: Sink) -> None:
        self.prefill_left = prefill
        self.target = target
        self.head = head
        self.sink = sink
        self.emitted = 0
        self.unsent = 0
        self.cancelled = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Batcher:
    """All requests of one server.

    An iteration prefills some prompt tokens and gives each running request one token; its time is the sum of both. A
    CTX server prefills one prompt at a time, first come first served; an aggregated one as many as
    ``prefill_chunk_tokens`` allow, while its running requests wait; a GEN server has none.

    The fill gate holds the first iteration until that many requests are queued. Once open it stays open for the life of
    the process, as TensorRT-LLM's does: it measures one full batch, not every later one.

    Chunks leave as from TensorRT-LLM with ``stream_interval`` k: the first token alone, then at every k-th token, and
    the rest with the last one.
    """

    def __init__(self, kind: Kind, settings: ServerSettings, model: TimingModel) -> None:
        self._kind = kind
        self._settings = settings
        self._model = model
        self._gate_open = settings.fill_gate == 0
        self._waiting: deque[Sequence] = deque()
        self._prefilling: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._wake = asyncio.Event()
        self._alive = asyncio.Event()
        self._alive.set()
        self._previous_device_s: float | None = None
        self.iterations = 0
        self.prompt_tokens = 0
        self.generation_tokens = 0

    @property
    def running(self) -> int:
        """Requests being prefilled or decoded."""
        return len(self._prefilling) + len(self._running)

    @property
    def waiting(self) -> int:
        """Requests queued, for a slot or for the fill gate."""
        return len(self._waiting)

    def submit(self, sequence: Sequence) -> None:
        """Queue a request."""
        self._waiting.append(sequence)
        self._wake.set()

    def cancel(self, sequence: Sequence) -> None:
        """Forget a request whose client is gone; harmless for one that is done."""
        sequence.cancelled = True
        if sequence in self._waiting:
            self._waiting.remove(sequence)

    def hang(self) -> None:
        """Stop for good, in the middle of whatever runs."""
        self._alive.clear()

    async def run(self) -> None:
        """Iterate for ever.

        Deadlines follow each other without a gap as long as there is work, so a late wake-up does not slow the model
        down; a process that was held up for longer than a whole iteration has lost that time, as a real one has.
        """
        deadline = 0.0
        while True:
            await self._alive.wait()
            self._admit()
            prompts, prompt_tokens = self._next_prompts()
            batch = len(self._running)
            if not (prompts or batch):
                self._wake.clear()
                await self._wake.wait()
                continue
            device_s = self._model.prefill_s(prompt_tokens) if prompts else 0.0
            if batch:
                device_s += self._model.step_s(batch)
            began = time.monotonic()
            deadline = (deadline if began - deadline < device_s else began) + device_s
            await asyncio.sleep(max(0.0, deadline - time.monotonic()))
            await self._alive.wait()
            self._finish_iteration(prompts)
            self._log_iteration(prompts, prompt_tokens, batch, time.monotonic() - began)
            self._previous_device_s = device_s

    def _admit(self) -> None:
        if not self._gate_open:
            if len(self._waiting) < self._settings.fill_gate:
                return
            self._gate_open = True
        while self._waiting and self.running < self._settings.max_batch_size:
            sequence = self._waiting.popleft()
            if sequence.prefill_left:
                self._prefilling.append(sequence)
                continue
            if sequence.head:
                self._give(sequence, sequence.head)
            if not sequence.done.done():
                self._running.append(sequence)

    def _next_prompts(self) -> tuple[list[tuple[Sequence, int]], int]:
        budget = self._settings.prefill_chunk_tokens
        prompts: list[tuple[Sequence, int]] = []
        self._prefilling = deque(sequence for sequence in self._prefilling if not sequence.cancelled)
        for sequence in self._prefilling:
            if budget == 0 or (prompts and self._kind == "ctx"):
                break
            share = min(budget, sequence.prefill_left)
            prompts.append((sequence, share))
            budget -= share
        return prompts, self._settings.prefill_chunk_tokens - budget

    def _finish_iteration(self, prompts: list[tuple[Sequence, int]]) -> None:
        still_running = []
        for sequence in self._running:
            if not sequence.cancelled:
                self._give(sequence, 1)
                if sequence.emitted < sequence.target:
                    still_running.append(sequence)
        self._running = still_running
        for sequence, share in prompts:
            sequence.prefill_left -= share
            self.prompt_tokens += share
            if sequence.prefill_left == 0:
                self._prefilling.remove(sequence)
                if not sequence.cancelled:
                    self._give(sequence, 1)
                    if sequence.emitted < sequence.target:
                        self._running.append(sequence)

    def _give(self, sequence: Sequence, tokens: int) -> None:
        sequence.emitted += tokens
        sequence.unsent += tokens
        self.generation_tokens += tokens
        last = sequence.emitted >= sequence.target
        if last or sequence.emitted == 1 or sequence.emitted % self._settings.tokens_per_chunk == 0:
            unsent, sequence.unsent = sequence.unsent, 0
            sequence.sink(unsent, last)
        if last and not sequence.done.done():
            sequence.done.set_result(None)

    def _log_iteration(self, prompts: list[tuple[Sequence, int]], tokens: int, batch: int, host_s: float) -> None:
        self.iterations += 1
        if not self._settings.iteration_log:
            return
        # The names and their order are those of TensorRT-LLM's print_iter_log, which gen_only cases are measured on.
        previous = "N/A" if self._previous_device_s is None else f"{self._previous_device_s * 1000:.4f} ms"
        states = {"num_ctx_requests": len(prompts), "num_ctx_tokens": tokens, "num_generation_tokens": batch}
        sys.stdout.write(
            f"iter = {self.iterations}, global_rank = 0, rank = 0, "
            f"currank_total_requests = {self.running}/{self.running + self.waiting}, "
            f"host_step_time = {host_s * 1000:.4f} ms, prev_device_step_time = {previous}, "
            f"num_scheduled_requests = {len(prompts) + batch}, states = {states}\n"
        )
        sys.stdout.flush()
