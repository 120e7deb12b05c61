"""Writes measured values into a baseline CSV, and leaves everything else in it as it is."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.records.metrics import METRICS, gating, measured_on_device
from pytest_disagg.records.points import RecordPoint, case_of, group
from pytest_disagg.records.record import Value
from pytest_disagg.verdict.baseline import LONG, WIDE, Baseline, Form, parse, wide_metric
from pytest_disagg.verdict.csvlines import quoted, read_text
from pytest_disagg.verdict.judge import DEFAULT_THRESHOLD, matching


@dataclass(frozen=True)
class Update:
    """The file's text before and after, and notes on records that were not used. ``used`` counts points."""

    before: str
    after: str
    notes: tuple[str, ...]
    used: int


def update(
    path: Path,
    records: Sequence[Mapping[str, Value]],
    *,
    form: Form = "wide",
    threshold: float = DEFAULT_THRESHOLD,
) -> Update:
    """What ``path`` would be with the values of ``records`` in it. Writes nothing.

    Values are replaced in place; comments, order, quoting, line ends and rows of other cases stay. Points without any
    row get theirs at the end: one with what gates the case (wide), or one per gating metric with ``threshold`` (long).
    A file that is not there yet starts as ``form``. Invalid points, rehearsals and what was in quarantine are never
    used.

    Raises:
        ConfigError: the file cannot be read or parsed.
    """
    before = read_text(path) if path.exists() else ""
    header = ",".join(WIDE if form == "wide" else LONG) + "\n"
    baseline = parse(path, before or header)
    usable = [record for record in records if record.get("b_rehearsal") is not True]
    notes = [f"{len(records) - len(usable)} records of rehearsals are not used"] if len(usable) < len(records) else []
    nameless = sum(not case_of(record) for record in usable)
    kept = [record for record in usable if record.get("b_quarantined") is not True]
    notes += [f"{len(usable) - len(kept)} records in quarantine are not used"] if len(kept) < len(usable) else []
    notes += [f"{nameless} records name no case (s_case_id) and are not used"] if nameless else []
    points = []
    for point in group(kept):
        if point.valid:
            points.append(point)
        else:
            notes.append(f"{point.case}/{point.label} did not pass the gate and is not used")
    changes, covered = _changes(baseline, points)
    endings = [line.ending for line in baseline.lines if line.ending]
    ending = "\r\n" if endings and all(each == "\r\n" for each in endings) else "\n"
    text = "".join(line.with_cells(changes.get(line.number, {})) + line.ending for line in baseline.lines)
    added = [
        row
        for position, point in enumerate(points)
        if position not in covered
        for row in _new_rows(baseline, point, threshold)
    ]
    if added:
        text += "" if text.endswith("\n") else ending
        text += "".join(row + ending for row in added)
    return Update(before, text if before or added else before, tuple(notes), len(points))


def _changes(baseline: Baseline, points: Sequence[RecordPoint]) -> tuple[dict[int, dict[int, str]], set[int]]:
    """Line -> cell index -> new value, and the points (by position) that have a row."""
    changes: dict[int, dict[int, str]] = {}
    covered: set[int] = set()
    for row in baseline.rows:
        found = matching(row, points)
        if row.unknown or len(found) != 1:
            continue
        covered.add(found[0])
        metric = row.metric_of(points[found[0]])
        value = points[found[0]].value(metric) if metric is not None else None
        if value is not None and number(value) != number(row.reference):
            changes.setdefault(row.line, {})[row.column] = number(value)
    return changes, covered


def number(value: float) -> str:
    """A value as it is written: three decimals, or six significant digits where it is below 1."""
    if value == 0 or not math.isfinite(value):
        return "0"
    return f"{value:.6g}" if abs(value) < 1 else f"{value:.3f}".rstrip("0").rstrip(".")


def _new_rows(baseline: Baseline, point: RecordPoint, threshold: float) -> list[str]:
    mode = str(point.first.get("s_benchmark_mode", ""))
    name = f"{point.case}/{point.label}"
    if baseline.form == "wide":
        # What the client of a gen_only case sees contains the wait for the fill gate: no throughput to judge.
        columns = ("latency",) if measured_on_device(mode) else WIDE[1:]  # type: ignore[arg-type]
        values = {column: point.value(wide_metric(column, mode)) for column in columns}
        cells = {column: number(value) for column, value in values.items() if value}
        return [_line(baseline, {"test_name": name, **cells})] if cells else []
    rows = []
    for metric in gating(mode, spec_decoding=point.first.get("b_eos") is True):  # type: ignore[arg-type]
        value = point.value(metric)
        if value is None:
            continue
        larger = METRICS[metric].direction == "larger"
        cells = {
            "network_name": str(point.first.get("s_model_name", "")),
            "perf_case_name": f"{name}/{metric}",
            "test_name": f"test_e2e[{point.case}]/{point.label}",
            "threshold": f"{-threshold if larger else threshold:g}",
            "absolute_threshold": "0",
            "metric_type": metric.upper(),
            "perf_metric": number(value),
        }
        rows.append(_line(baseline, cells))
    return rows


def _line(baseline: Baseline, cells: Mapping[str, str]) -> str:
    return ",".join(quoted(cells.get(column, "")) for column in baseline.columns)


def write(path: Path, text: str) -> None:
    """Replace the file whole (of a symbolic link, what it points to), keeping its mode."""
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
