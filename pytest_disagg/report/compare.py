"""Sets of results side by side: runs, files of records, CSV files (baselines, perf_script_test_results.csv).

As TensorRT-LLM's create_perf_comparison_report.py does, results are joined on test and metric, a result that only one
set has is kept, and each test has a short name (``configuration_<n>``) that charts use. Unlike there, sets whose files
have the same name stay apart, and a test that a file holds twice is said so instead of being multiplied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from pytest_disagg.errors import UsageError
from pytest_disagg.records import record as records
from pytest_disagg.records.metrics import METRICS
from pytest_disagg.records.points import RecordPoint, group
from pytest_disagg.redact import redact
from pytest_disagg.report.model import CaseReport, Load
from pytest_disagg.report.read import loads_of
from pytest_disagg.verdict.baseline import Row, load, wide_metric
from pytest_disagg.verdict.judge import matching

HEADLINES = (
    "token_throughput",
    "output_token_throughput_per_gpu",
    "output_token_throughput_per_user",
    "median_ttft",
    "p99_ttft",
    "median_tpot",
    "p99_tpot",
    "median_e2el",
    "mean_gen_worker_per_iter_device_step_time",
    "median_gen_worker_per_iter_device_step_time",
)
"""What two whole runs are compared on; against a CSV it is what the CSV holds."""


@dataclass(frozen=True)
class ResultSet:
    """Results of one source. ``rows`` are those of a CSV, ``points`` those of records; one of both is empty."""

    title: str
    points: tuple[RecordPoint, ...] = ()
    rows: tuple[Row, ...] = ()

    @property
    def loads(self) -> tuple[Load, ...]:
        """For the curve of throughput and speed; none for a CSV."""
        return loads_of(self.points)


@dataclass(frozen=True)
class Compared:
    """One metric of one test. ``values`` has one entry per set, None where it has no such result."""

    test: str
    metric: str
    values: tuple[float | None, ...]
    larger_is_better: bool | None

    def effect_percent(self, position: int) -> float | None:
        """How much better (positive) or worse than the first set; of a metric without direction just the change."""
        base, value = self.values[0], self.values[position]
        if base is None or value is None or not base:
            return None
        change = round(100 * (value - base) / abs(base), 6)
        return (-change if self.larger_is_better is False else change) + 0.0


@dataclass(frozen=True)
class Comparison:
    """``tests`` maps a test's short name to its own. ``rows`` are ordered by metric, then test."""

    sets: tuple[ResultSet, ...]
    tests: Mapping[str, str]
    rows: tuple[Compared, ...]
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(row.metric for row in self.rows))

    def bars(self, metric: str) -> tuple[list[str], dict[str, list[float | None]]]:
        """Group names (short names of the tests, then ``mean`` over those that all sets have) and each set's values."""
        short = {name: number for number, name in self.tests.items()}
        rows = [row for row in self.rows if row.metric == metric]
        values: dict[str, list[float | None]] = {
            each.title: [row.values[position] for row in rows] for position, each in enumerate(self.sets)
        }
        names = [short[row.test] for row in rows]
        common = [row.values for row in rows if None not in row.values]
        if len(common) > 1:
            names.append("mean" if len(common) == len(rows) else "mean of common")
            for column, known in zip(values.values(), zip(*common, strict=True), strict=True):
                column.append(fmean(value for value in known if value is not None))
        return names, values


def result_set(source: Path, title: str) -> ResultSet:
    """The results in ``source``: a run directory, the folder of a run with several cases, a file of records, or a CSV.

    Raises:
        ConfigError: a file of it cannot be read or is of another form.
        UsageError: it holds no results.
    """
    if source.is_dir():
        files = sorted({*source.glob("results/records.jsonl"), *source.glob("*/results/records.jsonl")})
        found = [record for path in files for record in records.read(path)]
    elif source.suffix.lower() == ".csv":
        rows = load(source).rows
        if not rows:
            raise UsageError(f"{source}: found no results, expected at least one row")
        return ResultSet(title, rows=rows)
    else:
        found = records.read(source)
    points = group(found)
    if not points:
        raise UsageError(f"{source}: found no records, expected a run that measured something")
    return ResultSet(title, points=tuple(points))


def of_case(case: CaseReport) -> ResultSet:
    """The results of a case that was read already."""
    return ResultSet(case.run_id, points=tuple(group(case.records)))


def titles(sources: Sequence[Path]) -> list[str]:
    """A short title for each source: its name, and as much of its path before that as tells it from the others."""
    parts = [source.absolute().parts for source in sources]
    found = []
    for position, path in enumerate(parts):
        others = [each for other, each in enumerate(parts) if other != position]
        unique = (size for size in range(1, len(path)) if all(each[-size:] != path[-size:] for each in others))
        length = next(unique, len(path))
        found.append(redact("/".join(path[-length:])))
    return found


def compare(sets: Sequence[ResultSet]) -> Comparison:
    """Join ``sets`` on test and metric; the first is what the others are compared with.

    Sets of one title get a number behind it.
    """
    names = [each.title for each in sets]
    sets = [
        each if names.count(each.title) == 1 else replace(each, title=f"{each.title} ({number})")
        for number, each in enumerate(sets, start=1)
    ]
    known = [point for each in sets for point in each.points]
    notes: list[str] = []
    tables = [_table(each, known, notes) for each in sets]
    keys = dict.fromkeys(key for table in tables for key in table)
    listed = {metric for each, table in zip(sets, tables, strict=True) if each.rows for _, metric in table}
    wanted = listed or set(HEADLINES)
    rows = [
        Compared(test, metric, tuple(table[test, metric][0] if (test, metric) in table else None for table in tables),
                 _direction(metric, [table[test, metric][1] for table in tables if (test, metric) in table]))
        for test, metric in keys
        if metric in wanted
    ]  # fmt: skip
    order = {name: position for position, name in enumerate((*HEADLINES, *METRICS))}
    rows.sort(key=lambda row: (order.get(row.metric, len(order)), row.metric))
    tests = list(dict.fromkeys(row.test for row in rows))
    short = {f"configuration_{number}": test for number, test in enumerate(tests, start=1)}
    return Comparison(tuple(sets), short, tuple(rows), tuple(dict.fromkeys(notes)))


_Cells = dict[tuple[str, str], tuple[float, bool | None]]
"""(test, metric) -> value, and whether the file itself says that larger is better."""


def _table(results: ResultSet, known: Sequence[RecordPoint], notes: list[str]) -> _Cells:
    cells: _Cells = {}
    for point in results.points:
        for metric in METRICS:
            value = point.value(metric)
            if value is not None:
                cells[f"{point.case}/{point.label}", metric] = (value, None)
    for row in results.rows:
        key = _key(row, known)
        if key in cells:
            notes.append(f"{results.title}:{row.line}: {key[0]} has a second {key[1]}; the last one counts")
        cells[key] = (row.reference, row.larger_is_better)
    return cells


def _key(row: Row, known: Sequence[RecordPoint]) -> tuple[str, str]:
    """Test and metric of a CSV's row, in the words of the point it means where there is exactly one."""
    found = matching(row, known)
    names = {f"{known[position].case}/{known[position].label}" for position in found}
    metric = row.metric_of(known[found[0]]) if found else wide_metric(row.wide, "") if row.wide else row.metric
    plain = redact(row.names[-1])
    if metric and plain.lower().endswith(f"/{metric}"):
        plain = plain[: -len(metric) - 1]
    plain = re.sub(r"[/_]con:(\d+)", r"/con\1", re.sub(r"^.*\[([^\[\]]*)\]", r"\1", plain))
    return (names.pop() if len(names) == 1 else plain), metric or row.type_text.strip().lower()


def _direction(metric: str, said: Sequence[bool | None]) -> bool | None:
    if metric in METRICS:
        direction = METRICS[metric].direction
        return None if direction == "neutral" else direction == "larger"
    return next((each for each in said if each is not None), None)
