"""Distributions of request latencies: the share of requests that were at most so slow, one line per load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_disagg.report.figures.style import GRID, colour
from pytest_disagg.report.model import SHOWN_LATENCIES, Load

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

HEIGHT_IN = 3.9
MAX_STEPS = 200
"""Points of a line: enough to see p99.5, few enough for a page of twenty cases."""
_TITLES = {"ttft": "TTFT", "tpot": "TPOT", "e2el": "E2EL"}


def drawable(loads: Sequence[Load]) -> list[Load]:
    return [load for load in loads if any(load.latencies.values())]


def draw(figure: FigureBase, loads: Sequence[Load]) -> None:
    """A panel each for TTFT, TPOT and E2EL, of those that any of ``loads`` has (see :func:`drawable`)."""
    names = [name for name in SHOWN_LATENCIES if any(load.latencies.get(name) for load in loads)]
    panels = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    handles = {}
    for axes, name in zip(panels, names, strict=True):
        for share in (0.5, 0.99):
            axes.axhline(share, color=GRID, linewidth=0.8, linestyle="--")
        for position, load in enumerate(loads):
            values = load.latencies.get(name)
            if values:
                ink, line = colour(position)
                handles[load.label] = axes.step(*_steps(values), where="post", color=ink, linestyle=line)[0]
        axes.set_yticks([0, 0.5, 0.99], ["0", "p50", "p99"])
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlabel(f"{_TITLES[name]} (ms)", labelpad=1)
        axes.margins(x=0.02)
    figure.legend(
        handles=list(handles.values()),
        labels=list(handles),
        loc="outside upper left",
        ncols=4,
        handlelength=1.6,
        columnspacing=1.2,
    )


def _steps(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The empirical distribution: latencies in order, and the share of requests that were at most so slow."""
    ordered = sorted(values)
    count = len(ordered)
    picks = range(count) if count <= MAX_STEPS else [round(i * (count - 1) / (MAX_STEPS - 1)) for i in range(MAX_STEPS)]
    return [ordered[0], *(ordered[i] for i in picks)], [0.0, *((i + 1) / count for i in picks)]
