"""Baseline CSV files: what they say, in either form.

Wide, one row per point: ``test_name,throughput,latency``. ``throughput`` is ``token_throughput`` (tok/s); ``latency``
is ``median_e2el`` (ms) or, in a case that is measured on its GEN servers, their mean device step time. An empty cell is
not judged. The allowed change is one ratio for the whole file.

Long, one row per metric: ``network_name,perf_case_name,test_name,threshold,absolute_threshold,metric_type,perf_metric``
(TensorRT-LLM's ``base_perf.csv``). ``metric_type`` is a metric's name in any case, or one of :data:`ALIASES`. The sign
of ``threshold`` is the direction: positive means lower is better. The allowed change is the larger of
``absolute_threshold`` and ``threshold`` x ``perf_metric``, both taken as magnitudes, so always relative to the
*baseline*; TensorRT-LLM's check adds the two and scales by the new value, so that a larger loss allows itself more.

A row names its point as ``<case id>[/<server>][/con<concurrency>][/<metric>]``, in ``perf_case_name`` or ``test_name``;
``test_e2e[<case id>]`` may stand for the id, anything that ends in ``/`` or ``::`` may stand before it, and
``_con:<concurrency>`` may stand for ``/con<concurrency>``. The bare id is enough where the case has one point. A
record's ``s_test_case_name`` may stand for all of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.records.metrics import DEVICE_STEP, METRICS, measured_on_device
from pytest_disagg.records.points import RecordPoint
from pytest_disagg.verdict.csvlines import Line, read_text, split_lines

Form = Literal["wide", "long"]

WIDE = ("test_name", "throughput", "latency")
LONG = (
    "network_name",
    "perf_case_name",
    "test_name",
    "threshold",
    "absolute_threshold",
    "metric_type",
    "perf_metric",
)
_LONG_NEEDED = ("threshold", "absolute_threshold", "metric_type", "perf_metric")
ALIASES: Mapping[str, str] = {
    "server_median_ttft": "median_ttft",
    "server_median_e2el": "median_e2el",
    "disagg_server_ttft": "median_ttft",
    "disagg_server_e2el": "median_e2el",
    "output_token_throughput": "token_throughput",
    "request_throughput": "seq_throughput",
    "throughput": "token_throughput",
}
"""Other tools' metric types."""
IGNORED_TYPES = frozenset({"build_time"})


@dataclass(frozen=True)
class Row:
    """One reference value. ``column`` is the index of its cell. ``names`` are the row's own words for its point.

    ``metric`` is None where no known metric is named; ``limit`` is the largest change that passes, in the metric's
    unit, None for the file's common ratio.
    """

    line: int
    column: int
    names: tuple[str, ...]
    metric: str | None
    wide: Literal["throughput", "latency"] | None
    reference: float
    limit: float | None
    larger_is_better: bool
    type_text: str = ""

    @property
    def unknown(self) -> str:
        """Why this row judges nothing; empty where it does."""
        if self.wide is not None or self.metric is not None:
            return ""
        ignored = self.type_text.strip().lower() in IGNORED_TYPES
        return f"metric_type {self.type_text!r} is {'not judged here' if ignored else 'no known metric'}"

    def metric_of(self, point: RecordPoint) -> str | None:
        """The metric that this row's value is of, in a record of that point."""
        if self.wide is None:
            return self.metric
        return wide_metric(self.wide, str(point.first.get("s_benchmark_mode", "")))

    def qualifiers(self, case: str) -> tuple[str, ...] | None:
        """What the row says after that case's id, without its metric (``("con8",)``); None: it is of another case."""
        for name in self.names:
            found = _after(name, case)
            if found is not None:
                return tuple(word for word in found if word.lower() not in METRICS)
        return None


@dataclass(frozen=True)
class Baseline:
    """A parsed file. ``columns`` maps a column's name to its index; ``lines`` are all lines, comments too."""

    path: Path
    form: Form
    columns: Mapping[str, int]
    lines: tuple[Line, ...]
    rows: tuple[Row, ...]

    def where(self, row: Row) -> str:
        return f"{self.path}:{row.line}"


def wide_metric(column: str, mode: str) -> str:
    """What ``throughput`` and ``latency`` of the wide form mean in a case of that mode."""
    if column == "throughput":
        return "token_throughput"
    return f"mean_{DEVICE_STEP}" if measured_on_device(mode) else "median_e2el"  # type: ignore[arg-type]


def _after(name: str, case: str) -> tuple[str, ...] | None:
    """The words that follow ``case`` in a row's name, None where it is not there."""
    plain = re.sub(r"[/_]con:(\d+)", r"/con\1", name.strip())
    plain = re.sub(r"^.*\[([^\[\]]*)\]", r"\1", plain)
    words = plain.split("/")
    for index in range(len(words) - 1, -1, -1):
        if words[index].rpartition(":")[2].strip() == case:
            return tuple(word.strip() for word in words[index + 1 :] if word.strip())
    return None


def load(path: Path) -> Baseline:
    """Read and parse a file.

    Raises:
        ConfigError: unreadable, no known header, or rows that cannot be read; all of them, with their lines.
    """
    return parse(path, read_text(path))


def parse(path: Path, text: str) -> Baseline:
    """Parse a file's text; ``path`` is for messages. Raises as :func:`load`."""
    lines = split_lines(path, text)
    content = [line for line in lines if line.cells]
    if not content:
        raise ConfigError([Problem(path, None, "", "no header line", _headers())])
    columns = {cell.value.strip().lower(): index for index, cell in enumerate(content[0].cells)}
    form: Form
    if set(WIDE) <= set(columns):
        form = "wide"
    elif set(_LONG_NEEDED) <= set(columns) and {"perf_case_name", "test_name"} & set(columns):
        form = "long"
    else:
        raise ConfigError([Problem(path, content[0].number, "", f"header {content[0].text!r}", _headers())])
    rows: list[Row] = []
    problems: list[Problem] = []
    read = _wide_rows if form == "wide" else _long_row
    for line in content[1:]:
        if len(line.cells) != len(columns):
            expected = f"{len(columns)}, one per column"
            problems.append(Problem(path, line.number, "", f"{len(line.cells)} cells", expected))
            continue
        report = _Reporter(path, line, problems)
        rows += read(line, columns, report)
    if problems:
        raise ConfigError(problems)
    return Baseline(path, form, columns, tuple(lines), tuple(rows))


def _headers() -> str:
    return f"the columns {','.join(WIDE)} or {','.join(LONG)}"


@dataclass(frozen=True)
class _Reporter:
    path: Path
    line: Line
    problems: list[Problem]

    def wrong(self, key: str, found: str, expected: str) -> None:
        self.problems.append(Problem(self.path, self.line.number, key, found, expected))

    def number(self, key: str, text: str, accept: Callable[[float], bool], expected: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and accept(value):
            return value
        self.wrong(key, repr(text), expected)
        return None


def _wide_rows(line: Line, columns: Mapping[str, int], report: _Reporter) -> Sequence[Row]:
    name = line.cells[columns["test_name"]].value
    if not name:
        report.wrong("test_name", "nothing", "a case id")
        return ()
    rows = []
    for column, larger in (("throughput", True), ("latency", False)):
        text = line.cells[columns[column]].value
        value = report.number(column, text, lambda number: number > 0, "a number above 0, or nothing") if text else None
        if value is not None:
            side: Literal["throughput", "latency"] = "throughput" if larger else "latency"
            rows.append(Row(line.number, columns[column], (name,), None, side, value, None, larger))
    return rows


def _long_row(line: Line, columns: Mapping[str, int], report: _Reporter) -> Sequence[Row]:
    def cell(name: str) -> str:
        return line.cells[columns[name]].value if name in columns else ""

    names = tuple(name for name in (cell("perf_case_name"), cell("test_name")) if name)
    if not names:
        report.wrong("perf_case_name", "nothing", "a case id, here or in test_name")
    relative = report.number("threshold", cell("threshold"), lambda number: abs(number) < 1e6, "a number")
    absolute = report.number("absolute_threshold", cell("absolute_threshold") or "0", lambda _: True, "a number")
    reference = report.number("perf_metric", cell("perf_metric"), lambda number: number >= 0, "a number of at least 0")
    if not names or relative is None or absolute is None or reference is None:
        return ()
    type_text = cell("metric_type")
    plain = type_text.strip().lower().removeprefix("d_")
    metric = METRICS.get(ALIASES.get(plain, plain))
    contradicts = metric is not None and relative and (relative < 0) != (metric.direction == "larger")
    if metric is not None and metric.direction != "neutral" and contradicts:
        better = "higher" if metric.direction == "larger" else "lower"
        sign = "negative" if metric.direction == "larger" else "positive"
        report.wrong("threshold", cell("threshold"), f"a {sign} number: of {metric.name} {better} is better")
        return ()
    larger = relative < 0 if relative or metric is None else metric.direction == "larger"
    limit = max(abs(absolute), abs(relative) * reference)
    column = columns["perf_metric"]
    return [Row(line.number, column, names, metric.name if metric else None, None, reference, limit, larger, type_text)]
