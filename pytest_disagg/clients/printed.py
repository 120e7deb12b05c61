"""The result block as TensorRT-LLM's and vLLM's ``benchmark_serving`` print it: written for tools that parse it, and
read.

Labels, widths and order are theirs (label left-justified in 40 columns, floats with two decimals, rules of 50 columns).
A line without a value is left out where they print 0.00, and percentiles below P99 are added before it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from pytest_disagg.records.summary import PERCENTILES

WIDTH = 50

_COUNTS: tuple[tuple[str, str], ...] = (
    ("Total requests:", "total_requests"),
    ("Successful requests:", "successful_requests"),
    ("Failed requests:", "failed_requests"),
)
_TOTALS: tuple[tuple[str, str], ...] = (
    ("Total input tokens:", "total_input_tokens"),
    ("Total generated tokens:", "total_output_tokens"),
)
_RATES: tuple[tuple[str, str], ...] = (
    ("Request throughput (req/s):", "seq_throughput"),
    ("Request goodput (req/s):", "goodput"),
    ("Output token throughput (tok/s):", "token_throughput"),
    ("Total Token throughput (tok/s):", "total_token_throughput"),
    ("User throughput (tok/s):", "user_throughput"),
)
_BLOCKS: tuple[tuple[str, str, str], ...] = (
    ("Time to First Token", "TTFT", "ttft"),
    ("Time per Output Token (excl. 1st token)", "TPOT", "tpot"),
    ("Inter-token Latency", "ITL", "itl"),
    ("End-to-end Latency", "E2EL", "e2el"),
)
_DECODED = "Avg Decoded Tokens per Iter"


def _parsed() -> tuple[tuple[str, re.Pattern[str]], ...]:
    labels = [(name, label) for label, name in _RATES if name != "goodput"]
    for latency in ("ttft", "itl", "tpot", "e2el"):
        labels += [
            (f"{key}_{latency}", f"{word} {latency.upper()} (ms):")
            for word, key in (("Mean", "mean"), ("Median", "median"), ("P99", "p99"))
        ]
    labels.append(("al", f"Mean {_DECODED}:"))
    for word, key in (("Average", "mean"), ("Median", "median"), ("Stdev", "std"), ("P75", "p75"), ("P99", "p99")):
        labels.append((f"{key}_gen_worker_per_iter_device_step_time", f"{word} Per Iter Device Step Time (ms):"))
    return tuple((name, re.compile(re.escape(label) + r"\s+(-?[\d.]+)")) for name, label in labels)


PARSED = _parsed()
"""Metric name and the pattern of its line, in the order in which they are tried."""


def render(summary: Mapping[str, float], *, errors: Sequence[str] = ()) -> str:
    """The result block of a load's summary. ``errors`` are the error texts of failed requests, counted above it."""
    lines: list[str] = []
    failed = round(summary.get("failed_requests", 0))
    if failed:
        lines += [f"Error type: {text}, Count: {count} requests" for text, count in Counter(errors).most_common()]
        lines.append(f"Total failed requests: {failed}")
    lines.append(f"{' Serving Benchmark Result ':=^{WIDTH}}")
    lines += [_count(label, summary[name]) for label, name in _COUNTS if name in summary]
    if "duration_s" in summary:
        lines.append(_float("Benchmark duration (s):", summary["duration_s"]))
    lines += [_count(label, summary[name]) for label, name in _TOTALS if name in summary]
    lines += [_float(label, summary[name]) for label, name in _RATES if name in summary]
    if failed:
        lines.append(f"{'!FAILED REQUESTS!':=^63}")
        lines.append(f"Total failed requests: {failed}")
        lines.append(f"{'!CHECK LOG FOR ERRORS!':=^63}")
    if "al" in summary:
        lines.append(f"{_DECODED:-^{WIDTH}}")
        lines.append(_float(f"Mean {_DECODED}:", summary["al"]))
    for title, label, name in _BLOCKS:
        lines += _block(title, label, name, summary)
    lines.append("=" * WIDTH)
    return "\n".join(lines) + "\n"


def parse(text: str) -> dict[str, float]:
    """The metrics in printed result lines, whoever printed them; a metric keeps its first value.

    Each line belongs to the first pattern it matches. ``nan``, ``inf`` and whatever else is no number is not there.
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        for name, pattern in PARSED:
            match = pattern.search(line)
            if match is None:
                continue
            value = _number(match.group(1))
            if value is not None:
                found.setdefault(name, value)
            break
    return found


def _block(title: str, label: str, name: str, summary: Mapping[str, float]) -> list[str]:
    words = [("Mean", "mean"), ("Median", "median"), ("Std Dev", "std"), *((f"P{p}", f"p{p}") for p in PERCENTILES)]
    lines = [
        _float(f"{word} {label} (ms):", summary[key])
        for word, prefix in words
        if (key := f"{prefix}_{name}") in summary
    ]
    return [f"{title:-^{WIDTH}}", *lines] if lines else []


def _count(label: str, value: float) -> str:
    return f"{label:<40} {round(value):<10}".rstrip()


def _float(label: str, value: float) -> str:
    return f"{label:<40} {value:<10.2f}".rstrip()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
