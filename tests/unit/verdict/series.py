"""Series and records for tests of verdicts: deterministic, no machinery of their own."""

from __future__ import annotations

import random
from collections.abc import Sequence

Record = dict[str, str | int | float | bool]
DAY_MS = 86_400_000
FIRST_MS = 1_780_000_000_000


def noise(count: int, *, sigma: float = 0.01, level: float = 100.0, seed: int = 1) -> list[float]:
    """Independent values around ``level`` with that relative spread."""
    r = random.Random(seed)
    return [level * (1 + sigma * r.gauss(0, 1)) for _ in range(count)]


def record(day: int, value: float, *, metric: str = "token_throughput", **fields: str | int | float | bool) -> Record:
    """A valid record of the reference branch, made on that day; a run of its own."""
    return {
        "s_case_id": "disagg-e2e-x",
        "s_run_id": f"run{day}",
        "s_client_name": "con8",
        "l_concurrency": 8,
        "s_benchmark_mode": "e2e",
        "s_branch": "main",
        "s_commit": f"{day:040x}",
        "b_is_valid": True,
        "ts_created": FIRST_MS + day * DAY_MS,
        f"d_{metric}": value,
        **fields,
    }


def records(values: Sequence[float], *, first: int = 0, metric: str = "token_throughput") -> list[Record]:
    """One record a day."""
    return [record(first + index, value, metric=metric) for index, value in enumerate(values)]
