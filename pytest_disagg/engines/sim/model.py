"""How long things take: the stated timing model, in seconds."""

from __future__ import annotations

import math
import random

from pytest_disagg.engines.sim.settings import Timing


class TimingModel:
    """Durations of one server. What is drawn comes from ``rng`` alone, so a seed repeats a run's durations."""

    def __init__(self, timing: Timing, rng: random.Random) -> None:
        self._timing = timing
        self._rng = rng

    def startup_s(self) -> float:
        """From the published address to healthy."""
        return self._timing.startup_s / self._timing.speedup

    def prefill_s(self, tokens: int) -> float:
        """Prefill of that many prompt tokens."""
        return self._vary(tokens / self._timing.prefill_tokens_per_s)

    def transfer_s(self, tokens: int) -> float:
        """The KV cache of that many prompt tokens on its way from CTX to GEN."""
        bits = tokens * self._timing.kv_bytes_per_token * 8
        return self._vary(bits / (self._timing.kv_transfer_gbps * 1e9))

    def step_s(self, batch: int) -> float:
        """One decode step of ``batch`` running requests.

        Noise is Gaussian, cut at a tenth of the step so that no step is negative or free.
        """
        timing = self._timing
        step = (timing.decode_step_ms + batch * timing.decode_step_per_request_ms) / 1000 / timing.speedup
        if timing.step_noise:
            step *= max(0.1, self._rng.gauss(1.0, timing.step_noise))
        return step

    def output_tokens(self, max_tokens: int, min_tokens: int, ignore_eos: bool) -> int:
        """Tokens until the request ends: ``max_tokens``, or earlier where EOS comes by chance (geometric)."""
        if ignore_eos or not self._timing.eos_ratio:
            return max_tokens
        uniform = 1.0 - self._rng.random()
        until_eos = 1 + int(math.log(uniform) / math.log(1.0 - self._timing.eos_ratio))
        return max(min_tokens, min(max_tokens, until_eos))

    def _vary(self, seconds: float) -> float:
        jitter = self._timing.jitter
        if jitter:
            seconds *= 1.0 + self._rng.uniform(-jitter, jitter)
        return seconds / self._timing.speedup
