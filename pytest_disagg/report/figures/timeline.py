"""Stages of every role over the time of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_disagg.report.figures.style import BLUE, GREY, INK, MUTED, ORANGE, PALE, PURPLE, RED, SKY, TEAL, YELLOW
from pytest_disagg.report.model import RoleReport

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

SERVING = "serving"
GROUPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("plan", GREY, ("plan",)),
    ("prepare", ORANGE, ("prepare",)),
    ("launch", YELLOW, ("launch",)),
    ("ready", PURPLE, ("ready",)),
    ("probe, warm-up", SKY, ("probe", "warm-up")),
    ("measure", BLUE, ("measure",)),
    ("accuracy", TEAL, ("accuracy",)),
    ("gate, judge, store", INK, ("gate", "judge", "store")),
    ("stop, hold", MUTED, ("stop", "hold")),
    (SERVING, PALE, (SERVING,)),
)
"""What the legend says, colour, stages."""
MAX_ROLES = 40
_BAR = 0.62


def height_in(roles: Sequence[RoleReport]) -> float:
    return 1.15 + 0.24 * min(len(roles), MAX_ROLES)


def draw(figure: FigureBase, roles: Sequence[RoleReport]) -> None:
    """One row per role. A server serves from the end of its ``ready`` until the run's end; a cross marks a failure."""
    shown = [role for role in roles if role.spans][:MAX_ROLES]
    origin = min(span.start_s for role in shown for span in role.spans)
    end = max(span.end_s for role in shown for span in role.spans)
    axes = figure.subplots()
    used: dict[str, str] = {}
    for row, role in enumerate(shown):
        spans = [(span.stage, span.start_s, span.end_s) for span in role.spans]
        if role.role != "BENCHMARK" and spans[-1][0] == "ready":
            spans.append((SERVING, spans[-1][2], end))
        for stage, start, stop in spans:
            label, colour = next(((label, c) for label, c, stages in GROUPS if stage in stages), (stage, GREY))
            used[label] = colour
            axes.barh(row, stop - start, left=start - origin, height=_BAR, color=colour, linewidth=0)
        if role.failure:
            place = (end if role.because_of else spans[-1][2]) - origin
            size = 6 if role.because_of else 9
            axes.plot(place, row, marker="x", color=RED, markersize=size, markeredgewidth=2, clip_on=False, zorder=5)
    axes.set_yticks(range(len(shown)), [role.role for role in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, max(end - origin, 1e-3) * 1.02)
    axes.set_xlabel("seconds since the first stage")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    from matplotlib.patches import Patch

    handles = [Patch(color=used[label], label=label) for label, *_ in GROUPS if label in used]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, handlelength=1, columnspacing=1.2)
