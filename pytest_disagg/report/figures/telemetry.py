"""What GPUs, hosts and engines did over the time of a run, the measured loads shaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_disagg.report.figures.style import MUTED, PALE, colour
from pytest_disagg.report.model import TelemetryPlot
from pytest_disagg.report.telemetry import in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from matplotlib.lines import Line2D

MAX_LABELS = 8
"""Loads whose names are written above their windows; more would lie upon each other."""


def height_in(plot: TelemetryPlot) -> float:
    return 0.75 + 1.0 * len(plot.panels)


def draw(figure: FigureBase, plot: TelemetryPlot, origin_s: float) -> None:
    """A panel for each quantity over one axis of time, which begins at ``origin_s`` (epoch seconds)."""
    panels = figure.subplots(len(plot.panels), 1, squeeze=False, sharex=True)[:, 0]
    labels = sorted({label for panel in plot.panels for label in panel.lines}, key=in_order)
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
    figure.legend(handles=shown, labels=labels, loc="outside upper left", ncols=5, handlelength=1.4)


def _shade(axes: Axes, plot: TelemetryPlot, origin_s: float) -> None:
    for each in plot.measured:
        axes.axvspan(each.start_s - origin_s, each.end_s - origin_s, color=PALE, alpha=0.45, linewidth=0, zorder=0)


def _name(axes: Axes, plot: TelemetryPlot, origin_s: float) -> None:
    """The loads above the first panel, once for all repeats of one."""
    named = {each.label: each for each in reversed(plot.measured)}
    if len(named) > MAX_LABELS:
        return
    for label, each in named.items():
        axes.annotate(
            label,
            ((each.start_s + each.end_s) / 2 - origin_s, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -2),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7,
            color=MUTED,
        )
