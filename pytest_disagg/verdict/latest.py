"""The newest measurement of every point, grouped into curves over concurrency. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pytest_disagg.records.points import RecordPoint, case_of, group
from pytest_disagg.records.record import Value
from pytest_disagg.verdict.history import SeriesKey, created_ms, usable


class Curve(NamedTuple):
    """What points have in common that differ in concurrency alone."""

    case: str
    server: str
    engine: str
    cluster: str
    gpu: str
    node_group: str
    tool: str
    isl: str
    osl: str
    request_rate: str

    @classmethod
    def of(cls, record: Mapping[str, Value]) -> Curve:
        """The curve of a record."""
        key = SeriesKey.of(record)
        load = (str(record.get(name, "")) for name in ("l_isl", "l_osl", "d_request_rate"))
        return cls(key.case, key.server, key.engine, key.cluster, key.gpu, key.node_group, key.tool, *load)


@dataclass(frozen=True)
class Latest:
    """A point's newest run. ``passed_over`` is the id of a newer one that cannot be used, empty where there is none."""

    curve: Curve
    point: RecordPoint
    passed_over: str = ""

    @property
    def created_ms(self) -> int:
        return max(created_ms(record) for record in self.point.records)

    @property
    def run_id(self) -> str:
        return str(self.point.first.get("s_run_id", ""))


def newest(records: Iterable[Mapping[str, Value]], *, measured: bool = False) -> list[Latest]:
    """Of every point its newest run, in the order of curves and concurrencies.

    ``measured``: only runs that passed the gate, on what they were meant for: no rehearsal, no profile, no quarantine.
    """
    by_key: dict[SeriesKey, list[Mapping[str, Value]]] = {}
    for record in records:
        if case_of(record) and record.get("b_is_baseline") is not True:
            by_key.setdefault(SeriesKey.of(record), []).append(record)
    chosen: dict[tuple[str, ...], list[Mapping[str, Value]]] = {}
    passed: dict[tuple[Curve, int, str], str] = {}
    for key, found in by_key.items():
        newest_run, fit = _ends(found)
        run = fit if measured else newest_run
        if run:
            place = (key.case, key.engine, key.cluster, key.gpu, key.node_group, key.tool)
            chosen.setdefault(place, []).extend(run)
            if run is not newest_run:
                passed[Curve.of(run[0]), key.concurrency, key.client] = str(newest_run[0].get("s_run_id", ""))
    latest = []
    for found_here in chosen.values():
        for point in group(found_here):
            curve = Curve.of(point.first)
            latest.append(Latest(curve, point, passed.get((curve, point.concurrency, point.client), "")))
    return sorted(latest, key=lambda each: (each.curve, each.point.concurrency, each.point.label))


def names_of(key: SeriesKey) -> list[str]:
    """What an expression can name a point by: each value of its series, the concurrency as ``con8``."""
    names = (key.case, key.engine, key.gpu, key.cluster, key.node_group, key.server, key.client, key.tool)
    return [*filter(None, names), f"con{key.concurrency}"]


def needed(series: Iterable[Mapping[str, Value]]) -> list[Mapping[str, Value]]:
    """Of the records of one series those that :func:`newest` can choose: of its newest run, and of its newest usable
    one."""
    last, fit = _ends(series)
    return [*last, *(fit if fit is not last else ())]


def _ends(series: Iterable[Mapping[str, Value]]) -> tuple[list[Mapping[str, Value]], list[Mapping[str, Value]]]:
    """The newest run of a series, and the newest one that can be used; the second is empty where none can."""
    runs: dict[object, list[Mapping[str, Value]]] = {}
    for record in series:
        # Records of other tools may have no run id: then each moment is a run of its own.
        runs.setdefault(record.get("s_run_id") or created_ms(record), []).append(record)
    order = sorted(runs.values(), key=lambda each: max(map(created_ms, each)))
    return (order[-1] if order else []), next((each for each in reversed(order) if all(map(usable, each))), [])
