"""Mean and maximum of what was sampled while a load was measured, as metrics of its record."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pytest_disagg.telemetry.names import ENGINE_NAMES, JOINED, PREFIX, RATES, engine_values, grouped
from pytest_disagg.telemetry.prometheus import cumulative, name_of
from pytest_disagg.telemetry.reading import Sample, path_of, read

Key = TypeVar("Key", bound=Hashable)
CLIENT = "client"


@dataclass(frozen=True)
class Window:
    """A measured load: its begin by CLOCK_MONOTONIC of ``node`` and by that node's wall clock, and its length."""

    node: str
    monotonic_s: float
    epoch_s: float
    duration_s: float

    def at(self, sample: Sample) -> float:
        """Seconds from the begin to ``sample``: on the same node by the monotonic clock, which nobody sets; those of
        two nodes have nothing in common, so samples of another are placed by the wall clocks of both."""
        if sample.node == self.node:
            return sample.monotonic_s - self.monotonic_s
        return sample.epoch_s - self.epoch_s

    def holds(self, sample: Sample) -> bool:
        return 0 <= self.at(sample) <= self.duration_s


@dataclass
class Joined(Generic[Key]):
    """``metrics`` by window, without the prefix ``d_``; a window in which nothing was sampled has none. ``notes`` are
    what is to be told of a run, ``problems`` files that cannot be read."""

    metrics: dict[Key, dict[str, float]]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def join(results: Path, roles: Sequence[str], windows: Mapping[Key, Window], also: Sequence[str] = ()) -> Joined[Key]:
    """Read the samples of ``roles`` once and join them. Never raises.

    Fields are ``tm_<kind>_<source>_<value>_<mean|max>`` over the samples of all servers of that kind, and
    ``tm_gpu_<value>_...`` over all GPUs. A machine that several roles of a kind share counts once, the first role's
    samples; servers that all run on the client's have no host fields of their own. ``also`` names further engine
    metrics: gauges as mean and max, counters as ``_per_s``, added up over servers; one that no server gave is a note.
    """
    tallies = {key: _Tally(window) for key, window in windows.items()}
    joined: Joined[Key] = Joined({})
    owners: dict[tuple[str, ...], str] = {}
    missing = set(also)
    for role in roles:
        before: dict[tuple[str, str, str], Sample] = {}
        try:
            for sample in read(path_of(results, role), ENGINE_NAMES.union(also)):
                if sample.source == "note":
                    joined.notes.append(f"{role} on {sample.node}: {sample.text}")
                    continue
                if missing and sample.source == "engine":
                    missing.difference_update(map(name_of, sample.values))
                thing = sample.kind, sample.source, sample.name
                previous, before[thing] = before.get(thing), sample
                names = list(_names(sample, role, owners))
                for tally in tallies.values():
                    if names and tally.window.holds(sample):
                        tally.add(sample, previous, names, role, also)
        except OSError as error:
            joined.problems.append(f"{error.filename}: {error.strerror}")
    if missing:
        unknown = ", ".join(metric for metric in also if metric in missing)
        joined.notes.append(f"telemetry.metrics: no server gave {unknown}")
    joined.metrics = {key: tally.metrics() for key, tally in tallies.items()}
    return joined


def _names(sample: Sample, role: str, owners: dict[tuple[str, ...], str]) -> Iterator[str]:
    """What the fields of a sample begin with; nothing where another role's samples of the same thing count."""
    if sample.source not in ("host", "gpu"):
        yield f"{PREFIX}{sample.kind}_{sample.source}_"
        return
    thing = sample.source, sample.node, sample.name
    if owners.setdefault((sample.kind, *thing), role) == role:
        yield f"{PREFIX}{sample.kind}_{sample.source}_"
    if sample.source == "gpu" and owners.setdefault(thing, role) == role:
        yield f"{PREFIX}gpu_"


class _Tally:
    """One window's statistics, as samples come by."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self._stats: dict[tuple[str, tuple[str, ...]], tuple[int, float, float]] = {}
        self._counters: dict[tuple[str, str, str], tuple[float, float, float, float]] = {}
        self._nodes: dict[str, set[str]] = {}

    def add(
        self, sample: Sample, previous: Sample | None, names: Iterable[str], role: str, also: Sequence[str]
    ) -> None:
        values = engine_values(sample.values) if sample.source == "engine" else sample.values
        whole = previous is not None and self.window.holds(previous)
        for value, statistics in JOINED[sample.source].items():
            if value not in values or (value in RATES and not whole):
                continue
            for name in names:
                self._put(f"{name}{value}", statistics, values[value])
        if sample.source == "host":
            self._nodes.setdefault(sample.kind, set()).add(sample.node)
        if sample.source == "engine" and also:
            self._further(sample, role, also)

    def _further(self, sample: Sample, role: str, also: Sequence[str]) -> None:
        by_name = grouped(sample.values)
        for metric in also:
            if metric not in by_name:
                continue
            name, value = f"{PREFIX}{sample.kind}_engine_{_slug(metric)}", sum(by_name[metric])
            if not cumulative(metric):
                self._put(name, ("mean", "max"), value)
                continue
            counter, at = (name, role, sample.name), self.window.at(sample)
            began, first, *_ = self._counters.get(counter, (at, value))
            self._counters[counter] = began, first, at, value

    def _put(self, name: str, statistics: tuple[str, ...], value: float) -> None:
        count, total, largest = self._stats.get((name, statistics), (0, 0.0, value))
        self._stats[name, statistics] = count + 1, total + value, max(largest, value)

    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for (name, statistics), (count, total, largest) in self._stats.items():
            each = {"mean": total / count, "max": largest}
            found.update({f"{name}_{statistic}": each[statistic] for statistic in statistics})
        for (name, _, _), (began, first, ended, last) in self._counters.items():
            # A counter that fell belongs to a process that was started again: nothing is known of this window.
            if ended > began and last >= first:
                rate = (last - first) / (ended - began)
                found[f"{name}_per_s"] = found.get(f"{name}_per_s", 0.0) + rate
        again = tuple(
            f"{PREFIX}{kind}_host_"
            for kind, nodes in self._nodes.items()
            if kind != CLIENT and nodes == self._nodes.get(CLIENT)
        )
        return {name: round(value, 4) for name, value in sorted(found.items()) if not name.startswith(again)}


def _slug(metric: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", metric.lower()).strip("_")
