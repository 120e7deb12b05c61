"""Accepted changes: dated lines in ``baselines/accepted.yaml``, reviewed in git like any other change.

    accepted:
      - {date: 2026-11-21, case: disagg-e2e-r1, point: con8, metric: token_throughput, since: 1789000000000,
         run: "4711", reason: "slower sampler, wanted", by: ann}

From ``since`` (epoch milliseconds, the first run at the new level) on, that level is the metric's reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_disagg.config.text import shown
from pytest_disagg.errors import DisaggError
from pytest_disagg.records.metrics import metric as metric_named
from pytest_disagg.records.points import RecordPoint
from pytest_disagg.verdict import dated
from pytest_disagg.verdict.dated import DatedFile, Wrong
from pytest_disagg.verdict.history import SeriesKey

FILE_NAME = "accepted.yaml"
_NEEDED = ("date", "case", "point", "metric", "since", "reason")
_OPTIONAL = ("run", "commit", "by", "gpu", "cluster", "tool")


@dataclass(frozen=True)
class Acceptance:
    """One accepted change of one metric of one point. ``since_ms`` is when its first run was made."""

    date: str
    case: str
    point: str
    metric: str
    since_ms: int
    reason: str
    run: str = ""
    commit: str = ""
    by: str = ""
    gpu: str = ""
    cluster: str = ""
    tool: str = ""

    def covers(self, point: RecordPoint, metric: str) -> bool:
        """Whether it is about that metric, point and load generator, on its GPU and cluster where it names any."""
        return (
            self.case == point.case
            and self.metric == metric
            and point.called([word for word in self.point.split("/") if word])
            and self.gpu in ("", str(point.first.get("s_gpu_type", "")))
            and self.cluster in ("", str(point.first.get("s_cluster", "")))
            and self.tool == SeriesKey.of(point.first).tool
        )

    def words(self) -> str:
        """For evidence."""
        by = f" by {self.by}" if self.by else ""
        return f"a change was accepted on {self.date}{by}: {self.reason}"

    def line(self) -> str:
        """The entry as it stands in the file, without indentation."""
        fields: dict[str, object] = {
            "date": self.date,
            "case": self.case,
            "point": self.point,
            "metric": self.metric,
            "since": self.since_ms,
            **{name: getattr(self, name) for name in _OPTIONAL if getattr(self, name)},
            "reason": self.reason,
        }
        return dated.line(fields)


def load(path: Path) -> tuple[Acceptance, ...]:
    """The accepted changes of a file; of one that is not there, none. Raises as :meth:`.dated.DatedFile.load`."""
    return _FILE.load(path)


def find(directories: Sequence[Path]) -> Path | None:
    """``baselines/accepted.yaml`` of the first config directory that has one."""
    return dated.find(directories, FILE_NAME)


def newest(acceptances: Sequence[Acceptance], point: RecordPoint, metric: str) -> Acceptance | None:
    """The one that holds for a metric of a point: the latest level that was accepted."""
    found = [each for each in acceptances if each.covers(point, metric)]
    return max(found, key=lambda each: each.since_ms, default=None)


def append(path: Path, acceptances: Sequence[Acceptance]) -> str:
    """Add entries at the end of the file; what was added. See :meth:`.dated.DatedFile.append`."""
    return _FILE.append(path, [each.line() for each in acceptances])


def today() -> str:
    return dated.today().isoformat()


def _check(entry: Mapping[Any, Any], wrong: Wrong) -> None:
    since = entry.get("since")
    if since not in (None, "") and (isinstance(since, bool) or not isinstance(since, int)):
        wrong("since", shown(since), "a time in epoch milliseconds")
    if entry.get("metric"):
        try:
            metric_named(str(entry["metric"]))
        except DisaggError as error:
            wrong("metric", shown(entry["metric"]), "a metric", str(error))


def _acceptance(entry: Mapping[str, Any]) -> Acceptance:
    texts = {name: str(entry[name]) for name in (*_NEEDED, *_OPTIONAL) if name != "since" and entry.get(name)}
    texts["metric"] = metric_named(texts["metric"]).name
    return Acceptance(**texts, since_ms=int(entry["since"]))


_FILE = DatedFile("accepted", _NEEDED, _OPTIONAL, _check, _acceptance)
