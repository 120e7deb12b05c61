"""Records from ``perf_script_test_results.csv``: this project's (records/legacy_csv.py) and TensorRT-LLM's own.

A row is one metric of one point; rows of the same point and end time become one record. Of TensorRT-LLM's names the
case is what stands in brackets (``test_e2e[<case>]``), and ``_con:<n>`` or ``/con<n>`` its concurrency.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.records.record import Record, typed
from pytest_disagg.store.documents import epoch_ms
from pytest_disagg.verdict.baseline import ALIASES, IGNORED_TYPES

NEEDED = ("perf_case_name", "perf_metric", "metric_type")
_CASE = re.compile(r"\[([^\]]+)\](?:/(.+))?")
_CONCURRENCY = re.compile(r"(?:_con:|(?:^|/)con)(\d+)$")


@dataclass(frozen=True)
class _Point:
    case: str
    label: str
    concurrency: int
    ended: str


def read_csv(path: Path) -> tuple[list[Record], list[str]]:
    """The records of a file, and what of it was not used.

    Raises:
        ConfigError: it cannot be read, or has other columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = tuple(reader.fieldnames or ())
            if missing := [name for name in NEEDED if name not in columns]:
                found = f"the columns {','.join(columns)}"
                raise ConfigError([Problem(path, 1, "", found, f"also {', '.join(missing)}")])
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Problem(path, None, "", str(error), "a CSV of perf results")]) from error
    points: dict[_Point, dict[str, Any]] = {}
    notes = []
    for line, row in rows:
        problem = _add(points, {name: value or "" for name, value in row.items() if isinstance(name, str)})
        if problem:
            notes.append(f"{path}:{line}: not used: {problem}")
    return [typed(fields) for fields in points.values()], notes


def _add(points: dict[_Point, dict[str, Any]], row: dict[str, str]) -> str:
    """Add a row to its point's fields; why that cannot be done, or nothing."""
    metric = row["metric_type"].strip().lower()
    if metric in IGNORED_TYPES:
        return ""
    if row.get("state", "valid") not in ("valid", ""):
        return f"state {row['state']}"
    try:
        value = float(row["perf_metric"])
    except ValueError:
        return f"perf_metric {row['perf_metric']!r} is no number"
    ended = (row.get("end_timestamp") or row.get("start_timestamp", "")).removesuffix("UTC").strip()
    created = epoch_ms(ended)
    if created is None:
        return f"end_timestamp {ended!r} is no time"
    point = _point(row, ended)
    fields = points.setdefault(point, _identity(row, point, created))
    fields[f"d_{ALIASES.get(metric, metric)}"] = value
    return ""


def _point(row: dict[str, str], ended: str) -> _Point:
    name = row.get("test_name") or row["perf_case_name"]
    bracketed = _CASE.search(name)
    inner = bracketed[1] if bracketed else name
    case = row.get("original_test_name", "")
    if not case or "[" in case:
        case = _CONCURRENCY.sub("", inner)
    label = (bracketed[2] or "") if bracketed else ""
    concurrency = _CONCURRENCY.search(label) or _CONCURRENCY.search(name) or _CONCURRENCY.search(inner)
    return _Point(case, label, int(concurrency[1]) if concurrency else 0, ended)


def _identity(row: dict[str, str], point: _Point, created: int) -> dict[str, Any]:
    server, _, last = point.label.rpartition("/")
    stage = row["perf_case_name"].partition(f"/{point.case}/")[0] if f"/{point.case}/" in row["perf_case_name"] else ""
    digest = hashlib.sha256(repr((point, row.get("device_subtype"), stage)).encode()).hexdigest()[:12]
    fields = {
        "s_run_id": f"csv-{digest}",
        "s_case_id": point.case,
        "s_test_list": point.case,
        "s_server_name": server,
        "s_client_name": "" if _CONCURRENCY.fullmatch(last) else last,
        "s_gpu_type": row.get("device_subtype", "").lower(),
        "s_model_name": row.get("network_name", ""),
        "s_config_digest": row.get("network_hash", ""),
        "s_stage_name": stage,
    }
    known: dict[str, Any] = {name: value for name, value in fields.items() if value}
    return {**known, "l_concurrency": point.concurrency, "ts_created": created, "b_is_valid": True}
