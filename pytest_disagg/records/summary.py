"""Statistics of one load: samples in, a flat mapping of metric name to number out. Pure functions.

Definitions follow TensorRT-LLM's ``benchmark_serving`` (itself vLLM's): request throughput = completed / duration, TPOT
= (latency - TTFT) / (output tokens - 1), ITL pooled over all gaps of all requests, population standard deviation,
linear interpolation between ranks for percentiles, a request of one token has TPOT 0 where goodput is concerned. They
differ where benchmark_serving prints 0 for "no data": here such a metric is absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from pytest_disagg.errors import UsageError
from pytest_disagg.records.sample import RequestSample

PERCENTILES: tuple[int, ...] = (75, 90, 95, 99)
LATENCIES: tuple[str, ...] = ("ttft", "tpot", "itl", "e2el", "scheduled_ttft")
SLO_NAMES: tuple[str, ...] = ("ttft", "tpot", "e2el")


def percentile(ordered: Sequence[float], p: float) -> float:
    """The ``p``-th percentile (0..100) of ascending values, linear between ranks (NumPy's default method).

    Raises:
        ValueError: no values, or ``p`` outside 0..100.
    """
    if not ordered:
        raise ValueError("percentile of no values")
    if not 0 <= p <= 100:
        raise ValueError(f"percentile {p} is outside 0..100")
    rank = (len(ordered) - 1) * p / 100
    low = math.floor(rank)
    if low + 1 >= len(ordered):
        return ordered[low]
    return ordered[low] + (ordered[low + 1] - ordered[low]) * (rank - low)


def distribution(name: str, values_s: Sequence[float]) -> dict[str, float]:
    """``mean_/median_/std_/p75_../p99_<name>`` in milliseconds of values in seconds; empty for no values."""
    if not values_s:
        return {}
    ordered = sorted(value * 1000 for value in values_s)
    mean = math.fsum(ordered) / len(ordered)
    variance = math.fsum((value - mean) ** 2 for value in ordered) / len(ordered)
    stats = {
        f"mean_{name}": mean,
        f"median_{name}": percentile(ordered, 50),
        f"std_{name}": math.sqrt(variance),
    }
    stats.update({f"p{p}_{name}": percentile(ordered, p) for p in PERCENTILES})
    return stats


def gaps_s(sample: RequestSample) -> list[float]:
    """Seconds between consecutive chunks that carried tokens."""
    return [later - earlier for earlier, later in pairwise(sample.chunk_s)]


def max_in_flight(samples: Sequence[RequestSample]) -> int:
    """The most requests written and not yet done at any one time."""
    highest = current = 0
    for _, step in _steps(samples):
        current += step
        highest = max(highest, current)
    return highest


def achieved_concurrency(samples: Sequence[RequestSample]) -> float | None:
    """Time-weighted mean number of requests in flight while there was still one to start; None where nothing was
    written.

    The window runs from the first write to the first completion at which no request was left to write, so the ramp-up
    and every pause between two requests count, and the unavoidable drain at the end does not.
    """
    written = [sample for sample in samples if sample.done_s > sample.written_s]
    if not written:
        return None
    begin = min(sample.written_s for sample in written)
    last_write = max(sample.written_s for sample in written)
    end = min(sample.done_s for sample in written if sample.done_s >= last_write)
    if end <= begin:
        return None
    busy = math.fsum(min(sample.done_s, end) - sample.written_s for sample in written)
    return busy / (end - begin)


def summarize(
    samples: Sequence[RequestSample], *, duration_s: float, gpus: int, slo_ms: Mapping[str, float]
) -> dict[str, float]:
    """Every metric of one load that has data, by name without prefix; latencies in ms, throughputs per second.

    ``gpus`` is the deployment's total, 0 where it is unknown (then nothing is per GPU). ``slo_ms`` maps ``ttft``,
    ``tpot``, ``e2el`` (a suffix ``_ms`` is allowed) to limits; empty means no goodput. No value is ever NaN or
    infinite, and none is 0 for want of data. Only the three request counts, the token totals, the duration and, where
    an SLO is set, goodput can be 0.

    Raises:
        pytest_disagg.errors.UsageError: ``slo_ms`` names something else.
    """
    done = [sample for sample in samples if sample.ok]
    tokens_in = sum(sample.prompt_tokens for sample in done)
    tokens_out = sum(sample.output_tokens for sample in done)
    summary: dict[str, float] = {
        "total_requests": float(len(samples)),
        "successful_requests": float(len(done)),
        "failed_requests": float(len(samples) - len(done)),
        "duration_s": duration_s,
        "total_input_tokens": float(tokens_in),
        "total_output_tokens": float(tokens_out),
    }
    summary.update(_throughput(len(done), tokens_in, tokens_out, duration_s, gpus))
    summary.update(_latencies(done))
    per_user = [sample.output_tokens / e2el for sample in done if (e2el := sample.e2el_s)]
    if per_user:
        # A request without tokens has no latency; it counts as 0 tok/s, as benchmark_serving counts it.
        summary["user_throughput"] = math.fsum(per_user) / len(done)
    if summary.get("mean_tpot"):
        summary["output_token_throughput_per_user"] = 1000 / summary["mean_tpot"]
    decoded = [sample.decoded_per_iter for sample in done if sample.decoded_per_iter]
    if decoded:
        summary["al"] = math.fsum(decoded) / len(decoded)
    if slo_ms and duration_s > 0 and samples and _measurable(done, slo_ms):
        good = _good_requests(done, slo_ms)
        summary["goodput"] = good / duration_s
        summary["goodput_ratio"] = good / len(samples)
    achieved = achieved_concurrency(samples)
    if achieved is not None:
        summary["achieved_concurrency"] = achieved
        summary["max_in_flight"] = float(max_in_flight(samples))
    return summary


def _throughput(done: int, tokens_in: int, tokens_out: int, duration_s: float, gpus: int) -> dict[str, float]:
    if duration_s <= 0 or not done:
        return {}
    rates = {"seq_throughput": done / duration_s}
    if tokens_out:
        rates["token_throughput"] = tokens_out / duration_s
        rates["total_token_throughput"] = (tokens_in + tokens_out) / duration_s
        if gpus > 0:
            rates["output_token_throughput_per_gpu"] = rates["token_throughput"] / gpus
            rates["total_token_throughput_per_gpu"] = rates["total_token_throughput"] / gpus
    return rates


def _latencies(done: Sequence[RequestSample]) -> dict[str, float]:
    values: dict[str, list[float]] = {name: [] for name in LATENCIES}
    for sample in done:
        for name, value in (
            ("ttft", sample.ttft_s),
            ("tpot", sample.tpot_s),
            ("e2el", sample.e2el_s),
            ("scheduled_ttft", sample.scheduled_ttft_s),
        ):
            if value is not None:
                values[name].append(value)
        values["itl"].extend(gaps_s(sample))
    summary: dict[str, float] = {}
    for name in LATENCIES:
        summary.update(distribution(name, values[name]))
    return summary


def _measurable(done: Sequence[RequestSample], slo_ms: Mapping[str, float]) -> bool:
    """False where a limit is on what none of the requests has: TTFT and TPOT of answers that were not streamed."""
    streamed = any(name.removesuffix("_ms") in ("ttft", "tpot") for name in slo_ms)
    return not (streamed and done and all(sample.output_tokens and not sample.chunk_s for sample in done))


def _good_requests(done: Sequence[RequestSample], slo_ms: Mapping[str, float]) -> int:
    limits = {name.removesuffix("_ms"): limit for name, limit in slo_ms.items()}
    for name in limits:
        if name not in SLO_NAMES:
            raise UsageError(f"slo: found {name!r}, expected one of {', '.join(SLO_NAMES)}")
    return sum(_meets(sample, limits) for sample in done)


def _meets(sample: RequestSample, limits: Mapping[str, float]) -> bool:
    if sample.e2el_s is None:
        return False
    tpot_s = 0.0 if sample.output_tokens == 1 else sample.tpot_s
    measured = {"ttft": sample.ttft_s, "tpot": tpot_s, "e2el": sample.e2el_s}
    return all((value := measured[name]) is not None and value * 1000 <= limit for name, limit in limits.items())


def _steps(samples: Sequence[RequestSample]) -> list[tuple[float, int]]:
    """Times at which the number in flight changes, an end before a start at the same instant."""
    written = [sample for sample in samples if sample.done_s > sample.written_s]
    starts = [(sample.written_s, 1) for sample in written]
    return sorted([*starts, *((sample.done_s, -1) for sample in written)])
