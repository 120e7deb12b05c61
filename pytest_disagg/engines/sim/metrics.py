"""Prometheus text format (version 0.0.4) for a handful of numbers, written and read."""

from __future__ import annotations

from collections.abc import Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PROGRESS = (
    "sim_iterations_total",
    "sim_prompt_tokens_total",
    "sim_generation_tokens_total",
    "sim_forwarded_chunks_total",
)
"""The counters that grow only while work is done; a server has some of them, the coordinator the last."""

_HELP = {
    "sim_requests_running": "Requests being worked on.",
    "sim_requests_waiting": "Requests queued.",
    "sim_requests_total": "Completion requests received.",
    "sim_iterations_total": "Iterations of the engine.",
    "sim_prompt_tokens_total": "Prompt tokens prefilled.",
    "sim_generation_tokens_total": "Tokens generated.",
    "sim_forwarded_chunks_total": "Pieces of GEN servers' answers passed on.",
}


def render(values: Mapping[str, int]) -> str:
    """The page; names ending in ``_total`` are counters, others gauges."""
    lines: list[str] = []
    for name, value in values.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} {kind}", f"{name} {value}"]
    return "\n".join(lines) + "\n"


def progress(page: str) -> int | None:
    """The sum of the progress counters on a page; None where it has none of them."""
    found = [line.split()[1] for line in page.splitlines() if line.startswith(PROGRESS)]
    return sum(int(float(value)) for value in found) if found else None
