"""A metric over its history: earlier values, stable segments, the band of a pass, the baseline, and the new point."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pytest_disagg.records.metrics import METRICS
from pytest_disagg.report.figures.style import BLUE, GREEN, MUTED, PURPLE, RED, YELLOW, unit_of
from pytest_disagg.report.model import HistoryPlot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

HEIGHT_IN = 2.7
MAX_POINTS = 250
"""The newest ones: older ones no longer decide anything."""
_NEW = {"regression": RED, "invalid": RED, "suspect": YELLOW, "improvement": GREEN}


def draw(figure: FigureBase, plot: HistoryPlot) -> None:
    """Points are spaced evenly, one per measurement; the axis names the dates of a few."""
    axes = figure.subplots()
    first = max(0, len(plot.points) - MAX_POINTS)
    points = plot.points[first:]
    values = [point.value for point in points]
    new = len(points) - 1
    for position, level in enumerate(level for level in plot.levels if level.last >= first):
        left, right = max(level.first - first, 0), level.last - first
        label = "stable segment" if position == 0 else None
        axes.plot([left - 0.4, right + 0.4], [level.value] * 2, color=PURPLE, linewidth=2, alpha=0.75, label=label)
    if plot.baseline is not None:
        axes.axhline(plot.baseline, color=MUTED, linewidth=1, linestyle="--", label="baseline")
    axes.plot(range(new), values[:-1], color=BLUE, marker="o", markersize=3, linewidth=0.8, label="history")
    ink = _NEW.get(points[new].word, BLUE)
    axes.plot([new], values[-1:], color=ink, marker="D", markersize=7, linestyle="none", label="this run", zorder=5)
    _dates(axes, [point.when_ms for point in points])
    axes.set_ylabel(f"{unit_of(plot.metric)}{_better(plot.metric)}")
    axes.margins(x=0.03, y=0.18)
    if plot.band is not None:
        _band(axes, plot.band)
    figure.legend(loc="outside upper left", ncols=5, handlelength=1.4, columnspacing=1.0, handletextpad=0.5)


def _better(metric: str) -> str:
    direction = METRICS[metric].direction if metric in METRICS else "neutral"
    return {"larger": ", higher is better", "smaller": ", lower is better", "neutral": ""}[direction]


def _band(axes: Axes, band: tuple[float | None, float | None]) -> None:
    """Shade what passes; to the edge of the figure on a side that is open."""
    for limit in band:
        if limit is not None:
            axes.axhline(limit, color=GREEN, linewidth=0.8, alpha=0.7)
    bottom, top = axes.get_ylim()
    low, high = band
    axes.axhspan(
        bottom if low is None else low,
        top if high is None else high,
        color=GREEN,
        alpha=0.10,
        linewidth=0,
        label="passes",
    )
    axes.set_ylim(bottom, top)


def _dates(axes: Axes, times_ms: list[int]) -> None:
    """Name a few points by the day they were measured on, or the time where all are of one day."""
    count = len(times_ms)
    picks = sorted({round(i * (count - 1) / 4) for i in range(5)})
    times = [datetime.fromtimestamp(time_ms / 1000) for time_ms in times_ms]
    form = "%m-%d" if len({time.date() for time in times}) > 1 else "%H:%M:%S"
    axes.set_xticks(picks, [times[pick].strftime(form) for pick in picks])
