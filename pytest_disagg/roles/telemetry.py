"""What all roles sampled while each load was measured, joined into its record by BENCHMARK."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from pytest_disagg.records.record import Record
from pytest_disagg.roles.points import Point
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.files import to_json, write_text
from pytest_disagg.rundir.writer import node_name

PointKey = tuple[int, int, int]
"""Which server of the case, which of its loads, which repeat."""


@dataclass(frozen=True)
class Joined:
    """What was sampled while each point was measured. ``notes`` are for the outcome."""

    metrics: Mapping[PointKey, Mapping[str, float]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def fields(self, point: Point) -> Record:
        """Of the point's record; empty where nothing was sampled."""
        return {f"d_{name}": value for name, value in self.metrics.get(_key(point), {}).items()}


def joined(
    session: RoleSession, roles: Sequence[str], points: Sequence[Point], names: Mapping[tuple[int, int], str]
) -> Joined:
    """Mean and maximum of what ``roles`` sampled in the time of each point. ``names`` are the points' labels."""
    block = session.case.telemetry
    if block is None or not points:
        return Joined()
    from pytest_disagg.telemetry.join import Window, join
    from pytest_disagg.telemetry.reading import windows_of

    to_epoch_s = time.time() - time.monotonic()
    windows = {
        _key(point): Window(
            node_name(),
            point.result.started_monotonic_s,
            point.result.started_monotonic_s + to_epoch_s,
            point.result.duration_s,
        )
        for point in points
    }
    listed = [{"point": names.get(key[:2], ""), "repeat": key[2], **asdict(window)} for key, window in windows.items()]
    path = windows_of(session.rundir.results)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, to_json({"windows": listed}))
        found = join(session.rundir.results, roles, windows, block.metrics)
    except Exception as error:  # noqa: BLE001 - said, and no reason for a run that was measured to have no outcome
        return Joined(notes=[f"telemetry could not be joined: {type(error).__name__}: {error}"])
    for problem in found.problems:
        session.log(f"telemetry: {problem}")
    return Joined(found.metrics, found.notes)


def _key(point: Point) -> PointKey:
    return point.server_index, point.load_index, point.repeat
