"""A metric of several result sets side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_disagg.report.figures.style import colour, zero_based

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

MAX_GROUPS = 24
_GROUP = 0.8


def height_in(groups: int, sets: int) -> float:
    return 0.9 + min(groups, MAX_GROUPS) * (0.10 + 0.15 * sets)


def draw(figure: FigureBase, names: Sequence[str], sets: Mapping[str, Sequence[float | None]], axis: str) -> None:
    """Horizontal bars, a group for each of ``names``; ``sets`` gives each group's value, None where there is none."""
    axes = figure.subplots()
    shown = names[:MAX_GROUPS]
    thick = _GROUP / max(len(sets), 1)
    for position, (title, values) in enumerate(sets.items()):
        rows = [(row, value) for row, value in enumerate(values[:MAX_GROUPS]) if value is not None]
        at = [row - _GROUP / 2 + thick * (position + 0.5) for row, _ in rows]
        bars = axes.barh(at, [value for _, value in rows], height=thick * 0.9, color=colour(position)[0], label=title)
        axes.bar_label(bars, fmt="{:.5g}", padding=2, fontsize=7)
    axes.set_yticks(range(len(shown)), shown)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    zero_based(axes, x=True)
    axes.set_xlabel(axis)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper left", ncols=2, handlelength=1)
