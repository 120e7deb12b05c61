"""Latencies of single requests, from the result files of a run: ``results/load.<server>.<load>.r<repeat>.json``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_disagg.report.model import SHOWN_LATENCIES

_NAME = re.compile(r"load\.(\d+)\.(\d+)\.r(\d+)\.json")
_LISTS = {"ttft": "ttfts", "e2el": "e2els"}
MAX_BYTES = 1 << 28


def latencies(results: Path) -> tuple[dict[tuple[int, int], dict[str, list[float]]], list[str]]:
    """(server index, load index) -> ``ttft``, ``tpot``, ``e2el`` -> ms of each request that has it; and what is broken.

    A report is made by a person or after a run, so here the folder may be listed.
    """
    found: dict[tuple[int, int], dict[str, list[float]]] = {}
    problems = []
    for path in sorted(results.glob("load.*.json")):
        named = _NAME.fullmatch(path.name)
        if named is None:
            continue
        try:
            if path.stat().st_size > MAX_BYTES:
                problems.append(f"{path.name}: larger than {MAX_BYTES >> 20} MiB, its requests are not shown")
                continue
            document = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            problems.append(f"{path.name}: {error}")
            continue
        if not isinstance(document, dict):
            problems.append(f"{path.name}: found a JSON {type(document).__name__}, expected an object")
            continue
        place = found.setdefault((int(named[1]), int(named[2])), {name: [] for name in SHOWN_LATENCIES})
        for name, values in _of(document).items():
            place[name].extend(values)
    return found, problems


def _of(document: Mapping[str, Any]) -> dict[str, list[float]]:
    ttfts, e2els = ([*_numbers(document.get(_LISTS[name]))] for name in ("ttft", "e2el"))
    tokens = [*_numbers(document.get("output_lens"))]
    # As records/sample.py defines it. The lists hold 0.0 where a failed request has no value.
    tpots = [
        (e2el - ttft) / (count - 1)
        for ttft, e2el, count in zip(ttfts, e2els, tokens, strict=False)
        if count >= 2 and ttft > 0 and e2el > ttft
    ]
    values: Mapping[str, Sequence[float]] = {"ttft": ttfts, "tpot": tpots, "e2el": e2els}
    return {name: [value * 1000 for value in values[name] if value > 0] for name in SHOWN_LATENCIES}


def _numbers(value: object) -> Iterator[float]:
    for item in value if isinstance(value, list) else ():
        usable = isinstance(item, (int, float)) and not isinstance(item, bool) and math.isfinite(item)
        yield float(item) if usable else 0.0
