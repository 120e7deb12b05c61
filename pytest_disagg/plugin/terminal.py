"""What a person sees of a session: a header line and a table at the end. Silent without our cases."""

from __future__ import annotations

from typing import Any

import pytest

PROPERTY_PREFIX = "disagg_"


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
        if not ours:
            return []
        from pytest_disagg.plugin.values import misread

        warning = misread(self._config)
        return [self._header(ours), *([f"disagg: {warning}"] if warning else [])]

    def _header(self, cases: int) -> str:
        from pytest_disagg.plugin.values import resolved
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
        from pytest_disagg.plugin.table import table

        terminalreporter.section("disaggregated serving")
        # Under xdist the cases are collected elsewhere, so this is the first chance to say where they come from.
        head = [] if self._headed else [self._header(len(self._rows))]
        for line in [*head, *table(self._rows)]:
            terminalreporter.write_line(line)
