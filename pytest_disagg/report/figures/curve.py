"""Throughput per GPU against speed per user: what a deployment gives for what its users wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_disagg.report.figures.style import colour, zero_based
from pytest_disagg.report.model import Load

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

HEIGHT_IN = 3.1
PER_GPU = "output_token_throughput_per_gpu"
PER_USER = ("output_token_throughput_per_user", "user_throughput")
"""Either: the first is 1000 / mean TPOT, the second the mean over requests of tokens / E2EL."""


def place(load: Load) -> tuple[float, float] | None:
    """Tokens per second and user, output tokens per second and GPU; None where the load lacks either."""
    user = next((load.metrics[name] for name in PER_USER if name in load.metrics), None)
    gpu = load.metrics.get(PER_GPU)
    return None if user is None or gpu is None else (user, gpu)


def series(loads: Sequence[Load]) -> dict[str, list[Load]]:
    """Server -> its loads that have both values, by concurrency; empty where none has."""
    found: dict[str, list[Load]] = {}
    for load in sorted(loads, key=lambda load: load.concurrency or 0):
        if place(load) is not None:
            found.setdefault(load.server, []).append(load)
    return found


def draw(figure: FigureBase, curves: Mapping[str, Sequence[Load]]) -> None:
    """One line per name of ``curves``, a point per load, labelled with its concurrency."""
    axes = figure.subplots()
    for position, (name, loads) in enumerate(curves.items()):
        ink, line = colour(position)
        places = [found for load in loads if (found := place(load)) is not None]
        axes.plot(*zip(*places, strict=True), marker="o", color=ink, linestyle=line, label=name or "measured")
        for load, (x, y) in zip(loads, places, strict=True):
            text = str(load.concurrency) if load.concurrency else load.label
            # Labels of every second curve below its points: curves that are compared lie close to each other.
            offset = (5, -10 if position % 2 else 4)
            axes.annotate(text, (x, y), textcoords="offset points", xytext=offset, color=ink, fontsize=8)
    zero_based(axes, x=True, y=True)
    axes.set_xlabel("speed per user (tok/s), numbers are concurrencies")
    axes.set_ylabel("output per GPU (tok/s)")
    if len(curves) > 1:
        figure.legend(loc="outside upper left", ncols=2, handlelength=1.6)
