"""What a person sees: a header line, live lines while a run goes on, a table at the end. Silent without our cases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest

PROPERTY_PREFIX = "disagg_"
HEADLINE = (
    ("token_throughput", "tok/s"),
    ("median_ttft", "TTFT p50 ms"),
    ("median_tpot", "TPOT p50 ms"),
    ("mean_gen_worker_per_iter_device_step_time", "step ms"),
)
PLAIN_PROGRESS_S = 5.0


class Live:
    """Lines for a person waiting, past pytest's capture. On a terminal a progress line replaces the one before."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")
        reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        self._file: TextIO | None = getattr(getattr(reporter, "_tw", None), "_file", None)
        self._tty = bool(getattr(reporter, "isatty", False))
        self._open = False
        self._shown_at = float("-inf")

    def line(self, text: str) -> None:
        """A line that stays."""
        self._write(("\r\x1b[K" if self._tty else "\n" if not self._open else "") + text + "\n")
        self._open = True

    def progress(self, text: str) -> None:
        """A line that the next one replaces; without a terminal, one every few seconds."""
        if self._tty:
            self._write(f"\r\x1b[K{text}")
        elif time.monotonic() - self._shown_at >= PLAIN_PROGRESS_S:
            self._shown_at = time.monotonic()
            self.line(text)

    def _write(self, text: str) -> None:
        if self._file is None:
            return
        with self._released():
            self._file.write(text)
            self._file.flush()

    @contextmanager
    def _released(self) -> Iterator[None]:
        if self._capture is None:
            yield
            return
        with self._capture.global_and_fixture_disabled():
            yield


class Terminal:
    """The hooks that print. Registered at every start; does nothing until a case of ours shows up."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._rows: list[dict[str, str]] = []
        self._headed = False

    def pytest_report_collectionfinish(self, items: list[pytest.Item]) -> list[str]:
        """The header line, once it is known that a case of ours runs."""
        ours = sum("disagg_case" in getattr(item, "fixturenames", ()) for item in items)
        self._headed = bool(ours)
        return [self._header(ours)] if ours else []

    def _header(self, cases: int) -> str:
        from pytest_disagg.plugin.options import resolved
        from pytest_disagg.version import __version__

        values = resolved(self._config)
        engine = f", engine {values.engine}" if values.engine else ""
        folders = ", ".join(str(folder) for folder in values.config_dir)
        count = "1 case" if cases == 1 else f"{cases} cases"
        return f"disagg: pytest-disagg {__version__}, {count} from {folders}{engine}, runs in {values.work_dir}"

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what a case of ours says about itself (under xdist the report comes from another process)."""
        if report.when != "call":
            return
        found = {
            str(name).removeprefix(PROPERTY_PREFIX): str(value)
            for name, value in report.user_properties
            if str(name).startswith(PROPERTY_PREFIX)
        }
        if "verdict" in found:
            self._rows.append({"node": report.nodeid, **found})

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table: case, verdict, headline metrics, where the records lie."""
        if not self._rows:
            return
        terminalreporter.section("disaggregated serving")
        # Under xdist the cases are collected elsewhere, so this is the first chance to say where they come from.
        head = [] if self._headed else [self._header(len(self._rows))]
        for line in [*head, *table(self._rows)]:
            terminalreporter.write_line(line)


def table(rows: list[dict[str, str]]) -> list[str]:
    """The table's lines; one row per measured point, one for a case that measured nothing."""
    cells = [("case", "point", "verdict", *(title for _, title in HEADLINE))]
    notes: list[str] = []
    for row in rows:
        points = [point for point in row.get("points", "").split(" ") if point]
        for position, point in enumerate(points or [""]):
            case = row.get("case", row["node"]) if position == 0 else ""
            word = row.get("verdict", "") if position == 0 else row.get(f"{point}.verdict", "")
            metrics = [_short(row.get(f"{point}.{name}", "")) for name, _ in HEADLINE]
            cells.append((case, point, row.get(f"{point}.verdict", word), *metrics))
        notes += [f"  {row.get('case', row['node'])}: {line}" for line in row.get("lines", "").splitlines()]
        where = row.get("records") or row.get("run_dir")
        if where:
            what = "records" if row.get("records") else "run"
            notes.append(f"  {row.get('case', row['node'])}: {what} in {_near(where)}")
    used = [column for column in range(len(cells[0])) if column < 3 or any(line[column] for line in cells[1:])]
    widths = {column: max(len(line[column]) for line in cells) for column in used}
    lines = ["  ".join(line[column].ljust(widths[column]) for column in used).rstrip() for line in cells]
    return [*lines, *notes]


def _short(number: str) -> str:
    """A metric as a table shows it: one decimal from 100 on, else two."""
    return f"{float(number):.{1 if float(number) >= 100 else 2}f}" if number else ""


def _near(path: str) -> str:
    """The path as seen from here, where it lies below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
