"""Accepted changes: dated lines in ``baselines/accepted.yaml``, reviewed in git like any other change.

    accepted:
      - {date: 2026-11-21, case: disagg-e2e-r1, point: con8, metric: token_throughput, since: 1789000000000,
         run: "4711", reason: "slower sampler, wanted", by: ann}

From ``since`` (epoch milliseconds, the first run at the new level) on, that level is the metric's reference.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_disagg.config.text import did_you_mean, shown
from pytest_disagg.config.yaml import Document, parse, read
from pytest_disagg.errors import ConfigError, DisaggError, Problem, UsageError
from pytest_disagg.records.metrics import metric as metric_named
from pytest_disagg.records.points import RecordPoint
from pytest_disagg.redact import redact
from pytest_disagg.verdict.update import write

FILE_NAME = "accepted.yaml"
KEY = "accepted"
_NEEDED = ("date", "case", "point", "metric", "since", "reason")
_OPTIONAL = ("run", "commit", "by", "gpu", "cluster")


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

    def covers(self, point: RecordPoint, metric: str) -> bool:
        """Whether it is about that metric of that point, on its GPU and cluster where it names any."""
        return (
            self.case == point.case
            and self.metric == metric
            and point.called([word for word in self.point.split("/") if word])
            and self.gpu in ("", str(point.first.get("s_gpu_type", "")))
            and self.cluster in ("", str(point.first.get("s_cluster", "")))
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
        return "- {" + ", ".join(f"{name}: {_scalar(value)}" for name, value in fields.items()) + "}"


def load(path: Path) -> tuple[Acceptance, ...]:
    """The accepted changes of a file; of one that is not there, none.

    Raises:
        ConfigError: it cannot be read, or entries are wrong; all of them with their lines.
    """
    return _entries(parse(read(path), path)) if path.exists() else ()


def find(directories: Sequence[Path]) -> Path | None:
    """``baselines/accepted.yaml`` of the first config directory that has one."""
    places = (directory / "baselines" / FILE_NAME for directory in directories)
    return next((path for path in places if path.is_file()), None)


def newest(acceptances: Sequence[Acceptance], point: RecordPoint, metric: str) -> Acceptance | None:
    """The one that holds for a metric of a point: the latest level that was accepted."""
    found = [each for each in acceptances if each.covers(point, metric)]
    return max(found, key=lambda each: each.since_ms, default=None)


def append(path: Path, acceptances: Sequence[Acceptance]) -> str:
    """Add entries at the end of the file, replacing it whole; comments and everything else in it stay. What was added.

    Raises:
        ConfigError: the file as it is cannot be read.
        UsageError: it is of a form to which nothing can be added.
    """
    before = read(path).decode("utf-8") if path.exists() else f"{KEY}:\n"
    known = len(_entries(parse(before.encode(), path))) if path.exists() else 0
    items = re.findall(r"^( *)- ", before, re.MULTILINE)
    indent = items[-1] if items else "  "
    added = "".join(f"{indent}{each.line()}\n" for each in acceptances)
    after = before + ("" if before.endswith("\n") else "\n") + added
    try:
        complete = len(_entries(parse(after.encode(), path))) == known + len(acceptances)
    except ConfigError:
        complete = False
    if not complete:
        raise UsageError(f"{path}: cannot add to it; expected the list {KEY!r}, one entry a line, at its end")
    write(path, after)
    return added


def today() -> str:
    return datetime.date.today().isoformat()


def _entries(document: Document) -> tuple[Acceptance, ...]:
    problems: list[Problem] = []

    def wrong(key: tuple[str | int, ...], found: str, expected: str, hint: str = "") -> None:
        dotted = ".".join(map(str, key))
        problems.append(Problem(document.path, document.line(key), dotted, found, expected, hint))

    for name in document.data:
        if name != KEY:
            wrong((name,), f"the unknown key {name!r}", f"{KEY!r} alone")
    listed = document.data.get(KEY)
    if listed is None:
        listed = []
    if not isinstance(listed, list):
        wrong((KEY,), shown(listed), "a list")
        listed = []
    found = []
    for index, entry in enumerate(listed):
        if not isinstance(entry, dict):
            wrong((KEY, index), shown(entry), f"a mapping with {', '.join(_NEEDED)}")
            continue
        before = len(problems)
        _check(entry, (KEY, index), wrong)
        if len(problems) == before:
            found.append(_acceptance(entry))
    if problems:
        raise ConfigError(problems)
    return tuple(found)


def _check(entry: Mapping[Any, Any], key: tuple[str | int, ...], wrong: Any) -> None:
    known = (*_NEEDED, *_OPTIONAL)
    for name in entry:
        if name not in known:
            hint = did_you_mean(str(name), known)
            wrong((*key, str(name)), f"the unknown key {name!r}", f"one of {', '.join(known)}", hint)
    for name in _NEEDED:
        if entry.get(name) in (None, ""):
            wrong((*key, name), "nothing", "a value")
    date = entry.get("date")
    if date not in (None, "") and not isinstance(date, datetime.date) and not _is_date(str(date)):
        wrong((*key, "date"), shown(date), "a date such as 2026-11-21")
    since = entry.get("since")
    if since not in (None, "") and (isinstance(since, bool) or not isinstance(since, int)):
        wrong((*key, "since"), shown(since), "a time in epoch milliseconds")
    if entry.get("metric"):
        try:
            metric_named(str(entry["metric"]))
        except DisaggError as error:
            wrong((*key, "metric"), shown(entry["metric"]), "a metric", str(error))


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _acceptance(entry: Mapping[str, Any]) -> Acceptance:
    texts = {name: str(entry[name]) for name in (*_NEEDED, *_OPTIONAL) if name != "since" and entry.get(name)}
    texts["metric"] = metric_named(texts["metric"]).name
    return Acceptance(**texts, since_ms=int(entry["since"]))


def _scalar(value: object) -> str:
    """A YAML scalar: JSON, which is YAML, where a plain word would not do."""
    text = redact(value) if isinstance(value, str) else value
    if isinstance(text, str) and not re.fullmatch(r"[A-Za-z_][\w.-]*|\d{4}-\d\d-\d\d", text):
        return json.dumps(text, ensure_ascii=False)
    if isinstance(text, str) and text.lower() in ("y", "n", "yes", "no", "on", "off", "true", "false", "null"):
        return json.dumps(text)
    return str(text)
