"""A series as a text chart for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import pairwise

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def chart(values: Sequence[float], *, width: int, height: int = 8) -> list[str]:
    """Columns of blocks, the oldest value first, with the scale's ends in front; values that do not fit share a column.

    The lower end is a tenth of the range below the smallest value, so that this still has a column.
    """
    if not values:
        return []
    low, high = min(values), max(values)
    bottom = low - 0.1 * ((high - low) or abs(high) or 1.0)
    labels = [""] * height
    labels[0], labels[-1] = number(high), number(bottom)
    margin = max(map(len, labels))
    columns = _columns(values, max(1, width - margin - 1))
    eighths = [round((value - bottom) / (high - bottom) * height * 8) for value in columns]
    lines = []
    for row in range(height):
        floor = (height - 1 - row) * 8
        blocks = "".join(_EIGHTHS[min(8, max(0, level - floor))] for level in eighths)
        lines.append(f"{labels[row]:>{margin}} {blocks}".rstrip())
    return lines


def _columns(values: Sequence[float], width: int) -> list[float]:
    """At most ``width`` values; where they are more, means of neighbours."""
    if len(values) <= width:
        return list(values)
    edges = [len(values) * position // width for position in range(width + 1)]
    return [sum(values[begin:end]) / (end - begin) for begin, end in pairwise(edges)]


def number(value: float) -> str:
    """Five significant digits."""
    return f"{value:.5g}"


def moment(epoch_ms: int) -> str:
    """``2026-11-21 10:05`` (UTC)."""
    return datetime.fromtimestamp(epoch_ms / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M")
