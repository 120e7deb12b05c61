"""Prometheus' text format (0.0.4, and OpenMetrics as far as it looks the same), read for samples over time.

What is read once a second beside a measurement has to be cheap: lines of buckets are passed over before anything of
them is looked at, and labels stay the text they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container
from dataclasses import dataclass, field

MAX_SERIES = 400
MAX_CHARS = 4 << 20
_SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)\s*(\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?\s+(\S+)', re.ASCII)
_LEFT_OUT = ("info", "stateset", "gaugehistogram")
_COUNTED = ("histogram", "summary")


@dataclass(frozen=True)
class Page:
    """``values`` maps a series, ``name{labels}`` as the page writes it, to its value. ``left_out`` counts the series
    beyond :data:`MAX_SERIES`, ``seen`` all samples of the page but buckets."""

    values: dict[str, float] = field(default_factory=dict)
    left_out: int = 0
    seen: int = 0


def parse(text: str, max_series: int = MAX_SERIES, always: Container[str] = ()) -> Page:
    """Gauges, counters and untyped samples, and ``_sum`` and ``_count`` of histograms and summaries.

    Buckets, quantiles, ``_created`` and what is not finite are left out; of a page beyond 4 MiB the rest is, and beyond
    ``max_series`` all but the metrics in ``always``. Lines that are no samples are passed over.
    """
    values: dict[str, float] = {}
    kinds: dict[str, str] = {}
    seen = left_out = 0
    if len(text) > MAX_CHARS:
        # The number at the end of a line that is cut would be another one.
        text = text[:MAX_CHARS].rpartition("\n")[0]
    for line in text.splitlines():
        if not line or "_bucket{" in line:
            continue
        if line[0] == "#":
            words = line.split(None, 3)
            if len(words) == 4 and words[1] == "TYPE":
                kinds[words[2]] = words[3].strip()
            continue
        found = _SAMPLE.match(line)
        if found is None:
            continue
        name, labels, written = found.groups()
        value = _number(written)
        if value is None:
            continue
        seen += 1
        if not _kept(name, kinds) or not math.isfinite(value):
            continue
        if len(values) >= max_series and name not in always:
            left_out += 1
            continue
        values[name + (labels or "")] = value
    return Page(values, left_out, seen)


def _kept(name: str, kinds: dict[str, str]) -> bool:
    kind = kinds.get(name)
    if kind is not None:
        # A histogram's or summary's own name stands for its quantiles.
        return kind not in (*_LEFT_OUT, *_COUNTED) and not name.endswith("_created")
    family, _, suffix = name.rpartition("_")
    if kinds.get(family) in _COUNTED:
        return suffix in ("sum", "count")
    return suffix not in ("created", "info", "bucket") and kinds.get(family) not in _LEFT_OUT


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def name_of(series: str) -> str:
    """The metric's name, without the labels of one series."""
    return series.partition("{")[0]


def cumulative(name: str) -> bool:
    """Whether a metric of that name counts up for as long as its process lives, by the naming rules of Prometheus."""
    return name.endswith(("_total", "_sum", "_count"))
