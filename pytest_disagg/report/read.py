"""A run directory as a :class:`CaseReport`. Whatever of it is missing or broken is said, nothing stops the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_disagg.errors import ConfigError
from pytest_disagg.records import record as records
from pytest_disagg.records.gpu_hours import PREFIX, GpuHours
from pytest_disagg.records.points import RecordPoint, group
from pytest_disagg.redact import redact, redact_data
from pytest_disagg.report.facts import facts_of
from pytest_disagg.report.logs import excerpts, plain
from pytest_disagg.report.model import FAILED, CaseReport, Load, RoleReport, Ruling, Span
from pytest_disagg.report.rulings import references, rulings_of
from pytest_disagg.report.samples import latencies
from pytest_disagg.report.telemetry import telemetry_of
from pytest_disagg.rundir.files import read_json
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.telemetry.names import PREFIX as SAMPLED
from pytest_disagg.verdict.slo import answers

JOB = "job.json"
"""How the Slurm job of a run ended: it knows more than the run does, which may have been cut off."""
_ALONE = "SERVER_"
_REFERENCE = "d_baseline_"
_OF_THE_RUN = (PREFIX, "slo_")
"""What begins with these in a record is no metric of its point."""


class _Reader:
    """Reads files of one run and remembers what could not be read."""

    def __init__(self, rundir: RunDir) -> None:
        self.rundir = rundir
        self.problems: list[str] = []

    def json(self, path: Path) -> dict[str, Any]:
        try:
            found = redact_data(read_json(path) or {})
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError) as error:
            self.problems.append(redact(str(error)))
            return {}

    def records(self) -> list[records.Record]:
        path = self.rundir.records
        if not path.exists():
            return []
        try:
            return [
                {name: redact(value) if isinstance(value, str) else value for name, value in record.items()}
                for record in records.read(path)
            ]
        except ConfigError as error:
            self.problems += [str(problem) for problem in error.problems]
            return []


def read_case(folder: Path) -> CaseReport:
    """What lies in ``<work dir>/<run id>/<case>/``, redacted."""
    rundir = RunDir(folder.absolute())
    reader = _Reader(rundir)
    outcome = reader.json(rundir.outcome)
    ended = {**outcome, **reader.json(rundir.path / JOB)}
    manifest, plan = reader.json(rundir.manifest), reader.json(rundir.plan)
    found = reader.records()
    roles = _roles(reader)
    rulings, broken = rulings_of(rundir)
    reader.problems += broken
    loads = _loads(reader, ended, found, rulings)
    servers = [path.name.removesuffix(".log") for path in sorted(rundir.logs.glob(f"{_ALONE}*.log"))]
    timeline = [span.start_s for role in roles for span in role.spans]
    telemetry, broken = telemetry_of(rundir.results)
    reader.problems += broken
    return CaseReport(
        case=_text(ended.get("case") or manifest.get("case") or folder.name),
        run_id=_text(ended.get("run_id") or manifest.get("run_id") or rundir.path.parent.name),
        verdict=_text(ended.get("verdict") or FAILED),
        kind=_text(ended.get("kind") or ("" if ended else "infrastructure")),
        folder=str(rundir.path),
        started_s=min(timeline, default=None),
        red=_lines(ended.get("red")) or (() if ended else _unfinished(rundir, roles)),
        evidence=_lines(_mapping(outcome.get("cause")).get("evidence")),
        lines=_lines(ended.get("lines")),
        problems=tuple(reader.problems),
        loads=loads,
        rulings=rulings,
        roles=roles,
        logs=excerpts(rundir, roles, servers),
        stage_times=_numbers(outcome.get("stage_times")),
        facts=facts_of(rundir, ended, manifest, found),
        documents={"manifest.json": manifest, "plan.json": plan},
        records=tuple(found),
        gpu_hours=GpuHours.read(_mapping(ended.get("gpu_hours"))),
        quarantine=_line(ended.get("quarantine")),
        excused=ended.get("excused") is True,
        slo=tuple(answer for answer in answers(found, None) if answer.slo),
        telemetry=telemetry,
    )


def _unfinished(rundir: RunDir, roles: Sequence[RoleReport]) -> tuple[str, ...]:
    """Why a run without an outcome is red: what its roles blame, and that nobody concluded it."""
    seen = ", ".join(f"{role.role} {role.state or 'unknown'}" for role in roles) or "no role"
    causes = [f"infrastructure: {role.role}: {role.failure}" for role in roles if role.cause]
    return (*causes, f"infrastructure: the run has no {rundir.outcome.name}; last seen: {seen}")


def _roles(reader: _Reader) -> tuple[RoleReport, ...]:
    folder = reader.rundir.path / "roles"
    found = []
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith(".exit.json"):
            continue
        role, data = path.stem, reader.json(path)
        failure = _mapping(data.get("failure"))
        exited = reader.json(reader.rundir.exit(role))
        found.append(
            RoleReport(
                role=role,
                node=_text(data.get("node")),
                state=_text(data.get("state")),
                failure=_text(failure.get("message")),
                because_of=_text(failure.get("because_of")),
                ended=_ended(exited),
                spans=_spans(data.get("timeline")),
            )
        )
    # BENCHMARK's stages are the run's: first, as in the table of a timeline.
    return tuple(sorted(found, key=lambda role: (role.role != "BENCHMARK", role.role)))


def _ended(exited: Mapping[str, Any]) -> str:
    if exited.get("signal"):
        return f"killed by {_text(exited['signal'])}"
    code = exited.get("exit_code")
    return "" if code is None else f"exit code {_text(code)}"


def _spans(timeline: object) -> tuple[Span, ...]:
    spans = []
    for entry in timeline if isinstance(timeline, list) else ():
        if isinstance(entry, list) and len(entry) == 3 and isinstance(entry[1], (int, float)):
            end = entry[2] if isinstance(entry[2], (int, float)) else entry[1]
            spans.append(Span(_text(entry[0]), float(entry[1]), max(float(end), float(entry[1]))))
    return tuple(spans)


def _loads(
    reader: _Reader, ended: Mapping[str, Any], found: Sequence[records.Record], rulings: tuple[Ruling, ...]
) -> tuple[Load, ...]:
    """The points in the order of their records, with what the outcome and the result files add."""
    measured, words = _mapping(ended.get("metrics")), _mapping(ended.get("words"))
    points = {point.label: point for point in group(found)}
    requests, problems = latencies(reader.rundir.results)
    reader.problems += problems
    positions = _positions(list(points.values()))
    loads = []
    for label in dict.fromkeys((*points, *measured)):
        point = points.get(label)
        stored = _metrics(point) if point else {}
        sampled = {name: value for name, value in stored.items() if name.startswith(SAMPLED)}
        metrics = {**(_numbers(measured.get(label)) or stored), **sampled}
        first: Mapping[str, Any] = point.first if point else {}
        loads.append(
            Load(
                label=_text(label),
                word=_text(words.get(label) or first.get("s_verdict") or ended.get("verdict")),
                metrics=metrics,
                server=point.server if point else "",
                concurrency=point.concurrency if point else None,
                repeats=len(point.records) if point else 1,
                info=redact(_text(first.get("s_regression_info"))),
                low_n=point.low_n if point else frozenset(),
                references={**_references(first), **references(rulings, label)},
                latencies=requests.get(positions.get(label, (-1, -1)), {}),
            )
        )
    return tuple(loads)


def loads_of(points: Sequence[RecordPoint]) -> tuple[Load, ...]:
    """Points that come from records alone, without their run directory."""
    return tuple(
        Load(
            label=point.label,
            word=_text(point.first.get("s_verdict")),
            metrics=_metrics(point),
            server=point.server,
            concurrency=point.concurrency,
            repeats=len(point.records),
        )
        for point in points
    )


def _positions(points: Sequence[RecordPoint]) -> dict[str, tuple[int, int]]:
    """Point -> (server index, load index) in the names of result files: both count in the order of the records."""
    servers: dict[str, list[str]] = {}
    for point in points:
        servers.setdefault(point.server, []).append(point.label)
    return {
        label: (server_index, load_index)
        for server_index, labels in enumerate(servers.values())
        for load_index, label in enumerate(labels)
    }


def _metrics(point: RecordPoint) -> dict[str, float]:
    names = dict.fromkeys(name[2:] for record in point.records for name in record if name.startswith("d_"))
    values = {name: point.value(name) for name in names if not name.startswith(_OF_THE_RUN)}
    return {name: value for name, value in values.items() if value is not None}


def _references(record: Mapping[str, Any]) -> dict[str, float]:
    named = {name.removeprefix(_REFERENCE): value for name, value in record.items() if name.startswith(_REFERENCE)}
    return _numbers(named)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(value: object) -> dict[str, float]:
    return {
        str(name): float(number)
        for name, number in _mapping(value).items()
        if isinstance(number, (int, float)) and not isinstance(number, bool)
    }


def _lines(value: object) -> tuple[str, ...]:
    return tuple(plain(_text(line)) for line in value) if isinstance(value, list) else ()


def _line(value: object) -> str:
    return plain(" ".join(_text(value).split()))


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
