"""Which values are joined into a record, and what engines call the few that all of them have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import fmean
from types import MappingProxyType
from typing import NamedTuple

from pytest_disagg.telemetry.prometheus import name_of
from pytest_disagg.telemetry.reading import Source

PREFIX = "tm_"
"""Of every field in a record, after its ``d_``."""
BOTH, MEAN, MAX = ("mean", "max"), ("mean",), ("max",)
JOINED: Mapping[Source, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "gpu": {
            "util_percent": BOTH,
            "memory_used_mib": MAX,
            "power_w": BOTH,
            "sm_clock_mhz": BOTH,
            "temperature_c": MAX,
            "power_capped": MEAN,
            "slowed": MEAN,
        },
        "host": {
            "cpu_percent": BOTH,
            "load_1min": MAX,
            "memory_percent": MAX,
            "received_mib_per_s": BOTH,
            "sent_mib_per_s": BOTH,
        },
        "process": {"cpu_percent": BOTH, "rss_mib": MAX, "open_files": MAX, "open_files_ratio": MAX},
        "engine": {"requests_running": BOTH, "requests_waiting": BOTH, "kv_cache_usage": BOTH},
    }
)
"""Source -> value -> what of it goes into the record."""
RATES = frozenset({"cpu_percent", "received_mib_per_s", "sent_mib_per_s"})
"""They cover the time since the sample before."""


class Known(NamedTuple):
    """How engines name a value, and how the series of one server (its ranks, its models) become one number."""

    names: tuple[str, ...]
    combined: Callable[[Iterable[float]], float]


ENGINE: Mapping[str, Known] = MappingProxyType(
    {
        "requests_running": Known(
            (
                "sim_requests_running",
                "vllm:num_requests_running",
                "sglang:num_running_reqs",
                "trtllm_num_requests_running",
                "dynamo_frontend_inflight_requests",
                "dynamo_component_inflight_requests",
            ),
            sum,
        ),
        "requests_waiting": Known(
            (
                "sim_requests_waiting",
                "vllm:num_requests_waiting",
                "sglang:num_queue_reqs",
                "trtllm_num_requests_waiting",
                "dynamo_frontend_queued_requests",
            ),
            sum,
        ),
        "kv_cache_usage": Known(
            (
                "vllm:kv_cache_usage_perc",
                "vllm:gpu_cache_usage_perc",
                "sglang:token_usage",
                "trtllm_kv_cache_utilization",
                "dynamo_component_gpu_cache_usage_percent",
                "dynamo_component_kvstats_gpu_cache_usage_percent",
            ),
            fmean,
        ),
    }
)
"""Value -> its names, the first that a server has counts. Usage is a share of 1 in all of them. As of vLLM 0.12,
SGLang 0.5, TensorRT-LLM 1.1 and Dynamo 1.6."""
ENGINE_NAMES = frozenset(name for known in ENGINE.values() for name in known.names)


def engine_values(series: Mapping[str, float]) -> dict[str, float]:
    """The values of :data:`ENGINE` that a server's series have."""
    by_name = grouped(series)
    found = {}
    for value, known in ENGINE.items():
        name = next((name for name in known.names if name in by_name), None)
        if name is not None:
            found[value] = known.combined(by_name[name])
    return found


def grouped(series: Mapping[str, float]) -> dict[str, list[float]]:
    """Metric -> the values of its series."""
    by_name: dict[str, list[float]] = {}
    for each, value in series.items():
        by_name.setdefault(name_of(each), []).append(value)
    return by_name
