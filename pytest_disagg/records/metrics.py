"""Every metric by name: unit, direction, the smallest effect that matters, whether it gates, how it is printed.

Names are those of TensorRT-LLM's perf-sanity records where it has one (the field of a record is ``d_`` + name) and the
printed labels are those of its ``benchmark_serving``. Unlike there, TPOT is a latency here: smaller is better.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.config.case import Mode

Direction = Literal["larger", "smaller", "neutral"]
Role = Literal["gate", "report"]

DEVICE_STEP = "gen_worker_per_iter_device_step_time"
THROUGHPUT_EFFECT = 0.03
MEDIAN_EFFECT = 0.05
TAIL_EFFECT = 0.10


@dataclass(frozen=True)
class Metric:
    """One metric. ``direction`` says which way is better (``neutral``: a count that is neither).

    ``min_effect`` is the smallest relative change that matters (0.03 = 3 %). ``role`` is its default role; which
    metrics gate a case depends on its mode, see :func:`gating`. ``quantile`` is 0.99 for a p99, None where the metric
    is no percentile.
    """

    name: str
    unit: str
    direction: Direction
    min_effect: float
    role: Role
    label: str
    quantile: float | None = None

    @property
    def field(self) -> str:
        """The key in a record."""
        return f"d_{self.name}"


_STATISTICS: Mapping[str, tuple[str, float, float | None]] = {
    "mean": ("Mean", MEDIAN_EFFECT, None),
    "median": ("Median", MEDIAN_EFFECT, 0.5),
    "std": ("Std Dev", TAIL_EFFECT, None),
    "p75": ("P75", TAIL_EFFECT, 0.75),
    "p90": ("P90", TAIL_EFFECT, 0.90),
    "p95": ("P95", TAIL_EFFECT, 0.95),
    "p99": ("P99", TAIL_EFFECT, 0.99),
}
_LATENCIES = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "itl": "ITL",
    "e2el": "E2EL",
    "scheduled_ttft": "TTFT from scheduled time",
}
_DEVICE_STEP_LABELS = {"mean": "Average", "median": "Median", "std": "Stdev", "p75": "P75", "p99": "P99"}
_DEFAULT_GATES = ("token_throughput", "total_token_throughput", "median_ttft", "median_tpot")
_DEVICE_STEP_GATES = (f"mean_{DEVICE_STEP}", f"median_{DEVICE_STEP}")


def _table() -> dict[str, Metric]:
    table: dict[str, Metric] = {}

    def add(name: str, unit: str, direction: Direction, min_effect: float, label: str, quantile: float | None) -> None:
        role: Role = "gate" if name in _DEFAULT_GATES + _DEVICE_STEP_GATES else "report"
        table[name] = Metric(name, unit, direction, min_effect, role, label, quantile)

    for name, unit, label in (
        ("seq_throughput", "req/s", "Request throughput (req/s)"),
        ("token_throughput", "tok/s", "Output token throughput (tok/s)"),
        ("total_token_throughput", "tok/s", "Total Token throughput (tok/s)"),
        ("user_throughput", "tok/s", "User throughput (tok/s)"),
        ("output_token_throughput_per_gpu", "tok/s", "Output token throughput per GPU (tok/s)"),
        ("total_token_throughput_per_gpu", "tok/s", "Total token throughput per GPU (tok/s)"),
        ("output_token_throughput_per_user", "tok/s", "Output token throughput per user (tok/s)"),
        ("goodput", "req/s", "Request goodput (req/s)"),
        ("goodput_ratio", "ratio", "Requests within the SLO"),
        ("al", "tok/iter", "Mean Avg Decoded Tokens per Iter"),
        ("achieved_concurrency", "requests", "Achieved concurrency"),
    ):
        add(name, unit, "larger", THROUGHPUT_EFFECT, label, None)
    for latency, text in _LATENCIES.items():
        for statistic, (word, effect, quantile) in _STATISTICS.items():
            add(f"{statistic}_{latency}", "ms", "smaller", effect, f"{word} {text} (ms)", quantile)
    for statistic, word in _DEVICE_STEP_LABELS.items():
        _, effect, quantile = _STATISTICS[statistic]
        label = f"{word} Per Iter Device Step Time (ms)"
        add(f"{statistic}_{DEVICE_STEP}", "ms", "smaller", effect, label, quantile)
    for name, unit, label in (
        ("client_lag_p50_ms", "ms", "Client event-loop lag, median (ms)"),
        ("client_lag_p99_ms", "ms", "Client event-loop lag, P99 (ms)"),
        ("client_lag_max_ms", "ms", "Client event-loop lag, maximum (ms)"),
        ("client_cpu_ratio", "ratio", "Client CPU seconds per second"),
        ("failed_requests", "requests", "Failed requests"),
    ):
        add(name, unit, "smaller", TAIL_EFFECT, label, None)
    for name, unit, label in (
        ("total_requests", "requests", "Total requests"),
        ("successful_requests", "requests", "Successful requests"),
        ("duration_s", "s", "Benchmark duration (s)"),
        ("total_input_tokens", "tokens", "Total input tokens"),
        ("total_output_tokens", "tokens", "Total generated tokens"),
        ("max_in_flight", "requests", "Most requests in flight"),
    ):
        add(name, unit, "neutral", TAIL_EFFECT, label, None)
    return table


METRICS: Mapping[str, Metric] = MappingProxyType(_table())
"""All metrics by name, throughputs first."""


def metric(name: str) -> Metric:
    """The metric of that name, with or without the prefix ``d_``, in any case.

    Raises:
        UsageError: there is none; the message has the nearest names.
    """
    plain = name.strip().lower().removeprefix("d_")
    found = METRICS.get(plain)
    if found is None:
        near = difflib.get_close_matches(plain, METRICS, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"unknown metric {name!r}, expected one that a report shows, such as median_ttft{hint}")
    return found


def measured_on_device(mode: Mode) -> bool:
    """Whether cases of that mode are measured on the device step time of their GEN servers, not at the client."""
    return mode in ("gen_only", "gen_only_no_context")


def gating(mode: Mode, *, spec_decoding: bool = False) -> tuple[str, ...]:
    """Names of the metrics that decide a case of that mode.

    gen_only cases are decided by mean and median device step time alone: what their client sees contains the wait for
    the fill gate. Speculative decoding adds the mean number of tokens decoded per iteration.
    """
    if measured_on_device(mode):
        return _DEVICE_STEP_GATES
    return (*_DEFAULT_GATES, "al") if spec_decoding else _DEFAULT_GATES
