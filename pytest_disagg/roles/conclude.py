"""The last stages: gate, judge, store. Turns what was measured, and what went wrong, into one outcome."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from pytest_disagg.records import legacy_csv
from pytest_disagg.records import record as records
from pytest_disagg.records.gpu_hours import PREFIX
from pytest_disagg.redact import redact
from pytest_disagg.roles import storing
from pytest_disagg.roles.answers import Answers, answers_of
from pytest_disagg.roles.deployment import deployment_facts
from pytest_disagg.roles.gpu_hours import hours_of
from pytest_disagg.roles.measure import Measurement
from pytest_disagg.roles.nodes import every_role
from pytest_disagg.roles.planning import Planned
from pytest_disagg.roles.points import Point
from pytest_disagg.roles.quarantine import standing_of
from pytest_disagg.roles.recording import gate_of, record_of
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.roles.telemetry import joined
from pytest_disagg.rundir.files import to_json, write_text
from pytest_disagg.rundir.layout import safe_name
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.state import Failure
from pytest_disagg.store.manifests import rerun_command
from pytest_disagg.verdict.decide import decide, stated
from pytest_disagg.verdict.gate import Finding, GateResult, combine, missing_points
from pytest_disagg.verdict.judge import Judged

REHEARSED = "rehearsal"
FAILED = "failed"
VERDICTS = "verdicts.json"
"""In the run directory: every verdict with its evidence, in a list."""


@dataclass(frozen=True)
class _Load:
    """One requested load that was measured: its repeats, one gate over all of them, one record each."""

    name: str
    points: Sequence[Point]
    gate: GateResult
    records: Sequence[records.Record]

    def metrics(self) -> dict[str, float]:
        """The median over the repeats: what is judged and shown."""
        every = dict.fromkeys(metric for point in self.points for metric in point.metrics)
        return {name: median([each.metrics[name] for each in self.points if name in each.metrics]) for name in every}


def conclude(measurement: Measurement, failure: Failure | None) -> Outcome:
    """Gate, judge and store every point that was measured, whether or not the run failed.

    A failure of a role decides the run. Else failed requests make it ``functional``, a measurement that cannot be
    trusted ``invalid``, a regression ``regression``. The outcome is not written yet.
    """
    session = measurement.session
    planned = measurement.planned or Planned.of(session, checked=False)
    with session.stage("gate"):
        loads = _gate(measurement, planned)
        measured = [load.name for load in loads]
        missing = () if failure else missing_points(planned.point_names.values(), measured)
        answers = answers_of(session, measurement.evaluations)
        gate = combine([GateResult(tuple(missing)), *(load.gate for load in loads), answers.gate])
        if not failure and not loads and not answers.evaluations and not gate.findings:
            gate = GateResult((Finding("invalid", "nothing was measured"),))
    with session.stage("judge"):
        judged = decide(planned.grounds, [record for load in loads for record in load.records])
    words = {load.name: _word(session, load, judged) for load in loads}
    failed = failure is not None or gate.kind == "functional"
    with session.stage("store"):
        hours = _hours(measurement, planned, loads, failed)
        written = _store(session, planned, loads, judged, words, hours, answers)
        # What a failing deployment measured, or one that answers wrongly, is in the run directory alone.
        stored = storing.store(session, written, whole=failure is None and not answers.wrong)
    word = judged.word if loads else answers.word
    verdict, kind, red = _decide(session, judged, word, gate, failure)
    standing = standing_of(session)
    outcome = Outcome(
        run_id=session.options.run_id,
        case=session.case.id.text,
        verdict=verdict,
        kind=kind,
        cause=failure or _requests_failed(session, gate, answers),
        red=tuple(red),
        lines=(
            *measurement.notes,
            *_client_notes(loads),
            *_lines(session, planned, judged),
            *answers.lines,
            *standing.lines,
        ),
        metrics={**{load.name: load.metrics() for load in loads}, **answers.metrics},
        words={**words, **answers.words},
        properties=planned.properties(session),
        stage_times=session.stage_seconds(),
        records=str(session.rundir.records) if written else "",
        quarantine=standing.words,
        # What is wrong before anything is deployed is a mistake in some file, not what the case is in quarantine for.
        excused=standing.excused and not (failure is not None and failure.stage == "plan"),
        gpu_hours=_hours(measurement, planned, loads, failed),
    )
    return stored.applied(outcome, required=session.options.require_upload)


def _gate(measurement: Measurement, planned: Planned) -> list[_Load]:
    session = measurement.session
    sampled = joined(session, every_role(session), measurement.points, planned.point_names)
    measurement.notes += sampled.notes
    loads = []
    for key, name in planned.point_names.items():
        points = [point for point in measurement.points if point.key == key]
        if not points:
            continue
        gate = gate_of(session, name, points)
        built = [record_of(session, planned, point, gate) | sampled.fields(point) for point in points]
        loads.append(_Load(name, points, gate, built))
    return loads


def _word(session: RoleSession, load: _Load, judged: Judged) -> str:
    if not load.gate.ok:
        return "invalid"
    if session.case.rehearsal:
        return REHEARSED
    return Judged(tuple(verdict for verdict in judged.verdicts if verdict.point == load.name), ()).word


def _hours(measurement: Measurement, planned: Planned, loads: Sequence[_Load], failed: bool) -> dict[str, float]:
    """The run's GPU-hours until now; empty where it holds no GPU."""
    valid = [point for load in loads if load.gate.ok for point in load.points]
    if not measurement.deployed:
        return {}
    evaluated = measurement.evaluations
    hours = hours_of(measurement.session, planned.gpu, os.environ, valid, failed=failed, evaluated=evaluated)
    return hours.to_dict() if hours else {}


def _store(
    session: RoleSession,
    planned: Planned,
    loads: Sequence[_Load],
    judged: Judged,
    words: Mapping[str, str],
    hours: Mapping[str, float],
    answers: Answers,
) -> list[records.Record]:
    """Write manifest, records and the older CSV into the run directory; the records, as they were written."""
    manifest: dict[str, Any] = {
        **planned.manifest,
        "stages": session.stage_seconds(),
        "timeline": [list(entry) for entry in session.timeline],
        "nodes": {role: state.node for role, state in session.monitor.states.items()},
        **deployment_facts(session),
        "notes": [note for load in loads for point in load.points for note in point.result.notes],
    }
    write_text(session.rundir.manifest, to_json(manifest))
    written = []
    for load in loads:
        own = [verdict for verdict in judged.verdicts if verdict.point == load.name]
        for found in load.records:
            found.update({"s_verdict": words[load.name], **stated(planned.grounds, own, found)})
            found.update({f"d_{PREFIX}{name}": value for name, value in hours.items()})
            found.update(answers.fields(load.points[0].key))
            session.options.hooks.record(session.case, found)
            written.append(records.typed(found))
    if not written:
        return []
    write_text(session.rundir.results / VERDICTS, to_json([asdict(verdict) for verdict in judged.verdicts]))
    records.append(session.rundir.records, written)
    # All cases of a stage share one CSV, as the tools that check a stage expect; without a stage it is the run's own.
    stage = session.options.stage_name
    folder = session.options.work_dir / safe_name(stage) if stage else session.rundir.results
    legacy_csv.write(folder / legacy_csv.FILE_NAME, written, command=redact(shlex.join(sys.argv)))
    return written


def _decide(
    session: RoleSession, judged: Judged, word: str, gate: GateResult, failure: Failure | None
) -> tuple[str, str | None, list[str]]:
    """Verdict word (``word`` unless something went wrong), kind of failure, and the red lines, decisive first."""
    findings = [f"{finding.kind}: {finding.text}" for finding in gate.findings]
    if failure is not None:
        return FAILED, failure.kind, [failure.headline(), *findings]
    if gate.kind is not None:
        kind = gate.kind
        findings.sort(key=lambda line: not line.startswith(kind))
        return (FAILED if kind == "functional" else "invalid"), kind, findings
    if session.case.rehearsal:
        return REHEARSED, None, []
    found = [verdict for verdict in judged.verdicts if verdict.red]
    red = [f"regression: {verdict.point}: {verdict.evidence}" for verdict in found]
    commands = dict.fromkeys(filter(None, map(rerun_command, found)))
    red += [f"last good and first bad again: {command}" for command in commands]
    return word, "regression" if word == "regression" else None, red


def _requests_failed(session: RoleSession, gate: GateResult, answers: Answers) -> Failure | None:
    """Failed requests and wrong answers make every role red, so they need a cause that every role can name."""
    for finding in gate.findings:
        if finding.kind == "functional":
            failure = answers.failure(session.role, finding)
            return failure or Failure(session.role, "functional", "gate", finding.text)
    return None


def _client_notes(loads: Sequence[_Load]) -> list[str]:
    """What the client did that the file does not say by itself, once for all repeats."""
    every = [f"{load.name}: {note}" for load in loads for point in load.points for note in point.result.notes]
    return list(dict.fromkeys(every))


def _lines(session: RoleSession, planned: Planned, judged: Judged) -> list[str]:
    """What a person should see besides the verdict."""
    lines = list(session.case.notes)
    if not session.case.rehearsal:
        lines += [planned.baseline_words, *judged.notes, *planned.history_notes]
        shown = [verdict for verdict in judged.verdicts if verdict.word != "pass" and not verdict.red]
        lines += [f"{verdict.point}: {verdict.shown}: {verdict.evidence}" for verdict in shown]
    return list(dict.fromkeys(line for line in lines if line))
