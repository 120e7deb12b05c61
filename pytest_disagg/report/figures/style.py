"""How every figure looks: sizes, fonts, colours. Colours are those of a white page; svg.py makes them variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_disagg.records.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN = 5.0
"""Inches. Drawn small, so that its text can be read where a phone shows it 360 pixels wide."""

INK, MUTED, GRID, PAPER = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"
BLUE, ORANGE, GREEN, RED = "#0969da", "#bc4c00", "#1a7f37", "#cf222e"
PURPLE, TEAL, YELLOW, SKY, GREY, PALE = "#8250df", "#1b7c83", "#bf8700", "#54aeff", "#8c959f", "#c8d1da"
COLOURS: Mapping[str, str] = {
    "ink": INK,
    "muted": MUTED,
    "grid": GRID,
    "paper": PAPER,
    "blue": BLUE,
    "orange": ORANGE,
    "green": GREEN,
    "red": RED,
    "purple": PURPLE,
    "teal": TEAL,
    "yellow": YELLOW,
    "sky": SKY,
    "grey": GREY,
    "pale": PALE,
}
"""Name (a CSS variable ``--c-<name>`` of the page) -> colour on white."""
SERIES = (BLUE, ORANGE, GREEN, PURPLE, TEAL, YELLOW, RED, SKY)
"""Told apart with any colour vision in this order; beyond eight they repeat with another line style."""
LINES = ("-", "--", ":", "-.")

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    # What people call their cases must never be read as mathematics.
    "text.parse_math": False,
    "text.usetex": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "pytest-disagg",
    "pdf.fonttype": 42,
}


@contextmanager
def style() -> Iterator[None]:
    """Within it figures look as they should, whatever the user's own matplotlibrc says."""
    from cycler import cycler
    from matplotlib import rc_context, rcParamsDefault

    values: dict[Any, Any] = {
        name: value for name, value in rcParamsDefault.items() if name not in ("backend", "backend_fallback")
    }
    values.update(_STYLE, **{"axes.prop_cycle": cycler(color=SERIES)})
    with rc_context(values):
        yield


def colour(position: int) -> tuple[str, str]:
    """Colour and line style of the series at that position."""
    return SERIES[position % len(SERIES)], LINES[position // len(SERIES) % len(LINES)]


def unit_of(metric: str) -> str:
    """A metric's unit; empty for one that is not known here."""
    return METRICS[metric].unit if metric in METRICS else ""


def title_of(metric: str) -> str:
    """A metric's printed name with its unit, e.g. ``Median TTFT (ms)``; its plain name where it is not known here."""
    return METRICS[metric].label if metric in METRICS else metric


def zero_based(axes: Axes, *, x: bool = False, y: bool = False, room: float = 0.15) -> None:
    """Let an axis begin at 0 and end ``room`` (a share) above its largest value."""
    if x:
        axes.set_xlim(0, (axes.dataLim.x1 or 1.0) * (1 + room))
    if y:
        axes.set_ylim(0, (axes.dataLim.y1 or 1.0) * (1 + room))
