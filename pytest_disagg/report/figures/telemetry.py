"""What GPUs, hosts and engines did while loads were measured, these shaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_disagg.report.figures.style import MUTED, PALE, WIDTH_IN, colour
from pytest_disagg.report.model import TelemetryPlot
from pytest_disagg.report.telemetry import in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from matplotlib.lines import Line2D

LINE_IN, CHAR_IN, ROW_IN = 0.4, 0.067, 0.17
"""Inches that a line, a character and a row take in the legend."""
ROOM = 75
"""Characters that fit above a panel, of the size in which loads are named."""


def height_in(plot: TelemetryPlot) -> float:
    labels = _labels(plot)
    return 0.6 + 1.0 * len(plot.panels) + ROW_IN * -(-len(labels) // _columns(labels))


def draw(figure: FigureBase, plot: TelemetryPlot, origin_s: float) -> None:
    """A panel for each quantity over one axis of time, which begins at ``origin_s`` (epoch seconds)."""
    panels = figure.subplots(len(plot.panels), 1, squeeze=False, sharex=True)[:, 0]
    labels = _labels(plot)
    handles: dict[str, Line2D] = {}
    for axes, panel in zip(panels, plot.panels, strict=True):
        _shade(axes, plot, origin_s)
        for label, points in panel.lines.items():
            ink, line = colour(labels.index(label))
            times = [moment - origin_s for moment, _ in points]
            values = [value for _, value in points]
            # One point alone is no line.
            marker = "." if len(points) < 3 else ""
            handles[label] = axes.plot(times, values, color=ink, linestyle=line, marker=marker, linewidth=1.2)[0]
        axes.set_title(f"{panel.title} ({panel.unit})" if panel.unit else panel.title, pad=2)
        # Room for the names of the loads above the lines of the first panel.
        axes.set_ylim(bottom=0, top=max(axes.get_ylim()[1], 1e-9) * (1.3 if axes is panels[0] else 1))
        axes.margins(x=0.01)
    _name(panels[0], plot, origin_s)
    panels[-1].set_xlabel("seconds since the first stage; shaded: measured")
    shown = [handles[label] for label in labels]
    figure.legend(
        handles=shown,
        labels=labels,
        loc="outside upper left",
        ncols=_columns(labels),
        handlelength=1.4,
        columnspacing=1.2,
    )


def _labels(plot: TelemetryPlot) -> list[str]:
    return sorted({label for panel in plot.panels for label in panel.lines}, key=in_order)


def _columns(labels: list[str]) -> int:
    """Of the legend: all in one row, else as many as the longest name leaves room for."""
    widths = [LINE_IN + CHAR_IN * len(label) for label in labels]
    return len(labels) if sum(widths) <= WIDTH_IN else max(1, int(WIDTH_IN / max(widths)))


def _shade(axes: Axes, plot: TelemetryPlot, origin_s: float) -> None:
    for each in plot.measured:
        axes.axvspan(each.start_s - origin_s, each.end_s - origin_s, color=PALE, alpha=0.45, linewidth=0, zorder=0)


def _name(axes: Axes, plot: TelemetryPlot, origin_s: float) -> None:
    """The loads above the first panel, once for all repeats of one, where there is room beside the name before."""
    left, right = axes.get_xlim()
    char_s = (right - left) / ROOM
    named = {each.label: each for each in reversed(plot.measured)}
    free_s = left
    for label, each in sorted(named.items(), key=lambda item: item[1].start_s):
        middle_s, half_s = (each.start_s + each.end_s) / 2 - origin_s, char_s * len(label) / 2
        if middle_s - half_s < free_s:
            continue
        free_s = middle_s + half_s + char_s
        axes.annotate(
            label,
            (middle_s, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -2),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7,
            color=MUTED,
        )
