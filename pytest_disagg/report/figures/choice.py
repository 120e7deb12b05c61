"""Which figures a case has: the same for the page and the PDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pytest_disagg.report.figures import bars, curve, history, latency, telemetry, timeline
from pytest_disagg.report.figures.style import title_of, unit_of
from pytest_disagg.report.model import CaseReport

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

    from pytest_disagg.report.compare import Comparison

HISTORY, CURVE, LATENCY, TIMELINE, BARS = "history", "curve", "latency", "timeline", "bars"
TELEMETRY = "telemetry"
MAX_BARS = 12
"""Metrics of a comparison that are drawn; its table has all."""


@dataclass(frozen=True)
class Planned:
    """A figure to be drawn: its caption, its height at the common width, and how."""

    kind: str
    caption: str
    height_in: float
    draw: Callable[[FigureBase], None]


def figures_of(case: CaseReport) -> Sequence[Planned]:
    """In the order in which they are shown; nothing is drawn yet."""
    found = [
        Planned(
            HISTORY,
            f"History of {plot.load}: {title_of(plot.metric)}",
            history.HEIGHT_IN,
            partial(history.draw, plot=plot),
        )
        for plot in case.history
    ]
    curves = curve.series(case.loads)
    if curves:
        caption = "Throughput per GPU against speed per user"
        found.append(Planned(CURVE, caption, curve.HEIGHT_IN, partial(curve.draw, curves=curves)))
    loads = latency.drawable(case.loads)
    if loads:
        caption = "Latency of requests: share that was at most so slow"
        found.append(Planned(LATENCY, caption, latency.HEIGHT_IN, partial(latency.draw, loads=loads)))
    if any(role.spans for role in case.roles):
        height = timeline.height_in(case.roles)
        found.append(Planned(TIMELINE, "Stages and roles", height, partial(timeline.draw, roles=case.roles)))
    if case.telemetry is not None:
        plot = case.telemetry
        draw = partial(telemetry.draw, plot=plot, origin_s=_origin_s(case))
        found.append(Planned(TELEMETRY, "GPUs, hosts and engines", telemetry.height_in(plot), draw))
    return found


def _origin_s(case: CaseReport) -> float:
    """Where the time of a run begins in its figures."""
    spans = [span.start_s for role in case.roles for span in role.spans]
    plotted = case.telemetry.panels if case.telemetry else ()
    return min((*spans, *(line[0][0] for panel in plotted for line in panel.lines.values())), default=0.0)


def comparison_figures(comparison: Comparison) -> Sequence[Planned]:
    """Bars for each metric, and the curves of those sets that are runs."""
    found = []
    curves = {
        each.title + (f", {server}" if server else ""): loads
        for each in comparison.sets
        for server, loads in curve.series(each.loads).items()
    }
    if len(curves) > 1:
        caption = "Throughput per GPU against speed per user"
        found.append(Planned(CURVE, caption, curve.HEIGHT_IN + 0.3, partial(curve.draw, curves=curves)))
    for metric in comparison.metrics[:MAX_BARS]:
        names, values = comparison.bars(metric)
        drawing = partial(bars.draw, names=names, sets=values, axis=unit_of(metric))
        found.append(Planned(BARS, title_of(metric), bars.height_in(len(names), len(values)), drawing))
    return found
