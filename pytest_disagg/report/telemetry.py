"""What was sampled while loads were measured, as curves: a panel for each quantity, a line for each kind of server."""

from __future__ import annotations

import json
import math
from pathlib import Path

from pytest_disagg.redact import redact
from pytest_disagg.report.model import Measured, Panel, TelemetryPlot
from pytest_disagg.telemetry.names import ENGINE_NAMES, engine_values
from pytest_disagg.telemetry.reading import FOLDER, Sample, read, windows_of

MAX_BINS = 240
"""Of a line: more than can be told apart at a figure's width."""
MAX_NODES = 8
"""Lines of the panel that has one for each machine; beyond it they are drawn by kind."""
_KINDS = {"ctx": "CTX", "gen": "GEN", "server": "server", "coordinator": "coordinator", "client": "client"}
_PANELS: tuple[tuple[str, str, str, str, float], ...] = (
    ("GPU utilisation", "%", "gpu", "util_percent", 1),
    ("Power per GPU", "W", "gpu", "power_w", 1),
    ("Host CPU", "%", "host", "cpu_percent", 1),
    ("Server and client CPU", "cores", "process", "cpu_percent", 0.01),
    ("Requests running per server", "", "engine", "requests_running", 1),
    ("Requests waiting per server", "", "engine", "requests_waiting", 1),
    ("KV cache in use", "%", "engine", "kv_cache_usage", 100),
)
"""Title, unit, source, value, factor to the unit."""

_HOST = "host.cpu_percent"
GAPS = 100
"""Of one thing that are looked at to learn how often it was sampled."""
MARGIN = 0.15
"""What is drawn before and after the loads, as a share of their time. A server that loads its model for an hour would
leave no room for a load of a minute."""
MARGIN_SAMPLES = 5
"""At least so many intervals: of a load that is shorter than one there is still a line."""

_Point = tuple[float, float]


def telemetry_of(results: Path) -> tuple[TelemetryPlot | None, list[str]]:
    """The curves of a run around its loads (all of it where none was measured), None where nothing was sampled; and
    what could not be read.

    A report is made by a person or after a run, so here the folder may be listed.
    """
    curves = _Curves()
    problems: list[str] = []
    for path in sorted((results / FOLDER).glob("*.jsonl")):
        try:
            for sample in read(path, ENGINE_NAMES):
                curves.add(path.stem, sample)
        except OSError as error:
            problems.append(f"{path.name}: {error.strerror}")
    measured, broken = _windows(windows_of(results))
    panels = curves.panels(measured)
    return (TelemetryPlot(panels, measured) if panels else None), problems + broken


class _Curves:
    """Points of every line of every panel, as samples come by."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], list[_Point]] = {}
        self._hosts_by_kind: dict[tuple[str, str], list[_Point]] = {}
        self._last: dict[tuple[str, ...], float] = {}
        self._gaps: dict[tuple[str, ...], list[float]] = {}

    def add(self, role: str, sample: Sample) -> None:
        thing = role, sample.kind, sample.source, sample.name
        gaps = self._gaps.setdefault(thing, [])
        if thing in self._last and len(gaps) < GAPS:
            gaps.append(sample.epoch_s - self._last[thing])
        self._last[thing] = sample.epoch_s
        values = engine_values(sample.values) if sample.source == "engine" else sample.values
        kind = _KINDS.get(sample.kind, redact(sample.kind))
        for _, _, source, value, factor in _PANELS:
            if source != sample.source or value not in values:
                continue
            name, point = f"{source}.{value}", (sample.epoch_s, values[value] * factor)
            self._lines.setdefault((name, redact(sample.node) if name == _HOST else kind), []).append(point)
            if name == _HOST:
                self._hosts_by_kind.setdefault((name, kind), []).append(point)

    def panels(self, measured: tuple[Measured, ...]) -> tuple[Panel, ...]:
        usual_s = max((sorted(gaps)[len(gaps) // 2] for gaps in self._gaps.values() if gaps), default=1.0)
        lines = self._lines
        if sum(name == _HOST for name, _ in lines) > MAX_NODES:
            lines = {key: points for key, points in lines.items() if key[0] != _HOST} | self._hosts_by_kind
        begin, end = _shown(measured, usual_s)
        lines = {key: [point for point in points if begin <= point[0] <= end] for key, points in lines.items()}
        lines = {key: points for key, points in lines.items() if len(points) > 1}
        if not lines:
            return ()
        first = min(moment for points in lines.values() for moment, _ in points)
        last = max(moment for points in lines.values() for moment, _ in points)
        # A bin holds at least one sample of each thing that shares a line: their mean is then the line's.
        width_s = max((last - first) / MAX_BINS, usual_s, 1e-3)
        panels = []
        for title, unit, source, value, _ in _PANELS:
            found = {
                label: _binned(points, first, width_s)
                for (name, label), points in lines.items()
                if name == f"{source}.{value}"
            }
            if found and (source != "engine" or any(number for line in found.values() for _, number in line)):
                panels.append(Panel(title, unit, {label: found[label] for label in sorted(found, key=in_order)}))
        return tuple(panels)


def _shown(measured: tuple[Measured, ...], usual_s: float) -> tuple[float, float]:
    if not measured:
        return -math.inf, math.inf
    first, last = min(each.start_s for each in measured), max(each.end_s for each in measured)
    margin_s = max(MARGIN * (last - first), MARGIN_SAMPLES * usual_s)
    return first - margin_s, last + margin_s


def in_order(label: str) -> tuple[int, str]:
    """Sorts lines: kinds of servers, then machines."""
    names = list(_KINDS.values())
    return (names.index(label) if label in names else len(names)), label


def _binned(points: list[_Point], first: float, width_s: float) -> tuple[_Point, ...]:
    """The mean of each bin that has samples: over time, and over the things that share a line."""
    bins: dict[int, list[_Point]] = {}
    for moment, value in points:
        bins.setdefault(int((moment - first) / width_s), []).append((moment, value))
    return tuple(
        (sum(moment for moment, _ in each) / len(each), sum(value for _, value in each) / len(each))
        for _, each in sorted(bins.items())
    )


def _windows(path: Path) -> tuple[tuple[Measured, ...], list[str]]:
    if not path.exists():
        return (), []
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["windows"]
        return tuple(
            Measured(redact(str(each["point"])), float(each["epoch_s"]), float(each["epoch_s"] + each["duration_s"]))
            for each in listed
        ), []
    except (OSError, ValueError, KeyError, TypeError) as error:
        return (), [f"{path.name}: {type(error).__name__}: {error}"]
