"""A load's result under the field names that other benchmarks' result files have.

Names and units are those of ``vllm bench serve --save-result --save-detailed`` (vllm/benchmarks/serve.py) and of
TensorRT-LLM's ``benchmark_serving --save-result`` (tensorrt_llm/serve/scripts/benchmark_serving.py): throughputs per
second, statistics in ms, the lists ``ttfts``, ``itls``, ``e2els`` in seconds, ``start_times`` in ms, one entry per
request. As theirs, lists hold 0.0 where a failed request has no value; ``errors`` says which those are.
``generated_texts`` is not there: texts are not kept. TensorRT-LLM's key ``request_goodput:`` (with the colon) is
written without it, as vLLM's. Fields of our own: everything from ``achieved_concurrency`` on in :func:`to_json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pytest_disagg.clients.protocol import ClientHealth, LoadResult
from pytest_disagg.records.summary import gaps_s

_RENAMED: tuple[tuple[str, str], ...] = (
    ("duration", "duration_s"),
    ("request_throughput", "seq_throughput"),
    ("request_goodput", "goodput"),
    ("output_throughput", "token_throughput"),
    ("total_token_throughput", "total_token_throughput"),
    ("user_throughput", "user_throughput"),
    ("mean_avg_decoded_tokens_per_iter", "al"),
)
_COUNTED: tuple[tuple[str, str], ...] = (
    ("completed", "successful_requests"),
    ("failed", "failed_requests"),
    ("total_input_tokens", "total_input_tokens"),
    ("total_output_tokens", "total_output_tokens"),
)
_LATENCIES = ("ttft", "tpot", "itl", "e2el", "scheduled_ttft")


def to_json(result: LoadResult, summary: Mapping[str, float], *, date: datetime | None = None) -> dict[str, Any]:
    """``result`` and its ``summary`` (of :func:`pytest_disagg.records.summary.summarize`) as one JSON object.

    ``date`` is when the load ran (default: now). A statistic that ``summary`` lacks is left out.
    """
    point = result.point
    document: dict[str, Any] = {
        "date": (date or datetime.now()).strftime("%Y%m%d-%H%M%S"),
        "backend": "openai-chat" if point.use_chat_template else "openai",
        "model_id": point.model,
        "tokenizer_id": point.tokenizer or point.model,
        "num_prompts": point.num_prompts,
        "request_rate": "inf" if point.request_rate is None else point.request_rate,
        "burstiness": 1.0,
        "max_concurrency": point.concurrency,
    }
    document.update({key: round(summary[name]) for key, name in _COUNTED if name in summary})
    document.update({key: summary[name] for key, name in _RENAMED if name in summary})
    document.update({f"{name}_ms": value for name, value in summary.items() if name.partition("_")[2] in _LATENCIES})
    document.update(_per_request(result))
    document.update(
        {
            "max_concurrent_requests": result.max_in_flight,
            "achieved_concurrency": result.achieved_concurrency,
            "repeat": result.repeat,
            "reconnects": result.reconnects,
            "tool": result.tool,
            "tool_version": result.tool_version,
            "started_monotonic_s": result.started_monotonic_s,
            "input_len": point.isl,
            "output_len": point.osl,
            "random_range_ratio": point.random_range_ratio,
            "seed": point.seed,
            "streaming": point.streaming,
            "ignore_eos": point.ignore_eos,
            "dataset_file": str(point.dataset_file) if point.dataset_file is not None else None,
            "slo_ms": dict(point.slo_ms),
            "notes": list(result.notes),
        }
    )
    for name in (
        "goodput_ratio",
        "output_token_throughput_per_gpu",
        "total_token_throughput_per_gpu",
        "output_token_throughput_per_user",
    ):
        if name in summary:
            document[name] = summary[name]
    if result.health is not None:
        document.update(_health(result.health))
    return document


def _per_request(result: LoadResult) -> dict[str, Any]:
    samples = result.samples
    return {
        "input_lens": [sample.prompt_tokens for sample in samples],
        "output_lens": [sample.output_tokens if sample.ok else 0 for sample in samples],
        "ttfts": [sample.ttft_s or 0.0 for sample in samples],
        "itls": [gaps_s(sample) for sample in samples],
        "e2els": [sample.e2el_s or 0.0 for sample in samples],
        "start_times": [sample.written_s * 1000 for sample in samples],
        "errors": [sample.error for sample in samples],
    }


def _health(health: ClientHealth) -> dict[str, Any]:
    return {
        "client_lag_p50_ms": health.lag_p50_ms,
        "client_lag_p99_ms": health.lag_p99_ms,
        "client_lag_max_ms": health.lag_max_ms,
        "client_cpu_ratio": health.cpu_ratio,
        "client_loop": health.loop,
    }
